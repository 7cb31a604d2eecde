"""How much slower the traced run was than the same one without a profiler."""

from __future__ import annotations

from nsys_pipeline.records import Report
from nsys_pipeline.report.document import Column, Note, Notes, Section, Table, Tone
from nsys_pipeline.report.numbers import UNKNOWN

_EXPLAINED = (
    "a prefill, a decode step or a request, mean; the host pays for each traced call, GPU times stay what they are"
)


def baseline_section(report: Report) -> Section | None:
    """A row for each phase and shape that both runs timed; None if the capture had no baseline."""
    rows = report.baseline
    if not rows:
        return None
    slower = [row.slower_ratio for row in rows]
    columns = [
        Column.text("phase", [row.phase or "all of it" for row in rows]),
        Column.text("shape", [row.shape or UNKNOWN for row in rows]),
        Column.amount("traced\nms", [row.traced_ns for row in rows], "ms"),
        Column.amount("alone\nms", [row.untraced_ns for row in rows], "ms"),
        Column.percent("slower\n%", slower),
    ]
    title = "what tracing cost: times that the workload measured itself, traced and alone"
    note = Note("ms", _EXPLAINED, tone=Tone.quiet)
    return Section("what tracing cost", (Table(columns), Notes([note])), title=title)
