"""What the host did while the GPUs were idle: functions of Python, by samples of its stacks."""

from __future__ import annotations

import re
from itertools import groupby

from nsys_pipeline.records import HostRow, Report
from nsys_pipeline.report.budget import CLASSES
from nsys_pipeline.report.document import Column, Depth, Note, Notes, Section, Table, Tone
from nsys_pipeline.report.numbers import UNKNOWN, amounts
from nsys_pipeline.report.phrases import OUTSIDE

#: Of a phase. The views have all.
_MOST = 6
#: Of the samples of its phase and part.
_LEAST_SHARE = 0.02
_PACKAGES = re.compile(r".*[\\/](?:site|dist)-packages[\\/]")


def host_section(report: Report) -> Section | None:
    """The functions that ran longest in each phase; None without samples of them."""
    rows: list[HostRow] = []
    for _, found in groupby(report.host, key=lambda row: (row.phase, row.is_cold)):
        rows += [row for row in found if row.share_ratio >= _LEAST_SHARE][:_MOST]
    if not rows:
        return None
    selves = amounts([time for row in rows for time in (row.self_ns, row.self_error_ns)], "ms")
    columns = [
        Column.text("phase", [_phase(row) for row in rows], is_grouped=True),
        Column.text("the GPU is\nidle in", [_part(row) for row in rows]),
        Column.name("function", [row.function or UNKNOWN for row in rows]),
        Column.name("line", [_place(row) for row in rows]),
        Column.count("samples", [row.self_samples for row in rows], is_optional=True),
        Column("ms", selves[::2], [row.self_ns for row in rows], unit="ns"),
        Column("±", selves[1::2], [row.self_error_ns for row in rows], unit="ns", is_optional=True),
        Column.percent("%", [row.share_ratio for row in rows]),
        Column.amount("with what\nit calls ms", [row.time_ns for row in rows], "ms", is_optional=True),
    ]
    estimates = "estimates: share of the samples, times what the budget has; ±: standard error"
    notes = [
        Note("ms", estimates, tone=Tone.quiet),
        Note("line", "the one that ran itself most often; C code counts for the line that calls it", tone=Tone.quiet),
        Note("more", 'all functions and lines: llmperf sql TRACE "from host_time"', tone=Tone.quiet),
    ]
    title = "what the host did: functions of Python in which the launching threads spent the GPUs' idle time"
    return Section("what the host did", (Table(columns), Notes(notes)), title=title, depth=Depth.detail)


def _phase(row: HostRow) -> str:
    return f"{row.phase or OUTSIDE}, cold" if row.is_cold else row.phase or OUTSIDE


def _part(row: HostRow) -> str:
    return "idle or busy" if row.is_cold else CLASSES[row.part][0]


def _place(row: HostRow) -> str:
    """The end of the path that tells files of one name apart, and the line."""
    path = row.file or UNKNOWN
    inside = _PACKAGES.sub("", path)
    parts = re.split(r"[\\/]", inside)
    return f"{'/'.join(parts[-2:])}:{UNKNOWN if row.line is None else row.line}"
