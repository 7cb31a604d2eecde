"""Each broken file is broken in the way that its name says, and in no other."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.broken_files import BROKEN_FILES, KERNELS, _good_trace


def count(path: Path, table: str) -> int:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        rows = db.execute(f"SELECT * FROM {table}").fetchall()
    return len(rows)


def test_the_trace_that_gets_damaged_is_healthy(tmp_path: Path) -> None:
    path = _good_trace(tmp_path / "trace.sqlite")

    assert count(path, "CUPTI_ACTIVITY_KIND_KERNEL") == KERNELS
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_every_file_is_made_and_stands_alone(name: str, tmp_path: Path) -> None:
    path = BROKEN_FILES[name](tmp_path)

    assert path.exists() == (name != "missing_file")
    left = {entry.name for entry in tmp_path.iterdir()} - {path.name, f"{path.name}-journal"}
    assert left == set()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text_file", "not a database"),
        ("git_lfs_pointer", "not a database"),
        ("ncu_report_called_sqlite", "not a database"),
        ("truncated_within_the_header", "not a database|malformed"),
        ("truncated_database", "malformed"),
        ("corrupt_kernel_page", "malformed"),
        ("foreign_database", "no such table"),
        ("empty_database", "no such table"),
        ("empty_file", "no such table"),
    ],
)
def test_sqlite_says_what_is_wrong(name: str, message: str, tmp_path: Path) -> None:
    path = BROKEN_FILES[name](tmp_path)

    with pytest.raises(sqlite3.DatabaseError, match=message):
        count(path, "CUPTI_ACTIVITY_KIND_KERNEL")


def test_rows_before_the_corrupt_page_still_read_well(tmp_path: Path) -> None:
    path = BROKEN_FILES["corrupt_kernel_page"](tmp_path)

    with closing(sqlite3.connect(path)) as db:
        assert len(db.execute("SELECT * FROM CUPTI_ACTIVITY_KIND_KERNEL LIMIT 500").fetchall()) == 500
    assert count(path, "CUPTI_ACTIVITY_KIND_RUNTIME") == KERNELS


def test_the_journal_of_the_unfinished_export_is_hot(tmp_path: Path) -> None:
    path = BROKEN_FILES["half_way_export"](tmp_path)
    journal = path.with_name(f"{path.name}-journal")
    before = path.read_bytes()

    # SQLite rolls the half-written table back as soon as anybody opens the file for writing.
    with closing(sqlite3.connect(path)) as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}

    assert path.read_bytes() != before
    assert not journal.exists()
    assert "CUPTI_ACTIVITY_KIND_MEMCPY" not in tables
    assert not tables & {"CUPTI_ACTIVITY_KIND_KERNEL", "NVTX_EVENTS", "META_DATA_EXPORT"}
    assert "StringIds" in tables
