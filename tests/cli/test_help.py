"""Every verb and option says what it is for, fast, and wrong usage says what to do."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from typing import Any

import attrs
import pytest
import typer

from nsys_pipeline import __version__
from nsys_pipeline.cli.app import app
from nsys_pipeline.cli.common import expanded
from nsys_pipeline.cli.group import COMMANDS
from tests.cli.run import run

SLOWEST_S = 0.4
HEAVY = ("duckdb", "polars", "adbc_driver_manager", "torch", "transformers", "nvtx", "rich")


def parameters(verb: str) -> list[Any]:
    group: Any = typer.main.get_command(app)
    return list(group.commands[verb].params)


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_option_is_in_the_help_with_what_it_is_for(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, verb, "--help")

    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: llmperf {verb} ")
    for parameter in parameters(verb):
        assert parameter.help, f"{parameter.name} says nothing"
        if parameter.param_type_name == "option":
            assert all(re.search(rf"(^|[ ,]){re.escape(name)}\b", out, re.MULTILINE) for name in parameter.opts)
    # Types of Python are not what people type.
    assert not re.search(r"<(int|float|str|path)\b", out)


def test_the_help_lists_every_verb_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--help")

    assert (code, err) == (0, "")
    assert re.findall(r"^  ([a-z]+)  ", out, re.MULTILINE) == list(COMMANDS)


def test_no_arguments_are_a_call_for_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys) == run(capsys, "--help")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, f"llmperf {__version__}\n", "")


@pytest.mark.parametrize(
    ("argv", "message", "hint"),
    [
        (["analyz"], "no such command 'analyz'. Did you mean 'analyze'?", "`llmperf --help` lists what it takes"),
        (["analyze"], "missing argument 'TRACE'", "`llmperf analyze --help` lists what it takes"),
        (["demo", "--what"], "no such option: --what", "`llmperf demo --help` lists what it takes"),
        (["analyze", "--top", "-1", "x"], "invalid value for '--top'", "`llmperf analyze --help` lists what it takes"),
        (
            ["diff", "a", "b", "--steps", "0:1", "--steps=1:2"],
            "`--steps` takes one value, and is given 2 times",
            "`llmperf diff --help` lists what it takes",
        ),
        (
            ["analyze", "a", "-o", "x.json", "--output", "y.json"],
            "`--output` takes one value, and is given 2 times",
            "`llmperf analyze --help` lists what it takes",
        ),
    ],
)
def test_wrong_usage(argv: list[str], message: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *argv)

    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.endswith(f"\n\nhint: {hint}\n")


def test_flags_and_a_program_s_own_options_may_be_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    program = ("program", "--steps", "1", "--steps", "2")

    code, out, _ = run(capsys, "capture", "--dry-run", "--backend", "torch", "--auto", "--auto", "--", *program)

    assert code == 0
    assert out.rstrip().endswith(" ".join(program))


@pytest.mark.parametrize("argv", [["--help"], ["--version"], *([verb, "--help"] for verb in COMMANDS)], ids=" ".join)
def test_help_loads_nothing_heavy(argv: list[str]) -> None:
    program = (
        "import sys\n"
        "from nsys_pipeline.cli import main\n"
        f"sys.argv = ['llmperf', *{argv!r}]\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        f"    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stderr == "[]\n"


def test_help_is_fast() -> None:
    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "nsys_pipeline", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # CPU time, the best of five: it waits for nothing, and other work on the machine is not what is measured.
    assert min(once() for _ in range(5)) < SLOWEST_S


@attrs.frozen
class _Record:
    first: int = 1
    second: str = "two"


def test_a_verb_with_records_can_be_called_from_python_with_few_of_its_options() -> None:
    called = []

    @expanded
    def verb(path: str, *, flag: bool = False, told: _Record) -> None:
        called.append((path, flag, told))

    verb("a")
    verb("b", second="three", flag=True)
    assert called == [("a", False, _Record()), ("b", True, _Record(second="three"))]
