"""Communication: how much of it waits, moves data, and is not hidden behind compute."""

from __future__ import annotations

from nsys_pipeline.records import CollectiveRow, Report
from nsys_pipeline.report.document import Column, Depth, Section, Table
from nsys_pipeline.report.phrases import OUTSIDE


def collectives_section(report: Report) -> Section | None:
    """A row for each collective of each phase; None without communication."""
    rows = report.collectives
    if not rows:
        return None
    columns = [
        Column.text("phase", [row.phase or OUTSIDE for row in rows], is_grouped=True),
        Column.text("collective", [_name(row) for row in rows]),
        Column.count("ranks", [row.rank_count for row in rows], is_optional=True),
        Column.count("kernels", [row.kernel_count for row in rows], is_optional=True),
        Column.amount("ms", [row.time_ns for row in rows], "ms"),
        Column.amount("wait ms", [row.wait_ns for row in rows], "ms"),
        Column.amount("transfer ms", [row.transfer_ns for row in rows], "ms"),
        Column.percent("exposed %", [row.exposed_ratio for row in rows]),
    ]
    title = "communication, added up over ranks: exposed is the share that no kernel that computes runs beside"
    if any(row.bus_bytes_per_s is not None for row in rows):
        title += "; bus: what a rank of a ring sends, of which a link carries less if the switch adds up (NVLS)"
        columns += [
            Column.prefixed("bus", [row.bus_bytes_per_s for row in rows], "B/s"),
            Column.percent("of NVLink %", [row.link_ratio for row in rows]),
        ]
    return Section("communication", (Table(columns),), title=title, depth=Depth.detail)


def _name(row: CollectiveRow) -> str:
    """What it does, of what, and how; the kernel's name where that does not say."""
    return " ".join(filter(None, [row.kind or row.name, row.dtype, row.algorithm, row.protocol]))
