"""From `.nsys-rep` to SQLite or Parquet, without trusting exit codes and without half-written files."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

from nsys_pipeline.errors import NsysError, TraceError, UsageError
from nsys_pipeline.nsys.install import Nsys

_FIRST_LINE_BYTES = 200
_TAIL_LINES = 3
# How nsys complains about what it reads, as opposed to what it cannot write.
_DAMAGED = re.compile(r"Exportation error: .*(Section Table|decompression|magic number|[Pp]ars|[Cc]orrupt|deserializ)")


def report_version(report: Path) -> tuple[int, ...] | None:
    """Version of the nsys that wrote `report`, from its first line; None before 2023.3.3, which did not write it.

    Raises TraceError when the file cannot be read or is not an nsys report.
    """
    try:
        with report.open("rb") as stream:
            head = stream.read(_FIRST_LINE_BYTES)
    except OSError as error:
        raise TraceError(f"cannot read `{report}`: {error.strerror}") from error
    if not head.startswith(b"NVIDIA Tegra Profiler Report"):
        raise TraceError(f"`{report}` is not an Nsight Systems report", hint="a report ends in .nsys-rep")
    match = re.match(rb"NVIDIA Tegra Profiler Report (\d{4})@(\d+)@(\d+)", head)
    return tuple(int(part) for part in match.groups()) if match else None


def check_readable(nsys: Nsys, report: Path) -> None:
    """Raise NsysError when `report` is newer than this nsys can read; TraceError when it is no report."""
    version = report_version(report)
    if version is not None and version[:2] > nsys.version[:2]:
        written = ".".join(str(part) for part in version)
        raise NsysError(
            f"`{report}` was written by Nsight Systems {written}, newer than the installed {nsys.version_short}",
            hint=f"export it with Nsight Systems {version[0]}.{version[1]} or newer (`--nsys PATH`)",
        )


def export_sqlite(
    nsys: Nsys, report: Path, out: Path, *, force: bool = False, finish: Callable[[Path], object] | None = None
) -> Path:
    """Export `report` as the SQLite file `out` and return it, opened once and found to be an nsys export.

    nsys leaves a partial file when it fails, so it writes to a temporary name beside `out`, which is renamed at the
    end; `finish` may change the file before that. Raises NsysError (export failed, or the report is newer than
    nsys), TraceError (not a report, or a damaged one), UsageError (`out` exists and `force` is not given).
    """
    partial = _prepare(nsys, report, out, force)
    try:
        _run(nsys, report, partial, "sqlite")
        _check_sqlite(partial, report)
        if finish is not None:
            finish(partial)
        if out.is_dir():
            shutil.rmtree(out)
        partial.replace(out)
    except TraceError as error:
        raise TraceError(error.message.replace(str(partial), str(out)), hint=error.hint) from error
    finally:
        for left in (partial, partial.with_name(f"{partial.name}-journal")):
            left.unlink(missing_ok=True)
    return out


def export_parquet(nsys: Nsys, report: Path, out: Path, *, force: bool = False) -> Path:
    """Export `report` as the directory `out` of Parquet files, one per table. Errors as in `export_sqlite`."""
    partial = _prepare(nsys, report, out, force)
    try:
        _run(nsys, report, partial, "parquetdir")
        if not any(partial.glob("*.parquet")):
            raise NsysError(f"the Parquet export of `{report}` holds no table")
        if out.is_dir():
            shutil.rmtree(out)
        else:
            out.unlink(missing_ok=True)
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def _prepare(nsys: Nsys, report: Path, out: Path, force: bool) -> Path:
    check_readable(nsys, report)
    if out.exists() and not force:
        raise UsageError(f"`{out}` exists", hint="give another name, or `--force` to replace it")
    if out.is_dir() and not _is_export(out):
        raise UsageError(f"`{out}` holds something else", hint="give another name")
    if not os.access(out.parent, os.W_OK):
        raise UsageError(f"cannot write to `{out.parent}`", hint="give another place with `-o`")
    return out.with_name(f".partial-{os.getpid()}-{out.name}")


def _is_export(folder: Path) -> bool:
    """Whether `folder` is empty, or holds the tables of an export and nothing else."""
    files = list(folder.iterdir())
    has_others = any(file.suffix != ".parquet" or not file.is_file() for file in files)
    # Every export of nsys has its strings in a table of their own.
    return not files or (not has_others and (folder / "StringIds.parquet") in files)


def _run(nsys: Nsys, report: Path, out: Path, kind: str) -> None:
    # nsys takes a path that begins with a dash for an option.
    source = os.path.join(".", report) if str(report).startswith("-") else str(report)  # noqa: PTH118 - it drops a "./"
    argv = [str(nsys.path), "export", f"--type={kind}", "--force-overwrite=true", f"--output={out}", source]
    if "quiet" in nsys.export_flags:
        argv.insert(2, "--quiet=true")
    if "include-blobs" in nsys.export_flags:
        # Python's stacks and what NCCL says of its collectives are in them.
        argv.insert(2, "--include-blobs=true")
    try:
        done = subprocess.run(argv, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False)
    except OSError as error:
        raise NsysError(f"`{nsys.path}` does not run: {error}") from error
    if done.returncode != 0 or not out.exists():
        lines = [
            line for line in re.split(r"[\r\n]+", done.stdout + done.stderr) if line.strip() and "events: [" not in line
        ]
        said = " ".join(lines[-_TAIL_LINES:]) or "no reason given"
        is_full = _is_full(out.parent, report) or "disk is full" in said
        if not is_full and _DAMAGED.search(said):
            raise TraceError(
                f"nsys cannot read `{report}`: {said}",
                hint="the file is damaged, or its capture or copy did not finish: make it again",
            )
        raise NsysError(
            f"nsys could not export `{report}` as {kind}: {said}",
            hint="the disk is full" if is_full else "run `llmperf doctor`",
        )


def _is_full(folder: Path, report: Path) -> bool:
    return shutil.disk_usage(folder).free < report.stat().st_size


def _check_sqlite(path: Path, report: Path) -> None:
    """Raise NsysError where the export is none: nsys may say that all went well on a full disk."""
    is_full = _is_full(path.parent, report)
    hint = f"the disk of `{path.parent}` is full" if is_full else None
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0] if is_full else "ok"
        finally:
            connection.close()
    except sqlite3.Error as error:
        message = f"the SQLite that nsys exported from `{report}` cannot be opened: {error}"
        raise NsysError(message, hint=hint) from error
    if "StringIds" not in tables:
        raise NsysError(f"the SQLite that nsys exported from `{report}` holds no trace", hint=hint)
    if damage != "ok":
        raise NsysError(f"the SQLite that nsys exported from `{report}` is damaged: {damage}", hint=hint)
