"""Every command of docs/howto and the tutorial prints what its page shows; those that need a GPU are understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from nsys_pipeline.cli.app import app
from scripts.shown_commands import is_fresh, run, shown_in

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(set((ROOT / "docs" / "howto").glob("*.md")) - {ROOT / "docs" / "howto" / "README.md"})
TUTORIAL = ROOT / "docs" / "tutorial.md"


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [*PAGES, TUTORIAL], ids=lambda page: page.stem)
def test_commands_print_what_the_page_shows(page: Path) -> None:
    """`python scripts/shown_commands.py --write docs/tutorial.md docs/howto/*.md` stores the outputs."""
    for shown in shown_in(text(page)):
        printed = run(shown.words)
        assert is_fresh(shown.output, printed), f"{shown.text}\n{printed}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_a_question_and_at_most_a_page(page: Path) -> None:
    lines = text(page).splitlines()
    assert lines[0].startswith("# ")
    assert lines[0].endswith("?")
    assert len(lines) <= 70
    # A block that is no command would be compared with nothing.
    assert text(page).count("```text\n") == len(list(shown_in(text(page))))
    assert page.name in (ROOT / "docs" / "howto" / "README.md").read_text(encoding="utf-8")


def test_commands_that_are_not_run_are_understood() -> None:
    root: Any = typer.main.get_command(app)
    lines = [
        line.partition("  #")[0]
        for page in (*PAGES, TUTORIAL)
        for block in re.findall(r"^```sh\n(.*?)^```$", text(page), re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
        if line.startswith("llmperf ")
    ]
    assert lines
    for line in lines:
        _, verb, *words = shlex.split(line)
        assert root.commands[verb].make_context(verb, words), line


def test_stale_outputs_are_seen() -> None:
    assert is_fresh("a\nb\n", "a\nb\n")
    assert not is_fresh("a\n", "a\nb\n")
    assert is_fresh("…\nb\n…\nd\n", "a\nb\nc\nd\n")
    assert not is_fresh("…\nd\n…\nb\n", "a\nb\nc\nd\n")
    assert not is_fresh("…\nb\n", "a\nbb\nc\n")
    (one,) = shown_in('```text\n$ llmperf sql T \\\n    "select\n    1"\n1\n─\n```\n')
    assert one.words == ("llmperf", "sql", "T", "select\n    1")
    assert one.output == "1\n─\n"
