"""Occurrences of units that repeat, in the whole trace, from the launches of the kernels that come once in each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

import attrs

from nsys_pipeline.infer.periods import Period

#: Share of the kernels that come once in a unit that one of its occurrences must hold once.
MIN_HELD_RATIO = 0.75
#: Share of the units of the whole trace that must agree.
MIN_SCORE = 0.5
#: More occurrences than a report is about.
MAX_UNITS = 50_000


class Mark(NamedTuple):
    """A row of attribute._unit_launches: see there."""

    process_key: int
    global_tid: int
    start_ns: int
    end_ns: int
    kind_id: int
    correlation_id: int


#: Columns of attribute._unit_launches that the fields of a Mark are, in order.
MARK_COLUMNS = ("process_key", "global_tid", "launch_start_ns", "launch_end_ns", "kind_id", "correlation_id")


@attrs.frozen
class Units:
    """Host times of the units of `period`, in ns. `score`: share of them that agree, 0 to 1."""

    period: Period
    spans: tuple[tuple[int, int], ...]
    score: float


class _Unit(NamedTuple):
    first: Mark
    last: Mark
    is_whole: bool


def cut_units(period: Period, marks: Sequence[Mark]) -> Units:
    """Units of `period` among `marks`, which are those of its thread in order of time."""
    units = list(_units(period, [one for one in marks if one.kind_id in period.kinds]))
    gaps = [after.first.correlation_id - before.last.correlation_id for before, after in pairwise(units)]
    # More calls than usual between two units: something else happens there.
    usual = 2 * median(gaps) + 4 if gaps else 0
    follows = [
        False,
        *(before.is_whole and gap <= usual for (before, _), gap in zip(pairwise(units), gaps, strict=True)),
    ]
    spans: list[tuple[int, int]] = []
    last_ns = -1
    for index, unit in enumerate(units):
        if not unit.is_whole:
            continue
        start_ns = last_ns + 1
        if not follows[index]:
            start_ns = max(start_ns, unit.first.start_ns - period.lead_ns)
        end_ns = unit.last.end_ns + period.tail_ns
        if index + 1 < len(units):
            following = units[index + 1].first.start_ns - 1
            if follows[index + 1]:
                end_ns = unit.last.end_ns if period.takes_gap else following - period.lead_ns
            end_ns = min(max(end_ns, unit.last.end_ns), following)
        if end_ns > start_ns:
            spans.append((start_ns, end_ns))
        last_ns = end_ns
    whole = sum(unit.is_whole for unit in units)
    return Units(period, tuple(spans), round(min(period.score, whole / max(len(units), 1)), 2))


def _units(period: Period, marks: Sequence[Mark]) -> Iterator[_Unit]:
    begin, end = period.kinds[0], period.kinds[-1]
    places = [place for place, one in enumerate(marks) if one.kind_id == begin]
    for low, high in pairwise([*places, len(marks)]):
        counts = Counter(one.kind_id for one in marks[low:high])
        held = sum(counts[kind] == 1 for kind in period.kinds)
        last = next((one for one in marks[low:high] if one.kind_id == end), None)
        is_whole = last is not None and held >= MIN_HELD_RATIO * len(period.kinds)
        yield _Unit(marks[low], last or marks[low], is_whole)
