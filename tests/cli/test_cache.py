"""`llmperf cache`: its place, its size, and nothing left of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nsys_pipeline.trace import cache
from tests.cli.run import run
from tests.support.small_trace import small_trace


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMPERF_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_an_empty_cache(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "cache")

    assert (code, err) == (0, "")
    assert out.splitlines()[0] == str(place)
    assert out.splitlines()[-1] == "0 B of 20.0 GiB"
    assert run(capsys, "cache", "clear")[0] == 0
    assert not place.exists()


def test_a_folder_that_cannot_be_used_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "what?"
    monkeypatch.setenv("LLMPERF_CACHE_DIR", str(place))

    code, out, err = run(capsys, "cache")

    assert (code, err) == (0, "")
    assert out.splitlines()[:2] == [
        str(place), "no tables are kept there: DuckDB opens no file below a folder with a question mark"
    ]  # fmt: skip


def test_what_analyses_left_is_shown_and_removed(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = small_trace().write(tmp_path / "trace.sqlite")
    assert run(capsys, "analyze", trace)[0] == 0
    # something of another program, a file that is being written, and one that a killed run left
    (place / "notes.txt").write_text("mine")
    being_written = cache.temporary(place / "traces" / "abc.duckdb")
    being_written.write_text("half")
    killed = being_written.with_name(being_written.name.replace(f"-{os.getpid()}-", "-999999999-"))
    killed.write_text("half")

    shown = json.loads(run(capsys, "cache", "--format", "json")[1])
    assert shown["path"] == str(place)
    assert shown["total_bytes"] == sum(file.stat().st_size for file in place.glob("*/*"))
    assert {entry["folder"]: entry["files"] for entry in shown["entries"]} == {
        "traces": 3,
        "reports": 1,
        "exports": 0,
        "unpacked": 0,
        "converted": 0,
    }

    code, out, _ = run(capsys, "cache", "clear")
    assert (code, out.splitlines()[-1].split()[0]) == (0, "removed")
    assert [file for file in place.rglob("*") if file.is_file()] == [place / "notes.txt", being_written]
    # the next analysis makes its tables again
    assert run(capsys, "analyze", trace)[0] == 0
    assert len(list((place / "traces").glob("[!.]*"))) == 1


def test_another_action_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "cache", "burn")[0] == 2
    assert run(capsys, "cache", "--format", "yaml")[0] == 2
