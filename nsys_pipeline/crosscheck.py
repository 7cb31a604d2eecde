"""Compare the numbers of a trace with those of `nsys stats` on the same trace: `llmperf analyze --verify`.

Two reports are asked for, `cuda_gpu_kern_sum` and `nvtx_kern_sum`. Their rows are compared one by one with what the
tables of the trace give by nsys' own definitions (`attribute.nsys_range_totals`); the phases are then compared with the
ranges that they are, kernel by kernel, each difference with its reason (`attribute.nsys_phase_kernels`).
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from nsys_pipeline.duck import records
from nsys_pipeline.errors import NsysError, UsageError
from nsys_pipeline.nsys import find_nsys
from nsys_pipeline.records import NsysDifference, NsysPhase, Report, Verification

if TYPE_CHECKING:
    from nsys_pipeline.trace import Trace

TARGETS = (
    "attribute.ambiguous_kernels", "attribute.nsys_kernel_totals", "attribute.nsys_phase_kernels",
    "attribute.nsys_range_totals", "views.phase_summary",
)  # fmt: skip
KERNEL_REPORT, RANGE_REPORT = "cuda_gpu_kern_sum", "nvtx_kern_sum"
REPEATED_CALLS = "calls_recorded_twice"
AMBIGUOUS_CALLS = "ambiguous_correlation"
# What `nsys stats` says instead of writing a report about a table that the export lacks.
_LACKS_TABLE = "does not contain"

Row = Mapping[str, Any]
Key = tuple[str, ...]
Numbers = tuple[int, int]


def verified(report: Report, trace: Trace) -> Report:
    """`report` with what `verify` finds about its trace."""
    return attrs.evolve(report, verification=verify(trace))


def verify(trace: Trace) -> Verification:
    """Compare `trace` with the reports of the installed nsys.

    Raises UsageError where nsys cannot read this kind of trace at all, NsysError where nsys is missing or fails.
    """
    if recorder := trace.converted_from:
        raise UsageError(
            f"`nsys stats` cannot read a trace of {recorder}, as `{trace.path}` is", hint="leave out --verify"
        )
    path = trace.source().path
    if path.is_dir():
        raise UsageError(
            f"`nsys stats` cannot read the Parquet folder `{path}`", hint="verify the SQLite export or the report"
        )
    nsys = find_nsys(trace.options.nsys)
    trace.build(*TARGETS)
    with tempfile.TemporaryDirectory(prefix="llmperf-") as folder:
        reports = run_stats(nsys.path, path, Path(folder))
    theirs = {
        KERNEL_REPORT: _kernel_rows(reports[KERNEL_REPORT]),
        RANGE_REPORT: _range_rows(reports[RANGE_REPORT]),
    }
    ours = {KERNEL_REPORT: _our_kernels(trace), RANGE_REPORT: _our_ranges(trace)}
    repeated = {RANGE_REPORT: _our_ranges(trace, "repeated_time_ns")}
    if not theirs[RANGE_REPORT]:
        # Without a table of ranges nsys leaves the whole report out, kernels in no range included.
        ours[RANGE_REPORT] = {key: numbers for key, numbers in ours[RANGE_REPORT].items() if key[1]}
    ambiguous = _ambiguous_kernels(trace)
    differences = [
        difference
        for report, rows in theirs.items()
        for difference in _compare(report, rows, ours[report], repeated.get(report, {}), ambiguous)
    ]
    return Verification(
        nsys_version=nsys.version_short,
        rows={report: len(rows) for report, rows in theirs.items()},
        differences=differences,
        phases=_phases(trace),
    )


def run_stats(nsys: Path, trace: Path, folder: Path) -> dict[str, list[Row]]:
    """Rows of both reports of `nsys stats`; none where the export lacks the table that a report is about.

    The exit code of `nsys stats` is 0 whatever happened. Raises NsysError where a report is neither there nor skipped.
    """
    # A link of a plain name: whatever characters the trace's own path has, and whatever lies beside it.
    link = folder / "trace.sqlite"
    link.symlink_to(trace.resolve())
    # Its CSV does not quote names of several lines.
    argv = [str(nsys), "stats", "--format=json", f"--output={folder / 'stats'}"]
    argv += [f"--report={report}" for report in (KERNEL_REPORT, RANGE_REPORT)]
    try:
        done = subprocess.run([*argv, str(link)], capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise NsysError(f"`{nsys}` does not run: {error}") from error
    said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    found = {}
    for report in (KERNEL_REPORT, RANGE_REPORT):
        errors = [line for line in said if line.startswith("ERROR") and report in line]
        file = folder / f"stats_{report}.json"
        is_skipped = any(_LACKS_TABLE in line for line in said)
        if errors or (not file.exists() and not is_skipped):
            why = (errors or [line for line in said if "ERROR" in line] or said or ["nothing"])[0]
            raise NsysError(
                f"`nsys stats --report {report}` failed on `{trace}`: {why}",
                hint="the trace itself was analysed: leave out --verify, or name another nsys with --nsys",
            )
        found[report] = _read(file, report) if file.exists() else []
    return found


def _read(file: Path, report: str) -> list[Row]:
    text = file.read_text(encoding="utf-8", errors="replace")
    try:
        # A report without rows is an empty file; control characters in names are left as they are.
        rows = json.loads(text, strict=False) if text.strip() else []
    except ValueError as error:
        raise _not_understood(report, error) from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _not_understood(report, TypeError("not a list of rows"))
    return rows


def _kernel_rows(rows: Iterable[Row]) -> dict[Key, Numbers]:
    try:
        return _added(((row["Name"] or "",), int(row["Instances"]), int(row["Total Time (ns)"])) for row in rows)
    except (KeyError, TypeError, ValueError) as error:
        raise _not_understood(KERNEL_REPORT, error) from error


def _range_rows(rows: Iterable[Row]) -> dict[Key, Numbers]:
    try:
        return _added(
            (
                tuple(_text(row[name]) for name in ("NVTX Range", "Style", "PID", "TID", "Kernel Name")),
                int(row["Kern Inst"]),
                int(row["Total Time (ns)"]),
            )
            for row in rows
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _not_understood(RANGE_REPORT, error) from error


def _added(rows: Iterable[tuple[Key, int, int]]) -> dict[Key, Numbers]:
    """Rows by key; those of equal key are added up, as an empty and a missing name look the same."""
    found: dict[Key, Numbers] = {}
    for key, count, time_ns in rows:
        before = found.get(key, (0, 0))
        found[key] = (before[0] + count, before[1] + time_ns)
    return found


def _not_understood(report: str, error: Exception) -> NsysError:
    return NsysError(
        f"the report {report} of this nsys is not understood: {type(error).__name__} {error}",
        hint="name another nsys with --nsys",
    )


def _our_kernels(trace: Trace) -> dict[Key, Numbers]:
    rows = trace.connection.execute("FROM attribute.nsys_kernel_totals").fetchall()
    return _added(((name,), count, time_ns) for name, count, time_ns in rows)


def _our_ranges(trace: Trace, time: str = "time_ns") -> dict[Key, Numbers]:
    rows = trace.connection.execute(
        f"SELECT label, style, process_id, thread_id, kernel, kernel_count, {time} FROM attribute.nsys_range_totals"  # noqa: S608
    ).fetchall()
    return _added(
        ((label, style, _text(process), _text(thread), kernel), count, time_ns)
        for label, style, process, thread, kernel, count, time_ns in rows
    )


def _text(value: str | int | None) -> str:
    return "" if value is None else str(value)


def _ambiguous_kernels(trace: Trace) -> set[tuple[str, str]]:
    """(pid, name) of the kernels that nsys links to several calls, or to calls that launched nothing.

    Those have correlation id 0, which is CUPTI's word for an unknown one, or one that two processes of one pid used.
    """
    rows = trace.connection.execute("FROM attribute.ambiguous_kernels").fetchall()
    return {(_text(pid), name) for pid, name in rows}


def _compare(
    report: str,
    theirs: Mapping[Key, Numbers],
    ours: Mapping[Key, Numbers],
    repeated: Mapping[Key, Numbers],
    ambiguous: Collection[tuple[str, str]],
) -> list[NsysDifference]:
    differences = []
    # Kernels whose call is not known have no pid in the report.
    pids = {name: {pid for pid, other in ambiguous if other == name} | {""} for _, name in ambiguous}
    for key in sorted(theirs.keys() | ours.keys()):
        nsys, here = theirs.get(key), ours.get(key)
        if nsys == here:
            continue
        reason = REPEATED_CALLS if nsys is not None and nsys == repeated.get(key) else None
        if reason is None and report == RANGE_REPORT and key[2] in pids.get(key[4], ()):
            reason = AMBIGUOUS_CALLS
        differences.append(
            NsysDifference(
                report=report,
                row=" · ".join(part for part in key if part),
                nsys_count=nsys and nsys[0],
                nsys_time_ns=nsys and nsys[1],
                kernel_count=here and here[0],
                kernel_time_ns=here and here[1],
                reason=reason,
            )
        )
    return differences


def _phases(trace: Trace) -> list[NsysPhase]:
    con = trace.connection
    graphs: dict[str, int] = dict(con.execute("SELECT phase, graph_launch_count FROM views.phase_summary").fetchall())
    sums: dict[str, dict[str, Any]] = {}
    for row in records(con, "FROM attribute.nsys_phase_kernels ORDER BY phase, reason NULLS FIRST"):
        phase = sums.setdefault(
            row["phase"],
            {"kernel_count": 0, "kernel_time_ns": 0, "nsys_kernel_count": 0, "nsys_kernel_time_ns": 0, "reasons": {}},
        )
        for name in ("kernel_count", "kernel_time_ns", "nsys_kernel_count", "nsys_kernel_time_ns"):
            phase[name] += row[name]
        if row["reason"] is not None:
            phase["reasons"][row["reason"]] = (
                abs(row["kernel_count"] - row["nsys_kernel_count"]),
                abs(row["kernel_time_ns"] - row["nsys_kernel_time_ns"]),
            )
    for name in graphs.keys() - sums.keys():
        sums[name] = {
            "kernel_count": 0, "kernel_time_ns": 0, "nsys_kernel_count": 0, "nsys_kernel_time_ns": 0, "reasons": {},
        }  # fmt: skip
    return [NsysPhase(phase=name, graph_launch_count=graphs.get(name, 0), **sums[name]) for name in sorted(sums)]
