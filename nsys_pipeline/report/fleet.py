"""A fleet of traces as a document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import IO

import attrs

from nsys_pipeline.records import FleetChange, FleetGroup, FleetPhase, FleetRank, FleetReport, FleetVersion
from nsys_pipeline.report.document import Column, Document, Message, Note, Notes, Section, Table, Tone
from nsys_pipeline.report.formats import ReportFormat, render_document
from nsys_pipeline.report.numbers import UNKNOWN, milliseconds

SCHEMA = "llmperf.fleet-report/1"
#: More rows than a reader compares; `llmperf sql` has all.
_MOST = 20
_CLOCKS = "only durations are compared: clocks of different hosts, or of different traces, never are"
_REASONS = {
    "compute": "its kernels take at least {} ms longer than those of the others",
    "data": "it takes at least {} ms longer until the first pass of its step, as when it waits for data",
    "host": "its GPU is idle for at least {} ms longer, for the host does something else",
}
_MEASURES = {"wall": "time on the host", "busy": "GPU busy time"}


def render_fleet(report: FleetReport, name: str, stream: IO[str], form: ReportFormat) -> None:
    """Write the report of the dataset called `name`."""
    if form is ReportFormat.json:
        json.dump({"schema": SCHEMA, **attrs.asdict(report)}, stream, indent=2, ensure_ascii=False, allow_nan=False)
        stream.write("\n")
        return
    render_document(fleet_document(report, name), stream, form)


def fleet_document(report: FleetReport, name: str) -> Document:
    """What there is, what changed over time, who is waited for, and how times are distributed."""
    when = f", {report.first} to {report.last} UTC" if report.first else ""
    subtitle = f"{_many(report.traces, 'trace')} of {_many(report.runs, 'run')} on {_many(report.hosts, 'host')}{when}"
    sections = [
        _failures(report),
        _repeated(report),
        _changes(report),
        _ranks(report),
        _phases(report.phases),
        _versions(report.versions),
        _groups("hosts", report.host_groups, "hosts: median of times over those of the same workload, slowest first"),
        _groups("days", report.day_groups, "days: median of times over those of the same workload, slowest first"),
        _findings(report),
    ]
    return Document(name, (subtitle, _CLOCKS), tuple(section for section in sections if section is not None))


def _failures(report: FleetReport) -> Section | None:
    if not report.failures:
        return None
    shown = [Message("warning", f"{path}: {error}") for path, error in report.failures[:_MOST]]
    title = f"{_many(len(report.failures), 'trace')} could not be analyzed"
    return Section("failures", (*shown, *_more(report.failures, "failures")), title=title)


def _repeated(report: FleetReport) -> Section | None:
    if not report.repeated:
        return None
    shown = []
    for paths in report.repeated[:_MOST]:
        rest = f" and {len(paths) - 3:,} more" if len(paths) > 3 else ""
        shown.append(Message("warning", f"one recording, and each counts: {', '.join(paths[:3])}{rest}"))
    title = f"{_many(len(report.repeated), 'recording')} in several traces"
    return Section("repeated", (*shown, *_more(report.repeated, "traces")), title=title)


def _changes(report: FleetReport) -> Section:
    title = "changes over time: weighted CUSUM with a permutation test, one false alarm in a hundred fleets"
    undated = f"; {_many(report.undated_runs, 'run')} without a date left out" if report.undated_runs else ""
    if not report.changes:
        tested = f"none in {report.tested_series:,} series of runs" if report.tested_series else "too few runs to tell"
        return Section("changes", (Notes((Note("changes over time", f"{tested}{undated}"),)),), title=title)
    changes = report.changes[:_MOST]
    table = Table(
        (
            Column.text("first run after it", [one.first_run for one in changes]),
            Column.text("from", [one.at for one in changes], is_optional=True),
            Column.text("phase", [_named(one.phase, one.shape) for one in changes]),
            Column.text("measure", [one.measure for one in changes]),
            Column.amount("before\nms", [one.before_ns for one in changes], "ms"),
            Column.amount("after\nms", [one.after_ns for one in changes], "ms"),
            Column.text("change", [f"{100 * one.ratio:+.1f}%" for one in changes]),
            Column.text("runs", [f"{one.runs_before} + {one.runs_after}" for one in changes], is_optional=True),
            Column.text("p", [_probability(one.p_value) for one in changes]),
        )
    )
    notes = [_change_note(one) for one in changes]
    if undated:
        notes.append(Note("", undated.removeprefix("; "), tone=Tone.quiet))
    return Section("changes", (table, Notes(notes), *_more(report.changes, "phases")), title=title)


def _change_note(change: FleetChange) -> Note:
    what = _MEASURES[change.measure]
    slower = change.ratio > 0
    others = "; ".join(f"{name} {before or UNKNOWN} → {after or UNKNOWN}" for name, before, after in change.others)
    with_it = f"; changed with it: {others}" if others else "; driver, CUDA, nsys and GPU stayed the same"
    text = f"{change.workload}: {what} of {change.phase} since {change.first_run}, after {change.last_run}{with_it}"
    return Note("", text, lead="slower" if slower else "faster", lead_tone=Tone.bad if slower else Tone.good)


def _ranks(report: FleetReport) -> Section | None:
    if not report.tested_ranks:
        return None
    title = "ranks that the others wait for, by the time that each spends in collectives; ms of one step"
    if not report.late_ranks:
        return Section("ranks", (Notes((Note("late ranks", f"none of {report.tested_ranks:,}"),)),), title=title)
    ranks = report.late_ranks[:_MOST]
    table = Table(
        (
            Column.text("run", [one.run for one in ranks], is_grouped=True),
            Column.count("rank", [one.rank for one in ranks]),
            Column.text("host", [one.hostname or UNKNOWN for one in ranks]),
            Column.amount("others wait\nfor it ms", [one.waited_ns for one in ranks], "ms"),
            Column.percent("of its\nstep %", [one.waited_ratio for one in ranks]),
            Column.text("p", [_probability(one.p_value) for one in ranks]),
        )
    )
    notes = [Note(f"{one.run} rank {one.rank}", _lateness(one), lead="late", lead_tone=Tone.bad) for one in ranks]
    return Section("ranks", (table, Notes(notes), *_more(report.late_ranks, "rank_summary")), title=title)


def _lateness(rank: FleetRank) -> str:
    if rank.reason is None or rank.more_ns is None:
        return "the traces do not show why"
    return _REASONS[rank.reason].format(milliseconds(rank.more_ns))


def _phases(phases: Sequence[FleetPhase]) -> Section | None:
    if not phases:
        return None
    rows = phases[: 2 * _MOST]
    table = Table(
        (
            Column.text("workload", [one.workload for one in rows], is_grouped=True),
            Column.text("phase", [_named(one.phase, one.shape) for one in rows]),
            Column.count("traces", [one.traces for one in rows]),
            Column.amount("wall ms\n5 %", [one.wall_ns[0] for one in rows], "ms"),
            Column.amount("\nmedian", [one.wall_ns[1] for one in rows], "ms"),
            Column.amount("\n95 %", [one.wall_ns[2] for one in rows], "ms"),
            Column.amount("busy ms\nmedian", [one.busy_ns[1] for one in rows], "ms"),
            Column.amount("\n95 %", [one.busy_ns[2] for one in rows], "ms"),
        )
    )
    title = "phases: time of one occurrence, the median of each trace, over all traces"
    return Section("phases", (table, *_more(phases, "phase_summary", 2 * _MOST)), title=title)


def _versions(versions: Sequence[FleetVersion]) -> Section | None:
    if not versions:
        return None
    rows = sorted(versions, key=lambda one: (one.p_value is None, one.p_value))[:_MOST]
    table = Table(
        (
            Column.text("what", [one.what for one in rows]),
            Column.text("before", [one.before for one in rows]),
            Column.text("after", [one.after for one in rows]),
            Column.text("workload", [one.workload for one in rows], is_optional=True),
            Column.text("phase", [one.phase for one in rows]),
            Column.text("runs", [f"{one.runs_before} + {one.runs_after}" for one in rows]),
            Column.amount("before\nms", [one.before_ns for one in rows], "ms"),
            Column.amount("after\nms", [one.after_ns for one in rows], "ms"),
            Column.text("verdict", [_verdict(one) for one in rows]),
        )
    )
    return Section(
        "versions", (table,), title="versions: runs with one beside runs with the one before it (Welch's t-test)"
    )


def _verdict(version: FleetVersion) -> str:
    if version.verdict not in ("changed", "within noise"):
        return version.verdict
    change = (version.after_ns - version.before_ns) / version.before_ns if version.before_ns else 0.0
    return f"{100 * change:+.1f}%, {version.verdict}"


def _groups(name: str, groups: Sequence[FleetGroup], title: str) -> Section | None:
    if len(groups) < 2:
        return None
    rows = groups[:_MOST]
    table = Table(
        (
            Column.text(name.removesuffix("s"), [one.name for one in rows]),
            Column.count("traces", [one.traces for one in rows]),
            Column.percent("wall\n%", [one.wall_ratio for one in rows]),
            Column.percent("compute\n%", [one.compute_ratio for one in rows]),
        )
    )
    return Section(name, (table, *_more(groups, "traces")), title=title)


def _findings(report: FleetReport) -> Section | None:
    if not report.findings:
        return None
    table = Table(
        (
            Column.text("finding", [code for code, _ in report.findings]),
            Column.count("traces", [traces for _, traces in report.findings]),
        )
    )
    return Section("findings", (table,), title="findings: in how many traces")


def _more(rows: Sequence[object], table: str, most: int = _MOST) -> tuple[Notes, ...]:
    left = len(rows) - most
    if left <= 0:
        return ()
    return (Notes((Note("", f'{left:,} more: llmperf sql DATASET "from {table}"', tone=Tone.quiet),)),)


def _named(phase: str, shape: str | None) -> str:
    return phase if shape is None else f"{phase} {shape}"


def _probability(p_value: float) -> str:
    return "<0.0001" if p_value < 0.0001 else f"{p_value:.2g}"


def _many(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number:,} {what}s"
