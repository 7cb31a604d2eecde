"""Files that look like a trace and are none, or are damaged, by name in BROKEN_FILES.

    path = BROKEN_FILES["corrupt_kernel_page"](tmp_path)

Whatever reads a trace has to answer each with one error line and one hint: no traceback, no partial result.
"""

from __future__ import annotations

import lzma
import shutil
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.support.trace_builder import TraceBuilder

BROKEN_FILES: dict[str, Callable[[Path], Path]] = {}
KERNELS = 2_000
_INTERIOR_TABLE_PAGE = 5


def _broken(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
    BROKEN_FILES[make.__name__] = make
    return make


def _good_trace(path: Path) -> Path:
    """A healthy trace whose kernel table is some dozen pages long."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    main.push(0, 100 * KERNELS, "decode")
    for index in range(KERNELS):
        main.launch(100 * index, gpu=(100 * index + 10, 100 * index + 60))
    return trace.write(path)


# -- not SQLite at all -----------------------------------------------------------------------------------------------


@_broken
def missing_file(folder: Path) -> Path:
    """Nothing at that path."""
    return folder / "missing.sqlite"


@_broken
def empty_file(folder: Path) -> Path:
    """Zero bytes, as a full disk leaves behind. SQLite itself takes it for an empty database."""
    path = folder / "trace.sqlite"
    path.touch()
    return path


@_broken
def text_file(folder: Path) -> Path:
    """Somebody's log under the name of a trace."""
    path = folder / "trace.sqlite"
    path.write_text("step 1: loss 2.31\nstep 2: loss 2.29\n")
    return path


@_broken
def empty_directory(folder: Path) -> Path:
    """A directory that is neither a run nor a Parquet export."""
    path = folder / "run"
    path.mkdir()
    return path


@_broken
def directory_called_sqlite(folder: Path) -> Path:
    """A directory with the name of a file, holding something else."""
    path = folder / "trace.sqlite"
    path.mkdir()
    (path / "notes.txt").write_text("nothing to see\n")
    return path


@_broken
def git_lfs_pointer(folder: Path) -> Path:
    """What a checkout without git-lfs has in place of a large file."""
    path = folder / "trace.sqlite"
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d7a' * 16}\nsize 16932864\n")
    return path


@_broken
def ncu_report(folder: Path) -> Path:
    """A report of Nsight Compute; they start with NVR and a zero byte."""
    path = folder / "profile.ncu-rep"
    path.write_bytes(b"NVR\0" + struct.pack("<I", 24) + bytes(range(256)) * 8)
    return path


@_broken
def ncu_report_called_sqlite(folder: Path) -> Path:
    """The same under the wrong name."""
    return ncu_report(folder).rename(folder / "profile.sqlite")


@_broken
def old_qdrep(folder: Path) -> Path:
    """A report of nsys before 2023.3.3: its first line has a format version, and the rest here is no report."""
    path = folder / "report.qdrep"
    path.write_bytes(b"NVIDIA Tegra Profiler Report 1.0\n" + b"\x0bLocal (CLI)" + bytes(200))
    return path


@_broken
def newer_nsys_rep(folder: Path) -> Path:
    """A report of an nsys that is newer than any installed one; importing it cannot work."""
    path = folder / "report.nsys-rep"
    path.write_bytes(b"NVIDIA Tegra Profiler Report 2099@1@1@1-299900000001v0.\n\x0bLocal (CLI)\x12" + bytes(200))
    return path


@_broken
def damaged_nsys_rep(folder: Path) -> Path:
    """A report of an old enough nsys that ends after its first line."""
    path = folder / "report.nsys-rep"
    path.write_bytes(b"NVIDIA Tegra Profiler Report 2024@2@3@38-242334140272v0.\n\x0bLocal (CLI)\x12")
    return path


@_broken
def unknown_nsys_rep(folder: Path) -> Path:
    """Bytes that only the file's name calls a report."""
    path = folder / "report.nsys-rep"
    path.write_bytes(bytes(range(256)) * 16)
    return path


@_broken
def truncated_xz(folder: Path) -> Path:
    """A compressed trace whose download was cut off."""
    packed = lzma.compress(_good_trace(folder / "trace.sqlite").read_bytes())
    (folder / "trace.sqlite").unlink()
    path = folder / "trace.sqlite.xz"
    path.write_bytes(packed[: len(packed) // 2])
    return path


# -- SQLite, but not ours --------------------------------------------------------------------------------------------


@_broken
def empty_database(folder: Path) -> Path:
    """A valid SQLite file without a table."""
    path = folder / "trace.sqlite"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA user_version = 1")
    return path


@_broken
def foreign_database(folder: Path) -> Path:
    """Another program's database, with a table name that sounds right."""
    path = folder / "trace.sqlite"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, start INTEGER, name TEXT)")
        db.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, mail TEXT)")
        db.execute("INSERT INTO events VALUES (1, 10, 'login')")
    return path


# -- a trace once, damaged since -------------------------------------------------------------------------------------


@_broken
def truncated_database(folder: Path) -> Path:
    """A copy that stopped after sixty percent: the header and the first tables are fine."""
    path = _good_trace(folder / "trace.sqlite")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10])
    return path


@_broken
def truncated_within_the_header(folder: Path) -> Path:
    """Sixty bytes that start like SQLite."""
    path = _good_trace(folder / "trace.sqlite")
    path.write_bytes(path.read_bytes()[:60])
    return path


@_broken
def corrupt_kernel_page(folder: Path) -> Path:
    """Garbage in one page in the middle of the kernel table: the rows before it still read well."""
    path = _good_trace(folder / "trace.sqlite")
    with closing(sqlite3.connect(path)) as db:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'CUPTI_ACTIVITY_KIND_KERNEL'"
        (root,) = db.execute(query).fetchone()
        (page_size,) = db.execute("PRAGMA page_size").fetchone()
    pages = bytearray(path.read_bytes())
    leaves = _children(pages, root, page_size)
    begin = (leaves[len(leaves) // 2] - 1) * page_size
    pages[begin : begin + page_size] = b"\xa5" * page_size
    path.write_bytes(pages)
    return path


def _children(pages: bytearray, page: int, page_size: int) -> list[int]:
    """Numbers of the pages under an interior table page (https://www.sqlite.org/fileformat2.html, section 1.6)."""
    begin = (page - 1) * page_size
    kind, _, cells = struct.unpack_from(">BHH", pages, begin)
    if kind != _INTERIOR_TABLE_PAGE:
        raise ValueError(f"page {page} is no interior page: the table is too small")
    offsets = struct.unpack_from(f">{cells}H", pages, begin + 12)
    return [struct.unpack_from(">I", pages, begin + offset)[0] for offset in offsets]


@_broken
def half_way_export(folder: Path) -> Path:
    """An export that died between two tables: no kernels, ranges or metadata, and a hot journal beside the file."""
    path, journal = folder / "trace.sqlite", folder / "trace.sqlite-journal"
    working = _good_trace(folder / "working.sqlite")
    with closing(sqlite3.connect(working, isolation_level=None)) as db:
        # The tables that come late are not there yet …
        for table in ("CUPTI_ACTIVITY_KIND_KERNEL", "NVTX_EVENTS", "META_DATA_EXPORT", "TARGET_INFO_GPU"):
            db.execute(f"DROP TABLE {table}")
        # … and the one being written has spilled into the file, without the commit that would make it valid.
        db.execute("PRAGMA cache_size = 1")
        db.execute("BEGIN")
        db.execute("CREATE TABLE CUPTI_ACTIVITY_KIND_MEMCPY (start INTEGER, end INTEGER, correlationId INTEGER)")
        db.execute(
            "INSERT INTO CUPTI_ACTIVITY_KIND_MEMCPY SELECT start, end, correlationId FROM CUPTI_ACTIVITY_KIND_RUNTIME"
        )
        shutil.copyfile(working, path)
        shutil.copyfile(f"{working}-journal", journal)
        db.execute("ROLLBACK")
    working.unlink()
    return path
