"""What a window of a trace leaves, by its written definition (docs/attribution.md, "Windows").

Everything is attributed in the whole trace; a window only chooses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from nsys_pipeline.trace.window import Window
from tests.support.reference import LIBRARY_DOMAINS, Attributed, Attribution, Occurrence, Range

_EVER = 2**62


def is_request(each: Range) -> bool:
    return each.push_pop and each.domain not in LIBRARY_DOMAINS and each.text in ("request", "generate")


def request_of(one: Occurrence, ranges: Sequence[Range]) -> Range | None:
    """The innermost request of its thread that it starts in."""
    around = [r for r in ranges if is_request(r) and r.thread == one.range.thread and r.holds_start_of(one.range)]
    return max(around, key=lambda r: r.depth_order, default=None)


@dataclass(frozen=True)
class Kept:
    """What is left: occurrences, work, and of requests and calls those of which a function says so.

    A call that launched something that is left is left, whatever `has_call` says of it.
    """

    occurrences: frozenset[Occurrence]
    work: Sequence[Attributed]
    has_range: Callable[[Range], bool] = lambda _: True
    has_call: Callable[[int, int, int | None], bool] = lambda *_: True
    numbers: dict[Occurrence, int] = field(default_factory=dict)

    @classmethod
    def all_of(cls, attribution: Attribution) -> Kept:
        return cls(frozenset(attribution.occurrences), attribution.work)

    @classmethod
    def of(cls, window: Window, attribution: Attribution, ranges: Sequence[Range]) -> Kept:
        """What `window` leaves of a trace with these `ranges`."""
        low = -_EVER if window.from_ns is None else window.from_ns
        high = _EVER if window.to_ns is None else window.to_ns
        requests = {one: request_of(one, ranges) for one in attribution.occurrences}
        left = _chosen(window, [one for one in attribution.occurrences if low <= one.range.start < high], requests)

        def span(process: int | None) -> tuple[int, int]:
            """When a call in no phase counts."""
            own = [one.range for one in left if one.range.process == process] or [one.range for one in left]
            first, last = low, high
            if window.counts_steps and own:
                first = max(low, min(each.start for each in own))
            if window.end_step is not None and own:
                last = min(high, max(each.end for each in own))
            return first, last

        def is_in_span(process: int | None, at: int) -> bool:
            first, last = span(process)
            return first <= at < last

        def has_work(item: Attributed) -> bool:
            if item.occurrence:
                return item.occurrence in left
            called = item.call.start if item.call and item.call.start is not None else item.work.start
            return is_in_span(item.work.process, called)

        def has_range(each: Range) -> bool:
            inside = [one for one in attribution.occurrences if requests[one] == each]
            is_left = all(one in left for one in inside) if inside else is_in_span(each.process, each.start)
            return low <= each.start < high and is_left

        launching = {(item.work.process, item.work.correlation) for item in attribution.work if item.call}

        def has_call(thread: int, start: int, correlation: int | None) -> bool:
            if (thread >> 24, correlation) in launching:
                return False  # all that it launched is cut away
            open_ones = [
                one
                for one in attribution.occurrences
                if one.range.push_pop and one.range.thread == thread and one.range.open_at(start)
            ]
            if open_ones:
                return max(open_ones, key=lambda one: one.range.depth_order) in left
            return is_in_span(thread >> 24, start)

        counts: Counter[str] = Counter()
        numbers = {}
        for one in sorted(left, key=lambda one: (one.phase, one.index)):
            numbers[one] = counts[one.phase]
            counts[one.phase] += 1
        work = [item for item in attribution.work if has_work(item)]
        return cls(frozenset(left), work, has_range, has_call, numbers)


def _chosen(
    window: Window, candidates: Sequence[Occurrence], requests: dict[Occurrence, Range | None]
) -> set[Occurrence]:
    """Those of `candidates`, which lie in the seconds, that lie in the steps as well."""
    if not window.counts_steps:
        return set(candidates)
    steps = sorted((one for one in candidates if not one.warmup), key=lambda one: (one.range.start, one.index))
    last = _EVER if window.end_step is None else window.end_step
    seen: dict[int, list[Range]] = {}
    left, places, lone = set(), Counter[tuple[int, str]](), Counter[tuple[int, str]]()
    for one in steps:
        kind, request = (one.range.process, one.phase), requests[one]
        place = places[kind]
        places[kind] += 1
        if request is None:
            skipped = lone[kind]
            lone[kind] += 1
        else:
            known = seen.setdefault(one.range.process, [])
            if request not in known:
                known.append(request)
            skipped = known.index(request)
        if skipped >= window.skip and window.first_step <= place < last:
            left.add(one)
    return left
