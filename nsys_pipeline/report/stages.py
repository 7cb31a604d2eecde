"""Sections about the parts of the vision side, ranges inside each other, and repeats."""

from __future__ import annotations

from nsys_pipeline.records import RepeatRow, Report
from nsys_pipeline.report.document import Column, Depth, Section, Table


def stages_section(report: Report) -> Section | None:
    """Each stage and the rest of its phase; None if no stage is marked."""
    rows = report.stages
    if not rows:
        return None
    signs = [row.sign for row in rows]
    columns = [
        Column.text("phase", [row.phase for row in rows], is_grouped=True),
        Column.text("stage", [f"{row.parent}/{row.stage}" if row.parent else row.stage for row in rows]),
        Column.count("n", [row.occurrences for row in rows]),
        Column.amount("wall\nms", [row.wall_ns for row in rows], "ms"),
        Column.amount("own wall\nms", [row.own_wall_ns for row in rows], "ms"),
        Column.percent("wall\n%", [row.wall_ratio for row in rows], is_optional=True),
    ]
    flops = Column.amount("TFLOP", [row.flops for row in rows], "TFLOP").signed(signs)
    if any(row.gpu_busy_ns for row in rows):
        columns += [
            Column.amount("busy\nms", [row.gpu_busy_ns for row in rows], "ms"),
            Column.amount("own busy\nms", [row.own_busy_ns for row in rows], "ms"),
            Column.amount("own idle\nms", [row.own_idle_ns for row in rows], "ms", is_optional=True),
            flops,
            Column.percent("MFU\nwall %", [row.mfu_wall for row in rows], most=2).signed(signs),
            Column.percent("MFU\nbusy %", [row.mfu_busy for row in rows], most=2).signed(signs),
            Column.percent("MBU\nbusy %", [row.mbu_busy for row in rows], most=2, is_optional=True).signed(signs),
        ]
    else:
        columns.append(flops)
    title = "stages, warm-up left out: parts of the vision side and the rest of the phase; own: without parts inside"
    return Section("stages", (Table(columns),), title=title)


_MOST_BRANCHES = 40


def tree_section(report: Report) -> Section | None:
    """Ranges of --range inside each other; None if there are none."""
    rows = report.phase_tree[:_MOST_BRANCHES]
    if not rows:
        return None
    columns = [
        Column.text("range", [f"{'  ' * row.depth}{row.phase}" for row in rows]),
        Column.count("n", [row.occurrences for row in rows]),
        Column.amount("wall ms", [row.wall_ns for row in rows], "ms"),
        Column.amount("own ms", [row.own_wall_ns for row in rows], "ms"),
        Column.amount("busy ms", [row.busy_ns for row in rows], "ms"),
        Column.amount("own busy", [row.own_busy_ns for row in rows], "ms"),
        Column.amount("idle ms", [row.idle_ns for row in rows], "ms"),
        Column.amount("own idle", [row.own_idle_ns for row in rows], "ms"),
        Column.count("kernels", [row.kernel_count for row in rows]),
    ]
    more = len(report.phase_tree) - len(rows)
    rest = f"; {more} more rows in the view phase_tree" if more else ""
    title = f"ranges inside each other, warm-up left out; own: without the ranges inside{rest}"
    return Section("range tree", (Table(columns),), title=title)


def repeats_section(report: Report) -> Section | None:
    """Mean and standard deviation over repeats of each phase and stage; only if something was repeated."""
    rows = [row for row in report.repeats if row.repeats + row.cold > 1]
    if not rows:
        return None
    columns = [
        Column.text("shape", [row.shape for row in rows], is_grouped=True),
        Column.text("phase", [_name(row) for row in rows]),
        Column.count("n", [row.repeats for row in rows]),
    ]
    if any(row.cold for row in rows):
        columns.append(Column.count("cold", [row.cold for row in rows]))
    columns += [
        Column.amount("wall ms", [row.mean_wall_ns for row in rows], "ms"),
        Column.amount("±", [row.sd_wall_ns for row in rows], "ms"),
    ]
    if any(row.mean_busy_ns for row in rows):
        columns += [
            Column.amount("busy ms", [row.mean_busy_ns for row in rows], "ms"),
            Column.amount("± ", [row.sd_busy_ns for row in rows], "ms"),
        ]
    title = "repeats: what one request spends in a phase, mean and standard deviation over n; cold ones left out"
    # Where there are no stages, the requests say most of it.
    depth = Depth.headline if report.stages else Depth.appendix
    return Section("repeats", (Table(columns),), title=title, depth=depth)


def _name(row: RepeatRow) -> str:
    return f"{row.phase}: {row.stage}" if row.stage else row.phase
