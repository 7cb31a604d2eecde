"""Where a series changes its level: found where it was planted, and in equal runs as rarely as promised."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from statistics import fmean

import pytest

from nsys_pipeline.fleet import changes
from nsys_pipeline.fleet.changes import change_points

DISTRIBUTIONS: dict[str, Callable[[random.Random], float]] = {
    "normal": lambda chance: chance.gauss(100, 1),
    "skewed": lambda chance: 100 + chance.lognormvariate(0, 1),
    "with outliers": lambda chance: chance.gauss(100, 1) + (50 if chance.random() < 0.05 else 0),
}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_equal_runs_raise_no_more_false_alarms_than_promised(distribution: Callable[[random.Random], float]) -> None:
    series = 300
    alarms = 0
    for seed in range(series):
        chance = random.Random(seed)
        alarms += bool(change_points([distribution(chance) for _ in range(30)]))

    # One in a hundred, and three standard deviations of the count.
    assert alarms <= 0.01 * series + 3 * math.sqrt(0.01 * 0.99 * series)


@pytest.mark.parametrize("runs_after", [3, 10, 27])
def test_a_planted_change_is_found_where_it_is(runs_after: int) -> None:
    for seed in range(6):
        chance = random.Random(seed)
        before = [chance.gauss(100, 0.5) for _ in range(30 - runs_after)]
        after = [chance.gauss(105, 0.5) for _ in range(runs_after)]

        (change,) = change_points(before + after, tests=10)

        assert change.index == len(before)
        assert change.before == pytest.approx(fmean(before))
        assert change.after == pytest.approx(fmean(after))
        assert change.p_value < 0.001


def test_two_changes_are_two() -> None:
    chance = random.Random(1)
    values = [chance.gauss(level, 0.3) for level in [100] * 12 + [110] * 12 + [104] * 12]

    assert [change.index for change in change_points(values)] == [12, 24]


def test_the_place_is_that_of_the_largest_t_statistic() -> None:
    for seed in range(30):
        chance = random.Random(seed)
        values = [chance.gauss(100, 3) for _ in range(chance.randint(8, 40))]

        def t(k: int, values: list[float] = values) -> float:
            left, right = values[:k], values[k:]
            within = sum((x - fmean(left)) ** 2 for x in left) + sum((x - fmean(right)) ** 2 for x in right)
            return abs(fmean(left) - fmean(right)) / math.sqrt(within * (1 / len(left) + 1 / len(right)))

        assert changes._largest(values)[1] == max(range(2, len(values) - 1), key=t)


def test_the_p_value_is_the_share_of_all_orders() -> None:
    values = [1.0, 2.0, 1.5, 4.0, 3.0, 5.5, 4.5]
    statistic = changes._largest(values)[0]
    orders = list(itertools.permutations(values))
    exact = sum(changes._largest(order)[0] >= statistic - 1e-9 for order in orders) / len(orders)

    # To the end, as without the ten that are enough.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(changes, "_ENOUGH", 10**9)
        estimated = changes._p_value(values, statistic, 20_000, random.Random(0))

    assert estimated == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 20_000))


@pytest.mark.parametrize(
    "values",
    [
        [],
        [1.0],
        [100.0] * 30,
        [0.0] * 30,
        [100.0] * 3 + [200.0] * 4,
        [100.0] * 29 + [1000.0],
        [100.0 + 1e-9] + [100.0] * 29,
    ],
    ids=["nothing", "one", "equal", "zero", "too few", "one outlier", "rounding"],
)
def test_what_is_no_change(values: list[float]) -> None:
    assert change_points(values) == []
