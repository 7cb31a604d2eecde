"""Where a trace was recorded, in words: what a reader needs to compare two, and nothing that a page should not tell.

The metadata of a trace has command lines, directories and user names, too; only what is listed here is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nsys_pipeline.duck import records
from nsys_pipeline.trace.run_file import read_run

if TYPE_CHECKING:
    from nsys_pipeline.trace import Trace

_METADATA = {
    "EXPORT_PRODUCT_VERSION": "nsys",
    "EXPORT_SCHEMA_VERSION": "export schema",
    "EXPORT_PLATFORM": "platform",
    "EXPORT_ARCH": "architecture",
    "PROCESS_0:CUDA_GRAPH_TRACE_OPTIONS:MODE": "CUDA graphs recorded by",
}
_RUN = {"started": "captured", "llmperf_version": "by llmperf"}


def read_environment(trace: Trace) -> list[tuple[str, str]]:
    """Names and values: GPUs, nsys, and what a capture of llmperf wrote beside the trace."""
    trace.build("views.devices", "views.metadata")
    con = trace.connection
    found = []
    for gpu in records(con, "FROM views.devices WHERE has_work ORDER BY device_id"):
        parts = [
            gpu["name"],
            f"{gpu['sm_count']} SMs" if gpu["sm_count"] else None,
            f"compute capability {gpu['compute_capability']}" if gpu["compute_capability"] else None,
            f"{gpu['memory_bytes'] / 1e9:,.1f} GB" if gpu["memory_bytes"] else None,
            f"boost {gpu['clock_rate_hz'] / 1e6:,.0f} MHz" if gpu["clock_rate_hz"] else None,
        ]
        found.append((f"GPU {gpu['device_id']}", " · ".join(part for part in parts if part) or "unknown"))
    values = {row["name"]: row["value"] for row in records(con, "SELECT name, value FROM views.metadata")}
    found += [(label, values[name]) for name, label in _METADATA.items() if values.get(name)]
    return found + _run(trace)


def _run(trace: Trace) -> list[tuple[str, str]]:
    run = read_run(trace.path)
    return [(label, str(run[name])) for name, label in _RUN.items() if run.get(name)]
