"""Files that are no trace, or are damaged, give one error line or a right result: never a traceback, never a part."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner

from nsys_pipeline.cli.app import app
from nsys_pipeline.errors import LlmperfError, TraceError
from nsys_pipeline.trace import TraceOptions, open_trace, sqlite_source
from tests.support.broken_files import BROKEN_FILES
from tests.support.fake_nsys import fake_nsys
from tests.support.small_trace import comparable_report, loaded, small_trace

PAGE = 4096
TABLES = (
    "CUPTI_ACTIVITY_KIND_KERNEL", "CUPTI_ACTIVITY_KIND_RUNTIME", "NVTX_EVENTS", "CUPTI_ACTIVITY_KIND_MEMCPY",
    "StringIds", "TARGET_INFO_GPU",
)  # fmt: skip


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return small_trace().write(tmp_path / "trace.sqlite")


@pytest.fixture
def no_small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is checked as a file of gigabytes is."""
    monkeypatch.setattr(sqlite_source, "SMALL_FILE_BYTES", 0)


def root_page(trace: Path, table: str) -> int:
    with closing(sqlite3.connect(trace)) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    return int(root)


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_every_broken_file_is_one_error_and_one_hint(name: str, tmp_path: Path) -> None:
    path = BROKEN_FILES[name](tmp_path)
    nsys = fake_nsys(tmp_path)

    done = CliRunner().invoke(app, ["analyze", str(path), "--no-cache", "--nsys", str(nsys)])

    lines = [line for line in done.stderr.splitlines() if line]
    assert done.exit_code == (3 if name in ("newer_nsys_rep", "damaged_nsys_rep", "old_qdrep") else 1)
    assert done.stdout == ""
    assert str(path) in lines[0]
    assert [line.partition(":")[0] for line in lines] == ["error", "hint"]
    assert "bug in llmperf" not in done.stderr


@pytest.mark.parametrize("table", TABLES)
def test_garbage_in_the_root_page_of_any_table(table: str, trace: Path) -> None:
    content = bytearray(trace.read_bytes())
    page = root_page(trace, table)
    content[(page - 1) * PAGE : page * PAGE] = b"\xa5" * PAGE
    trace.write_bytes(content)

    with pytest.raises(TraceError, match="damaged"):
        comparable_report(trace)


@pytest.mark.usefixtures("no_small_files")
@pytest.mark.parametrize("table", TABLES)
def test_the_same_in_a_large_file(table: str, trace: Path) -> None:
    test_garbage_in_the_root_page_of_any_table(table, trace)


@pytest.mark.usefixtures("no_small_files")
def test_a_page_that_is_there_twice_drops_rows_and_is_found(trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_source, "CHUNK_ROWS", 50)
    content = bytearray(trace.read_bytes())
    root = root_page(trace, "CUPTI_ACTIVITY_KIND_KERNEL")
    at = (root - 1) * PAGE
    assert content[at] == 5, "the table fits one page: nothing to damage"
    cells = int.from_bytes(content[at + 3 : at + 5])
    first, second = (
        int.from_bytes(content[at + offset : at + offset + 4])
        for offset in (int.from_bytes(content[at + 12 + 2 * i : at + 14 + 2 * i]) for i in range(2))
    )
    assert cells >= 2
    content[(second - 1) * PAGE : second * PAGE] = content[(first - 1) * PAGE : first * PAGE]
    trace.write_bytes(content)
    with closing(sqlite3.connect(trace)) as db:  # SQLite itself reads on, and says nothing
        assert db.execute("SELECT count(*), count(DISTINCT start) FROM CUPTI_ACTIVITY_KIND_KERNEL").fetchone() != (
            300,
            300,
        )

    with pytest.raises(TraceError, match="damaged"):
        comparable_report(trace)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("DELETE FROM META_DATA_EXPORT", "half an export: nsys did not come to writing META_DATA_EXPORT"),
        ("DROP TABLE StringIds", "half an export: CUPTI_ACTIVITY_KIND_KERNEL is there, but not the names"),
        ("UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET end = NULL WHERE rowid > 297", r"3 row\(s\) of .* lack start or end"),
    ],
)
def test_half_an_export(statement: str, message: str, trace: Path) -> None:
    with closing(sqlite3.connect(trace)) as db, db:
        db.execute(statement)

    with pytest.raises(TraceError, match=message):
        comparable_report(trace)


@pytest.mark.parametrize(
    ("statement", "check"),
    [
        ("DELETE FROM StringIds WHERE value LIKE 'kernel_%' AND id > 5", "names.known"),
        ("UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET end = start - 1 WHERE rowid = 9", "work.ends_after_start"),
    ],
)
def test_what_cannot_be_right_fails_a_check(statement: str, check: str, trace: Path) -> None:
    with closing(sqlite3.connect(trace)) as db, db:
        db.execute(statement)

    report = comparable_report(trace)

    assert check in [check["name"] for check in report["checks"] if not check["passed"]]


def test_changes_that_wait_in_a_log_beside_the_file(trace: Path) -> None:
    with closing(sqlite3.connect(trace)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("DELETE FROM CUPTI_ACTIVITY_KIND_KERNEL WHERE rowid > 10")
        db.commit()

        with pytest.raises(TraceError, match=r"is not whole: `trace\.sqlite-wal` beside it holds changes"):
            open_trace(trace, TraceOptions(use_cache=False))


# -- at random -------------------------------------------------------------------------------------------------------


def outcome(path: Path, right: dict[str, Any]) -> str:
    try:
        if loaded(path) == right:
            return "right"
        comparable_report(path)
    except LlmperfError as error:
        is_fit = "\n" not in error.message and (str(path) in error.message or "damaged" in error.message)
        return "error" if is_fit else f"another error: {error.message}"
    # Values inside rows carry no checksum: another value is another trace. But no row may be missing.
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as db:
        assert db.execute("PRAGMA quick_check").fetchall() == [("ok",)], path
    return "other values"


def test_truncated_anywhere(trace: Path, tmp_path: Path) -> None:
    random, whole, right = Random(1), trace.read_bytes(), loaded(trace)
    path = tmp_path / "damaged.sqlite"
    found: Counter[str] = Counter()
    for length in [0, 1, 15, 16, 99, 100, PAGE - 1, PAGE, len(whole) - 1, *random.sample(range(len(whole)), 15)]:
        path.write_bytes(whole[:length])
        found[outcome(path, right)] += 1

    assert set(found) == {"error"}


@pytest.mark.parametrize("seed", range(3))
def test_random_damage(seed: int, trace: Path, tmp_path: Path) -> None:
    random, whole, right = Random(seed), trace.read_bytes(), loaded(trace)
    path = tmp_path / "damaged.sqlite"
    found: Counter[str] = Counter()
    for index in range(12):
        damaged = bytearray(whole)
        page = random.randrange(len(whole) // PAGE)
        if index % 3 == 0:  # bytes anywhere
            for _ in range(random.choice((1, 5, 20))):
                damaged[random.randrange(len(damaged))] = random.randrange(256)
        elif index % 3 == 1:  # the part of a page that says where its rows are
            at = page * PAGE + (100 if page == 0 else 0) + random.randrange(40)
            damaged[at] = random.randrange(256)
        else:  # another page's content
            other = random.randrange(len(whole) // PAGE)
            damaged[page * PAGE : (page + 1) * PAGE] = whole[other * PAGE : (other + 1) * PAGE]
        path.write_bytes(damaged)
        found[outcome(path, right)] += 1

    assert found["error"] > 0
    assert set(found) <= {"error", "right", "other values"}
