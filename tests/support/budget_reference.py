"""The time budget by brute force: what every instant of a GPU's window was spent on, by the written definition.

    python -m tests.support.budget_reference TRACE.sqlite

Shares nothing with the engine: attribution is the reference's, and each GPU is walked from one elementary interval to
the next, asking at each what runs, which operation comes next and what its thread is doing. All intervals are
half-open, in whole ns; operations that end when they start, or before, never run.

window      the union, for each GPU, of the measured ranges that gave it work: requests (push/pop ranges), and phases in
            no request. Each from its start to the later of its end and the end of the last work launched in it. From a
            thread's own ranges, its warm-up is taken away: `warmup` ranges, and requests and phases that are not
            measured, up to the end of their work. A request of which no phase is measured is not measured. Around a
            phase that `measured` denies its request is not measured either: since the end of its phases before, without
            one since its start, and until its next phase starts, without one until its end. Without any phase or
            request in the trace: from the first launching call (without one, from the first operation) to the
            end of the last operation.
busy        the phase of the running operation that started first (of equal ones the one with the smaller id). `compute`
            if a kernel that does not communicate or a whole graph runs; else, if kernels that communicate do, `wait`
            while each of them waits for another rank, else `transfer`; else `copy`. When one waits, the caller says.
idle        the phase of the operation that ends the gap, if that starts in the same window: of those that start then
            the one with the smallest id. After the return of its launching call `latency`, inside it `launch`; before
            it, what its thread is in: `launch` in a launching call (one that launched work, or whose name says that it
            does), `sync` in a call that synchronizes, `api` in another one, `host` in none. Nobody knows the thread of
            work without a call: `host`.
tail        idle until the end of the window: the phase open on the thread of the measured range, and what that thread
            is in, as above; of several such threads the one with the smallest id.
"""

from __future__ import annotations

import argparse
import re
import sqlite3
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from nsys_pipeline.rules.kernels import kernel_family
from tests.support.reference import (
    GRAPH,
    KERNEL,
    Attributed,
    Attribution,
    Call,
    Occurrence,
    Range,
    _read,
    attribute,
    read_trace,
)
from tests.support.window_reference import Kept, is_request, request_of

CLASSES = ("compute", "transfer", "wait", "copy", "launch", "latency", "sync", "api", "host")
_KIND_ORDER = {"kernel": 0, "memcpy": 1, "memset": 2, "graph": 3}
_LAUNCH, _SYNC, _API = "launch", "sync", "api"


@dataclass(frozen=True)
class NamedCall:
    """A CUDA call with what it counts as while a GPU waits."""

    thread: int
    start: int
    end: int
    kind: str


@dataclass(frozen=True)
class Op:
    """One operation that runs."""

    id: int
    start: int
    end: int
    rank: int  # 2 compute, 1 communication, 0 copy
    occurrence: Occurrence | None
    call: Call | None
    waits_until: int


@dataclass
class Budget:
    """(GPU, occurrence or None, class) → ns, the windows of each GPU, and every stretch: GPU, class, start, end."""

    times: Counter[tuple[int, Occurrence | None, str]] = field(default_factory=Counter)
    stretches: list[tuple[int, str, int, int]] = field(default_factory=list)
    windows: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    def by_phase(self) -> dict[tuple[int, str | None, str], int]:
        found: Counter[tuple[int, str | None, str]] = Counter()
        for (device, occurrence, name), time in self.times.items():
            found[device, occurrence.phase if occurrence else None, name] += time
        return {key: time for key, time in found.items() if time}

    def by_occurrence(self) -> dict[tuple[int, str | None, int | None, str], int]:
        return {
            (device, o.phase if o else None, o.index if o else None, name): time
            for (device, o, name), time in self.times.items()
            if time
        }

    def window_ns(self) -> dict[int, int]:
        return {device: sum(end - start for start, end in spans) for device, spans in self.windows.items() if spans}


def budget(
    path: Path,
    *,
    strict: bool = False,
    measured: Callable[[Occurrence], bool] = lambda _: True,
    waits: Mapping[int, int] | None = None,
    attribution: Attribution | None = None,
    kept: Kept | None = None,
) -> Budget:
    """The budget of the export at `path`; occurrences that `measured` denies are left out like warm-up.

    `waits`: number of a communicating kernel → when the last rank of its collective has started. `attribution`: that
    of the export, where it is known. `kept`: what a window leaves. Its other phases are left out like warm-up, too, and
    so is time in which a GPU runs only what is cut away.
    """
    attribution = attribution or attribute(path, strict=strict)
    kept = kept or Kept.all_of(attribution)
    ranges = [each for each in read_trace(path).ranges if not is_request(each) or kept.has_range(each)]
    names = _names(path)
    launching = {(w.work.process, w.work.correlation) for w in kept.work if w.call}
    calls = _calls(path, names, launching, kept)
    found, left = Budget(), {id(item) for item in kept.work}
    for device in sorted({item.work.device for item in kept.work}):
        members = [item for item in kept.work if item.work.device == device]
        cut = [i for i in attribution.work if i.work.device == device and id(i) not in left]
        ops = _ops(members, path, names, waits or {})
        by_thread = _measured_time(
            ranges,
            attribution,
            [*members, *(item for item in cut if item.occurrence)],
            lambda one: one in kept.occurrences and measured(one),
            kept,
        )
        if not by_thread and not kept.occurrences and not any(is_request(each) for each in ranges):
            starts = [item.call.start for item in members if item.call and item.call.start is not None]
            first, last = min(starts or [op.work.start for op in members]), max(op.work.end for op in members)
            by_thread = {-1: [(first, last)]} if last > first else {}
        alone = _minus(_union((i.work.start, i.work.end) for i in cut), _union((op.start, op.end) for op in ops))
        by_thread = {thread: rest for thread, spans in by_thread.items() if (rest := _minus(_union(spans), alone))}
        windows = _union(span for spans in by_thread.values() for span in spans)
        found.windows[device] = windows
        _walk(device, ops, windows, by_thread, calls, attribution.occurrences, kept, found)
    return found


# -- what is in the trace --------------------------------------------------------------------------------------------


def _names(path: Path) -> dict[int, str]:
    with closing(sqlite3.connect(path)) as db:
        db.text_factory = lambda raw: raw.decode("utf-8", "replace")
        return {key: value for _, key, value in _read(db, "StringIds", "id", "value")}


def call_kind(name: str, *, has_work: bool) -> str:
    """What a call counts as: see the definitions above."""
    if has_work:
        return _LAUNCH
    if "Synchronize" in name or (re.match(r"cu(da)?Memcpy", name) and "Async" not in name):
        return _SYNC
    launches = re.match(r"cu(da)?(GraphLaunch|Launch|Memcpy|Memset)", name) and "LaunchHostFunc" not in name
    return _LAUNCH if launches else _API


def _calls(
    path: Path, names: dict[int, str], launching: set[tuple[int | None, int | None]], kept: Kept
) -> dict[int, list[NamedCall]]:
    with closing(sqlite3.connect(path)) as db:
        rows = _read(db, "CUPTI_ACTIVITY_KIND_RUNTIME", "start", "end", "globalTid", "correlationId", "nameId")
    found: dict[int, list[NamedCall]] = defaultdict(list)
    for _, start, end, thread, correlation, name in rows:
        if thread is not None and start is not None and end is not None:
            has_work = (thread >> 24, correlation) in launching
            if has_work or kept.has_call(thread, start, correlation):
                found[thread].append(NamedCall(thread, start, end, call_kind(names.get(name, ""), has_work=has_work)))
    return {thread: sorted(each, key=lambda call: (call.start, call.end)) for thread, each in found.items()}


def _ops(members: Sequence[Attributed], path: Path, names: dict[int, str], waits: Mapping[int, int]) -> list[Op]:
    with closing(sqlite3.connect(path)) as db:
        rows = _read(db, "CUPTI_ACTIVITY_KIND_KERNEL", "shortName", "demangledName")
    kernels = {row: (names.get(short), names.get(full)) for row, short, full in rows}
    families: dict[tuple[str | None, str | None], str] = {}
    found = []
    for item in members:
        work = item.work
        rank = 0
        if work.kind == GRAPH:
            rank = 2
        elif work.kind == KERNEL:
            key = kernels[work.row]
            if key not in families:
                families[key] = kernel_family(*key)
            rank = 1 if families[key] == "communication" else 2
        if work.end > work.start:
            number = work.row * 8 + _KIND_ORDER[work.kind]
            waits_until = waits.get(number, work.start)
            found.append(Op(number, work.start, work.end, rank, item.occurrence, item.call, waits_until))
    return sorted(found, key=lambda op: (op.start, op.id))


# -- windows ---------------------------------------------------------------------------------------------------------


def _innermost(ranges: Iterable[Range], thread: int, at: int | None) -> Range | None:
    inside = [each for each in ranges if each.thread == thread and each.open_at(at)]
    return max(inside, key=lambda each: each.depth_order, default=None)


def _measured_time(
    ranges: Sequence[Range],
    attribution: Attribution,
    members: Sequence[Attributed],
    measured: Callable[[Occurrence], bool],
    kept: Kept,
) -> dict[int, list[tuple[int, int]]]:
    """For each thread, the time of its measured ranges that gave work to the GPU of `members`."""
    requests, warmups = [r for r in ranges if is_request(r)], [r for r in ranges if r.is_warmup]
    of_request = {o: request_of(o, requests) for o in attribution.occurrences}
    last_end = _last_ends(members, requests, of_request)
    counts = {o: not o.warmup and measured(o) for o in attribution.occurrences}
    wanted: dict[int, list[tuple[int, int]]] = defaultdict(list)
    unwanted: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for each in warmups:
        unwanted[each.thread].append((each.start, each.end))

    def until(each: Range) -> tuple[int, int]:
        return each.start, max(each.end, last_end.get(each, each.end))

    def place(each: Range, *, is_measured: bool, is_window: bool) -> None:
        span = until(each)
        if not is_measured:
            unwanted[each.thread].append(span)
        elif is_window and each in last_end:
            wanted[each.thread].append(span)

    for each in requests:
        is_warm = any(w.thread == each.thread and w.holds_start_of(each) for w in warmups)
        inside = [counts[o] for o in attribution.occurrences if of_request[o] == each]
        place(each, is_measured=not is_warm and (any(inside) or not inside), is_window=True)
        unwanted[each.thread] += _beside_cold(
            until(each), [(o.range, measured(o)) for o in kept.occurrences if of_request[o] == each], until
        )
    tails = _kept_tails(members, kept)
    for occurrence, is_measured in counts.items():
        if occurrence not in kept.occurrences:
            thread = occurrence.range.thread
            spans = _without_kept(occurrence.range, attribution, kept)
            spans.append((occurrence.range.end, last_end.get(occurrence.range, 0)))
            unwanted[thread] += _minus(_union(spans), tails.get(thread, []))
            continue
        place(occurrence.range, is_measured=is_measured, is_window=of_request[occurrence] is None)
    left = {thread: _minus(_union(spans), _union(unwanted[thread])) for thread, spans in wanted.items()}
    return {thread: spans for thread, spans in left.items() if spans}


def _beside_cold(
    request: tuple[int, int], phases: Sequence[tuple[Range, bool]], until: Callable[[Range], tuple[int, int]]
) -> list[tuple[int, int]]:
    """From the phases before each that does not count to the one after it."""
    found = []
    ordered = sorted(phases, key=lambda one: (one[0].start, one[0].row))
    for index, (each, counts) in enumerate(ordered):
        if not counts:
            before = max((until(one)[1] for one, _ in ordered[:index]), default=request[0])
            after = ordered[index + 1][0].start if index + 1 < len(ordered) else request[1]
            found.append((min(each.start, before), after))
    return found


def _without_kept(each: Range, attribution: Attribution, kept: Kept) -> list[tuple[int, int]]:
    """The stretches of a phase that is cut away in which no inner phase is open that is kept."""
    others = [o for o in attribution.occurrences if o.range.thread == each.thread]
    edges = sorted({each.start, each.end, *(at for o in others for at in (o.range.start, o.range.end))})
    found = []
    for start, end in pairwise(at for at in edges if each.start <= at <= each.end):
        inside = [o for o in others if o.range.start <= start and end <= o.range.end]
        if max(inside, key=lambda o: o.range.depth_order) not in kept.occurrences:
            found.append((start, end))
    return found


def _kept_tails(members: Sequence[Attributed], kept: Kept) -> dict[int, list[tuple[int, int]]]:
    """For each thread, when the GPU works for a phase that is kept and has ended on the host."""
    begun: dict[Occurrence, int] = {}
    done: dict[Occurrence, int] = {}
    for item in members:
        one = item.occurrence
        if one in kept.occurrences:
            begun[one] = min(item.work.start, begun.get(one, item.work.start))
            done[one] = max(item.work.end, done.get(one, item.work.end))
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for one, start in begun.items():
        found[one.range.thread].append((max(start, one.range.end), done[one]))
    return {thread: _union(spans) for thread, spans in found.items()}


def _last_ends(
    members: Sequence[Attributed], requests: list[Range], of_request: Mapping[Occurrence, Range | None]
) -> dict[Range, int]:
    """Request or phase → end of the last work launched in it."""
    last_end: dict[Range, int] = {}
    for item in members:
        owners: list[Range | None] = []
        if item.occurrence:
            owners = [item.occurrence.range, of_request[item.occurrence]]
        elif item.call:
            owners = [_innermost(requests, item.call.thread, item.call.start)]
        for owner in owners:
            if owner is not None:
                last_end[owner] = max(item.work.end, last_end.get(owner, item.work.end))
    return last_end


def _union(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for start, end in sorted(span for span in spans if span[1] > span[0]):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def _minus(spans: Sequence[tuple[int, int]], taken: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    found = []
    for start, end in spans:
        at = start
        for low, high in taken:
            if high <= at or low >= end:
                continue
            if low > at:
                found.append((at, low))
            at = max(at, high)
        if at < end:
            found.append((at, end))
    return found


# -- instant by instant ----------------------------------------------------------------------------------------------


def _walk(
    device: int,
    ops: list[Op],
    windows: list[tuple[int, int]],
    by_thread: dict[int, list[tuple[int, int]]],
    calls: dict[int, list[NamedCall]],
    occurrences: Sequence[Occurrence],
    kept: Kept,
    found: Budget,
) -> None:
    threads = {op.call.thread for op in ops if op.call} | set(by_thread)
    bounds = {edge for op in ops for edge in (op.start, op.end)} | {edge for span in windows for edge in span}
    bounds |= {op.waits_until for op in ops}
    bounds |= {edge for spans in by_thread.values() for span in spans for edge in span}
    for thread in threads:
        bounds |= {edge for call in calls.get(thread, ()) for edge in (call.start, call.end)}
    bounds |= {edge for o in occurrences for edge in (o.range.start, o.range.end + 1)}
    edges = sorted(bounds)
    running: list[Op] = []
    states = {thread: _State(calls.get(thread, [])) for thread in threads}
    upcoming = window = 0
    for at, then in pairwise(edges):
        while upcoming < len(ops) and ops[upcoming].start <= at:
            running.append(ops[upcoming])
            upcoming += 1
        running = [op for op in running if op.end > at]
        for state in states.values():
            state.move(at)
        while window < len(windows) and windows[window][1] <= at:
            window += 1
        if window == len(windows) or windows[window][0] > at:
            continue
        if running:
            owner = min(running, key=lambda op: (op.start, op.id)).occurrence
            name = _busy_with(running, at)
        elif upcoming < len(ops) and ops[upcoming].start < windows[window][1]:
            owner, name = ops[upcoming].occurrence, _waiting_for(ops[upcoming], at, states)
        else:
            thread = min(t for t, spans in by_thread.items() if any(start <= at < end for start, end in spans))
            owner, name = _open_phase(occurrences, thread, at), states[thread].inside or "host"
            # A range holds the instant in which it ends.
            owner = owner if owner in kept.occurrences else None
        found.times[device, owner, name] += then - at
        found.stretches.append((device, name, at, then))


def _busy_with(running: list[Op], at: int) -> str:
    rank = max(op.rank for op in running)
    if rank == 1 and all(op.waits_until > at for op in running if op.rank == 1):
        return "wait"
    return ("copy", "transfer", "compute")[rank]


def _waiting_for(op: Op, at: int, states: dict[int, _State]) -> str:
    if op.call is None or op.call.start is None:
        return "host"
    returned = max(op.call.start, op.call.start if op.call.end is None else op.call.end)
    if at >= returned:
        return "latency"
    if at >= op.call.start:
        return "launch"
    return states[op.call.thread].inside or "host"


def _open_phase(occurrences: Sequence[Occurrence], thread: int, at: int) -> Occurrence | None:
    inside = [o for o in occurrences if o.range.thread == thread and o.range.open_at(at)]
    for push_pop in (True, False):
        if found := [o for o in inside if o.range.push_pop == push_pop]:
            return max(found, key=lambda o: o.range.depth_order)
    return None


class _State:
    """What a thread is in, as time goes on."""

    def __init__(self, calls: list[NamedCall]) -> None:
        self.calls = calls
        self.starts = [call.start for call in calls]
        self.open: list[NamedCall] = []
        self.seen = 0
        self.inside: str | None = None

    def move(self, at: int) -> None:
        upto = bisect_right(self.starts, at, lo=self.seen)
        self.open = [call for call in (*self.open, *self.calls[self.seen : upto]) if call.end > at]
        self.seen = upto
        kinds = {call.kind for call in self.open}
        self.inside = next((kind for kind in (_LAUNCH, _SYNC, _API) if kind in kinds), None)


def summary(found: Budget) -> dict[str, Any]:
    """Windows and budgets as one JSON-ready object: GPU → phase ('' outside) → class → ns."""
    devices: dict[str, dict[str, dict[str, int]]] = {}
    for (device, phase, name), time in sorted(found.by_phase().items(), key=str):
        devices.setdefault(str(device), {}).setdefault(phase or "", {})[name] = time
    return {"windows_ns": {str(k): v for k, v in found.window_ns().items()}, "budget": devices}


def main() -> None:
    parser = argparse.ArgumentParser(description="Brute-force time budget of one SQLite export.")
    parser.add_argument("trace", type=Path)
    found = budget(parser.parse_args().trace)
    for device, phases in summary(found)["budget"].items():
        for phase, classes in phases.items():
            whole = sum(classes.values())
            for name in CLASSES:
                if name in classes:
                    share = classes[name] / whole
                    print(f"GPU {device}  {phase or '(outside)':12} {name:10} {classes[name]:>15,} ns  {share:6.1%}")
    print("windows", found.window_ns())


if __name__ == "__main__":
    main()
