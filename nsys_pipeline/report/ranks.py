"""Ranks of a job: what each one's time went to, and whom the others wait for."""

from __future__ import annotations

from collections.abc import Sequence

from nsys_pipeline.records import RankLateness, RankRow, Report
from nsys_pipeline.report.document import Column, Note, Notes, Section, Table, Tone
from nsys_pipeline.report.numbers import milliseconds

#: More rows than a reader compares; the view has all.
_MOST = 16
_REASONS = {
    "compute": "its kernels take at least {} ms longer than those of the others",
    "data": "it takes at least {} ms longer until the first pass of its steps, as when it waits for data",
    "host": "its GPU is idle for at least {} ms longer, for the host does something else",
}


def ranks_section(report: Report) -> Section | None:
    """A row for each rank; None where there is only one."""
    ranks = [rank for rank in report.ranks if rank.device_ids]
    if len(ranks) < 2:
        return None
    rows = ranks if len(ranks) <= _MOST else sorted(ranks, key=_interest)[:_MOST]
    columns = [
        Column.text("rank", [rank.name for rank in rows]),
        Column.text("GPU", [", ".join(map(str, rank.device_ids)) for rank in rows]),
        Column.amount("measured\nms", [rank.window_ns for rank in rows], "ms"),
        Column.percent("compute\n%", [_share(rank.compute_ns, rank) for rank in rows]),
        Column.percent("transfer\n%", [_share(rank.transfer_ns, rank) for rank in rows]),
        Column.percent("wait\n%", [_share(rank.wait_ns, rank) for rank in rows]),
        Column.percent("copies\n%", [_share(rank.copy_ns, rank) for rank in rows], is_optional=True),
        Column.percent("idle\n%", [_share(rank.idle_ns, rank) for rank in rows]),
        Column.amount("others\nwait for\nit ms", [rank.blamed_ns for rank in rows], "ms"),
        *_steps(rows),
        Column.percent("MFU\nwall\n%", [rank.mfu_wall for rank in rows], most=2).signed(rank.sign for rank in rows),
    ]
    notes = [
        Note(f"rank {rank.name}", _lateness(phase), lead="late", lead_tone=Tone.bad)
        for rank in ranks
        for phase in report.rank_lateness
        if phase.is_late and (phase.process_id, phase.host_id) == (rank.process_id, rank.host_id)
    ]
    if len(ranks) > len(rows):
        notes.append(
            Note("", f'{len(ranks) - len(rows):,} more ranks: llmperf sql TRACE "from rank_summary"', tone=Tone.quiet)
        )
    notes.append(
        Note(
            "wait",
            "share of a rank's own measured time in which nothing but waiting runs; others wait for it: waiting of all "
            "other ranks together in collectives to which it comes last, beside compute and behind cold steps, too",
            tone=Tone.quiet,
        )
    )
    title = "ranks: what the measured time of their GPUs was spent on"
    return Section("ranks", (Table(columns), Notes(notes)), title=title)


def _steps(rows: Sequence[RankRow]) -> list[Column]:
    """Medians of the ranks' training steps, if they train."""
    if all(rank.median_step_ns is None for rank in rows):
        return []
    return [
        Column.amount("median\nstep\nms", [rank.median_step_ns for rank in rows], "ms"),
        Column.amount("before\nforward\nms", [rank.median_input_wait_ns for rank in rows], "ms"),
    ]


def _interest(rank: RankRow) -> tuple[bool, int]:
    """Late ranks first, then those that others wait for most."""
    return not rank.is_late, -(rank.blamed_ns or 0)


def _share(time_ns: int | None, rank: RankRow) -> float | None:
    return None if time_ns is None or not rank.window_ns else time_ns / rank.window_ns


def _lateness(phase: RankLateness) -> str:
    step = "" if phase.step_ns is None else f", each of them {milliseconds(phase.step_ns)} ms a step"
    text = f"in {phase.phase} the others wait {milliseconds(phase.wait_ns)} ms for it{step}"
    if phase.reason is None or phase.more_ns is None:
        return f"{text}; the trace does not show why"
    return f"{text}: {_REASONS[phase.reason].format(milliseconds(phase.more_ns))}"
