"""Say what a path is, by its content, before anything tries to read it as a trace."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from nsys_pipeline.errors import TraceError, UsageError
from nsys_pipeline.trace.formats import CONVERTED, Kind, converted_as
from nsys_pipeline.trace.run_file import RUN_NAME

HINT = (
    "llmperf reads a run directory, a `.sqlite` or `.nsys-rep` of nsys, the folder of `nsys export -t parquetdir`, "
    f"or {', or '.join(one.about for one in CONVERTED.values())}"
)


SQLITE_MAGIC = b"SQLite format 3\x00"
REPORT_MAGIC = (b"NVIDIA Tegra Profiler Report", b"Report 1.")
COMPRESSED = {b"\xfd7zXZ\x00": Kind.XZ, b"\x1f\x8b": Kind.GZIP, b"\x28\xb5\x2f\xfd": Kind.ZSTD}
DATASET_MARKER = "llmperf-fleet.json"
"""What a dataset of a fleet has in its folder."""
UNFINISHED = ".partial"
"""Where a capture keeps what is not finished."""

_CONVERTED_SUFFIXES = tuple(suffix for one in CONVERTED.values() for suffix in one.suffixes)
TRACE_SUFFIXES = (".sqlite", ".sqlite.xz", ".sqlite.zst", ".sqlite.gz", ".nsys-rep", *_CONVERTED_SUFFIXES)
"""How names end that only traces have; of two with one stem the earlier one counts."""
_RUN_SUFFIXES = (*TRACE_SUFFIXES, *(suffix for one in CONVERTED.values() for suffix in one.run_suffixes))
"""How names of traces end in a run directory."""


# A scheme of one letter is a drive of Windows.
_URL = re.compile(r"([A-Za-z][\w+.-]+):/+(.*)", re.DOTALL)


def as_typed(path: str | Path) -> str:
    """`path` as it was typed: a URL with both slashes behind its scheme, of which a Path keeps one. file:///x is /x."""
    text = path if isinstance(path, str) else path.as_posix()
    if (url := _URL.fullmatch(text)) is None:
        return str(path)
    scheme, rest = url.groups()
    return f"/{rest}" if scheme == "file" else f"{scheme}://{rest}"


def is_remote(path: str | Path) -> bool:
    """Whether `path` is a URL of anything but a file of this machine."""
    return _URL.fullmatch(as_typed(path)) is not None


def local_path(
    path: str | Path, *, hint: str = "copy it; `llmperf fleet URL --out DATASET` reads traces where they are"
) -> Path:
    """`path`, also where it is written as file:///…. Raises UsageError, with the `hint`, for a URL of another place."""
    typed = as_typed(path)
    if is_remote(typed):
        raise UsageError(f"`{typed}` is not on this machine", hint=hint)
    return Path(typed)


def identify(path: Path, *, shown: Path | None = None) -> Kind:
    """Kind of the input at `path`. Raises TraceError that names what it is, where it is no trace.

    `shown`: what the user calls it, where `path` is a copy that was made of it.
    """
    try:
        return _identify(path)
    except TraceError as error:
        if shown is None:
            raise
        raise renamed(error, path, shown) from error


def renamed(error: TraceError, path: Path, shown: Path) -> TraceError:
    """`error`, which is about `path`, as one about `shown`."""
    return TraceError(error.message.replace(str(path), str(shown)), hint=error.hint)


def _identify(path: Path) -> Kind:
    try:
        _check_encoding(path)
        if path.is_dir():
            return _identify_dir(path)
        if not path.exists():
            raise TraceError(f"`{path}` does not exist", hint=HINT)
        if not path.is_file():
            raise TraceError(f"`{path}` is neither a file nor a folder", hint=HINT)
        with path.open("rb") as file:
            head = file.read(512)
        size = path.stat().st_size
    except OSError as error:
        raise TraceError(f"`{path}` cannot be read: {error.strerror or error}") from error
    return _identify_file(path, head, size)


def _check_encoding(path: Path) -> None:
    try:
        str(path.resolve()).encode()
    except UnicodeEncodeError as error:
        if path.exists():
            raise TraceError(
                f"`{path.resolve()}` is not UTF-8", hint="rename it: SQLite and DuckDB open no such file"
            ) from error


def run_traces(directory: Path) -> list[Path]:
    """Traces of a run directory in order: `trace.sqlite`, or one for each rank or recording (`trace-rank0.sqlite`, …).

    Of an export and its report only the export is listed. Empty where the directory holds none.
    """
    found: dict[str, Path] = {}
    for suffix in _RUN_SUFFIXES:
        for file in directory.glob(f"trace*{suffix}"):
            found.setdefault(stem_of(file), file)
    if not found:
        found = _numbered(directory)
    return sorted(found.values(), key=lambda file: [int(number) for number in re.findall(r"\d+", file.name)])


def stem_of(file: Path) -> str:
    """Name of a trace without what says how it is stored."""
    suffix = next((suffix for suffix in _RUN_SUFFIXES if file.name.endswith(suffix)), "")
    return file.name.removesuffix(suffix).removesuffix(".pt")


def _numbered(directory: Path) -> dict[str, Path]:
    """Traces whose names differ in a number alone, as nsys' `-o report.%q{RANK}` and torch's handlers write them.

    SGLang's also differ in the stage that they are of.
    """
    found = _named_like_traces(directory)
    patterns = {re.sub(r"\d+|-(?:EXTEND|DECODE|prefill|decode)$", "#", stem) for stem in found}
    is_only = len(found) == 1 and next(iter(found.values())).name.endswith(_CONVERTED_SUFFIXES)
    return found if is_only or (len(found) > 1 and len(patterns) == 1) else {}


def _named_like_traces(directory: Path) -> dict[str, Path]:
    """Files of `directory` that are called like traces, by what is left of their names."""
    found: dict[str, Path] = {}
    for suffix in TRACE_SUFFIXES:
        for file in directory.glob(f"*{suffix}"):
            found.setdefault(stem_of(file), file)
    return found


def _identify_dir(path: Path) -> Kind:
    if traces := run_traces(path):
        return Kind.RUN_DIR if len(traces) == 1 else Kind.JOB
    if any(path.glob("*.parquet")):
        return Kind.PARQUET_DIR
    if (path / DATASET_MARKER).exists():
        raise TraceError(
            f"`{path}` is a dataset of a fleet, and no trace",
            hint=f"`llmperf fleet {path}` reports what is in it, and `llmperf sql {path}` asks it",
        )
    if (path / UNFINISHED).is_dir():
        raise TraceError(
            f"`{path}` holds a capture that still runs, or was killed before it was finished",
            hint=f"`llmperf capture --recover {path}` finishes one that was killed",
        )
    if (path / RUN_NAME).exists():
        raise TraceError(f"`{path}` is a run directory without a trace", hint=f"`{path}/workload.log` may say why")
    if several := _named_like_traces(path):
        first = sorted(file.name for file in several.values())[0]
        raise TraceError(
            f"`{path}` has {len(several):,} traces whose names do not say that they are the ranks of one job"
            if len(several) > 1
            else f"`{path}` is no run directory: its trace is called `{first}`",
            hint=f"pass one of them, as in `{path / first}`; for a job, a folder of its own whose traces differ in a "
            "number alone, as in `trace-rank0.sqlite`",
        )
    raise TraceError(f"`{path}` is a folder without a trace in it", hint=HINT)


def _identify_file(path: Path, head: bytes, size: int) -> Kind:
    if size == 0:
        raise TraceError(f"`{path}` is empty", hint="the capture or the copy did not finish; make it again")
    if head.startswith(SQLITE_MAGIC):
        _check_sqlite_header(path, head, size)
        return Kind.SQLITE
    if head.startswith(REPORT_MAGIC):
        return Kind.REPORT
    kind = packed_as(head)
    if kind is not None:
        from nsys_pipeline.trace.unpack import first_bytes

        return converted_as(first_bytes(path, kind)) or kind
    if (kind := converted_as(head)) is not None:
        return kind
    if head.startswith(b"version https://git-lfs"):
        raise TraceError(f"`{path}` is a Git LFS pointer, not the file it stands for", hint="run `git lfs pull`")
    if head.startswith(b"NVR\x00") or path.suffix == ".ncu-rep":
        raise TraceError(
            f"`{path}` is a report of Nsight Compute (ncu), which holds single kernels and no timeline",
            hint="record the workload with `llmperf capture`, or with `nsys profile`",
        )
    if head.startswith(b"PAR1"):
        raise TraceError(f"`{path}` is one Parquet file", hint="pass the folder that `nsys export -t parquetdir` made")
    if path.suffix == ".qdstrm":
        raise TraceError(
            f"`{path}` is a raw capture that nsys has not imported yet",
            hint=f"convert it with `QdstrmImporter -i {path}` from the nsys that recorded it",
        )
    if path.suffix in (".nsys-rep", ".qdrep"):
        raise TraceError(f"`{path}` does not begin like an nsys report", hint="the file is damaged; record it again")
    looks_like = "a text file" if _is_text(head) else "no file that llmperf knows"
    raise TraceError(f"`{path}` is {looks_like}, not a trace", hint=HINT)


def packed_as(head: bytes) -> Kind | None:
    """How a file is packed that begins like this; None where it is not."""
    return next((kind for magic, kind in COMPRESSED.items() if head.startswith(magic)), None)


def _check_sqlite_header(path: Path, head: bytes, size: int) -> None:
    again = "export it again: `nsys export --type sqlite REPORT.nsys-rep`"
    if len(head) < 100:
        raise TraceError(f"`{path}` is truncated: {size} bytes of a SQLite database", hint=again)
    (page_size,) = struct.unpack(">H", head[16:18])
    page_size = 65536 if page_size == 1 else page_size
    changes, pages = struct.unpack(">II", head[24:32])
    (valid_for,) = struct.unpack(">I", head[92:96])
    # The page count in the header holds only if it was written by the last change.
    if changes == valid_for and pages and size < pages * page_size:
        raise TraceError(f"`{path}` is truncated: {size:,} of {pages * page_size:,} bytes are there", hint=again)
    log = path.with_name(path.name + "-wal")
    is_wal_mode = 2 in head[18:20]
    if is_wal_mode and log.exists() and log.stat().st_size > 0:
        raise TraceError(
            f"`{path}` is not whole: `{log.name}` beside it holds changes that are not in it yet",
            hint=f"close the program that writes it, or run `sqlite3 {path.name} 'PRAGMA wal_checkpoint(TRUNCATE)'`",
        )
    journal = path.with_name(path.name + "-journal")
    if journal.exists() and journal.stat().st_size > 0:
        raise TraceError(
            f"`{path}` is half-written: the journal of an unfinished export lies beside it",
            hint=f"wait for the export to finish, or delete `{journal.name}` and {again}",
        )


def _is_text(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4  # a character cut at the end
    return b"\x00" not in head
