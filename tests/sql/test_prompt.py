"""The prompt without a terminal: commands by other names, how many rows, what completion offers, notes under tables."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from nsys_pipeline.errors import UsageError
from nsys_pipeline.query.complete import COMMANDS, completions
from nsys_pipeline.query.prompt import HELP, Prompt, as_command, is_complete
from nsys_pipeline.query.session import Session
from nsys_pipeline.query.table import render_table
from tests.support.ask import open_session
from tests.support.small_trace import small_trace


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with open_session(small_trace(), tmp_path_factory.mktemp("prompt")) as opened:
        yield opened


@pytest.mark.parametrize("text", ["exit", "quit", "EXIT;", " quit ; ", "\\q", ".exit"])
def test_words_that_leave_other_prompts_leave_this_one(text: str) -> None:
    assert as_command(text) == ".quit"
    assert is_complete(text)


@pytest.mark.parametrize(("text", "command"), [("help", ".help"), ("?", ".help"), (".tables", ".schema")])
def test_words_that_other_prompts_know(text: str, command: str) -> None:
    assert as_command(text) == command
    assert is_complete(text)


@pytest.mark.parametrize("text", ["from phases", "select 'exit'", "exit now", "select 1\nexit"])
def test_queries_are_no_commands(text: str) -> None:
    assert as_command(text) is None
    assert not is_complete(text)


def test_rows_sets_how_many_rows_of_a_table_are_shown(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    prompt = Prompt(session, rows=100, time_limit_s=None)
    prompt.answer(".rows 3")
    prompt.answer("SELECT range AS n FROM range(10);")
    assert "(first 3 rows; .rows N shows more, .format csv all)" in capsys.readouterr().out
    for words in (".rows", ".rows 0", ".rows -1", ".rows many", ".rows 99999999999"):
        with pytest.raises(UsageError, match="how many rows"):
            prompt.answer(words)
    assert prompt.rows == 3


def test_help_names_every_command() -> None:
    assert [command for command in COMMANDS if command not in HELP and command != ".help"] == []


@pytest.mark.parametrize("text", ["from k", "select name from k", "from phases, k", "from phases join k"])
def test_after_from_come_views_and_no_columns(session: Session, text: str) -> None:
    word, names = completions(session, text)
    assert word == "k"
    assert names[:4] == ["kernel_counters", "kernel_operators", "kernel_summary", "kernels"]
    assert "kernel_count" not in names


def test_after_select_come_columns(session: Session) -> None:
    _, names = completions(session, "select k")
    assert "kernel_count" in names


@pytest.mark.parametrize("command", [".schema", ".columns"])
def test_after_a_command_come_its_words(session: Session, command: str) -> None:
    assert completions(session, f"{command} gpu_b") == ("gpu_b", ["gpu_busy"])
    assert completions(session, ".rec")[1] == [".recipe", ".recipes"]


def rendered(columns: int, rows: int, *, width: int, has_more: bool = False) -> list[str]:
    stream = io.StringIO()
    names = [f"column_{index:02}" for index in range(columns)]
    render_table(names, ["BIGINT"] * columns, [range(columns)] * rows, stream, width=width, has_more=has_more)
    return stream.getvalue().splitlines()


def test_names_of_columns_that_do_not_fit_wrap() -> None:
    lines = rendered(30, 2, width=60)
    assert max(map(len, lines)) <= 60
    note = " ".join(line.strip() for line in lines[4:])
    assert note.startswith("(2 rows; 25 columns do not fit: column_05, column_06,")
    assert note.endswith("column_29)")


def test_one_column_does_not_fit() -> None:
    assert rendered(6, 2, width=60)[-1] == "(2 rows; 1 column does not fit: column_05)"


def test_one_row_of_several_says_that_there_are_more() -> None:
    assert rendered(30, 1, width=60, has_more=True)[-1] == "(first row; --rows N shows more, --format csv all)"
    assert rendered(2, 1, width=60, has_more=True)[-1] == "(first row; --rows N shows more, --format csv all)"
