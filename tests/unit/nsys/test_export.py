"""Exports: never a half-written file, never a guess."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest

from nsys_pipeline.errors import NsysError, TraceError, UsageError
from nsys_pipeline.nsys import Nsys, export_parquet, export_sqlite, report_version
from tests.unit.capture.fake_nsys import fake_nsys, report

# The output is the argument `--output=…`, the fifth of `nsys export`.
WRITES_A_TRACE = 'python3 -c "import sqlite3, sys; sqlite3.connect(sys.argv[1][9:]).execute(\'{}\')" "$5"; exit 0'
MAKE_STRINGS = "CREATE TABLE StringIds (id INTEGER, value TEXT)"


def nsys_that(directory: Path, export: str) -> Nsys:
    return Nsys.probe(fake_nsys(directory / "bin", export=export))


def test_version_is_in_the_first_line(tmp_path: Path) -> None:
    assert report_version(report(tmp_path / "a.nsys-rep", "2025@3@2@367")) == (2025, 3, 2)
    old = tmp_path / "old.nsys-rep"
    old.write_bytes(b"NVIDIA Tegra Profiler Report 1.\n")
    assert report_version(old) is None


def test_exports_under_a_temporary_name(tmp_path: Path) -> None:
    nsys = nsys_that(tmp_path, WRITES_A_TRACE.format(MAKE_STRINGS))
    seen: list[str] = []
    out = export_sqlite(
        nsys, report(tmp_path / "a.nsys-rep"), tmp_path / "a.sqlite", finish=lambda path: seen.append(path.name)
    )
    assert out == tmp_path / "a.sqlite"
    with contextlib.closing(sqlite3.connect(out)) as connection:
        assert connection.execute("SELECT count(*) FROM StringIds").fetchone() == (0,)
    assert seen[0].startswith(".partial-")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nsys-rep", "a.sqlite", "bin"]


@pytest.mark.parametrize(
    ("export", "message"),
    [
        ('echo half > "${5#--output=}"; echo "Import failed" >&2; exit 1', "could not export .* Import failed"),
        ('echo "all is well"; exit 0', "could not export"),
        ('echo "not a database" > "${5#--output=}"; exit 0', "cannot be opened|holds no trace"),
        (WRITES_A_TRACE.format("CREATE TABLE something_else (x)"), "holds no trace"),
    ],
)
def test_a_failed_export_leaves_nothing(tmp_path: Path, export: str, message: str) -> None:
    nsys = nsys_that(tmp_path, export)
    with pytest.raises(NsysError, match=message):
        export_sqlite(nsys, report(tmp_path / "a.nsys-rep"), tmp_path / "a.sqlite")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nsys-rep", "bin"]


def test_a_damaged_report_is_the_trace_s_fault(tmp_path: Path) -> None:
    nsys = nsys_that(tmp_path, "echo 'Exportation error: LZ4 decompression failed.' >&2; exit 1")
    with pytest.raises(TraceError, match=r"nsys cannot read `.*a\.nsys-rep`: Exportation error: LZ4"):
        export_sqlite(nsys, report(tmp_path / "a.nsys-rep"), tmp_path / "a.sqlite")


def test_a_full_disk_is_not(tmp_path: Path) -> None:
    nsys = nsys_that(tmp_path, "echo 'std::exception::what: RuntimeException = database or disk is full'; exit 1")
    with pytest.raises(NsysError, match="could not export") as caught:
        export_sqlite(nsys, report(tmp_path / "a.nsys-rep"), tmp_path / "a.sqlite")
    assert caught.value.hint == "the disk is full"


def test_a_newer_report_is_refused_before_the_export(tmp_path: Path) -> None:
    nsys = nsys_that(tmp_path, "touch ran; exit 0")
    with pytest.raises(NsysError, match=r"written by Nsight Systems 2025\.1\.1, newer than the installed 2024\.2\.3"):
        export_sqlite(nsys, report(tmp_path / "a.nsys-rep", "2025@1@1@1"), tmp_path / "a.sqlite")


def test_a_newer_patch_of_the_same_release_is_tried(tmp_path: Path) -> None:
    nsys = nsys_that(tmp_path, WRITES_A_TRACE.format(MAKE_STRINGS))
    export_sqlite(nsys, report(tmp_path / "a.nsys-rep", "2024@2@9@1"), tmp_path / "a.sqlite")


def test_not_a_report(tmp_path: Path) -> None:
    nsys = nsys_that(tmp_path, "exit 0")
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    with pytest.raises(TraceError, match="is not an Nsight Systems report"):
        export_sqlite(nsys, text, tmp_path / "a.sqlite")
    with pytest.raises(TraceError, match="cannot read"):
        export_sqlite(nsys, tmp_path / "missing.nsys-rep", tmp_path / "a.sqlite")


def test_no_overwriting(tmp_path: Path) -> None:
    nsys = nsys_that(tmp_path, WRITES_A_TRACE.format(MAKE_STRINGS))
    (tmp_path / "a.sqlite").write_text("precious")
    with pytest.raises(UsageError, match="exists"):
        export_sqlite(nsys, report(tmp_path / "a.nsys-rep"), tmp_path / "a.sqlite")
    assert (tmp_path / "a.sqlite").read_text() == "precious"
    export_sqlite(nsys, tmp_path / "a.nsys-rep", tmp_path / "a.sqlite", force=True)
    assert (tmp_path / "a.sqlite").read_bytes().startswith(b"SQLite")
    with pytest.raises(UsageError, match="holds something else"):
        export_sqlite(nsys, tmp_path / "a.nsys-rep", tmp_path, force=True)
    assert (tmp_path / "a.nsys-rep").is_file()


@pytest.mark.parametrize(
    "names", [["data.parquet"], ["StringIds.parquet", "notes.txt"], ["StringIds.parquet", "more.parquet/"]]
)
def test_force_replaces_no_folder_of_others(names: list[str], tmp_path: Path) -> None:
    nsys = nsys_that(tmp_path, WRITES_A_TRACE.format(MAKE_STRINGS))
    folder = tmp_path / "data"
    folder.mkdir()
    for name in names:
        (folder / name).mkdir() if name.endswith("/") else (folder / name).write_text("precious")

    for export in (export_sqlite, export_parquet):
        with pytest.raises(UsageError, match="holds something else"):
            export(nsys, report(tmp_path / "a.nsys-rep"), folder, force=True)

    assert len(list(folder.iterdir())) == len(names)


@pytest.mark.parametrize("names", [[], ["StringIds.parquet", "TARGET_INFO_GPU.parquet"]])
def test_force_replaces_an_export(names: list[str], tmp_path: Path) -> None:
    nsys = nsys_that(tmp_path, WRITES_A_TRACE.format(MAKE_STRINGS))
    folder = tmp_path / "data"
    folder.mkdir()
    for name in names:
        (folder / name).write_text("old")

    export_sqlite(nsys, report(tmp_path / "a.nsys-rep"), folder, force=True)

    assert folder.is_file()


def test_an_export_that_a_full_disk_cut_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # given an nsys that says nothing of the disk on which half of its export fits
    full = tmp_path / "full.sqlite"
    with contextlib.closing(sqlite3.connect(full)) as connection:
        connection.execute(MAKE_STRINGS)
        connection.executemany("INSERT INTO StringIds VALUES (?, ?)", [(n, "x" * 100) for n in range(1000)])
        connection.commit()
    nsys = nsys_that(tmp_path, f'head -c 60000 {full} > "${{5#--output=}}"; exit 0')
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))

    with pytest.raises(NsysError, match=r"damaged|malformed") as failed:
        export_sqlite(nsys, report(tmp_path / "a.nsys-rep"), tmp_path / "a.sqlite")

    assert failed.value.hint == f"the disk of `{tmp_path}` is full"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nsys-rep", "bin", "full.sqlite"]
