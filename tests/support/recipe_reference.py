"""What recipes should answer, by brute force over the raw rows; attribution is the reference's.

A recipe is here as the rows that it should have, without their order: tuples of some of its columns.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from statistics import median
from typing import Any

from nsys_pipeline.rules.kernels import kernel_family
from tests.support.reference import (
    GRAPH,
    KERNEL,
    MEMCPY,
    Attributed,
    Occurrence,
    Range,
    Work,
    _read,
    attribute,
    read_trace,
)

Row = tuple[Any, ...]
_PID = (1 << 24) - 1


@dataclass(frozen=True)
class HostCall:
    """One CUDA call, however often it was recorded."""

    thread: int
    start: int
    end: int
    name: str
    correlation: int | None


def _is_of(occurrence: Occurrence, item: Attributed) -> bool:
    return item.occurrence == occurrence


def is_timed(work: Work) -> bool:
    return not (work.start == work.end and work.start <= 0)


class Recipes:
    """The raw rows of one trace, and a method for each recipe."""

    def __init__(self, path: Path) -> None:
        attribution = attribute(path)
        self.work = attribution.work
        self.occurrences = attribution.occurrences
        self.ranges = read_trace(path).ranges
        with closing(sqlite3.connect(path)) as db:
            names = {key: value for _, key, value in _read(db, "StringIds", "id", "value")}
            self.bytes = {
                (kind, row): size
                for kind, table in ((MEMCPY, "CUPTI_ACTIVITY_KIND_MEMCPY"), ("memset", "CUPTI_ACTIVITY_KIND_MEMSET"))
                for row, size in _read(db, table, "bytes")
            }
            kernels = _read(db, "CUPTI_ACTIVITY_KIND_KERNEL", "shortName", "demangledName", "streamId")
            self.names = {row: (names.get(short) or "", names.get(full)) for row, short, full, _ in kernels}
            streams = {(KERNEL, row): stream for row, _, _, stream in kernels}
            for kind in ("MEMCPY", "MEMSET", "GRAPH_TRACE"):
                rows = _read(db, f"CUPTI_ACTIVITY_KIND_{kind}", "streamId")
                streams |= {(GRAPH if kind == "GRAPH_TRACE" else kind.lower(), row): stream for row, stream in rows}
            self._streams = streams
            calls = _read(db, "CUPTI_ACTIVITY_KIND_RUNTIME", "start", "end", "globalTid", "correlationId", "nameId")
        unique = {(thread, number, start, end, names.get(name) or "") for _, start, end, thread, number, name in calls}
        self.calls = [
            HostCall(thread, start, end, re.sub(r"_v\d+$", "", name), number)
            for thread, number, start, end, name in unique
        ]

    # -- helpers -----------------------------------------------------------------------------------------------------

    @cached_property
    def devices(self) -> list[int]:
        return sorted({item.work.device for item in self.work})

    def busy(self, device: int, keep: Callable[[Attributed], bool] = lambda _: True) -> set[int]:
        """Every ns in which `device` runs something that is kept."""
        spans = [i.work for i in self.work if i.work.device == device and keep(i) and is_timed(i.work)]
        return {at for work in spans for at in range(work.start, work.end)}

    def family(self, work: Work) -> str:
        return kernel_family(*self.names[work.row]) if work.kind == KERNEL else work.kind

    def phase_at(self, call: HostCall) -> tuple[str | None, str | None]:
        """Phase and text of the innermost push/pop range open at a call: the ranges of its thread alone."""
        mine = [r for r in self.ranges if r.push_pop and r.thread == call.thread and r.open_at(call.start)]
        inner = max(mine, key=lambda r: r.depth_order, default=None)
        phases = {o.range: o.phase for o in self.occurrences}
        named = max((r for r in mine if r in phases), key=lambda r: r.depth_order, default=None)
        return (phases[named] if named else None), (inner.text or "" if inner else None)

    @staticmethod
    def _phase(item: Attributed) -> str | None:
        return item.occurrence.phase if item.occurrence else None

    # -- recipes -----------------------------------------------------------------------------------------------------

    def busy_over_time(self, width: int) -> Iterable[Row]:
        for device in self.devices:
            buckets = Counter(at // width for at in self.busy(device))
            yield from ((device, bucket * width, count) for bucket, count in buckets.items())

    def hidden_copies(self) -> Iterable[Row]:
        for device in self.devices:
            copies = self.busy(device, lambda i: i.work.kind in ("memcpy", "memset"))
            kernels = self.busy(device, lambda i: i.work.kind in (KERNEL, GRAPH))
            if any(i.work.device == device and i.work.kind in ("memcpy", "memset") for i in self.work):
                yield device, len(copies), len(copies & kernels), len(copies - kernels)

    def communication_overlap(self) -> Iterable[Row]:
        for device in self.devices:
            own = self.busy(
                device,
                lambda i: self.family(i.work) == "communication" and not (i.occurrence and i.occurrence.warmup),
            )
            compute = self.busy(device, lambda i: i.work.kind == KERNEL and self.family(i.work) != "communication")
            if any(self.family(i.work) == "communication" and i.work.device == device for i in self.work):
                yield device, len(own), len(own & compute), len(own - compute)

    def launch_latency(self) -> Iterable[Row]:
        waits: dict[str | None, list[int]] = defaultdict(list)
        for item in self.work:
            work, call = item.work, item.call
            if work.kind == KERNEL and not work.graph_node:
                known = call is not None and call.end is not None and is_timed(work)
                waits[self._phase(item)] += [work.start - call.end] if known else []  # type: ignore[union-attr,operator]
        for phase, values in waits.items():
            yield phase, len(values), min(values, default=None), median(values) if values else None

    def time_to_first_kernel(self) -> Iterable[Row]:
        waits = defaultdict(list)
        for one in self.occurrences:
            mine = [i.work for i in self.work if i.occurrence == one]
            if mine and not one.warmup:
                first = min((w.start for w in mine if is_timed(w)), default=None)
                if first is not None:
                    waits[one.phase].append(first - one.range.start)
        return [(phase, len(each), min(each), max(each)) for phase, each in waits.items()]

    def streams(self) -> Iterable[Row]:
        groups = defaultdict(list)
        for item in self.work:
            process = None if item.work.process is None else item.work.process & _PID
            groups[item.work.device, process, self._streams[item.work.kind, item.work.row]].append(item.work)
        for key, each in groups.items():
            spans = {at for work in each for at in range(work.start, work.end)}
            yield *key, len(each), sum(w.end - w.start for w in each), len(spans)

    def device_balance(self) -> Iterable[Row]:
        groups: dict[Row, list[Work]] = defaultdict(list)
        for item in self.work:
            if item.work.kind == KERNEL:
                groups[self._phase(item), item.work.device].append(item.work)
        for (phase, device), each in groups.items():
            own = sum(w.end - w.start for w in each if self.family(w) != "communication")
            yield phase, device, len(each), sum(w.end - w.start for w in each), own

    def api_calls_by_phase(self) -> Iterable[Row]:
        groups = defaultdict(list)
        for call in self.calls:
            groups[self.phase_at(call)[0], call.name].append(call.end - call.start)
        return [(*key, len(each), sum(each), max(each)) for key, each in groups.items()]

    def stalling_synchronizations(self) -> Iterable[Row]:
        groups = defaultdict(list)
        for call in self.calls:
            if call.name in ("cudaStreamSynchronize", "cuCtxSynchronize", "cudaMemcpy"):
                groups[*self.phase_at(call), call.name].append(call.end - call.start)
        return [(*key, len(each), sum(each), max(each)) for key, each in groups.items()]

    def range_gpu_times(self) -> Iterable[Row]:
        groups: dict[Row, list[Row]] = defaultdict(list)
        for each in self.ranges:
            if each.push_pop:
                groups[each.domain or "", each.text or ""].append(self._gpu_times(each))
        for key, rows in groups.items():
            yield *key, len(rows), *(sum(row[place] for row in rows) for place in range(2))

    def _gpu_times(self, each: Range) -> Row:
        mine = [i for i in self.work if i.call and i.call.thread == each.thread and each.open_at(i.call.start)]
        own = [i for i in self.work if i.range == each]
        return (
            sum(i.work.end - i.work.start for i in own),
            sum(i.work.end - i.work.start for i in mine),
        )

    def graph_and_eager(self) -> Iterable[Row]:
        groups = defaultdict(list)
        for item in self.work:
            groups[self._phase(item)].append(item)
        for phase, each in groups.items():
            graph = [i for i in each if i.work.kind == GRAPH or i.work.graph_node]
            eager = [i for i in each if i not in graph]
            launches = {(i.work.process, i.work.correlation) for i in graph if i.call}
            alone = sum(i.work.kind == GRAPH and i.call is None for i in graph)
            yield (
                phase,
                len(launches) + alone,
                sum(i.work.end - i.work.start for i in graph),
                len(eager),
                sum(i.work.end - i.work.start for i in eager),
            )

    def launches_per_token(self) -> Iterable[Row]:
        groups = defaultdict(list)
        for one in self.occurrences:
            if not one.warmup:
                mine = [i for i in self.work if i.occurrence == one and i.call]
                # Each operation outside graphs is a launch; nodes of a graph share the one of their call, per GPU.
                single = sum(not i.work.graph_node for i in mine)
                shared = {
                    (i.call, i.work.process, i.work.correlation, i.work.device) for i in mine if i.work.graph_node
                }
                groups[one.phase].append(single + len(shared))
        return [(phase, len(each), sum(each) / len(each)) for phase, each in groups.items()]

    def copy_bandwidth(self) -> Iterable[Row]:
        copies = [i.work for i in self.work if i.work.kind == MEMCPY]
        timed = sum(self.bytes[MEMCPY, w.row] for w in copies if is_timed(w))
        time = sum(w.end - w.start for w in copies)
        if copies:
            yield (
                len(copies),
                sum(self.bytes[MEMCPY, w.row] for w in copies),
                time,
                timed / time * 1e9 if time else None,
            )

    def between_steps(self) -> Iterable[Row]:
        """A range follows another if no phase of the thread starts or ends between, all in one request."""
        groups = defaultdict(list)
        for after in self.occurrences:
            for before in self.occurrences:
                a, b = after.range, before.range
                if after is before or a.thread != b.thread or a.end > b.start or self._request(a) != self._request(b):
                    continue
                others = [
                    o.range
                    for o in self.occurrences
                    if o is not after
                    and o is not before
                    and o.range.thread == a.thread
                    and self._request(o.range) == self._request(a)
                ]
                if not (after.warmup or before.warmup) and not any(
                    a.end <= at <= b.start for o in others for at in (o.start, o.end)
                ):
                    groups[after.phase, before.phase].append(b.start - a.end)
        return [(*key, len(each), sum(each), max(each)) for key, each in groups.items()]

    def _request(self, each: Range) -> Range | None:
        mine = [r for r in self.ranges if r.push_pop and r.text == "request" and r.thread == each.thread]
        return max((r for r in mine if r.surrounds_start_of(each)), key=lambda r: r.depth_order, default=None)

    def first_and_later_steps(self) -> Iterable[Row]:
        for phase in {o.phase for o in self.occurrences}:
            first = next(o for o in self.occurrences if o.phase == phase and o.index == 0)
            mine = [o for o in self.occurrences if o.phase == phase and o.range.process == first.range.process]
            counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
            for item in self.work:
                if item.work.kind == KERNEL and item.occurrence in mine:
                    place = 0 if item.occurrence == first else 1
                    counts[self.names[item.work.row][0]][place] += 1
                    counts[self.names[item.work.row][0]][place + 2] += item.work.end - item.work.start
            later = len(mine) - 1
            for name, (count, others, time, other_time) in counts.items():
                if later and count != others / later:
                    yield phase, name, count, others / later, time, other_time / later

    def launch_bound_ranges(self) -> Iterable[Row]:
        for one in self.occurrences:
            devices = {i.work.device for i in self.work if i.occurrence == one}
            busy = sum(len(self.busy(device, partial(_is_of, one))) for device in devices)
            if not one.warmup:
                yield one.phase, one.index, busy
