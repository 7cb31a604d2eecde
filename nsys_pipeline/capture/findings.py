"""What a capture holds and what nsys said about it, as findings that a person can act on."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs

from nsys_pipeline import markers
from nsys_pipeline.errors import TraceError
from nsys_pipeline.nsys.diagnostics import explained, no_gpu_work
from nsys_pipeline.text import printable

# Marks, push/pop and start/end ranges, and those of NVTXT files; the other rows only name domains and threads.
_NVTX_EVENT_TYPES = "(34, 59, 60, 70, 71)"

_COUNTED_RANGES = (
    "'warmup', 'request', 'prefill', 'decode', 'mixed', 'verify', 'draft', 'encoder', 'vision', "
    "'forward', 'backward', 'optimizer'"
)

_COUNTED_TABLES = {
    "kernels": "CUPTI_ACTIVITY_KIND_KERNEL",
    "memcpys": "CUPTI_ACTIVITY_KIND_MEMCPY",
    "memsets": "CUPTI_ACTIVITY_KIND_MEMSET",
    "graph_launches": "CUPTI_ACTIVITY_KIND_GRAPH_TRACE",
    "api_calls": "CUPTI_ACTIVITY_KIND_RUNTIME",
    "gpu_metric_samples": "GPU_METRICS",
    "os_runtime_calls": "OSRT_API",
}

_BY_MARKERS = re.compile(r"(?:[\[(][^\])]{1,60}[\])]:?\s*)*" + re.escape(markers.MESSAGE) + r"(.{1,300})")
_SHOWN_MESSAGES = 5

_GPU_WORK = ("kernels", "memcpys", "memsets", "graph_launches")

_NO_RANGES = (
    "add `--auto` for transformers models and engines, or `from nsys_pipeline.markers import phase` to the program"
)
_NO_RANGES_WITH_AUTO = (
    "`--auto` marks transformers models, vLLM and SGLang alone; children that fork without exec only with"
    " `--trace-forks`; and nothing under Python's -I, -E and -S or in an emptied environment"
)


@attrs.frozen
class Finding:
    """One thing to know about a capture. `severity` and `code` are those of docs/findings.md; a code is stable."""

    code: str
    severity: str
    message: str
    hint: str | None = None


@attrs.frozen
class TraceContents:
    """Event counts of an exported trace, phase ranges by name, and what the diagnostics of nsys amount to."""

    counts: dict[str, int]
    phases: dict[str, int]
    findings: tuple[Finding, ...]


def inspect_trace(
    sqlite: Path, *, traces: Iterable[str] = ("cuda", "nvtx"), gpu_metrics: bool = False, auto: bool = False
) -> TraceContents:
    """Count the events of the export `sqlite` and read its diagnostics. Raises TraceError when it cannot be read.

    `auto`: it was recorded with `--auto`.
    """
    try:
        connection = sqlite3.connect(f"file:{sqlite}?mode=ro", uri=True)
        connection.text_factory = lambda raw: raw.decode(errors="replace")
        try:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            counts = {
                name: _count(connection, table) if table in tables else 0 for name, table in _COUNTED_TABLES.items()
            }
            counts["nvtx_events"] = (
                _count(connection, f"NVTX_EVENTS WHERE eventType IN {_NVTX_EVENT_TYPES}")
                if "NVTX_EVENTS" in tables
                else 0
            )
            phases = _phase_counts(connection, tables)
            diagnostics = _diagnostics(connection, tables)
            gpus = _gpus(connection, tables)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise TraceError(f"cannot read `{sqlite}`: {error}") from error
    wanted = set(traces) | ({"gpu-metrics"} if gpu_metrics else set())
    lacks_gpu_work = "cuda" in wanted and not sum(counts[name] for name in _GPU_WORK)
    said = explained(diagnostics, lacks_gpu_work=lacks_gpu_work)
    found = _absent(counts, phases, wanted, auto=auto)
    if lacks_gpu_work:
        message, hint, reason = no_gpu_work(said, gpus=gpus, api_calls=counts["api_calls"])
        found.insert(0, Finding("no_gpu_work", "warning", message, hint))
        said = [one for one in said if one != reason]
    found += [Finding(one.code, one.severity, one.message, one.hint) for one in said]
    return TraceContents(counts, phases, tuple(found))


def of_failed_workload(finding: Finding) -> Finding:
    """`finding` about a workload that failed: other options do not bring the ranges that it did not come to."""
    if finding.code != "no_nvtx":
        return finding
    said = f"{finding.message}: the workload failed before its first one, or marks none"
    return attrs.evolve(finding, message=said, hint=None)


def said_by_markers(log: Path) -> list[Finding]:
    """What the markers wrote into the workload's output: that a version is not known, or that they are off.

    Each line once, whichever process or rank said it; a launcher or an engine may have put its name before it.
    """
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return []
    found = [match[1] for match in map(_BY_MARKERS.match, lines) if match]
    return [Finding("markers", "warning", printable(text)) for text in list(dict.fromkeys(found))[:_SHOWN_MESSAGES]]


def _count(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - names of our own


def _phase_counts(connection: sqlite3.Connection, tables: set[str]) -> dict[str, int]:
    if "NVTX_EVENTS" not in tables:
        return {}
    columns = {row[1] for row in connection.execute("PRAGMA table_info(NVTX_EVENTS)")}
    registered = " LEFT JOIN StringIds AS s ON s.id = n.textId" if "textId" in columns else ""
    text = "coalesce(n.text, s.value)" if registered else "n.text"
    rows = connection.execute(
        f"SELECT {text}, count(*) FROM NVTX_EVENTS AS n{registered} WHERE n.eventType = 59"  # noqa: S608 - constants
        f" AND {text} IN ({_COUNTED_RANGES}) GROUP BY 1"
    )
    return {str(name): int(count) for name, count in rows}


def _diagnostics(connection: sqlite3.Connection, tables: set[str]) -> list[tuple[int, str]]:
    if "DIAGNOSTIC_EVENT" not in tables:
        return []
    rows: list[Any] = connection.execute(
        "SELECT DISTINCT severity, text FROM DIAGNOSTIC_EVENT ORDER BY severity DESC, text"
    ).fetchall()
    return [(int(severity), str(text)) for severity, text in rows]


def _gpus(connection: sqlite3.Connection, tables: set[str]) -> list[str]:
    if "TARGET_INFO_GPU" not in tables:
        return []
    return [str(name) for (name,) in connection.execute("SELECT name FROM TARGET_INFO_GPU ORDER BY rowid")]


def _absent(counts: dict[str, int], phases: dict[str, int], wanted: set[str], *, auto: bool) -> list[Finding]:
    found = []
    if "nvtx" in wanted and not counts["nvtx_events"]:
        found.append(
            Finding(
                "no_nvtx",
                "warning",
                "no NVTX range was recorded, so there are no phases",
                _NO_RANGES_WITH_AUTO if auto else _NO_RANGES,
            )
        )
    elif "nvtx" in wanted and not set(phases) - {"warmup", "request"}:
        found.append(
            Finding(
                "no_phases",
                "warning",
                "ranges were recorded, but none is called prefill, decode, forward, backward or mixed",
                "name yours with `llmperf analyze --phase NAME=REGEX`",
            )
        )
    if "gpu-metrics" in wanted and not counts["gpu_metric_samples"]:
        found.append(
            Finding(
                "no_gpu_metrics",
                "warning",
                "no GPU metrics were recorded",
                "they need root or the counter permission: see `llmperf doctor`",
            )
        )
    return found
