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
            (``other_thread``), if the call's thread works for others; open start/end phases count as a thread of their
            own.
works for others
            a thread of autograd does: named ``pt_autograd…``, with ranges of autograd's, or one that only recomputes.
            Of other threads a call in an own range is its own work, and so is every call where at least half of all
            calls of the thread (one for each operation) are in an own range or in a phase of the thread. An own range
            is any that no library wrote.
weak phase  a foreign ``forward``, ``backward`` or ``optimizer``, or a step of vLLM, is no phase while a stronger
            push/pop phase is open on its thread, nor a foreign ``step`` while one that is no ``step`` is. But a step of
            vLLM is one while a foreign range of its own phase is open.
named twice a foreign range is no phase while a push/pop range of our own domain with the same phase is open on its
            thread.
recomputed  a ``forward`` is no phase while a push/pop ``backward`` is open on its thread, nor on a thread whose phases
            by name are all ``forward``, each enclosed by a push/pop ``backward`` of the process.
loop        a range is no phase that encloses another push/pop range of the same phase on its thread.
warmup      a warm-up range in which, before its end, no phase of its thread starts is a phase ``warmup``, unless it is
            inside such a range.
container   a foreign ``step`` in which another phase of its thread starts. Its wall time leaves out the phases inside.
            If no container of its name has work, all of them do not count.
session     ends at ANALYSIS_DETAILS.duration, since events count from its start (startTime and stopTime are on another
            clock), or with the last event if that is later.
reason      when there is no phase: ``no_range`` when no range of either kind is open on the thread, else ``no_phase``.
warm-up     a phase range is warm-up when a range ``warmup`` of domain llmperf, or of the default domain, is
            open on its thread when it starts, and does not end just then, and when it is one.

A GRAPH_TRACE row whose launch also has node rows (same process and correlationId, graphNodeId set) does not count.
Busy time is the union of the intervals on one device of one process; span is first start to last end there, of work
that has times (CUPTI says 0 and 0 where it has none).
"""

from __future__ import annotations

import argparse
import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

OWN_DOMAIN = "llmperf"
LIBRARY_DOMAINS = ("NCCL", "CCCL")  # what a library does inside is no phase, whatever its text
WARMUP, STEP = "warmup", "step"
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
    r"\[?(?:\w+@)?(prefill|decode|forward|backward|optimizer)\]?(?:[ _-]?(?:step|token|all|loop))?(?:[ _-]?\d+)?\]?",
    re.IGNORECASE,
)
_VLLM_STEP = re.compile(r"execute_context_(\d+)\(\d+\)_generation_(\d+)\(\d+\)")
_FOREIGN_STEP = re.compile(r"(?:train[ _-]?)?step(?:[ _-]?\d+)?", re.IGNORECASE)
_FOREIGN_WARMUP = re.compile(r"warm[ _-]?up(?:[ _-]?step)?(?:[ _-]?\d+)?", re.IGNORECASE)
_LIBRARY_CALL = re.compile(r"nccl[A-Z]\w*|cub::.*|aten::.*")
_AUTOGRAD_CALL = re.compile(r"autograd::engine::.*|\w+Backward\d*")


def phase_name(domain: str | None, text: str | None) -> str | None:
    """Name of the phase that a range with this domain and text is, or None. `domain` is None for the default one."""
    if text is None:
        return None
    if domain == OWN_DOMAIN:
        structural = text in (WARMUP, "request") or text.startswith(("vision.", "layer."))
        return None if structural else text
    if domain in LIBRARY_DOMAINS:
        return None
    if _FOREIGN_STEP.fullmatch(text):
        return STEP
    if vllm := _VLLM_STEP.fullmatch(text):
        prompts, others = int(vllm[1]), int(vllm[2])
        return "mixed" if prompts and others else "prefill" if prompts else "decode" if others else None
    spelled = _FOREIGN_PHASE.fullmatch(text)
    return spelled[1].lower() if spelled else engine_phase(text)


def engine_phase(text: str) -> str | None:
    """Phase of a step that vLLM or SGLang marks itself: by requests with prompts and requests that generate."""
    if text == "scheduler.run_batch":
        return STEP
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

    @property
    def is_warmup(self) -> bool:
        """Whether it marks warm-up."""
        if self.text is None or self.domain in LIBRARY_DOMAINS:
            return False
        if self.domain == OWN_DOMAIN:
            return self.text == WARMUP
        return _FOREIGN_WARMUP.fullmatch(self.text) is not None

    @property
    def is_own(self) -> bool:
        """Whether it is the thread's own, and not a library's or a detail of a phase."""
        if self.domain in LIBRARY_DOMAINS:
            return False
        if self.domain == OWN_DOMAIN:
            return not (self.text or "").startswith(("vision.", "layer."))
        return not (_LIBRARY_CALL.fullmatch(self.text or "") or _AUTOGRAD_CALL.fullmatch(self.text or ""))

    @property
    def strength(self) -> int:
        """Of two phases one inside the other, the inner one is no phase if it is weaker."""
        if self.domain == OWN_DOMAIN:
            return 3
        named = {"forward": 2, "backward": 2, "optimizer": 2, STEP: 0}
        return named.get(self.phase or "", 3 if engine_phase(self.text or "") is None else 2)

    def encloses(self, other: Range) -> bool:
        """Whether `other`, another range, lies in it; of two equal ones the later row is the inner one."""
        inside = self.start <= other.start and other.end <= self.end
        return inside and self.depth_order < other.depth_order

    def open_at(self, time: int | None) -> bool:
        return time is not None and self.start <= time <= self.end

    def holds_start_of(self, other: Range) -> bool:
        """Whether `other` starts in it, and before it ends."""
        return self.start <= other.start < self.end

    def surrounds_start_of(self, other: Range) -> bool:
        """Whether `other` starts in it, and not just where it ends."""
        return self.open_at(other.start) and (other.start < self.end or other.end <= other.start)

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
    autograd_threads: frozenset[int]  # by their names


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
        strings = {key: value for _, key, value in _read(db, "StringIds", "id", "value")}
        named = _read(db, "ThreadNames", "globalTid", "nameId")
        autograd = {tid for _, tid, name in named if (strings.get(name) or "").startswith("pt_autograd")}
    node_launches = {(w.process, w.correlation) for w in work if w.graph_node}
    superseded = [w for w in work if w.kind == GRAPH and (w.process, w.correlation) in node_launches]
    return Trace(ranges, calls, [w for w in work if w not in superseded], superseded, frozenset(autograd))


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
    timed = [(call.start, -place, call) for place, call in enumerate(candidates) if call.start is not None]
    before = [one for one in timed if one[0] <= work.start]
    if before:
        return max(before)[2]
    return max((-start, place, call) for start, place, call in timed)[2] if timed else next(iter(candidates), None)


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
    session_end = max([0, *at_least, *(at for _, _, *times, _, _, _, _ in events for at in times if at is not None)])

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
    wall_ns: int


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
    phases = _phases(trace.ranges)
    by_thread: dict[int, list[Range]] = defaultdict(list)
    for each in trace.ranges:
        by_thread[each.thread].append(each)
    calls = [call_of(trace, work) for work in trace.work]

    @cache
    def works_for_others(thread: int) -> Callable[[Call], bool]:
        return _works_for_others(thread, by_thread[thread], calls, phases, trace)

    def belongs(call: Call | None) -> tuple[Range | None, Range | None, str | None, str | None]:
        """Innermost range, phase, how it was found, and why it was not."""
        if call is None:
            return None, None, None, NO_API_CALL
        enclosing = [each for each in by_thread[call.thread] if each.open_at(call.start)]
        innermost_first = sorted(enclosing, key=lambda each: each.depth_order, reverse=True)
        push_pop = [each for each in innermost_first if each.push_pop]
        start_end = [each for each in innermost_first if not each.push_pop]
        innermost = push_pop[0] if push_pop else None
        for how, candidates in ((SAME_THREAD, push_pop), (START_END, start_end)):
            for each in candidates:
                if each in phases:
                    return innermost, each, how, None

        in_process = [r for r in phases if r.process == call.process and r.open_at(call.start)]
        threads = {(r.thread, r.push_pop) for r in in_process}
        if not strict and len(threads) == 1 and works_for_others(call.thread)(call):
            return innermost, max(in_process, key=lambda r: r.depth_order), OTHER_THREAD, None
        return innermost, None, None, NO_PHASE if enclosing else NO_RANGE

    places = [belongs(call) for call in calls]
    occurrences = _occurrences(trace.ranges, phases, {phase for _, phase, _, _ in places if phase})
    occurrence_of = {occurrence.range: occurrence for occurrence in occurrences}
    attributed = [
        Attributed(work, call, innermost, occurrence_of[phase] if phase else None, how, reason)
        for work, call, (innermost, phase, how, reason) in zip(trace.work, calls, places, strict=True)
    ]
    return Attribution(attributed, occurrences, trace.superseded)


def call_of(trace: Trace, work: Work) -> Call | None:
    """The call that launched `work`."""
    if work.process is None or not work.correlation:
        return None
    return _call_of(work, trace.calls.get((work.process, work.correlation), []))


def _works_for_others(
    thread: int, ranges: list[Range], calls: list[Call | None], phases: dict[Range, str], trace: Trace
) -> Callable[[Call], bool]:
    """Whether a call of `thread` is work for whoever has the only open phase."""
    theirs = (r.text or "" for r in ranges if r.domain not in (OWN_DOMAIN, *LIBRARY_DOMAINS))
    autograd = any(_AUTOGRAD_CALL.fullmatch(text) for text in theirs)
    if autograd or thread in trace.autograd_threads or _only_recomputes(thread, trace.ranges):
        return lambda call: True

    def is_own(call: Call) -> bool:
        return any(r.open_at(call.start) and (r.is_own or r in phases) for r in ranges)

    own = [is_own(call) for call in calls if call and call.thread == thread]
    if 2 * sum(own) >= len(own):
        return lambda call: False
    return lambda call: not is_own(call)


def _only_recomputes(thread: int, ranges: list[Range]) -> bool:
    mine = [r for r in ranges if r.thread == thread and r.phase]
    backwards = [r for r in ranges if r.push_pop and r.phase == "backward" and r.process == thread >> 24]
    return bool(mine) and all(
        r.phase == "forward" and any(b.open_at(r.start) and b.end >= r.end for b in backwards) for r in mine
    )


def _phases(ranges: list[Range]) -> dict[Range, str]:
    """Every range that work may belong to as a phase, with its name."""
    recomputing = {thread for thread in {r.thread for r in ranges} if _only_recomputes(thread, ranges)}
    named = [r for r in ranges if r.phase and r.thread not in recomputing]
    candidates = [r for r in named if not _is_part(r, named)]
    loops = {
        outer
        for outer in candidates
        for inner in candidates
        if inner.push_pop and inner.thread == outer.thread and inner.phase == outer.phase and outer.encloses(inner)
    }
    empty = [
        w for w in ranges
        if w.is_warmup and not any(r.thread == w.thread and w.holds_start_of(r) for r in candidates)
    ]  # fmt: skip
    outermost = [w for w in empty if not any(o.thread == w.thread and o.encloses(w) for o in empty)]
    return {r: str(r.phase) for r in candidates if r not in loops} | dict.fromkeys(outermost, WARMUP)


def _is_part(each: Range, named: list[Range]) -> bool:
    """Whether the range is a part of a phase around it."""
    around = [
        r for r in named
        if r.push_pop and r.thread == each.thread and r.surrounds_start_of(each) and r.depth_order < each.depth_order
    ]  # fmt: skip
    if each.phase == "forward" and any(r.phase == "backward" for r in around):
        return True
    if each.domain != OWN_DOMAIN and any(r.domain == OWN_DOMAIN and r.phase == each.phase for r in around):
        return True
    if each.strength == 0 and any(
        r.push_pop and r.domain == OWN_DOMAIN and r.thread == each.thread and r.end > each.end
        and each.start <= r.start < max(each.end, each.start + 1)
        for r in named
    ):  # fmt: skip
        return True
    if each.strength == 2 and any(r.strength == 3 and r.domain != OWN_DOMAIN and r.phase == each.phase for r in around):
        return False
    return any(r.strength > each.strength for r in around)


def _occurrences(ranges: list[Range], phases: dict[Range, str], working: set[Range]) -> list[Occurrence]:
    """The phases that count, by start: containers only if one of their name has work."""
    containers = {
        outer for outer in phases
        if outer.strength == 0 and any(
            r.thread == outer.thread and outer.holds_start_of(r) and outer.depth_order < r.depth_order for r in phases
        )
    }  # fmt: skip
    idle = {phases[c] for c in containers} - {phases[c] for c in containers & working}
    counts: dict[str, int] = defaultdict(int)
    found = []
    for each in sorted(phases, key=lambda r: (r.start, r.thread, r.row)):
        name = phases[each]
        if each in containers and name in idle:
            continue
        # One that takes no time holds not even its own start.
        warmup = each.is_warmup or any(
            w.is_warmup and w.thread == each.thread and w.holds_start_of(each) for w in ranges
        )
        inner = [
            (max(r.start, each.start), min(r.end, each.end)) for r in phases
            if r.push_pop and r.thread == each.thread and each.depth_order < r.depth_order and each.open_at(r.start)
        ]  # fmt: skip
        wall = each.end - each.start - (busy_ns(inner) if each in containers and each.push_pop else 0)
        found.append(Occurrence(name, counts[name], each, warmup, wall))
        counts[name] += 1
    return found


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
    timed = [span for span in spans if span != (0, 0)] or spans
    return max(end for _, end in timed) - min(start for start, _ in timed) if timed else 0


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
            "wall_ns": sum(o.wall_ns for o in ranges),
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
                "wall_ns": occurrence.wall_ns,
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
