"""Which occurrences are cold, by brute force: the written definition of attribute.cold_occurrences, pair by pair.

Shares nothing with the engine but the sizes of steps, which come from marks, and which kernels communicate:
attribution is the reference's.
"""

from __future__ import annotations

import re
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from nsys_pipeline.rules.kernels import kernel_family
from tests.support.reference import (
    _WORK_TABLES,
    GRAPH,
    KERNEL,
    OTHER_THREAD,
    Attribution,
    Occurrence,
    _read,
    attribute,
    busy_ns,
    read_trace,
)
from tests.support.window_reference import request_of

#: Kind and label of a shape, sequences, new and cached tokens; the latter two may be unknown.
Size = tuple[str | None, str | None, int | None, int | None, int | None]

_SETUP = re.compile(
    r"cu(da)?(Stream(Begin|End)Capture|GraphInstantiate|ModuleLoad|LibraryLoad|Link(Create|Complete)|Malloc|MemAlloc"
    r"|MemCreate|HostAlloc|MemHostAlloc|Free|MemFree)"
)

_RECORDING = re.compile(r"cu(da)?StreamBeginCapture")


@dataclass(frozen=True)
class ColdStep:
    """One occurrence outside warm-up; `order` sorts those of a phase by start."""

    phase: str
    process: int
    order: int
    size: Size
    time: int
    busy: int
    has_setup: bool
    is_recording: bool = False
    communicating: int = 0
    request: Hashable = None

    @property
    def own(self) -> int:
        return self.busy - self.communicating

    @property
    def is_sized(self) -> bool:
        return self.size[3] is not None and self.size[4] is not None

    @property
    def kind(self) -> tuple[str, int, str | None]:
        return self.phase, self.process, self.size[0]

    def is_no_bigger_than(self, other: ColdStep) -> bool:
        pairs = zip(self.size[2:], other.size[2:], strict=True)
        return all(mine is not None and theirs is not None and mine <= theirs for mine, theirs in pairs)


def cold(steps: Sequence[ColdStep]) -> dict[ColdStep, str]:
    """Cold steps, and why."""
    found: dict[ColdStep, str] = {}
    steps = sorted(steps, key=lambda step: (step.phase, step.process, step.order))
    kinds, phases = _grouped(steps, lambda step: step.kind), _grouped(steps, lambda step: (step.phase, step.process))
    lines = [list(enumerate(line)) for line in kinds.values()]
    lines += [[(place, step) for place, step in enumerate(line) if step.is_sized] for line in phases.values()]
    for line in lines:
        for index, (place, step) in enumerate(line):
            if place >= 32 or not _is_slow(step, [other for _, other in line[index + 1 :]]):
                break
            found[step] = "leading"
    for group in kinds.values():
        _first_lengths(group, found)
    steady = [step for step in steps if step not in found]
    for group in kinds.values():
        _setups(group, [step for step in group if step in steady], found)
        if any(step.busy for step in group):
            for step in group:
                if step.is_recording:
                    found.setdefault(step, "recording")
    return found


def _grouped(steps: Sequence[ColdStep], key: Callable[[ColdStep], Hashable]) -> dict[Hashable, list[ColdStep]]:
    groups: dict[Hashable, list[ColdStep]] = defaultdict(list)
    for step in steps:
        groups[key(step)].append(step)
    return groups


def _nine_tenths(answers: Sequence[bool]) -> bool:
    return bool(answers) and 10 * sum(answers) >= 9 * len(answers)


def _is_slow(step: ColdStep, later: Sequence[ColdStep]) -> bool:
    fair = [other for other in later if not (step.is_sized and other.is_sized) or step.is_no_bigger_than(other)]
    if step.is_sized:
        by_time = [step.time > 3 * other.time for other in fair]
        by_work = [other.own > 0 and step.own > 3 * other.own for other in fair]
        return _nine_tenths(by_time) or _nine_tenths(by_work)
    return _nine_tenths([_outgrew(step, other) for other in fair])


def _outgrew(step: ColdStep, other: ColdStep) -> bool:
    """Whether its time is three times the other's, and grew three times more than its GPU time."""
    work, others = (one.own or one.busy for one in (step, other))
    return step.time > 3 * other.time and (work == 0 or step.time * others > 3 * other.time * work)


def _first_lengths(line: Sequence[ColdStep], found: dict[ColdStep, str]) -> None:
    places: dict[Hashable, int] = defaultdict(int)
    named: dict[ColdStep, Hashable] = {}
    for step in line:
        if step.is_sized:
            named[step] = step.size[1]
        elif step.request is not None:
            places[step.request] += 1
            named[step] = places[step.request]
    labels = _grouped(list(named), named.__getitem__)
    repeats = sorted(step.time for each in labels.values() for step in each[1:])
    if not repeats:
        return
    # The smallest time that at least nine tenths do not exceed.
    usual = next(time for rank, time in enumerate(repeats, start=1) if 10 * rank >= 9 * len(repeats))
    for first, *others in labels.values():
        is_slow = [first.time > 3 * one.time if first.is_sized else _outgrew(first, one) for one in others]
        if _nine_tenths(is_slow) and first.time > 3 * usual:
            found.setdefault(first, "first_length")


def _setups(line: Sequence[ColdStep], steady: Sequence[ColdStep], found: dict[ColdStep, str]) -> None:
    others = [step for step in steady if not step.has_setup]
    slow = [step for step in steady if step.has_setup and _nine_tenths([_outgrew(step, other) for other in others])]
    if len(slow) <= max(1, len(line) // 10):
        found.update((step, "setup") for step in slow)


# -- from a trace ----------------------------------------------------------------------------------------------------


def cold_of(
    path: Path, sizes: Mapping[tuple[str, int], Size], *, attribution: Attribution | None = None
) -> dict[tuple[str, int], str]:
    """(phase, number of the occurrence) → why it is cold. `sizes`: of the occurrences whose shape is known."""
    attribution = attribution or attribute(path)
    communicating, ranges = _communicating(path), read_trace(path).ranges
    own: dict[Occurrence, list[tuple[int, int, int]]] = defaultdict(list)
    work: dict[Occurrence, list[tuple[int, int, int]]] = defaultdict(list)
    for item in attribution.work:
        if item.occurrence:
            span = (item.work.device, item.work.start, item.work.end)
            work[item.occurrence].append(span)
            if item.work.kind != KERNEL or item.work.row not in communicating:
                own[item.occurrence].append(span)
    done = _done(path, attribution)
    setups = _calling(path, attribution.occurrences, _SETUP)
    recording = _calling(path, attribution.occurrences, _RECORDING)
    steps = {}
    for one in attribution.occurrences:
        if one.warmup:
            continue
        before = [
            done[other]
            for other in attribution.occurrences
            if other.range.thread == one.range.thread and other.range.end <= one.range.start and other != one
        ]
        time = max(0, done[one] - max([one.range.start, *before]))
        size = sizes.get((one.phase, one.index), (None, None, None, None, None))
        busy = _busy(work[one])
        is_recording = one in recording and not busy
        has_setup, communicating_ns = one in setups, busy - _busy(own[one])
        step = ColdStep(
            one.phase,
            one.range.process,
            one.index,
            size,
            time,
            busy,
            has_setup,
            is_recording,
            communicating_ns,
            request_of(one, ranges),
        )
        steps[step] = one
    return {(steps[step].phase, steps[step].index): why for step, why in cold(list(steps)).items()}


def _done(path: Path, attribution: Attribution) -> dict[Occurrence, int]:
    """When each occurrence had ended, and its work in streams of the passes' kernels, which later ones wait for."""
    streams = _streams(path)
    mine: dict[tuple[str, int], list[tuple[Occurrence, Hashable, bool, int]]] = defaultdict(list)
    of_passes: set[Hashable] = set()
    for item in attribution.work:
        if (one := item.occurrence) is None:
            continue
        stream: Hashable = (item.work.process, item.work.device, streams[item.work.kind, item.work.row])
        has_kernel = item.work.kind in (KERNEL, GRAPH)
        if has_kernel and item.how != OTHER_THREAD:
            of_passes.add(stream)
        mine[one.phase, one.range.process].append((one, stream, has_kernel, item.work.end))
    done = {one: one.range.end for one in attribution.occurrences}
    for each in mine.values():
        used = {stream for _, stream, _, _ in each} & of_passes
        used = used or {stream for _, stream, has_kernel, _ in each if has_kernel}
        for one, where, _, end in each:
            if where in used:
                done[one] = max(done[one], end)
    return done


def _streams(path: Path) -> dict[tuple[str, int], int | None]:
    """(kind, row) of GPU work → its stream."""
    with closing(sqlite3.connect(path)) as db:
        return {
            (kind, row): stream for kind, table in _WORK_TABLES.items() for row, stream in _read(db, table, "streamId")
        }


def _communicating(path: Path) -> set[int]:
    """Rows of the kernels that communicate."""
    with closing(sqlite3.connect(path)) as db:
        db.text_factory = lambda raw: raw.decode("utf-8", "replace")
        names = {key: value for _, key, value in _read(db, "StringIds", "id", "value")}
        rows = _read(db, "CUPTI_ACTIVITY_KIND_KERNEL", "shortName", "demangledName")
    family = cache(kernel_family)
    return {row for row, short, full in rows if family(names.get(short), names.get(full)) == "communication"}


def _calling(path: Path, occurrences: Sequence[Occurrence], calling: re.Pattern[str]) -> set[Occurrence]:
    with closing(sqlite3.connect(path)) as db:
        db.text_factory = lambda raw: raw.decode("utf-8", "replace")
        names = {key: value for _, key, value in _read(db, "StringIds", "id", "value")}
        calls = _read(db, "CUPTI_ACTIVITY_KIND_RUNTIME", "start", "globalTid", "nameId")
    found = set()
    for _, start, thread, name in calls:
        text = names.get(name) or ""
        if start is None or not calling.match(text) or "Async" in text:
            continue
        inside = [o for o in occurrences if o.range.push_pop and o.range.thread == thread and o.range.open_at(start)]
        if inside:
            found.add(max(inside, key=lambda o: o.range.depth_order))
    return found


def _busy(work: Sequence[tuple[int, int, int]]) -> int:
    return sum(busy_ns(span[1:] for span in work if span[0] == device) for device in {span[0] for span in work})
