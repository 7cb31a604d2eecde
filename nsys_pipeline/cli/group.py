"""How the command line is put together: verbs that load when they are needed, plain help, errors in one place."""

from __future__ import annotations

import errno
import importlib
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from nsys_pipeline.cli.messages import print_error
from nsys_pipeline.errors import ExitCode, LlmperfError

# Verb → what it does, as `llmperf --help` says it, in the order in which it does.
COMMANDS = {
    "capture": "Run a workload under Nsight Systems and analyze what it did.",
    "analyze": "Attribute the GPU time of a trace to phases: MFU, MBU, top kernels, checks.",
    "sql": "Ask a trace anything: one read-only SELECT over documented views.",
    "schema": "List those views and their columns.",
    "flops": "Say what a model must compute and move, from its config alone.",
    "gpus": "List dense peaks of GPUs, each with its source.",
    "diff": "Say what changed between runs, and fail a build if it was the wrong thing.",
    "ncu": "Profile the kernels that matter with Nsight Compute, and read the result back.",
    "runs": "List the runs of a folder side by side.",
    "fleet": "Analyze a folder or bucket of traces once, and ask all of them together.",
    "export": "Turn an .nsys-rep into SQLite or Parquet.",
    "cache": "Show where prepared tables are kept and how large they are, or remove them.",
    "doctor": "Say what works here and what to do about the rest.",
    "demo": "Analyze a real H100 trace that ships with llmperf.",
}
_NO_BRACES = str.maketrans("", "", "{}")
HELP_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


_PLAIN: Mapping[Any, Callable[[Any], Any]] = {str: str, Path: Path, list[str]: list}


class _PlainValue:
    """Takes values that cannot be wrong as they are: typer imports pydantic for any value, which takes 0.15 s."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return `value` in the type of `param`; raises typer's errors where it is none."""
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        if value == param.default and type(value) is type(param.default):
            return value
        annotation, info = param.type_descriptor.annotation, param.type_descriptor.parameter_info
        if convert := _PLAIN.get(annotation):
            return convert(value)
        if isinstance(annotation, type) and issubclass(annotation, Enum):
            with suppress(ValueError):
                return annotation(value)
        if annotation is int and str(value).isdecimal() and info.max is None and int(value) >= (info.min or 0):
            return int(value)
        param._runtime_param = None
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


def _quick(parameters: list[Any]) -> list[Any]:
    """`parameters`, which import what they need only for values that need it."""
    for parameter in parameters:
        if getattr(parameter, "_runtime_param", parameter) is None:
            parameter._runtime_param = _PlainValue()
    return parameters


class Verb(TyperCommand):
    """A verb whose help is plain text, its options under the headings of their help panels."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Arguments and options."""
        return _quick(super().get_params(ctx))

    def make_parser(self, ctx: Any) -> Any:
        """A parser that refuses two values of an option that takes one: click would use the last in silence."""
        parser: Any = super().make_parser(ctx)
        parse = parser.parse_args

        def parse_args(args: list[str]) -> Any:
            values, rest, order = parse(args)
            for parameter, times in Counter(order).items():
                if times > 1 and not parameter.multiple and not parameter.is_flag:
                    ctx.fail(f"`{parameter.opts[-1]}` takes one value, and is given {times} times")
            return values, rest, order

        parser.parse_args = parse_args
        return parser

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write one section for each panel, in the order in which the options name them."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                argument = parameter.param_type_name == "argument"
                panel = getattr(parameter, "rich_help_panel", None) or ("Arguments" if argument else "Options")
                sections.setdefault(panel, []).append((_plain_types(record[0]), record[1]))
        for heading, records in sections.items():
            with formatter.section(typer.style(heading, bold=True)):
                formatter.write_dl(records)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return arguments as they are typed, without braces around a required one."""
        pieces = super().collect_usage_pieces(ctx)
        return [piece.translate(_NO_BRACES).replace("[[", "[").replace("]]", "]") for piece in pieces]


def _plain_types(names: str) -> str:
    """`--batch <int range>` as `--batch N`: what is typed, not the type that it is parsed to."""
    for pattern, word in (
        (r"^(\[?[A-Z-].*) <(path|str|list\[(str|path)\])>$", r"\1"),
        (r"<(int|float)( range)?>", "N"),
        (r"<str>", "TEXT"),
        (r"<path>", "PATH"),
    ):
        names = re.sub(pattern, word, names)
    return names


class _Verbs(Mapping[str, Any]):
    """Verb → its command. Importing all of them takes longer than most of them run."""

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)

    def __contains__(self, name: object) -> bool:
        return name in COMMANDS

    def __getitem__(self, name: str) -> Any:
        if name not in COMMANDS:
            raise KeyError(name)
        module = importlib.import_module(f"nsys_pipeline.cli.{name}")
        # What follows a program is the program's, with or without `--` before it.
        settings = HELP_SETTINGS | ({"allow_interspersed_args": False} if name == "capture" else {})
        alone = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=settings)
        alone.command(name=name, cls=Verb)(getattr(module, name))
        return typer.main.get_command(alone)


class Verbs(TyperGroup):
    """The group of all verbs; the one place where errors become `error:` and `hint:` lines and exit codes."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: Any = _Verbs()

    def get_params(self, ctx: Any) -> list[Any]:
        """Options of the group."""
        return _quick(super().get_params(ctx))

    def list_commands(self, ctx: Any) -> list[str]:
        """Verbs in the order of `COMMANDS`."""
        del ctx
        return list(COMMANDS)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the verbs first, for they are what is looked for."""
        with formatter.section(typer.style("Commands", bold=True)):
            formatter.write_dl(list(COMMANDS.items()))
        records = [parameter.get_help_record(ctx) for parameter in self.get_params(ctx)]
        with formatter.section(typer.style("Options", bold=True)):
            formatter.write_dl([record for record in records if record is not None])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Parse, run, and exit; no input makes a traceback."""
        del standalone_mode
        args = list(sys.argv[1:] if args is None else args) or ["--help"]
        try:
            code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except TyperException as error:
            sys.exit(_usage_error(error))
        except typer.Abort:
            sys.exit(int(ExitCode.INTERRUPTED))
        sys.exit(code if isinstance(code, int) else int(ExitCode.OK))

    def invoke(self, ctx: Any) -> Any:
        """Run the verb; see the class."""
        try:
            return super().invoke(ctx)
        except LlmperfError as error:
            if _debugging(ctx):
                raise
            print_error(error.message, error.hint, has_lines=error.has_lines)
            raise typer.Exit(int(error.exit_code)) from error
        except KeyboardInterrupt as error:
            sys.stderr.write("\ninterrupted\n")
            raise typer.Exit(int(ExitCode.INTERRUPTED)) from error
        except BrokenPipeError as error:
            # The reader of a pipe went away, as `head` does: not an error of ours.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(int(ExitCode.OK)) from error
        except (typer.Exit, typer.Abort, TyperException, SystemExit):
            raise
        except Exception as error:
            if _is_ctrl_c(error):
                sys.stderr.write("\ninterrupted\n")
                raise typer.Exit(int(ExitCode.INTERRUPTED)) from error
            if _debugging(ctx):
                raise
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                print_error(f"no space left to write to{f' `{error.filename}`' if error.filename else ''}", None)
                raise typer.Exit(int(ExitCode.DATA)) from error
            print_error(
                f"{type(error).__name__}: {str(error).strip() or 'no message'}",
                "this is a bug in llmperf: run again with `llmperf --debug …` and report what it prints",
            )
            raise typer.Exit(int(ExitCode.DATA)) from error


def _is_ctrl_c(error: Exception) -> bool:
    """Whether this is what DuckDB makes of a Ctrl-C during a query: no KeyboardInterrupt, and no error of its own."""
    return type(error) is RuntimeError and str(error) == "Query interrupted"


def _debugging(ctx: Any) -> bool:
    return bool(ctx.params.get("debug")) or os.environ.get("LLMPERF_DEBUG") == "1"


def _usage_error(error: TyperException) -> int:
    """Say what is wrong with the command line, and which help to read."""
    ctx = getattr(error, "ctx", None)
    message = error.format_message().rstrip(".")
    hint = f"`{ctx.command_path} --help` lists what it takes" if ctx is not None else None
    print_error(message[:1].lower() + message[1:], hint)
    return error.exit_code
