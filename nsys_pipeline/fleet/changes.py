"""Where a series of measurements changes its level, and how sure that is.

Algorithm: of all places that split the series in two, take the one with the largest weighted CUSUM statistic
|S_k - k·mean| / sqrt(k (n - k)), S_k the sum of the first k values; it is the place of the largest t statistic. Its
significance is the share of random orders of the same values that have one as large (a permutation test), so nothing
is assumed about how values scatter, only that without a change every order of them is as likely. Both sides of a
change are searched again in the same way (binary segmentation).

Sources: Csörgő and Horváth, Limit Theorems in Change-Point Analysis (Wiley 1997), 2.1; Antoch and Hušková, Permutation
tests in change point analysis, Statistics & Probability Letters 53 (2001), 37–46; Besag and Clifford, Sequential Monte
Carlo p-values, Biometrika 78 (1991), 301–304.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from statistics import fmean

import attrs

from nsys_pipeline.compare.significance import ALPHA

LEAST_VALUES = 8
"""Of fewer values no order is rare enough to tell anything."""

_LEAST_SIDE = 2
_ENOUGH = 10
#: Random orders for each one that a change must at least be rarer than.
_ORDERS = 5


@attrs.frozen
class Change:
    """The level changes before value `index`. `p_value` is that of this series alone."""

    index: int
    before: float
    after: float
    p_value: float

    @property
    def ratio(self) -> float | None:
        """Relative change; None from zero."""
        return (self.after - self.before) / self.before if self.before else None


def change_points(values: Sequence[float], tests: int = 1) -> list[Change]:
    """Changes of level of `values`, in order.

    Of `tests` such series in which nothing changes, one of a hundred times any shows a change (Bonferroni).
    """
    level = ALPHA / tests
    chance = random.Random(0)  # noqa: S311 - the same answer each time
    return sorted(_search(values, 0, level, chance), key=lambda change: change.index)


def _search(values: Sequence[float], start: int, level: float, chance: random.Random) -> Iterator[Change]:
    if len(values) < LEAST_VALUES:
        return
    statistic, place = _largest(values)
    if statistic <= 0:
        return
    p_value = _p_value(values, statistic, math.ceil(_ORDERS / level), chance)
    if p_value >= level:
        return
    before, after = values[:place], values[place:]
    yield Change(start + place, fmean(before), fmean(after), p_value)
    yield from _search(before, start, level, chance)
    yield from _search(after, start + place, level, chance)


def _largest(values: Sequence[float]) -> tuple[float, int]:
    """The square of the largest statistic, and its place; 0 if no value differs."""
    count, mean = len(values), fmean(values)
    total, largest, place = 0.0, 0.0, 0
    for k in range(1, count - _LEAST_SIDE + 1):
        total += values[k - 1] - mean
        if k >= _LEAST_SIDE and (statistic := total * total / (k * (count - k))) > largest:
            largest, place = statistic, k
    # Rounding alone is no change.
    spread = max(values) - min(values)
    return (largest, place) if spread > 1e-9 * max(map(abs, values)) else (0.0, 0)


def _p_value(values: Sequence[float], statistic: float, orders: int, chance: random.Random) -> float:
    """Share of random orders of `values` with a statistic as large; of fewer orders if many have."""
    shuffled, as_large = list(values), 0
    for number in range(1, orders + 1):
        chance.shuffle(shuffled)
        if _largest(shuffled)[0] >= statistic * (1 - 1e-9):
            as_large += 1
            if as_large == _ENOUGH:
                return as_large / number
    return (as_large + 1) / (orders + 1)
