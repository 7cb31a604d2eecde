"""The report in a terminal."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import IO, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nsys_pipeline.records import KernelRow, Phase, Report
from nsys_pipeline.report.format import UNKNOWN, count, giga, milliseconds, percent, tera
from nsys_pipeline.report.phrases import convention_line, device_lines, title_lines
from nsys_pipeline.report.verification import verification_lines

OUTSIDE = "outside"


def render_report(report: Report, stream: IO[str]) -> None:
    """Write the report for a terminal of any width; colours only where `stream` is one."""
    console = _console(stream)
    for line in title_lines(report):
        console.print(Text(line))
    console.print()
    console.print(_phase_table(report, narrow=console.width < 130))
    for phase in report.phases:
        if phase.bound:
            line = Text(f"  {phase.name}: ", style="bold").append(phase.bound, style="bold magenta")
            console.print(line.append(f" ({phase.bound_detail})", style="not bold"))
    for line in convention_line(report):
        console.print(Text(line, style="dim"))
    if any(len(phase.shapes) > 1 for phase in report.phases):
        console.print()
        console.print(_shape_table(report))
    if report.requests:
        console.print()
        console.print(_request_table(report))
    if report.kernels:
        console.print()
        console.print(_kernel_table(report, console.width))
    console.print()
    for line in device_lines(report):
        console.print(Text(line, style="dim"))
    _print_checks(report, console)
    if report.verification:
        for line in verification_lines(report.verification):
            console.print(Text(line))
    for notice in report.warnings:
        console.print(Text("warning: ", style="yellow").append(notice.message, style="not bold default"), soft_wrap=False)
        if notice.hint:
            console.print(Text("   hint: ", style="cyan").append(notice.hint, style="default"))


def render_ranges(ranges: Sequence[dict[str, Any]], stream: IO[str]) -> None:
    """Write the NVTX ranges of a trace and what they count as."""
    console = _console(stream)
    table = _table("NVTX ranges, the longest in total first")
    table.add_column("domain:text", overflow="fold")
    for name in ("ranges", "total ms"):
        table.add_column(name, justify="right")
    for name in ("counts as", "by rule"):
        table.add_column(name)
    for row in ranges:
        text = f"{row['domain']}:{row['name']}" if row["domain"] else row["name"]
        role = f"phase {row['phase']}" if row["role"] == "phase" else row["role"] or UNKNOWN
        table.add_row(Text(text or "(no text)"), count(row["count"]), milliseconds(row["total_ns"]), role, row["rule"] or "")
    console.print(table)


def _console(stream: IO[str]) -> Console:
    # Where nobody's terminal decides the width, a file or a pipe gets lines that fit a wide one.
    width = None if stream.isatty() or "COLUMNS" in os.environ else 120
    return Console(file=stream, width=width, highlight=False, emoji=False, markup=False)


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))


def _phase_table(report: Report, *, narrow: bool) -> Table:
    table = _table("phases")
    table.add_column("phase", no_wrap=True)
    for name in ("n", "tokens", "wall ms", "busy ms", "busy %", "kernels", "TFLOP", "MFU wall", "MFU busy", "MBU busy"):
        # Two lines in a narrow terminal, so that no number is ever cut.
        table.add_column(name.replace(" ", "\n") if narrow else f"{name} %" if name.startswith("M") else name,
                         justify="right", no_wrap=not narrow, min_width=len(name.split(" ")[0]))  # fmt: skip
    for phase in report.phases:
        table.add_row(*_phase_cells(phase))
    if any(phase.warmup_occurrences for phase in report.phases):
        table.add_row(*_warmup_cells(report.phases), style="dim")
    rest = report.unattributed
    outside_ns = rest.kernel_time_ns + rest.memop_time_ns + rest.graph_time_ns
    if rest.kernel_count or rest.memop_count or rest.graph_launch_count:
        reasons = ", ".join(rest.reasons)
        table.add_row(
            OUTSIDE, "", "", "", f"Σ {milliseconds(outside_ns)}", "",
            count(rest.kernel_count) + (f"+{rest.graph_launch_count:,}g" if rest.graph_launch_count else ""),
            "", "", "", "", style="dim",
        )  # fmt: skip
        table.caption = f"{OUTSIDE}: in no phase ({reasons})"
        table.caption_justify = "left"
    return table


def _phase_cells(phase: Phase) -> list[str]:
    kernels = phase.kernel_count - phase.warmup_kernel_count
    graphs = phase.graph_launch_count - phase.warmup_graph_count
    busy_ns = phase.gpu_busy_ns - phase.warmup_busy_ns
    return [
        phase.name, count(phase.occurrences - phase.warmup_occurrences), count(phase.tokens),
        milliseconds(phase.wall_ns - phase.warmup_wall_ns), milliseconds(busy_ns or None),
        percent(phase.busy_ratio or None), count(kernels) + (f"+{graphs:,}g" if graphs else ""), tera(phase.flops),
        percent(phase.mfu_wall), percent(phase.mfu_busy), percent(phase.mbu_busy),
    ]  # fmt: skip


def _warmup_cells(phases: Sequence[Phase]) -> list[str]:
    graphs = sum(phase.warmup_graph_count for phase in phases)
    kernels = count(sum(phase.warmup_kernel_count for phase in phases)) + (f"+{graphs:,}g" if graphs else "")
    return [
        "warm-up", count(sum(phase.warmup_occurrences for phase in phases)), "",
        milliseconds(sum(phase.warmup_wall_ns for phase in phases)),
        milliseconds(sum(phase.warmup_busy_ns for phase in phases) or None), "", kernels, "", "", "", "",
    ]  # fmt: skip


def _shape_table(report: Report) -> Table:
    table = _table("by shape (batch × new tokens per sequence), warm-up left out")
    table.add_column("phase")
    table.add_column("shape")
    for name in ("n", "wall ms", "busy ms", "TFLOP", "GB", "MFU busy %", "MBU busy %"):
        table.add_column(name, justify="right")
    for phase in report.phases:
        for row in phase.shapes:
            table.add_row(
                phase.name, row.shape, count(row.occurrences), milliseconds(row.wall_ns), milliseconds(row.gpu_busy_ns),
                tera(row.flops), giga(row.bytes), percent(row.mfu_busy), percent(row.mbu_busy),
            )  # fmt: skip
    return table


def _request_table(report: Report) -> Table:
    table = _table("requests, warm-up left out: time to first token and time per output token, ms")
    table.add_column("shape")
    for name in ("n", "TTFT p50", "p90", "p99", "TPOT p50", "p90", "p99"):
        table.add_column(name, justify="right")
    for row in report.requests:
        cells = [milliseconds(_number(row[f"{name}_p{p}_ns"])) for name in ("ttft", "tpot") for p in (50, 90, 99)]
        table.add_row(str(row["shape"] or UNKNOWN), count(int(str(row["requests"]))), *cells)
    return table


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _kernel_table(report: Report, width: int) -> Table:
    table = _table("top kernels")
    phases = [phase.name for phase in report.phases] + [OUTSIDE]
    table.add_column("phase", no_wrap=True, min_width=min(16, max(map(len, phases))))
    # The only column that may be cut: the rest are numbers and short words.
    families = max(len(row.family) for row in report.kernels)
    room = width - min(16, max(map(len, phases))) - families - 3 * 7 - 5 * 2
    table.add_column("kernel", no_wrap=True, overflow="ellipsis", max_width=max(16, room))
    table.add_column("family", no_wrap=True, min_width=families)
    for name in ("n", "ms", "%"):
        table.add_column(name, justify="right", no_wrap=True)
    totals: dict[str | None, int] = {phase.name: phase.kernel_time_ns for phase in report.phases}
    totals[None] = report.unattributed.kernel_time_ns
    last: object = report
    for row in report.kernels:
        table.add_row(*_kernel_cells(row, totals[row.phase], show_phase=row.phase != last))
        last = row.phase
    return table


def _kernel_cells(row: KernelRow, total_ns: int, *, show_phase: bool) -> list[str | Text]:
    phase = (row.phase or OUTSIDE) if show_phase else ""
    share = percent(row.time_ns / total_ns if total_ns else None)
    return [phase, Text(row.name or UNKNOWN), row.family, count(row.count), milliseconds(row.time_ns), share]


def _print_checks(report: Report, console: Console) -> None:
    failed = [check for check in report.checks if not check.passed]
    for check in failed:
        console.print(Text("check failed: ", style="bold red").append(f"{check.name}: {check.detail}", style="default"))
    if not failed:
        detail = next((check.detail for check in report.checks if check.name == "conservation.kernels"), "")
        console.print(Text(f"checks: all {len(report.checks)} passed", style="green").append(f" ({detail})", style="dim"))
