"""What the recording itself lacks, and what nsys says about that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nsys_pipeline.duck import records
from nsys_pipeline.nsys.diagnostics import Said, explained, no_gpu_work
from nsys_pipeline.records import Notice

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

NEEDS = ("load.devices", "load.metadata", "load.recorder", "attribute.process_diagnostics", "attribute.recorded_counts")


def recording_notices(con: DuckDBPyConnection, *, is_cut: bool = False) -> list[Notice]:
    """GPU work that is missing, with the reason, and what nsys noted that touches the numbers.

    `is_cut`: the tables are those of a window, so that work may lie outside of it.
    """
    (recorded,) = records(con, "FROM attribute.recorded_counts")
    launches, has_work = recorded["unanswered_launches"], recorded["has_work"]
    said = _said(con, lacks_gpu_work=bool(launches) or not has_work)
    is_of_torch = con.execute("SELECT recorder = 'torch.profiler' FROM load.recorder").fetchall() == [(True,)]
    notices = []
    if launches:
        notices.append(
            Notice(
                "kernels_missing",
                f"{launches:,} kernel launches were recorded and not one kernel: GPU times lack all of them",
                "let the profiler record a warm-up step before, and wait for the GPU before it stops"
                if is_of_torch
                else "export the report again, or record again with `--trace cuda,nvtx`",
            )
        )
    elif not has_work and is_cut:
        calls = f"{recorded['call_count']:,}" if recorded["call_count"] else "no"
        notices.append(
            Notice(
                "no_gpu_work",
                f"no GPU work was launched in the window, which has {calls} CUDA calls: only host times can be told",
                "widen --from and --to: what the GPU runs belongs to the time of its launch",
            )
        )
    elif not has_work:
        kinds = con.execute("SELECT value FROM load.metadata WHERE name = 'CAPTURE_EVENT_TYPE'").fetchall()
        message, hint, reason = no_gpu_work(
            said,
            gpus=[str(name) for (name,) in con.execute("SELECT name FROM load.devices ORDER BY device_id").fetchall()],
            api_calls=recorded["call_count"],
            is_cuda_traced=not kinds or any("cuda" in str(kind).lower() for (kind,) in kinds),
        )
        notices.append(Notice("no_gpu_work", f"{message}; only host times can be told", hint))
        said = [one for one in said if one != reason]
    # Events that "might" be missing are told here, where nobody can look at the program that was recorded.
    told = [one for one in said if one.severity != "info" or one.code == "events_incomplete"]
    return notices + [Notice("nsys_diagnostic", one.message, one.hint) for one in told]


def _said(con: DuckDBPyConnection, *, lacks_gpu_work: bool) -> list[Said]:
    """What nsys said that matters; of a process with phases and no GPU work of its own, also why it has none."""
    rows = con.execute("FROM attribute.process_diagnostics ORDER BY ALL").fetchall()
    said = explained([row[:2] for row in rows], lacks_gpu_work=lacks_gpu_work)
    of_idle = explained([row[:2] for row in rows if row[2]], lacks_gpu_work=True)
    return said + [one for one in of_idle if one.code not in {other.code for other in said}]
