"""Units of work that repeat on a thread, whatever they compute.

Algorithm: a kernel that comes again at even distances (counted in launches) may mark the period. The units between its
launches are compared as multisets with the typical unit. Of the periods in which most units agree, the shortest one
whose units talk to the host (a copy, a wait) is the step; what repeats inside, and what steps make up, is told, too.
The step begins after the longest pause of the process's launches. Linear in the launches for each period that is tried.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import pi, sqrt
from operator import attrgetter
from statistics import median, median_low
from typing import NamedTuple

import attrs

from nsys_pipeline.infer.launches import main_reason

#: Units that must be alike.
MIN_UNITS = 4
#: Share of the distances between launches of a kernel that are near their median.
MIN_EVEN_RATIO = 0.8
NEAR = 0.25
#: A unit is alike if so many of its launches, and of the typical unit's, have their counterpart in the other.
MIN_LIKENESS = 0.75
#: Of the units from the first to the last one, how many must be alike; and of the launches there, how many are in them.
MIN_ALIKE_RATIO, MIN_COVERED_RATIO = 0.8, 0.6
#: How much units may differ, of what they would at random.
MAX_UNEVENNESS = 0.5
#: Of a thread's launches, how many must be in units that repeat.
MIN_EXPLAINED_RATIO = 0.5
#: Without copies and waits, layers of one step repeat, too: so many units, or such large ones, are steps; or units of
#: shorter ones with a long pause.
MIN_LONE_UNITS, MIN_LONE_LAUNCHES = 100, 150
#: Of the launches of the units that hold most of them: so many are as good as all.
MOST = 0.9
#: How often a kernel may come in each unit to mark it.
MAX_TURNS = 4
#: A pause of a thread is long if it is so many times the median.
LONG_PAUSE = 4
#: Kernels that are looked for in each unit of the whole trace; periods and loops that are tried, and periods of kernels
#: that come several times in each.
MAX_KINDS, MAX_PERIODS, MAX_LOOPS, MAX_OFTEN = 4, 5, 3, 2
#: Of the launches of a unit that other work interrupts, how many may be of neither part of it, or of both.
MAX_UNLIKE_RATIO = 0.1
#: Share of the units that begin behind the same pair of launches.
MIN_BOUNDARY_RATIO = 0.6
_WORK = ("kernel", "attention", "graph")
_HOST = ("to_host", "to_device", "sync")


class Work(NamedTuple):
    """A row of attribute._sampled_launches: see there. Times in ns on the launching thread."""

    process_key: int
    global_tid: int
    start_ns: int
    end_ns: int
    role: str
    kind_id: int
    name_id: int


#: Columns of attribute._sampled_launches that the fields of Work are, in order.
WORK_COLUMNS = ("process_key", "global_tid", "launch_start_ns", "launch_end_ns", "role", "kind_id", "name_id")


@attrs.frozen
class Period:
    """A unit of work that repeats on one thread, as its launches tell it in the whole trace.

    `kinds`: kernels or graphs that come once in each unit, in order: the first begins it, the last ends it. `lead_ns`:
    how long before the launch of the first one the unit begins; `tail_ns`: how long after the last one it ends.
    `takes_gap`: whether the last one is the last launch of a unit, so that what comes then is of the next one.
    """

    process_key: int
    global_tid: int
    kinds: tuple[int, ...]
    lead_ns: int
    tail_ns: int
    takes_gap: bool
    #: Same for the same unit on other threads and GPUs.
    identity: tuple[int, ...]
    #: Kernels, whole graphs and copies of a typical unit.
    kernels: int
    graphs: int
    copies: int
    #: Share of the units that are alike.
    score: float
    #: Whether these numbers differ between units, and whether no other thread of the process launches anything.
    varies: bool = False
    is_alone: bool = True
    #: Times that a shorter unit repeats inside, and units that make up a longer one; 0 if there is none.
    inside: int = 0
    around: int = 0


@attrs.frozen
class Found:
    """Periods of a trace; where there is none, `reason` says why."""

    periods: tuple[Period, ...]
    reason: str | None = None


class _Launch(NamedTuple):
    """A launch of a thread. `pause_ns`: since the launch before it of any thread of the process."""

    work: Work
    pause_ns: int
    #: Calls that wait for the GPU, from the launch before it to this one.
    waits: int
    #: Kernels and graphs that other threads of the process launched meanwhile.
    others: int


@attrs.frozen
class _Units:
    """Units of a period: `bounds` are the places of their first launches, and of the end of the last one."""

    bounds: tuple[int, ...]
    is_alike: tuple[bool, ...]
    #: Launches of a typical unit.
    size: int
    #: Launches in units that are alike.
    covered: int
    #: Whether most units hold a copy from or to the host, or a wait; and whether they hold a long pause.
    talks_to_host: bool
    rests: bool
    #: How often another thread of the process launches as much as a unit between two launches of this one.
    handovers: int
    #: How much the counts of kernels differ between units, of what they would differ at random.
    unevenness: float
    has_graph: bool
    #: Launches of attention kernels in a typical unit.
    attention: int
    #: How often the kernel that marks the units comes in each.
    turns: int

    @property
    def count(self) -> int:
        return sum(self.is_alike)

    @property
    def alike_ratio(self) -> float:
        return self.count / len(self.is_alike)

    @property
    def covered_ratio(self) -> float:
        return self.covered / (self.bounds[-1] - self.bounds[0])

    def held(self, inner: _Units) -> int:
        """How many of the units of `inner` begin in one of these, on average."""
        first, last = self.bounds[0], self.bounds[-1]
        return round(sum(first <= place < last for place in inner.bounds[:-1]) / len(self.is_alike))

    def spans(self) -> Iterator[tuple[int, int]]:
        """Places of the first launch, and after the last one, of each unit that is alike."""
        for (low, high), is_alike in zip(pairwise(self.bounds), self.is_alike, strict=True):
            if is_alike:
                yield low, high


def find_periods(launches: Sequence[Work]) -> Found:
    """Periods of `launches`, which are ordered by process and time. Abstains where repetitions do not agree."""
    periods: list[tuple[Period, list[int]]] = []
    reasons: list[tuple[int, str]] = []
    for thread in _threads(launches):
        if not any(one.work.role in _WORK for one in thread):
            continue
        found, reason = _of_thread(thread)
        periods += found
        if reason:
            reasons.append((len(thread), reason))
    threads = {(one.process_key, one.global_tid) for one in launches if one.role in _WORK}
    count = Counter(process for process, _ in threads)
    kept = tuple(attrs.evolve(one, is_alone=count[one.process_key] == 1) for one in _without_helpers(periods, launches))
    return Found(kept, None if kept else main_reason(reasons) or "no kernels and no whole CUDA graphs")


def _threads(launches: Sequence[Work]) -> list[list[_Launch]]:
    """Launches of each thread, with the pauses of their process; waits are counted and left out."""
    threads: dict[int, list[_Launch]] = {}
    waits: Counter[int] = Counter()
    count = 0
    counts: dict[int, int] = {}
    before: Work | None = None
    for one in launches:
        if one.role == "sync":
            waits[one.global_tid] += 1
            continue
        is_first = before is None or before.process_key != one.process_key
        pause_ns = 0 if is_first or before is None else one.start_ns - before.start_ns
        others = count - counts.get(one.global_tid, count)
        threads.setdefault(one.global_tid, []).append(_Launch(one, pause_ns, waits.pop(one.global_tid, 0), others))
        count += one.role in _WORK
        counts[one.global_tid] = count
        before = one
    return list(threads.values())


def _of_thread(thread: Sequence[_Launch]) -> tuple[list[tuple[Period, list[int]]], str | None]:
    """Periods of a thread with the times at which their units start: one loop, or several one after the other."""
    found: list[tuple[Period, list[int]]] = []
    reason: str | None = None
    explained, rest = 0, list(thread)
    for _ in range(MAX_LOOPS):
        units, others, why = _choose(rest)
        reason = reason or why
        if units is None:
            break
        found.append(_period(rest, units, others))
        explained += units.covered
        rest = _largest_rest(rest, units)
        if len(rest) < max(2 * MIN_UNITS, 0.1 * len(thread)):
            break
    # A graph is one launch of much work.
    if explained < MIN_EXPLAINED_RATIO * len(thread) and not any(period.graphs for period, _ in found):
        return [], reason or f"only {100 * explained / len(thread):.0f} % of the launches are in units that repeat"
    return found, None


def _largest_rest(thread: Sequence[_Launch], units: _Units) -> list[_Launch]:
    """The longest stretch without a unit that is alike."""
    edges = [0, *(place for span in units.spans() for place in span), len(thread)]
    stretches = [(edges[i + 1] - edges[i], -i) for i in range(0, len(edges), 2)]
    at = -max(stretches)[1]
    return list(thread[edges[at] : edges[at + 1]])


def _choose(thread: Sequence[_Launch]) -> tuple[_Units | None, list[_Units], str | None]:
    """The units that are steps, and all that repeat; or none, and why."""
    tried = [_compare(thread, places, turns) for places, turns in _even_places(thread)]
    if not tried:
        return None, [], _why_uneven(thread)
    alike = [one for one in tried if one.count >= MIN_UNITS and one.alike_ratio >= MIN_ALIKE_RATIO]
    alike = [one for one in alike if one.covered_ratio >= MIN_COVERED_RATIO and one.unevenness <= MAX_UNEVENNESS]
    if alike:
        step, reason = _step_of(alike)
        if step is not None and not _once(thread, list(step.spans())):
            what = f"{step.count:,} repetitions of {step.size:,} launches"
            return None, alike, f"no kernel comes once in each of {what}: none marks where one begins"
        return step, alike, reason
    best = max(tried, key=attrgetter("covered_ratio"))
    if best.count < MIN_UNITS:
        return None, [], f"{best.count:,} units of work that are alike, fewer than {MIN_UNITS}"
    if best.unevenness > MAX_UNEVENNESS:
        return None, [], "what is launched between two launches of a kernel differs as if by chance"
    return None, [], f"only {100 * best.covered_ratio:.0f} % of the launches are in units of work that are alike"


def _why_uneven(thread: Sequence[_Launch]) -> str:
    times = Counter(one.work.kind_id for one in thread if one.work.role in _WORK)
    if max(times.values(), default=0) < MIN_UNITS:
        return f"no kernel is launched {MIN_UNITS} times with grids of like size, so none marks the turns of a loop"
    return "no kernel comes back after about the same number of launches each time, as those of a loop do"


def _step_of(alike: Sequence[_Units]) -> tuple[_Units | None, str | None]:
    """Which of units inside each other are steps; or none, and why: kernels and layers repeat in one step, too."""
    larger = [one for one in alike if one.size > 1 or one.has_graph]
    shortest = min((one.size for one in larger), default=0)
    # Few launches that come again inside a larger unit, which has others, too, are parts of that one.
    larger = [
        one
        for one in larger
        if one.talks_to_host
        or one.has_graph
        or one.size >= MIN_LONE_LAUNCHES
        or not any(_is_part(one, other) for other in larger)
    ]
    if not larger:
        return None, "what comes again is a single kernel, which may be part of anything"
    steps = [one for one in larger if one.attention != 1]
    if not steps:
        # Of units that one kernel marks, rather than every second or third launch of one, if there are such.
        count = max(larger, key=lambda one: (-one.turns, one.count)).count
        return None, f"each of {count:,} repetitions has one attention kernel: they may be layers of a step"
    most = max(one.covered for one in steps)
    told = [
        one
        for one in steps
        if one.talks_to_host or one.has_graph or (one.size >= MIN_LONE_LAUNCHES and one.covered >= MOST * most)
    ]
    if told:
        return min(told, key=attrgetter("size")), None
    # Several units each time that the thread has its turn are parts of what both threads do, as autograd's are.
    burst = next((one for one in steps if MIN_UNITS <= one.handovers <= one.count / 2), None)
    if burst is not None:
        return None, (
            f"{burst.count:,} repetitions of {burst.size:,} launches in {burst.handovers + 1:,} turns with another "
            "thread: they may be parts of a step"
        )
    lone = [one for one in steps if one.count >= MIN_LONE_UNITS or (one.rests and one.size > shortest)]
    lone = [one for one in lone if one.rests] or [one for one in lone if one.covered >= MOST * most]
    if lone:
        return min(lone, key=attrgetter("size")), None
    best = max(steps, key=attrgetter("covered"))
    return None, (
        f"{best.count:,} repetitions of {best.size:,} launches without a copy or a wait in between: they may be parts "
        "of a step"
    )


def _is_part(one: _Units, other: _Units) -> bool:
    return other.size > 2 * one.size and other.size % one.size > 0 and other.covered >= MOST * one.covered


class _Marks(NamedTuple):
    """Launches of a kernel that come at even distances: the typical one, and the share of those near it.

    `turns`: how many of its launches there are from one of `places` to the next.
    """

    distance: float
    near: float
    places: list[int]
    turns: int


def _even_places(thread: Sequence[_Launch]) -> list[tuple[list[int], int]]:
    """Places of kernels that come again at even distances, and turns: one for each distance, the most even one."""
    places: dict[int, list[int]] = {}
    for place, one in enumerate(thread):
        if one.work.role in _WORK:
            places.setdefault(one.work.kind_id, []).append(place)
    even = [marks for mine in places.values() if (marks := _marks(mine))]
    # Distances that differ by a tenth are of one period.
    levels: list[list[_Marks]] = []
    for marks in sorted(even, key=attrgetter("distance")):
        if levels and marks.distance <= 1.1 * levels[-1][0].distance:
            levels[-1].append(marks)
        else:
            levels.append([marks])
    levels.sort(key=lambda level: max(marks.distance * len(marks.places) for marks in level), reverse=True)
    best = [max(level, key=lambda marks: (-marks.turns, marks.near, -marks.places[0])) for level in levels]
    once, often = ([marks for marks in best if (marks.turns > 1) == is_often] for is_often in (False, True))
    return [(marks.places, marks.turns) for marks in (*once[:MAX_PERIODS], *often[:MAX_OFTEN])]


def _marks(places: Sequence[int]) -> _Marks | None:
    """A kernel that comes once in each unit, or a few times; None if it does not come at even distances."""
    for turns in range(1, MAX_TURNS + 1):
        if len(places) < MIN_UNITS * turns:
            break
        distances = [after - before for before, after in zip(places, places[turns:], strict=False)]
        typical = median(distances)
        near = sum(abs(one - typical) <= NEAR * typical for one in distances) / len(distances)
        if near >= MIN_EVEN_RATIO:
            return _Marks(typical, near, list(places[::turns]), turns)
    return None


def _compare(thread: Sequence[_Launch], places: Sequence[int], turns: int) -> _Units:
    """Units that begin at `places`, held against the typical one."""
    size = round(median(after - before for before, after in pairwise(places)))
    # The last unit may be cut off: half of one is none.
    end = min(places[-1] + size, len(thread))
    bounds = (*places, end) if 2 * (end - places[-1]) > size else tuple(places)
    contents = [Counter(one.work.kind_id for one in thread[low:high]) for low, high in pairwise(bounds)]
    typical = _typical(contents)
    total = sum(typical.values())
    is_alike = tuple(2 * (one & typical).total() >= MIN_LIKENESS * (one.total() + total) for one in contents)
    roles = {one.work.kind_id: one.work.role for one in thread}
    pause_ns = LONG_PAUSE * median(one.pause_ns for one in thread)
    mine = [thread[low:high] for (low, high), like in zip(pairwise(bounds), is_alike, strict=True) if like]
    talking = sum(any(one.work.role in _HOST or one.waits for one in unit) for unit in mine)
    resting = sum(any(one.pause_ns > pause_ns for one in unit) for unit in mine)
    return _Units(
        bounds=bounds,
        is_alike=is_alike,
        size=total,
        covered=sum(map(len, mine)),
        talks_to_host=talking >= MIN_EVEN_RATIO * max(len(mine), 1),
        rests=resting >= MIN_EVEN_RATIO * max(len(mine), 1),
        handovers=sum(one.others >= total for one in thread[bounds[0] + 1 : bounds[-1]]),
        unevenness=_unevenness([one for one, like in zip(contents, is_alike, strict=True) if like], thread[places[0]]),
        has_graph=any(roles[kind] == "graph" for kind in typical),
        attention=sum(count for kind, count in typical.items() if roles[kind] == "attention"),
        turns=turns,
    )


def _unevenness(contents: Sequence[Counter[int]], mark: _Launch) -> float:
    """Mean deviations of the counts of each kind, over those of counts that chance makes (Poisson): about 1 at random.

    Large units of random launches are alike as multisets, but how often a kind comes in each is not even. The mean
    absolute deviation of a Poisson count of mean m is about sqrt(2 m / pi).
    """
    sums: Counter[int] = Counter()
    for one in contents:
        sums.update(one)
    deviations = expected = 0.0
    for kind, total in sums.items():
        if kind != mark.work.kind_id:
            middle = median(one[kind] for one in contents)
            deviations += sum(abs(one[kind] - middle) for one in contents) / len(contents)
            expected += sqrt(2 * total / len(contents) / pi)
    return deviations / expected if expected else 0.0


def _typical(contents: Sequence[Counter[int]]) -> Counter[int]:
    """How often each kind comes in a unit: the median over all units."""
    counts: dict[int, list[int]] = {}
    for mine in contents:
        for kind, count in mine.items():
            counts.setdefault(kind, []).append(count)
    absent = len(contents)
    return Counter(
        {
            kind: middle
            for kind, known in counts.items()
            if 2 * len(known) > absent and (middle := round(median([*known, *[0] * (absent - len(known))])))
        }
    )


def _period(thread: Sequence[_Launch], units: _Units, others: Sequence[_Units]) -> tuple[Period, list[int]]:
    """What tells the units in the whole trace, and the times at which those of `thread` start."""
    starts = _starts(thread, units)
    spans = [(low, high) for low, high in pairwise(starts) if abs(high - low - units.size) <= 0.5 * units.size]
    kinds, whole = _ends(thread, spans)
    if len(whole) < MIN_UNITS - 1:
        spans = list(units.spans())
        kinds, whole = _ends(thread, spans)
    # A unit begins in the middle of the pause before its first launch, however short that may be.
    pause_ns = min(begin.pause_ns for begin, _, _, _ in whole) / 2
    lead_ns = median(first.start_ns - begin.work.start_ns for begin, first, _, _ in whole)
    tail_ns = median(end.end_ns - last.end_ns for _, _, last, end in whole)
    # Behind the return of the last call, less of that pause is left.
    slack_ns = max(pause_ns - median(end.end_ns - end.start_ns for _, _, _, end in whole) / 2, 0)
    # What lies inside has most of the launches of what is around it.
    levels = [one for one in others if one.turns == 1]
    inner = [one for one in levels if 2 * one.size <= units.size and 2 * one.covered >= units.covered]
    outer = [one for one in levels if one.size >= 1.8 * units.size and 2 * units.covered >= one.covered]
    roles = [Counter(one.work.role for one in thread[low:high]) for low, high in spans]
    counts = [
        (unit["kernel"] + unit["attention"], unit["graph"], unit["to_host"] + unit["to_device"]) for unit in roles
    ]
    kernels, graphs, copies = map(median_low, zip(*counts, strict=True))
    period = Period(
        process_key=thread[0].work.process_key,
        global_tid=thread[0].work.global_tid,
        kinds=kinds,
        lead_ns=round(lead_ns + pause_ns),
        tail_ns=round(max(tail_ns, 0) + slack_ns),
        takes_gap=tail_ns <= 0 < lead_ns,
        identity=tuple(sorted({one.work.name_id for one in thread[slice(*spans[0])] if one.work.kind_id in kinds})),
        kernels=kernels,
        graphs=graphs,
        copies=copies,
        varies=len(set(counts)) > 1,
        score=round(units.alike_ratio, 2),
        inside=units.held(max(inner, key=attrgetter("size"))) if inner else 0,
        around=min(outer, key=attrgetter("size")).held(units) if outer else 0,
    )
    return period, [thread[low].work.start_ns for low, _ in spans]


def _ends(
    thread: Sequence[_Launch], spans: Sequence[tuple[int, int]]
) -> tuple[tuple[int, ...], list[tuple[_Launch, Work, Work, Work]]]:
    """Kinds that come once in each span; of each span its first launch, the first and last of such, and its last."""
    kinds = _once(thread, spans)
    whole = [
        (thread[low], thread[first].work, thread[last].work, thread[high - 1].work)
        for low, high in spans
        if kinds
        and (first := _place_of(thread, low, high, kinds[0])) is not None
        and (last := _place_of(thread, low, high, kinds[-1])) is not None
    ]
    return kinds, whole


def _starts(thread: Sequence[_Launch], units: _Units) -> list[int]:
    """Places at which units begin: behind the longest pause, or behind a copy to the host or a wait.

    Most of them must have it at the same pair of launches, which comes once in each.
    """
    pairs = Counter((_name_of(before.work), _name_of(after.work)) for before, after in pairwise(thread))
    usual_ns = median(one.pause_ns for one in thread)

    def longest_pause(launches: Sequence[_Launch], low: int, high: int) -> int | None:
        return _longest_pause(launches, low, high, 2 * usual_ns)

    for edge_of in (longest_pause, _host_edge):
        places: dict[tuple[int | str, int | str], list[int]] = {}
        for low, high in units.spans():
            place = edge_of(thread, low + 1, min(high + 1, len(thread)))
            if place is not None:
                pair = (_name_of(thread[place - 1].work), _name_of(thread[place].work))
                places.setdefault(pair, []).append(place)
        most = max(places, key=lambda one: len(places[one]), default=None)
        if most is None or units.size == 1:
            continue
        if len(places[most]) >= MIN_BOUNDARY_RATIO * units.count and pairs[most] <= 1.5 * len(units.is_alike):
            return places[most]
    spans = list(units.spans())
    # Else where other work comes between two units.
    split = _interrupted_at(thread, units)
    if split is not None:
        return [low + split for low, _ in spans if low + split < len(thread)]
    # Else a loop begins with what it launches first.
    kinds = _once(thread, spans)
    firsts: dict[int, int] = {}
    for place, one in enumerate(thread):
        firsts.setdefault(one.work.kind_id, place)
    earliest = min(kinds, key=lambda kind: firsts[kind])
    found = (_place_of(thread, low, high, earliest) for low, high in spans)
    return [place for place in found if place is not None]


def _interrupted_at(thread: Sequence[_Launch], units: _Units) -> int | None:
    """How many launches after the bound of a unit the next one begins, as stretches tell that hold other work, too.

    Such a stretch goes on like the unit before it, until the end of that one, and ends like it, from the next beginning
    on. What comes before the first unit and after the last one is such a stretch. Most of them must agree.
    """
    kinds = [one.work.kind_id for one in thread]
    spans = list(units.spans())
    stretches = [(before, kinds[before[1] : after[0]]) for before, after in pairwise(spans) if before[1] < after[0]]
    stretches += [
        (before, kinds[slice(*one)]) for before, one in pairwise(spans) if one[1] - one[0] > (1 + NEAR) * units.size
    ]
    stretches.append((spans[-1], kinds[spans[-1][1] :] + kinds[: spans[0][0]]))
    splits: Counter[int] = Counter()
    for (low, high), stretch in stretches:
        unit = kinds[low:high]
        ahead = _common(unit, stretch)
        behind = _common(unit[::-1], stretch[::-1])
        # The last unit may end in another way than the others, and the other work may begin or end like a unit.
        if abs(ahead + behind - len(unit)) <= MAX_UNLIKE_RATIO * len(unit):
            splits.update({ahead % len(unit), len(unit) - behind})
    split = max(splits, key=lambda one: (splits[one], one), default=None)
    return split if split is not None and 2 * splits[split] > len(stretches) else None


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many launches at their beginnings are the same."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _name_of(work: Work) -> int | str:
    """A kernel or graph by its kind, a copy by its direction: data of steps may have any size."""
    return work.kind_id if work.role in _WORK else work.role


def _longest_pause(thread: Sequence[_Launch], low: int, high: int, least_ns: float) -> int | None:
    """Place of the launch from `low` to before `high` with the longest pause, or of the copies right before it.

    None if no pause is longer than `least_ns`.
    """
    place = max(range(low, high), key=lambda place: thread[place].pause_ns, default=None)
    if place is not None and thread[place].pause_ns <= least_ns:
        return None
    while place is not None and place > low and thread[place - 1].work.role in ("to_device", "memory"):
        place -= 1
    return place


def _host_edge(thread: Sequence[_Launch], low: int, high: int) -> int | None:
    """Place of the last launch behind a copy to the host or a wait, else of the first copy from the host."""
    behind = [place for place in range(low, high) if thread[place].waits or thread[place - 1].work.role == "to_host"]
    before = [place for place in range(low, high) if thread[place].work.role == "to_device"]
    return behind[-1] if behind else before[0] if before else None


def _once(thread: Sequence[_Launch], spans: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Kernels and graphs that come once in each of `spans`, in order; some of them if they are many."""
    offsets: dict[int, list[int]] = {}
    for low, high in spans:
        counts = Counter(one.work.kind_id for one in thread[low:high])
        for place in range(low, high):
            one = thread[place].work
            if counts[one.kind_id] == 1 and one.role in _WORK:
                offsets.setdefault(one.kind_id, []).append(place - low)
    most = max(map(len, offsets.values()), default=0)
    ordered = sorted((median(mine), kind) for kind, mine in offsets.items() if len(mine) >= min(0.9 * len(spans), most))
    if len(ordered) > MAX_KINDS:
        ordered = [ordered[round(i * (len(ordered) - 1) / (MAX_KINDS - 1))] for i in range(MAX_KINDS)]
    return tuple(kind for _, kind in ordered)


def _place_of(thread: Sequence[_Launch], low: int, high: int, kind: int) -> int | None:
    return next((place for place in range(low, high) if thread[place].work.kind_id == kind), None)


def _without_helpers(periods: Sequence[tuple[Period, list[int]]], launches: Sequence[Work]) -> Iterator[Period]:
    """Periods but for those of threads that work while another thread of the process waits, as autograd's does.

    The thread with the longer units is the one that waits; of two with equal ones the one that copies from or to the
    host, else the one that starts first.
    """
    lengths = {period: median(after - before for before, after in pairwise(starts)) for period, starts in periods}

    def waits_for(other: Period, known: list[int], period: Period, starts: list[int]) -> bool:
        if other.process_key != period.process_key or other.global_tid == period.global_tid:
            return False
        length, others = lengths[period], lengths[other]
        is_first = (other.copies > 0, -known[0]) > (period.copies > 0, -starts[0])
        is_longer = others > 1.2 * length or (1.2 * others > length and is_first)
        return is_longer and _takes_turns(known, (other.global_tid, period.global_tid), launches)

    for period, starts in periods:
        if not any(waits_for(other, known, period, starts) for other, known in periods):
            yield period


def _takes_turns(starts: Sequence[int], threads: tuple[int, int], launches: Sequence[Work]) -> bool:
    """Whether two threads launch one after the other, not side by side. `starts`: of the units of the first one."""
    both = [one.global_tid for one in launches if one.global_tid in threads and starts[0] <= one.start_ns < starts[-1]]
    switches = sum(before != after for before, after in pairwise(both))
    return 0 < switches <= min(4 * (len(starts) - 1), 0.2 * len(both))
