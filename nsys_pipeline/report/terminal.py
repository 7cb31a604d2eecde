"""The report in a terminal of any width: no number is ever cut, and no sentence breaks in the middle of a word."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import IO, Any

import attrs
from rich.console import Console
from rich.text import Text

from nsys_pipeline.records import Phase, Report, Unattributed
from nsys_pipeline.report.columns import GAP, Column, shortened, table_lines, table_width
from nsys_pipeline.report.console import PipeConsole
from nsys_pipeline.report.format import (
    UNKNOWN,
    count,
    milliseconds_column,
    number_column,
    percent_column,
    utilization_column,
)
from nsys_pipeline.report.phrases import (
    OUTSIDE,
    OVER_100,
    has_work_outside,
    legend,
    outside_line,
    partly_line,
    title_lines,
)
from nsys_pipeline.report.verification import verification_lines
from nsys_pipeline.text import printable

_NARROWEST_NAME = 16
_LABEL_STYLES = {"warning:": "yellow", "hint:": "cyan"}
_UTILIZATION = ("mfu_wall", "mfu_busy", "mbu_busy")


def render_report(report: Report, stream: IO[str]) -> None:
    """Write the report; colours only where `stream` is a terminal."""
    console = _console(stream)
    title, *subtitles = title_lines(report)
    _print(console, [Text(title, style="bold"), *map(Text, subtitles)])
    _section(console, "phases, warm-up left out", _phase_table(report, console.width))
    if verdicts := _verdicts(report):
        console.print()
        _notes(console, verdicts)
    if any(len(phase.shapes) > 1 for phase in report.phases):
        _section(console, "by shape: batch × new tokens per sequence, warm-up left out", _shape_table(report))
    if report.operators:
        title = "operators of marked layers, warm-up left out; roofline: speed of light / kernel time"
        _section(console, title, _operator_table(report))
    if report.requests:
        title = "requests, warm-up left out: time to first token and time per output token, ms"
        _section(console, title, _request_table(report))
    if any(row.measured_count for row in report.kernels):
        title = "top kernels, warm-up left out, with their share of the phase's kernel time"
        _section(console, title, _kernel_table(report, console.width))
    console.print()
    _notes(console, [*((label, Text(text, style="dim")) for label, text in legend(report)), *_checks(report)])
    if report.verification:
        _print(console, [Text(line) for line in verification_lines(report.verification)])
    _print_warnings(console, report)


def render_ranges(ranges: Sequence[dict[str, Any]], stream: IO[str]) -> None:
    """Write the NVTX ranges of a trace and what they count as."""
    console = _console(stream)
    texts = [f"{row['domain']}:{row['name']}" if row["domain"] else row["name"] for row in ranges]
    roles = [f"phase {row['phase']}" if row["role"] == "phase" else row["role"] or UNKNOWN for row in ranges]
    columns = [
        Column("ranges", [count(row["count"]) for row in ranges]),
        Column("total ms", milliseconds_column([row["total_ns"] for row in ranges])),
        Column("counts as", roles, is_number=False),
        Column("by rule", [row["rule"] or "" for row in ranges], is_number=False),
        # Last, and never shortened: it is what a --phase expression has to match.
        Column("domain:text", [text or "(no text)" for text in texts], is_number=False),
    ]
    _section(console, "NVTX ranges, the longest in total first", table_lines(columns), is_first=True)


def _console(stream: IO[str]) -> Console:
    # Where nobody's terminal decides the width, a file or a pipe gets lines that fit a wide one.
    width = None if stream.isatty() or "COLUMNS" in os.environ else 120
    return PipeConsole(file=stream, width=width, highlight=False, emoji=False, markup=False)


def _print(console: Console, lines: Iterable[Text]) -> None:
    for line in lines:
        line.plain = printable(line.plain)
        for part in line.wrap(console, console.width):
            part.rstrip()
            console.print(part)


def _section(console: Console, title: str, lines: Sequence[Text], *, is_first: bool = False) -> None:
    if not is_first:
        console.print()
    _print(console, [Text(title, style="cyan")])
    for line in lines:
        # Wider than the terminal: let it wrap the line, as long as nothing is lost.
        console.print(line, no_wrap=True, crop=False, overflow="ignore", soft_wrap=True)


def _notes(console: Console, notes: Iterable[tuple[str, Text]]) -> None:
    """Labels, and beside them sentences that wrap in a column of their own."""
    notes = list(notes)
    label_width = max((len(label) for label, _ in notes), default=0) + GAP
    for label, text in notes:
        text.plain = printable(text.plain)
        for index, part in enumerate(text.wrap(console, max(20, console.width - label_width))):
            part.rstrip()
            beside = Text(f"{'' if index else label:{label_width}}", style=_LABEL_STYLES.get(label, ""))
            console.print(Text().append_text(beside).append_text(part))


@attrs.frozen(kw_only=True)
class _PhaseRow:
    """One row of the table of phases; what does not apply to it is left blank."""

    label: str
    occurrences: int | None = None
    wall_ns: int | None = None
    busy_ns: int | None
    kernels: int
    graphs: int
    phase: Phase | None = None

    @classmethod
    def measured(cls, phase: Phase) -> _PhaseRow:
        """A phase without its warm-up."""
        return cls(
            label=phase.name,
            occurrences=phase.occurrences - phase.warmup_occurrences,
            wall_ns=phase.wall_ns - phase.warmup_wall_ns,
            busy_ns=phase.gpu_busy_ns - phase.warmup_busy_ns or None,
            kernels=phase.kernel_count - phase.warmup_kernel_count,
            graphs=phase.graph_launch_count - phase.warmup_graph_count,
            phase=phase,
        )

    @classmethod
    def warmup(cls, phases: Sequence[Phase]) -> _PhaseRow:
        """What the phases leave out."""
        return cls(
            label="warm-up",
            occurrences=sum(phase.warmup_occurrences for phase in phases),
            wall_ns=sum(phase.warmup_wall_ns for phase in phases),
            busy_ns=sum(phase.warmup_busy_ns for phase in phases) or None,
            kernels=sum(phase.warmup_kernel_count for phase in phases),
            graphs=sum(phase.warmup_graph_count for phase in phases),
        )

    @classmethod
    def outside(cls, rest: Unattributed) -> _PhaseRow:
        """Work in no phase. Its time is a sum of durations: it has no ranges whose union could be taken."""
        return cls(
            label=OUTSIDE,
            busy_ns=rest.kernel_time_ns + rest.memop_time_ns + rest.graph_time_ns,
            kernels=rest.kernel_count,
            graphs=rest.graph_launch_count,
        )


def _phase_table(report: Report, width: int) -> list[Text]:
    rows = [_PhaseRow.measured(phase) for phase in report.phases]
    if any(phase.warmup_occurrences for phase in report.phases):
        rows.append(_PhaseRow.warmup(report.phases))
    if has_work_outside(report):
        rows.append(_PhaseRow.outside(report.unattributed))

    def cells(texts: Sequence[str], values: Sequence[object]) -> list[str]:
        """`texts`, with blanks where a row that is no phase has no value."""
        return [
            "" if value is None and row.phase is None else text
            for text, value, row in zip(texts, values, rows, strict=True)
        ]

    def of_phase(name: str, render: Callable[[list[float | None]], list[str]]) -> list[str]:
        values = [getattr(row.phase, name, None) for row in rows]
        return cells(render(values), values)

    busy_share = [
        OVER_100 if row.phase and row.phase.outlives_ranges else text
        for text, row in zip(of_phase("busy_share", percent_column), rows, strict=True)
    ]
    occurrences = [row.occurrences for row in rows]
    wall = [row.wall_ns for row in rows]
    busy = milliseconds_column([row.busy_ns for row in rows])
    columns = [
        Column("phase", [row.label for row in rows], is_number=False),
        Column("n", cells(list(map(count, occurrences)), occurrences)),
        Column("tokens", of_phase("tokens", lambda values: [count(None if v is None else int(v)) for v in values])),
        Column("wall\nms", cells(milliseconds_column(wall), wall)),
        Column(
            "busy\nms", [f"Σ {text}" if row.label == OUTSIDE else text for text, row in zip(busy, rows, strict=True)]
        ),
        Column("busy\n%", busy_share),
        Column("kernels", [count(row.kernels) + (f"+{row.graphs:,}g" if row.graphs else "") for row in rows]),
        Column("TFLOP", of_phase("flops", lambda values: number_column(values, unit=1e12))),
        *(Column(f"{name[:3].upper()}\n{name[4:]} %", of_phase(name, utilization_column)) for name in _UTILIZATION),
    ]
    if any(phase.is_partly_measured for phase in report.phases):
        measured = [row.phase.measured_occurrences if row.phase else None for row in rows]
        # What follows is of these occurrences only.
        tokens = columns.pop(2)
        columns[-4:-4] = [Column("with\nshape", cells(list(map(count, measured)), measured)), tokens]
    on_one_line = [attrs.evolve(one, heading=one.heading.replace("\n", " ")) for one in columns]
    dim = frozenset(index for index, row in enumerate(rows) if row.phase is None)
    if table_width(on_one_line) <= width:
        return table_lines(on_one_line, dim_rows=dim)
    return table_lines(columns, dim_rows=dim, gap=GAP if table_width(columns) <= width else 1)


def _verdicts(report: Report) -> list[tuple[str, Text]]:
    notes = []
    for phase in report.phases:
        if line := partly_line(phase):
            notes.append((phase.name, Text(line)))
        if phase.bound:
            word = Text().append(phase.bound, style="bold magenta")
            notes.append((phase.name, word.append(f": {phase.bound_detail}")))
    if has_work_outside(report):
        notes.append((OUTSIDE, Text(outside_line(report), style="dim")))
    return notes


def _shape_table(report: Report) -> list[Text]:
    rows = [(phase.name, row) for phase in report.phases for row in phase.shapes]
    shapes = [row for _, row in rows]
    columns = [
        Column("phase", _once([name for name, _ in rows]), is_number=False),
        Column("shape", [row.shape for row in shapes], is_number=False),
        Column("n", [count(row.occurrences) for row in shapes]),
        Column("wall ms", milliseconds_column([row.wall_ns for row in shapes])),
        Column("busy ms", milliseconds_column([row.gpu_busy_ns for row in shapes])),
        Column("TFLOP", number_column([row.flops for row in shapes], unit=1e12)),
        Column("GB", number_column([row.bytes for row in shapes], unit=1e9)),
        Column("MFU busy %", utilization_column([row.mfu_busy for row in shapes])),
        Column("MBU busy %", utilization_column([row.mbu_busy for row in shapes])),
    ]
    return table_lines(columns)


def _operator_table(report: Report) -> list[Text]:
    rows = report.operators
    columns = [
        Column("phase", _once([row.phase for row in rows]), is_number=False),
        Column("shape", [row.shape for row in rows], is_number=False),
        Column("operator", [row.operator for row in rows], is_number=False),
        Column("kernels", [count(row.kernel_count) for row in rows]),
        Column("ms", milliseconds_column([row.time_ns for row in rows])),
        Column("TFLOP/s", number_column([row.flops_per_s for row in rows], unit=1e12)),
        Column("GB/s", number_column([row.bytes_per_s for row in rows], unit=1e9)),
        Column("roofline %", percent_column([row.roofline_ratio for row in rows])),
    ]
    return table_lines(columns)


def _request_table(report: Report) -> list[Text]:
    rows = report.requests
    columns = [
        Column("shape", [str(row["shape"] or UNKNOWN) for row in rows], is_number=False),
        Column("n", [count(int(str(row["requests"]))) for row in rows]),
    ]
    for name in ("ttft", "tpot"):
        for rank in (50, 90, 99):
            heading = f"{name.upper()} p{rank}"
            values = [_number(row[f"{name}_p{rank}_ns"]) for row in rows]
            # Too few requests for a percentile: no column of dashes.
            if rank == 50 or any(value is not None for value in values):
                columns.append(Column(heading, milliseconds_column(values)))
    return table_lines(columns)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _kernel_table(report: Report, width: int) -> list[Text]:
    rows = [row for row in report.kernels if row.measured_count]
    columns = [
        Column("phase", _once([row.phase or OUTSIDE for row in rows]), is_number=False),
        Column("kernel", [row.name or UNKNOWN for row in rows], is_number=False),
        Column("family", [row.family for row in rows], is_number=False),
        Column("n", [count(row.measured_count) for row in rows]),
        Column("ms", milliseconds_column([row.measured_time_ns for row in rows])),
        Column("%", percent_column([row.share for row in rows])),
    ]
    # The only column that may be cut: the rest are numbers and short words.
    room = max(_NARROWEST_NAME, columns[1].width - max(0, table_width(columns) - width))
    columns[1] = Column("kernel", [shortened(name, room) for name in columns[1].cells], is_number=False)
    return table_lines(columns)


def _once(names: Sequence[str]) -> list[str]:
    """Each name where it begins, blanks where it goes on."""
    return [name if index == 0 or name != names[index - 1] else "" for index, name in enumerate(names)]


def _checks(report: Report) -> list[tuple[str, Text]]:
    failed = [check for check in report.checks if not check.passed]
    if failed:
        return [
            ("checks", Text().append(f"{check.name} failed", style="bold red").append(f": {check.detail}"))
            for check in failed
        ]
    detail = next((check.detail for check in report.checks if check.name == "conservation.kernels"), "")
    passed = Text().append(f"all {len(report.checks)} passed", style="green")
    return [("checks", passed.append(f": {detail}" if detail else "", style="dim"))]


def _print_warnings(console: Console, report: Report) -> None:
    for notice in report.warnings:
        console.print()
        notes = [("warning:", Text(notice.message))]
        if notice.hint:
            notes.append(("hint:", Text(notice.hint)))
        _notes(console, notes)
