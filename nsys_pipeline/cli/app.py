"""The list of verbs, and the one place where errors become lines and exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from nsys_pipeline import __version__
from nsys_pipeline.errors import ExitCode, LlmperfError

# Verb → what it does to a reader who looks for it; the order is the order of `llmperf --help`.
COMMANDS = ("capture", "analyze", "sql", "schema", "flops", "gpus", "export", "doctor", "demo")


class ErrorBoundary(TyperGroup):
    """Turns every error into `error:` and `hint:` lines on stderr and an exit code; no input makes a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb; see the class."""
        try:
            return super().invoke(ctx)
        except LlmperfError as error:
            if debugging(ctx):
                raise
            print_error(error.message, error.hint)
            raise typer.Exit(int(error.exit_code)) from error
        except KeyboardInterrupt as error:
            sys.stderr.write("\ninterrupted\n")
            raise typer.Exit(int(ExitCode.INTERRUPTED)) from error
        except BrokenPipeError as error:
            # The reader of a pipe went away, as `head` does: not an error of ours.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(int(ExitCode.OK)) from error
        except (typer.Exit, typer.Abort, SystemExit):
            raise
        except Exception as error:
            if debugging(ctx) or _belongs_to_typer(error):
                raise
            print_error(
                f"{type(error).__name__}: {str(error).strip() or 'no message'}",
                "this is a bug in llmperf: run again with `llmperf --debug …` and report what it prints",
            )
            raise typer.Exit(int(ExitCode.DATA)) from error


def debugging(ctx: Any) -> bool:
    """Whether tracebacks are wanted."""
    return bool(ctx.params.get("debug")) or os.environ.get("LLMPERF_DEBUG") == "1"


def print_error(message: str, hint: str | None) -> None:
    """One error and at most one hint, on stderr."""
    sys.stderr.write(f"error: {message}\n")
    if hint:
        sys.stderr.write(f"\nhint: {hint}\n")


def _belongs_to_typer(error: Exception) -> bool:
    return type(error).__module__.startswith("typer")


app = typer.Typer(
    cls=ErrorBoundary,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"llmperf {__version__}\n")
        raise typer.Exit


@app.callback()
def llmperf(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")] = False,
) -> None:
    """Where the GPU time of a language model went, and how far it is from what the hardware can do."""
    del version, debug


for _verb in COMMANDS:
    try:
        _module = importlib.import_module(f"nsys_pipeline.cli.{_verb}")
    except ModuleNotFoundError:
        continue
    app.command(name=_verb)(getattr(_module, _verb))
