"""A folder of runs as a document."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from nsys_pipeline.records import Run
from nsys_pipeline.report.document import Column, Document, Section, Table
from nsys_pipeline.report.numbers import UNKNOWN, signed


def runs_document(runs: Sequence[Run], folder: str, *, way: str = ".") -> Document:
    """One table of `runs` in `folder`, each with a link to its page; `way` leads from the document to `folder`."""
    columns = [
        Column.text(
            "run", [run.name for run in runs], links=[quote(f"{way}/{run.page}") if run.page else None for run in runs]
        ),
        Column.text("captured", [_date(run.started) for run in runs], is_optional=True),
        Column.text("model", [run.model or UNKNOWN for run in runs]),
        Column.text("GPU", [run.gpus or UNKNOWN for run in runs], is_optional=True),
        Column.text("requests", [run.shapes or UNKNOWN for run in runs], is_optional=True),
        Column.amount("TTFT\nms", [run.ttft_ns for run in runs], "ms"),
        Column.amount("TPOT\nms", [run.tpot_ns for run in runs], "ms"),
        Column.text("verdict", [run.problem or _verdict(run) for run in runs]),
    ]
    many = "run" if len(runs) == 1 else "runs"
    title = f"{len(runs):,} {many}, the newest first: medians of requests; MFU and MBU of busy time"
    return Document(folder, (), (Section("runs", (Table(columns),), title=title),))


def _date(started: str | None) -> str:
    return started[:16].replace("T", " ") if started else UNKNOWN


def _verdict(run: Run) -> str:
    """What bounds each phase, and how well it uses what bounds it."""
    parts = []
    for name, (bound, mfu, mbu) in run.phases.items():
        # Of kernels that are near neither limit, the one that they are nearer to.
        nearer = ("MFU", mfu) if (mfu or 0) > (mbu or 0) else ("MBU", mbu)
        used = {"compute-bound": ("MFU", mfu), "memory-bound": ("MBU", mbu), "kernel-bound": nearer}.get(bound or "")
        share = (
            f" {used[0]} {signed(f'{100 * used[1]:.1f}%', run.signs.get(name))}" if used and used[1] is not None else ""
        )
        if bound:
            parts.append(f"{name} {bound}{share}")
    return "; ".join(parts) or UNKNOWN
