"""The report as Markdown, for pull requests and notes."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import IO

from nsys_pipeline.records import Phase, Report
from nsys_pipeline.report.format import UNKNOWN, count, giga, milliseconds, percent, tera
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


def render_markdown(report: Report, stream: IO[str]) -> None:
    """Write the report as GitHub-flavoured Markdown."""
    write = stream.write
    for line in title_lines(report):
        write(f"{_escape(line)}\n\n")
    header = [
        "phase", "occurrences", "of these warm-up", "tokens", "wall ms", "GPU busy ms", "busy %", "kernels", "graphs",
        "TFLOP", "MFU wall %", "MFU busy %", "MBU busy %", "bound",
    ]  # fmt: skip
    rows = [
        [
            phase.name, count(phase.occurrences), count(phase.warmup_occurrences), count(phase.tokens),
            milliseconds(phase.wall_ns), milliseconds(phase.gpu_busy_ns), _busy_share(phase),
            count(phase.kernel_count), count(phase.graph_launch_count), tera(phase.flops), percent(phase.mfu_wall),
            percent(phase.mfu_busy), percent(phase.mbu_busy), phase.bound or "",
        ]
        for phase in report.phases
    ]  # fmt: skip
    write(_table(header, rows, left=1))
    for phase in report.phases:
        if partly := partly_line(phase):
            write(f"\n{_escape(phase.name)}: {_escape(partly)}\n")
    if has_work_outside(report):
        write(f"\n{_escape(outside_line(report))}\n")
    shapes = [
        [phase.name, row.shape, count(row.occurrences), milliseconds(row.wall_ns), milliseconds(row.gpu_busy_ns),
         tera(row.flops), giga(row.bytes), percent(row.mfu_busy), percent(row.mbu_busy)]
        for phase in report.phases for row in phase.shapes
    ]  # fmt: skip
    if shapes:
        header = ["phase", "shape", "n", "wall ms", "busy ms", "TFLOP", "GB", "MFU busy %", "MBU busy %"]
        write("\n" + _table(header, shapes, left=2))
    kernels = [
        [row.phase or OUTSIDE, _code(row.name or UNKNOWN), row.family, count(row.measured_count),
         milliseconds(row.measured_time_ns), percent(row.share)]
        for row in report.kernels if row.measured_count
    ]  # fmt: skip
    if kernels:
        write("\n" + _table(["phase", "kernel", "family", "n", "ms", "%"], kernels, left=3))
    checks = [[check.name, "yes" if check.passed else _Markup("**no**"), check.detail] for check in report.checks]
    write("\n" + _table(["check", "passed", "detail"], checks, left=3) + "\n")
    for label, text in legend(report):
        write(f"- {label}: {_escape(text)}\n")
    if report.verification:
        write("\n" + "".join(f"- {_escape(line)}\n" for line in verification_lines(report.verification)))
    for notice in report.warnings:
        write(f"\n> **Warning:** {_escape(notice.message)}{' ' + _escape(notice.hint) if notice.hint else ''}\n")


def _busy_share(phase: Phase) -> str:
    return OVER_100 if phase.outlives_ranges else percent(phase.busy_share)


class _Markup(str):
    """Text that is Markdown already."""

    __slots__ = ()


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int) -> str:
    rules = [":--" if index < left else "--:" for index in range(len(header))]
    lines = [header, rules, *([cell if isinstance(cell, _Markup) else _escape(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _escape(text: str) -> str:
    """`text` on one line, with HTML and links in it shown, not obeyed: names are whatever a program put there."""
    return html.escape(printable(text), quote=False).replace("|", "\\|").replace("[", "\\[")


def _code(text: str) -> _Markup:
    """`text` as code, whatever it holds; in a cell of a table only the bar needs its backslash."""
    inner = printable(text).replace("|", "\\|")
    fence = "`" * (max(map(len, re.findall("`+", inner)), default=0) + 1)
    pad = " " if inner.startswith("`") or inner.endswith("`") else ""
    return _Markup(f"{fence}{pad}{inner}{pad}{fence}")
