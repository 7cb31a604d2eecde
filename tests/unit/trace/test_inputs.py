"""Whatever holds a trace is read as the same trace, wherever it lies and however it is packed."""

from __future__ import annotations

import gzip
import json
import lzma
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import zstandard

from nsys_pipeline.duck import records
from nsys_pipeline.errors import NsysError, TraceError
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support import real_traces
from tests.support.fake_nsys import fake_nsys
from tests.support.nsys_schema import GENERATIONS
from tests.support.parquet_export import to_parquetdir
from tests.support.small_trace import LOADED, comparable_report, loaded, small_trace
from tests.support.trace_builder import TraceBuilder

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".xz": lzma.compress,
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
}


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return small_trace().write(tmp_path / "trace.sqlite")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return loaded(small_trace().write(tmp_path_factory.mktemp("whole") / "trace.sqlite"))


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)


# -- packed, exported, elsewhere -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", PACKERS)
def test_packed(suffix: str, trace: Path, expected: dict[str, Any]) -> None:
    packed = trace.with_name(trace.name + suffix)
    packed.write_bytes(PACKERS[suffix](trace.read_bytes()))

    assert loaded(packed) == expected


@pytest.mark.parametrize("suffix", PACKERS)
def test_packed_and_cut_off_is_one_error(suffix: str, trace: Path, tmp_path: Path) -> None:
    packed = trace.with_name(trace.name + suffix)
    whole = PACKERS[suffix](trace.read_bytes())
    packed.write_bytes(whole[: len(whole) * 2 // 3])

    with pytest.raises(TraceError, match="damaged"):
        comparable_report(packed, TraceOptions(cache_dir=tmp_path / "cache"))
    assert list((tmp_path / "cache").glob("unpacked/*")) == []


def test_packed_something_else(tmp_path: Path) -> None:
    packed = tmp_path / "trace.sqlite.gz"
    packed.write_bytes(gzip.compress(b"step 1: loss 2.31\n"))

    with pytest.raises(TraceError, match="is a text file, not a trace"):
        comparable_report(packed)


def test_a_packed_pack_is_not_unpacked_twice(trace: Path) -> None:
    packed = trace.with_name("trace.sqlite.gz.xz")
    packed.write_bytes(lzma.compress(gzip.compress(trace.read_bytes())))

    with pytest.raises(TraceError, match="holds gzip data, not a SQLite export"):
        comparable_report(packed)


@pytest.mark.parametrize("schema", GENERATIONS)
def test_parquet_folder_of_any_generation(schema: str, tmp_path: Path) -> None:
    trace = small_trace(schema).write(tmp_path / "trace.sqlite")
    folder = to_parquetdir(trace, tmp_path / "parquet")

    assert loaded(folder) == loaded(trace)


@pytest.mark.parametrize("name", ["h100_two_threads", "h200x2_tensor_parallel"])
def test_parquet_folder_of_a_real_trace(name: str, tmp_path: Path) -> None:
    trace = real_traces.unpack_by_name(name, tmp_path)
    folder = to_parquetdir(trace, tmp_path / "parquet")

    assert loaded(folder) == loaded(trace)


def test_ids_with_the_top_bit_set_are_unsigned_in_parquet(tmp_path: Path) -> None:
    builder = TraceBuilder()
    main = builder.process(100, vm=200).thread()
    main.push(0, 50, "decode").launch(10, gpu=(20, 30))
    trace = builder.write(tmp_path / "trace.sqlite")
    # nsys' <hw> byte is its machine's: with 255 the ids are negative in SQLite and above 2^63 in Parquet.
    high = -(1 << 56)
    for table, column in (
        ("NVTX_EVENTS", "globalTid"), ("CUPTI_ACTIVITY_KIND_RUNTIME", "globalTid"),
        ("CUPTI_ACTIVITY_KIND_KERNEL", "globalPid"), ("PROCESSES", "globalPid"),
    ):  # fmt: skip
        change(trace, f"UPDATE {table} SET {column} = {column} + {high}")
    folder = to_parquetdir(trace, tmp_path / "parquet")

    assert loaded(folder) == loaded(trace)
    report = comparable_report(folder)
    assert [(phase["name"], phase["kernel_count"]) for phase in report["phases"]] == [("decode", 1)]


def test_a_damaged_parquet_file_is_named(trace: Path, tmp_path: Path) -> None:
    folder = to_parquetdir(trace, tmp_path / "parquet")
    file = folder / "CUPTI_ACTIVITY_KIND_MEMCPY.parquet"
    file.write_bytes(file.read_bytes()[:-10])

    with pytest.raises(TraceError, match=r"CUPTI_ACTIVITY_KIND_MEMCPY\.parquet` is damaged"):
        comparable_report(folder)


def test_run_directory(trace: Path, expected: dict[str, Any], tmp_path: Path) -> None:
    run = tmp_path / "runs" / "llama-20260101T000000Z"
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"name": "llama"}))
    trace.rename(run / "trace.sqlite")

    assert loaded(run) == expected


def test_symbolic_links(trace: Path, expected: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(trace)
    (tmp_path / "run").symlink_to(folder, target_is_directory=True)
    (folder / "trace.sqlite").symlink_to("link")

    assert loaded(folder / "link") == expected
    assert loaded(tmp_path / "run") == expected


def test_a_link_to_nowhere(tmp_path: Path) -> None:
    (tmp_path / "trace.sqlite").symlink_to(tmp_path / "gone")

    with pytest.raises(TraceError, match="does not exist"):
        open_trace(tmp_path / "trace.sqlite")


@pytest.mark.parametrize(
    "name",
    [
        "#hash&and;semicolon, it's \"quoted\" with spaces, 100%41 *[a] line\nbreak プロファイル.sqlite",
        "what?mode=rw.sqlite", "no suffix", "-dash.sqlite",
    ],
)  # fmt: skip
def test_any_name(name: str, trace: Path, expected: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / f"in {name}"
    folder.mkdir()
    moved = trace.rename(folder / name)
    parquet = to_parquetdir(moved, folder / f"parquet {name}")
    packed = folder / f"{name}.gz"
    packed.write_bytes(gzip.compress(moved.read_bytes()))
    cached = TraceOptions(cache_dir=tmp_path / f"cache {name}")
    with open_trace(moved, cached) as opened:
        opened.build(*LOADED)
        opened.keep()

    with open_trace(moved, cached) as opened:
        # DuckDB takes what follows a question mark for options.
        assert opened.is_cached == ("?" not in name)
    assert loaded(moved, cached) == expected
    assert loaded(packed) == expected
    assert loaded(parquet) == expected


def test_nothing_is_written_beside_the_trace(trace: Path, expected: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "readonly"
    folder.mkdir()
    moved = trace.rename(folder / "trace.sqlite")
    moved.chmod(0o444)
    folder.chmod(0o555)
    try:
        assert loaded(moved, TraceOptions(cache_dir=tmp_path / "cache")) == expected
        assert [entry.name for entry in folder.iterdir()] == ["trace.sqlite"]
    finally:
        folder.chmod(0o755)


# -- reports ---------------------------------------------------------------------------------------------------------


def test_a_report_newer_than_the_installed_nsys_is_refused_before_export(tmp_path: Path) -> None:
    report = tmp_path / "report.nsys-rep"
    report.write_bytes(b"NVIDIA Tegra Profiler Report 2025@3@2@474-253236389321v0.\n" + bytes(200))
    nsys = fake_nsys(tmp_path)  # its export fails: it must not be tried

    with pytest.raises(
        NsysError, match=r"written by Nsight Systems 2025\.3\.2, newer than the installed 2024\.2\.3"
    ) as caught:
        open_trace(report, TraceOptions(nsys=str(nsys), use_cache=False))

    assert caught.value.exit_code == 3


# -- tables of another make ------------------------------------------------------------------------------------------

KERNEL = "CUPTI_ACTIVITY_KIND_KERNEL"


def test_tables_without_rowid(trace: Path, expected: dict[str, Any]) -> None:
    with closing(sqlite3.connect(trace)) as db, db:
        columns = [f'"{row[1]}" {row[2]}' for row in db.execute(f"PRAGMA table_info({KERNEL})")]
        db.execute(f"ALTER TABLE {KERNEL} RENAME TO old")
        db.execute(f"CREATE TABLE {KERNEL} ({', '.join(columns)}, PRIMARY KEY (start, streamId)) WITHOUT ROWID")
        db.execute(f"INSERT INTO {KERNEL} SELECT * FROM old")
        db.execute("DROP TABLE old")

    assert loaded(trace) == expected


def test_views_in_place_of_tables(trace: Path, expected: dict[str, Any]) -> None:
    change(
        trace,
        f"ALTER TABLE {KERNEL} RENAME TO old",
        f"CREATE VIEW {KERNEL} AS SELECT * FROM old",
        "ALTER TABLE NVTX_EVENTS RENAME TO old_events",
        "CREATE VIEW NVTX_EVENTS AS SELECT * FROM old_events",
    )

    assert loaded(trace) == expected


def test_rows_that_were_deleted_and_numbers_that_start_late(trace: Path) -> None:
    change(trace, f"DELETE FROM {KERNEL} WHERE rowid < 50 OR rowid % 3 = 0")

    report = comparable_report(trace)

    assert report["totals"]["kernel_count"] == 251 - 84
    assert all(check["passed"] for check in report["checks"])


def test_numbers_that_are_spelled_as_text(trace: Path, expected: dict[str, Any]) -> None:
    with closing(sqlite3.connect(trace)) as db, db:
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({KERNEL})")]
        db.execute(f"ALTER TABLE {KERNEL} RENAME TO old")
        listed = ", ".join('"' + column + '" TEXT' for column in columns)
        db.execute(f"CREATE TABLE {KERNEL} ({listed})")
        db.execute(f"INSERT INTO {KERNEL} SELECT * FROM old")
        db.execute("DROP TABLE old")

    assert loaded(trace) == expected


def test_ids_survive_one_float_in_their_column(trace: Path) -> None:
    # A float in the first batch makes the reader take the whole column for floats, which hold 53 bits of 64.
    change(trace, "UPDATE CUPTI_ACTIVITY_KIND_RUNTIME SET nameId = NULL WHERE rowid = 5")
    expected = loaded(trace)
    with closing(sqlite3.connect(trace)) as db, db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(CUPTI_ACTIVITY_KIND_RUNTIME)")]
        listed = ", ".join(f'"{column}"' for column in columns)
        db.execute("ALTER TABLE CUPTI_ACTIVITY_KIND_RUNTIME RENAME TO old")
        db.execute(f"CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME ({listed})")
        db.execute("INSERT INTO CUPTI_ACTIVITY_KIND_RUNTIME SELECT * FROM old")
        db.execute("UPDATE CUPTI_ACTIVITY_KIND_RUNTIME SET globalTid = CAST(globalTid AS REAL) WHERE rowid = 2")
        db.execute("DROP TABLE old")

    assert loaded(trace) == expected


@pytest.mark.parametrize("value", ["'soon'", "1.5", "x'ff00'", "9e99"])
def test_what_is_no_number_is_refused(value: str, trace: Path) -> None:
    change(trace, f"UPDATE {KERNEL} SET start = {value} WHERE rowid = 7")

    with pytest.raises(TraceError, match=f"{KERNEL} holds .* where a number belongs"):
        comparable_report(trace)


def test_text_of_any_kind(tmp_path: Path) -> None:
    builder = TraceBuilder(registered=True).bad_bytes("decode step", b"decode\xff\x00step")
    main = builder.process().thread()
    main.push(0, 50, "prefill").launch(10, gpu=(20, 30), name="kern\u0000el \U0001f600")
    main.push(60, 90, "decode step").launch(70, gpu=(80, 95))
    trace = builder.write(tmp_path / "trace.sqlite")

    report = comparable_report(trace)

    assert [(phase["name"], phase["kernel_count"]) for phase in report["phases"]] == [("prefill", 1)]
    assert report["unattributed"]["kernel_count"] == 1


def test_device_names_and_texts_that_are_missing(trace: Path) -> None:
    change(trace, "UPDATE TARGET_INFO_GPU SET name = NULL, smCount = NULL", "DELETE FROM ThreadNames")

    with open_trace(trace, TraceOptions(use_cache=False)) as opened:
        opened.build("load.devices")
        (device,) = records(opened.connection, "FROM load.devices")

    assert (device["name"], device["sm_count"], device["has_work"]) == (None, None, True)
