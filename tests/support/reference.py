"""Attribution by brute force: the definitions, one after the other, with nothing clever in between.

    python -m tests.support.reference TRACE.sqlite [--strict] [--json]

This is what the engine is checked against, so it shares nothing with it: no DuckDB, no join, no sweep. Every GPU
operation looks at every API call of its correlation id, and every call looks at every range of its thread.

Definitions, for one GPU operation (kernel, memcpy, memset or launch of a CUDA graph traced as a whole):

process     ``globalPid >> 24`` of the row. Where a row has no globalPid: the only process with API calls, or unknown.
call        the API row with the same process and correlationId; 0 is no id. ``--cudabacktrace`` leaves two rows for one
            call (eventClass 67 is the copy): the original counts. Where a pid was used twice, the last call before the
            operation counts. No such row: unattributed, ``no_api_call``.
device      TARGET_INFO_CUDA_DEVICE's gpuId for the row's pid and deviceId, else its deviceId, else 0.
open range  a range with ``start ≤ call start ≤ end``, both ends included. GPU time plays no part.
            A push that was never popped ends with the innermost popped range of its thread and domain around its
            start, or with the session. A start/end range that never ended ends with the session.
range       the innermost open push/pop range of the call's own thread, over all domains: the one that started last.
phase       of the open push/pop ranges of the thread, the innermost whose name is a phase (`phase_name`);
            else of its open start/end ranges (those that this thread started) the innermost whose name is a phase;
            else, unless strict, the innermost open phase of the one thread of the process that has any open
            (``other_thread``); open start/end phases count as a thread of their own.
weak phase  a foreign ``forward``, ``backward`` or ``optimizer``, or a step of an engine (`engine_phase`), is no phase
            inside a push/pop phase of another name.
session     ends at ANALYSIS_DETAILS.duration, since events count from its start (startTime and stopTime are on another
            clock), or with the last event if that is later.
reason      when there is no phase: ``no_range`` when no range of either kind is open on the thread, else ``no_phase``.
warm-up     a phase range is warm-up when a push/pop range ``warmup`` of domain llmperf, or of the default domain, is
            open on its thread when it starts.

A GRAPH_TRACE row whose launch also has node rows (same process and correlationId, graphNodeId set) does not count.
Busy time is the union of the intervals on one device of one process; span is first start to last end there.
"""

from __future__ import annotations

import argparse
import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

OWN_DOMAIN = "llmperf"
LIBRARY_DOMAINS = ("NCCL", "CCCL")  # what a library does inside is no phase, whatever its text
WARMUP = "warmup"
NO_API_CALL, NO_RANGE, NO_PHASE = "no_api_call", "no_range", "no_phase"
SAME_THREAD, START_END, OTHER_THREAD = "same_thread", "start_end", "other_thread"
KERNEL, MEMCPY, MEMSET, GRAPH = "kernel", "memcpy", "memset", "graph"

_PUSH_POP_EVENTS, _START_END_EVENTS, _DOMAIN_CREATE = (59, 70), (60, 71), 75
_BACKTRACE_CLASS = 67
_WORK_TABLES = {
    KERNEL: "CUPTI_ACTIVITY_KIND_KERNEL",
    MEMCPY: "CUPTI_ACTIVITY_KIND_MEMCPY",
    MEMSET: "CUPTI_ACTIVITY_KIND_MEMSET",
    GRAPH: "CUPTI_ACTIVITY_KIND_GRAPH_TRACE",
}
_FOREIGN_PHASE = re.compile(
    r"\[?(?:\w+@)?(prefill|decode|forward|backward|optimizer)\]?(?:[ _-]?(?:step|token|all))?(?:[ _-]?\d+)?\]?",
    re.IGNORECASE,
)


def phase_name(domain: str | None, text: str | None) -> str | None:
    """Name of the phase that a range with this domain and text is, or None. `domain` is None for the default one."""
    if text is None:
        return None
    if domain == OWN_DOMAIN:
        structural = text in (WARMUP, "request") or text.startswith(("vision.", "layer."))
        return None if structural else text
    if domain in LIBRARY_DOMAINS:
        return None
    spelled = _FOREIGN_PHASE.fullmatch(text)
    return spelled[1].lower() if spelled else engine_phase(text)


def engine_phase(text: str) -> str | None:
    """Phase of a step that vLLM or SGLang marks itself: by requests with prompts and requests that generate."""
    if text == "scheduler.run_batch":
        return "step"
    head, _, tail = text.partition("_generation_")
    if not tail or not head.startswith("execute_"):
        return None
    prompts, running = head.rpartition("context_")[2].split("(")[0], tail.split("(")[0]
    return {(True, False): "prefill", (False, True): "decode", (True, True): "mixed"}.get(
        (prompts != "0", running != "0")
    )


# -- what the trace says ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Range:
    """One NVTX range. `end` is never missing: see "open range" above."""

    row: int
    push_pop: bool
    thread: int
    start: int
    end: int
    domain: str | None
    text: str | None

    @property
    def process(self) -> int:
        return self.thread >> 24

    @property
    def phase(self) -> str | None:
        return phase_name(self.domain, self.text)

    def open_at(self, time: int | None) -> bool:
        return time is not None and self.start <= time <= self.end

    @property
    def depth_order(self) -> tuple[int, int, int]:
        """Sorts outermost first: an inner range starts later; of two that start together it ends earlier."""
        return (self.start, -self.end, self.row)


@dataclass(frozen=True)
class Call:
    """One CUDA API call."""

    thread: int
    start: int | None
    end: int | None

    @property
    def process(self) -> int:
        return self.thread >> 24


@dataclass(frozen=True)
class Work:
    """One GPU operation; `row` is its rowid in the table of its kind."""

    kind: str
    row: int
    process: int | None
    device: int
    start: int
    end: int
    correlation: int | None
    graph_node: int | None


@dataclass(frozen=True)
class Trace:
    """What the definitions need of one export."""

    ranges: list[Range]
    calls: dict[tuple[int, int], list[Call]]  # by process and correlation id; the originals before their copies
    work: list[Work]
    superseded: list[Work]  # graph rows that don't count: their nodes do


def _read(db: sqlite3.Connection, table: str, *columns: str) -> list[tuple[Any, ...]]:
    """`columns` of all rows, the row's number first; None for a missing column, no rows for a missing table."""
    present = {row[1] for row in db.execute(f"PRAGMA table_info({table})")}
    if not present:
        return []
    names = ", ".join(f'"{column}"' if column in present else "NULL" for column in columns)
    try:
        rows = list(db.execute(f"SELECT rowid, {names} FROM {table} ORDER BY rowid"))
    except sqlite3.OperationalError:  # a view, or a table WITHOUT ROWID
        rows = list(db.execute(f"SELECT row_number() OVER (), {names} FROM {table}"))
    if any(row[0] is None for row in rows):
        rows = [(number, *row[1:]) for number, row in enumerate(rows, start=1)]
    read = [_text if column in ("text", "value") else _number for column in columns]
    return [(row[0], *(f(value) for f, value in zip(read, row[1:], strict=True))) for row in rows]


def _number(value: object) -> int | None:
    """An integer, however it is stored: as text, or as a float. Raises ValueError where it is none."""
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, bytes):
        value = value.decode()
    number = Decimal(value.strip() if isinstance(value, str) and "_" not in value else repr(value))
    if number != int(number) or not -(1 << 63) <= number < 1 << 63:
        raise ValueError(f"{value!r} is no integer of 64 bits")
    return int(number)


def _text(value: object) -> str | None:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else None if value is None else str(value)


def read_trace(path: Path) -> Trace:
    """Read one SQLite export of any generation."""
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
        db.text_factory = lambda raw: raw.decode("utf-8", "replace")
        calls = _read_calls(db)
        processes = {process for process, _ in calls}
        work = _read_work(db, only_process=processes.pop() if len(processes) == 1 else None)
        duration = [row[1] for row in _read(db, "ANALYSIS_DETAILS", "duration")]
        ends = [*duration, *(c.end for each in calls.values() for c in each), *(w.end for w in work)]
        ranges = _read_ranges(db, at_least=[end for end in ends if end is not None])
    node_launches = {(w.process, w.correlation) for w in work if w.graph_node}
    superseded = [w for w in work if w.kind == GRAPH and (w.process, w.correlation) in node_launches]
    return Trace(ranges, calls, [w for w in work if w not in superseded], superseded)


def _read_calls(db: sqlite3.Connection) -> dict[tuple[int, int], list[Call]]:
    found: dict[tuple[int, int], list[tuple[bool, int, Call]]] = defaultdict(list)
    columns = ("start", "end", "globalTid", "correlationId", "eventClass")
    for row, start, end, thread, correlation, event_class in _read(db, "CUPTI_ACTIVITY_KIND_RUNTIME", *columns):
        if thread is None or correlation is None:
            continue
        found[thread >> 24, correlation].append((event_class == _BACKTRACE_CLASS, row, Call(thread, start, end)))
    return {key: [call for _, _, call in sorted(each, key=lambda item: item[:2])] for key, each in found.items()}


def _call_of(work: Work, candidates: Sequence[Call]) -> Call | None:
    """The last call that started before the work, else the first one; of equal ones the original."""
    timed = [call for call in candidates if call.start is not None]
    before = [call for call in timed if call.start <= work.start]
    if before:
        return max(before, key=lambda call: call.start)
    return min(timed, key=lambda call: call.start) if timed else next(iter(candidates), None)


def _read_work(db: sqlite3.Connection, *, only_process: int | None) -> list[Work]:
    columns = ("globalPid", "deviceId", "start", "end", "correlationId", "graphNodeId")
    gpus: dict[tuple[int, int], int] = {}
    for _, pid, cuda, gpu in _read(db, "TARGET_INFO_CUDA_DEVICE", "pid", "cudaId", "gpuId"):
        if pid is not None and cuda is not None and gpu is not None:
            gpus[pid, cuda] = min(gpu, gpus.get((pid, cuda), gpu))
    found = []
    for kind, table in _WORK_TABLES.items():
        for row, pid, device, start, end, correlation, node in _read(db, table, *columns):
            if start is None or end is None:
                raise ValueError(f"row {row} of {table} has no times")
            process = only_process if pid is None else pid >> 24
            number = device or 0
            if pid is not None and device is not None:
                number = gpus.get(((pid >> 24) & 0xFFFFFF, device), device)
            found.append(Work(kind, row, process, number, start, end, correlation, node))
    return found


def _read_ranges(db: sqlite3.Connection, *, at_least: Sequence[int]) -> list[Range]:
    strings = {key: value for _, key, value in _read(db, "StringIds", "id", "value")}
    columns = ("eventType", "start", "end", "globalTid", "domainId", "text", "textId")
    # Without a thread or a start a row means nothing.
    events = [row for row in _read(db, "NVTX_EVENTS", *columns) if row[4] is not None and row[2] is not None]
    domains = {
        (thread >> 24, domain): strings.get(text_id, text)
        for _, kind, _, _, thread, domain, text, text_id in events
        if kind == _DOMAIN_CREATE
    }
    session_end = max([0, *at_least, *(end for _, _, _, end, *_ in events if end is not None)])

    def name_of_domain(thread: int, domain: int | None) -> str | None:
        return domains.get((thread >> 24, domain), f"#{domain}") if domain else None

    def end_of(event: tuple[Any, ...]) -> int:
        _, kind, start, end, thread, domain, *_ = event
        if end is not None:
            return max(int(start), int(end))
        around = [
            (other[2], other[3])
            for other in events
            if kind in _PUSH_POP_EVENTS and other[1] in _PUSH_POP_EVENTS and other[3] is not None
            if other[4] == thread and (other[5] or 0) == (domain or 0) and other[2] <= start < other[3]
        ]
        return int(max(around)[1]) if around else session_end

    ranges = []
    for event in events:
        row, kind, start, _, thread, domain, text, text_id = event
        if kind in _PUSH_POP_EVENTS + _START_END_EVENTS:
            where, name = name_of_domain(thread, domain), strings.get(text_id, text)
            ranges.append(Range(row, kind in _PUSH_POP_EVENTS, thread, start, end_of(event), where, name))
    return ranges


# -- who launched it, and in which phase -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Occurrence:
    """One range that is a phase; `index` counts the ranges of that phase in the whole trace by start, from 0."""

    phase: str
    index: int
    range: Range
    warmup: bool


@dataclass(frozen=True)
class Attributed:
    """One GPU operation with its call, innermost range and phase; `how` names the rule, `reason` why there is none."""

    work: Work
    call: Call | None
    range: Range | None
    occurrence: Occurrence | None
    how: str | None
    reason: str | None


@dataclass(frozen=True)
class Attribution:
    """Every GPU operation once, in the order of the tables, and every occurrence of a phase, with work or without."""

    work: list[Attributed]
    occurrences: list[Occurrence]
    superseded: list[Work] = field(default_factory=list)


def attribute(path: Path, *, strict: bool = False) -> Attribution:
    """Attribute all GPU work of the export at `path`; `strict` leaves out the other-thread rule."""
    trace = read_trace(path)
    occurrences = _occurrences(trace.ranges)
    occurrence_of = {occurrence.range: occurrence for occurrence in occurrences}
    by_thread: dict[int, list[Range]] = defaultdict(list)
    for each in trace.ranges:
        by_thread[each.thread].append(each)

    def attribute_one(work: Work) -> Attributed:
        call = None
        if work.process is not None and work.correlation:
            call = _call_of(work, trace.calls.get((work.process, work.correlation), []))
        if call is None:
            return Attributed(work, None, None, None, None, NO_API_CALL)

        enclosing = [each for each in by_thread[call.thread] if each.open_at(call.start)]
        innermost_first = sorted(enclosing, key=lambda each: each.depth_order, reverse=True)
        push_pop = [each for each in innermost_first if each.push_pop]
        start_end = [each for each in innermost_first if not each.push_pop]
        innermost = push_pop[0] if push_pop else None
        for how, candidates in ((SAME_THREAD, push_pop), (START_END, start_end)):
            for each in candidates:
                if each in occurrence_of:
                    return Attributed(work, call, innermost, occurrence_of[each], how, None)

        if not strict:
            in_process = [o for o in occurrences if o.range.process == call.process and o.range.open_at(call.start)]
            threads = {(o.range.thread, o.range.push_pop) for o in in_process}
            if len(threads) == 1:
                lent = max(in_process, key=lambda o: o.range.depth_order)
                return Attributed(work, call, innermost, lent, OTHER_THREAD, None)
        return Attributed(work, call, innermost, None, None, NO_PHASE if enclosing else NO_RANGE)

    return Attribution([attribute_one(work) for work in trace.work], occurrences, trace.superseded)


def _occurrences(ranges: list[Range]) -> list[Occurrence]:
    warmups = [r for r in ranges if r.push_pop and r.domain in (OWN_DOMAIN, None) and r.text == WARMUP]
    strong = [r for r in ranges if r.push_pop and r.phase and not _is_weak(r)]
    counts: dict[str, int] = defaultdict(int)
    found = []
    for each in sorted(ranges, key=lambda r: (r.start, r.thread, r.row)):
        inside = any(s.thread == each.thread and s.open_at(each.start) for s in strong)
        if (phase := each.phase) is not None and not (_is_weak(each) and inside):
            warmup = any(w.thread == each.thread and w.open_at(each.start) for w in warmups)
            found.append(Occurrence(phase, counts[phase], each, warmup))
            counts[phase] += 1
    return found


def _is_weak(each: Range) -> bool:
    foreign = each.domain != OWN_DOMAIN
    return foreign and (each.phase in ("forward", "backward", "optimizer") or engine_phase(each.text or "") is not None)


# -- sums ------------------------------------------------------------------------------------------------------------


def busy_ns(spans: Iterable[tuple[int, int]]) -> int:
    """Length of the union of intervals."""
    total, covered_until = 0, None
    for start, end in sorted(spans):
        begin = start if covered_until is None else max(start, covered_until)
        total += max(0, end - begin)
        covered_until = end if covered_until is None else max(end, covered_until)
    return total


def span_ns(spans: Sequence[tuple[int, int]]) -> int:
    """First start to last end, 0 for none."""
    return max(end for _, end in spans) - min(start for start, _ in spans) if spans else 0


def sums(work: Sequence[Work]) -> dict[str, int]:
    """Counts and Σ durations by kind: kernels, memory operations, whole graphs."""
    groups = {
        "kernel": [w for w in work if w.kind == KERNEL],
        "memop": [w for w in work if w.kind in (MEMCPY, MEMSET)],
        "graph": [w for w in work if w.kind == GRAPH],
    }
    counts = {"kernel": "kernel_count", "memop": "memop_count", "graph": "graph_launch_count"}
    result = {}
    for group, members in groups.items():
        result[counts[group]] = len(members)
        result[f"{group}_time_ns"] = sum(w.end - w.start for w in members)
    return result


def by_device(work: Sequence[Work]) -> list[dict[str, int | None]]:
    """The same sums for each device of each process, with busy and span."""
    devices: dict[tuple[int | None, int], list[Work]] = defaultdict(list)
    for each in work:
        devices[each.process, each.device].append(each)
    return [
        {
            "process_id": None if process is None else process & 0xFFFFFF,
            "device_id": device,
            **sums(members),
            "gpu_busy_ns": busy_ns((w.start, w.end) for w in members),
            "gpu_span_ns": span_ns([(w.start, w.end) for w in members]),
        }
        for (process, device), members in sorted(devices.items(), key=lambda item: (item[0][0] or 0, item[0][1]))
    ]


def summarize(attribution: Attribution) -> dict[str, Any]:
    """The sums of a trace as one JSON-ready object: totals, phases in the order of their first start, unattributed."""
    phases = {}
    for name in dict.fromkeys(o.phase for o in attribution.occurrences):
        ranges = [o for o in attribution.occurrences if o.phase == name]
        members = [a for a in attribution.work if a.occurrence and a.occurrence.phase == name]
        work = [a.work for a in members]
        devices = by_device(work)
        phases[name] = {
            "occurrences": len(ranges),
            "warmup_occurrences": sum(o.warmup for o in ranges),
            "wall_ns": sum(o.range.end - o.range.start for o in ranges),
            **sums(work),
            "gpu_busy_ns": sum(device["gpu_busy_ns"] or 0 for device in devices),
            "other_thread": sums([a.work for a in members if a.how == OTHER_THREAD]),
            "devices": devices,
        }
    nowhere = [a for a in attribution.work if a.occurrence is None]
    return {
        "totals": sums([a.work for a in attribution.work]),
        "superseded_graph_rows": len(attribution.superseded),
        "phases": phases,
        "unattributed": {
            reason: sums([a.work for a in nowhere if a.reason == reason])
            for reason in (NO_API_CALL, NO_RANGE, NO_PHASE)
            if any(a.reason == reason for a in nowhere)
        },
    }


def occurrence_rows(attribution: Attribution) -> list[dict[str, Any]]:
    """One row per occurrence of a phase, by start: wall, sums, busy and span over all its devices."""
    rows = []
    for occurrence in attribution.occurrences:
        work = [a.work for a in attribution.work if a.occurrence is occurrence]
        devices = by_device(work)
        rows.append(
            {
                "phase": occurrence.phase,
                "index": occurrence.index,
                "warmup": occurrence.warmup,
                "global_tid": occurrence.range.thread,
                "start_ns": occurrence.range.start,
                "wall_ns": occurrence.range.end - occurrence.range.start,
                **sums(work),
                "gpu_busy_ns": sum(device["gpu_busy_ns"] or 0 for device in devices),
                "gpu_span_ns": span_ns([(w.start, w.end) for w in work]),
            }
        )
    return rows


# -- the table -------------------------------------------------------------------------------------------------------


def table(summary: dict[str, Any]) -> str:
    """The summary as text for people; times in ns."""
    head = ("phase", "occ", "kernels", "kernel ns", "memops", "memop ns", "graphs", "graph ns", "busy ns", "wall ns")
    keys = (
        "occurrences", "kernel_count", "kernel_time_ns", "memop_count", "memop_time_ns", "graph_launch_count",
        "graph_time_ns", "gpu_busy_ns", "wall_ns",
    )  # fmt: skip
    lines = [head]
    for name, values in [
        *summary["phases"].items(),
        *((f"({reason})", values) for reason, values in summary["unattributed"].items()),
        ("total", summary["totals"]),
    ]:
        lines.append((name, *(str(values.get(key, "")) for key in keys)))
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Brute-force attribution of one SQLite export.")
    parser.add_argument("trace", type=Path)
    parser.add_argument("--strict", action="store_true", help="no attribution from another thread")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    summary = summarize(attribute(options.trace, strict=options.strict))
    print(json.dumps(summary, indent=1) if options.json else table(summary))


if __name__ == "__main__":
    main()
