"""The t-test against tabulated values, and its power and false alarms at the noise of real decode steps."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random
from statistics import fmean

import attrs
import pytest

from nsys_pipeline.compare import significance
from nsys_pipeline.compare.difference import Occurrence, Run, difference
from nsys_pipeline.compare.significance import Comparison, compare, judged, two_sided
from nsys_pipeline.compare.subject import Subject
from scripts.diff_power import RUNS, outcomes, real_steps

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("t", "degrees", "p"),
    # Critical values of Student's t, two-sided: any statistics textbook's table.
    [
        (12.706, 1, 0.05),
        (63.657, 1, 0.01),
        (2.776, 4, 0.05),
        (4.604, 4, 0.01),
        (2.228, 10, 0.05),
        (2.576, 1e6, 0.01),
        (0, 7, 1),
    ],
)
def test_probabilities_are_those_of_the_tables(t: float, degrees: float, p: float) -> None:
    assert two_sided(t, degrees) == pytest.approx(p, rel=2e-3)


def test_equal_samples_do_not_differ() -> None:
    same = compare([5.0, 6.0, 7.0], [5.0, 6.0, 7.0])

    assert (same.change, same.is_significant) == (0, False)
    assert compare([5.0, 5.0], [5.0, 5.0]).is_significant is False
    assert compare([5.0, 5.0], [6.0, 6.0]).is_significant is True
    assert compare([5.0], [6.0]).is_significant is None
    assert compare([0.0, 0.0], [1.0, 1.0]).change is None


def autoregressive(count: int, correlation: float, random: Random) -> list[float]:
    """Values of mean 100 and standard deviation 5, each correlated with the one before."""
    value = random.gauss(0, 1)
    values = []
    for _ in range(count):
        value = correlation * value + math.sqrt(1 - correlation**2) * random.gauss(0, 1)
        values.append(100 + 5 * value)
    return values


@pytest.mark.parametrize(("count", "correlation"), [(16, 0.0), (16, 0.6), (32, 0.8), (96, 0.9)])
def test_steps_that_resemble_their_neighbours_raise_no_more_false_alarms(count: int, correlation: float) -> None:
    random, pairs = Random(3), 300
    alarms = sum(
        compare(*(autoregressive(count, correlation, random) for _ in range(2))).verdict == "changed"
        for _ in range(pairs)
    )

    # One in a hundred is stated. A plain t-test raises up to 40.
    assert alarms / pairs <= 0.03


def test_the_error_of_independent_values_is_that_of_a_textbook() -> None:
    # given values without any memory: by hand, variance 2.5, n 8 and 0.25 % of both means
    base, new = [1, -1, 2, -2, 1, -1, 2, -2], [1, -2, 2, -1, 1, -2, 2, -1]
    found = compare([100.0 + value for value in base], [110.0 + value for value in new])

    captures = 0.0025**2 * (100**2 + 110**2)
    assert found.error == pytest.approx(math.sqrt(2 * 20 / 7 / 8 + captures))
    assert found.change == pytest.approx(0.1)
    assert found.verdict == "changed"


def test_an_interval_excludes_zero_where_the_verdict_is_changed() -> None:
    random = Random(5)
    found = judged(
        compare([random.gauss(100, 2) for _ in range(12)], [random.gauss(100 + shift, 2) for _ in range(12)])
        for shift in (0, 0, 0, 1, 2, 3, 4, 6, 9, 12)
    )

    assert {one.verdict for one in found} == {"changed", "within noise"}
    for one in found:
        assert one.change is not None
        assert one.noise is not None
        assert (abs(one.change) >= one.noise) == (one.verdict == "changed")


def test_numbers_that_are_read_together_share_a_level() -> None:
    """Benjamini and Hochberg's procedure by hand: 0.01 × k / 4 is 0.0025, 0.005, 0.0075 and 0.01."""

    def with_p(p_value: float) -> Comparison:
        low, high = 0.0, 50.0
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if two_sided(middle, 30) > p_value else (low, middle)
        return Comparison(100, 100 + high, 31, 31, 1.0, 30)

    # 0.0049 is more than its own 0.0025, and counts because the third, 0.0074, is at most 0.0075
    verdicts = [one.verdict for one in judged(map(with_p, (0.0074, 0.0049, 0.2, 0.0048)))]
    assert verdicts == ["changed", "changed", "within noise", "changed"]
    # Alone each of these is one in a hundred; together they are chance.
    assert {one.verdict for one in judged(map(with_p, (0.009, 0.3, 0.5, 0.9)))} == {"within noise"}


def test_a_kernel_of_every_step_in_one_run_alone_has_changed() -> None:
    drifting = [1 + step / 10 for step in range(20)]
    assert compare(drifting, [0.0] * 20).verdict == "changed"
    assert compare([0.0] * 20, drifting).verdict == "changed"
    assert compare([0.0] * 20, [0.0] * 19 + [5.0]).verdict == "within noise"


def step(wall_ns: float, *, cached: int | None = None, lane: int = 0) -> Occurrence:
    return Occurrence("decode", "1x1", round(wall_ns), round(wall_ns), 1, {}, {}, cached=cached, lane=lane)


def wall(base: list[Occurrence], new: list[Occurrence]) -> Comparison:
    runs = (Run(name, Subject(), tuple(steps)) for name, steps in (("base", base), ("new", new)))
    return next(one.comparison for one in difference(*runs).changes if one.name == "wall")


def test_a_context_that_grows_is_no_noise() -> None:
    # given steps that take twice as long at the end as at the beginning, with 0.5 % noise, and 3 % more in the new run
    random = Random(1)
    context = range(1_000, 1_032)
    base = [step(1e6 * (1 + k / 32) * random.gauss(1, 0.005), cached=each) for k, each in enumerate(context)]
    new = [step(1.03e6 * (1 + k / 32) * random.gauss(1, 0.005), cached=each) for k, each in enumerate(context)]

    assert wall(base, new).verdict == "changed"
    # Other contexts are other steps: then it is not known what grew.
    assert wall(base, [attrs.evolve(one, cached=one.cached and one.cached + 500) for one in new]).verdict != "changed"


def test_ranks_that_step_together_are_no_more_measurements_than_one() -> None:
    random = Random(2)
    times = [[round(random.gauss(1e6, 2e4)) for _ in range(10)] for _ in range(2)]
    alone = wall(*([step(each) for each in side] for side in times))
    together = wall(*([step(each, lane=lane) for each in side for lane in range(8)] for side in times))

    assert together.p_value == pytest.approx(alone.p_value)
    assert (together.base_count, alone.base_count) == (80, 10)


@pytest.fixture(scope="module")
def graph_steps() -> list[Occurrence]:
    return real_steps("h100_cuda_graph_node")


def test_of_eager_against_graphs_the_host_is_gone(graph_steps: list[Occurrence]) -> None:
    """Real steps: of a loop in Python, some of which take eight times as long as others, and replays of a graph."""
    base, new = (Run("", Subject(), tuple(steps)) for steps in (real_steps("h100_llama_nsys2024.2"), graph_steps))

    found = {(one.kind, one.name): one.comparison for one in difference(base, new).changes}
    for key, least in ((("time", "wall"), -0.9), (("budget", "host"), -0.99), (("budget", "launch"), -0.9)):
        change, noise = found[key].change, found[key].noise
        assert change is not None
        assert noise is not None
        assert (found[key].verdict, change < least, noise < -change) == ("changed", True, True)


def test_power_and_false_alarms_at_the_noise_of_real_steps(graph_steps: list[Occurrence]) -> None:
    """A part of the table in docs/compare.md, which `python scripts/diff_power.py --write` makes."""
    none, small, large = outcomes(graph_steps, counts=(32, 32), pairs=40, seed=7, shifts=(0.0, 0.02, 0.20))

    assert none.either <= 1
    assert small.busy >= 32
    assert large.busy == 40
    table = (ROOT / "docs" / "compare.md").read_text(encoding="utf-8")
    assert all(f"| {title} | 32 and 32 | " in table for title in RUNS)


def test_runs_without_a_value_in_common_differ_in_spite_of_a_few_long_steps() -> None:
    random = Random(3)
    eager = [14.0 * random.gauss(1, 0.05) for _ in range(60)]
    eager[7], eager[40] = 900.0, 1600.0
    graphs = [0.7 * random.gauss(1, 0.05) for _ in range(32)]

    found = compare(eager, graphs)
    assert found.verdict == "changed"
    assert found.noise is not None
    assert found.change is not None
    assert found.noise < abs(found.change)
    assert compare(graphs, eager).verdict == "changed"
    # Too few, too near, and a drift all the way, which is worth few values, tell nothing by their order.
    assert compare(eager[5:10], graphs[:5]).verdict == "within noise"
    assert compare([*eager[:20], 2000.0], [16.5] * 20).verdict == "within noise"
    drift = [100.0 + step for step in range(10)]
    assert compare(drift, [value * 1.2 for value in drift]).p_value == pytest.approx(
        compare_without_order(drift, [value * 1.2 for value in drift]), rel=1e-9
    )


def compare_without_order(base: list[float], new: list[float]) -> float | None:
    parts = [significance._mean_error(values) for values in (base, new)]
    counts = len(base), len(new)
    return significance._comparison(fmean(base), fmean(new), counts, parts, apart=significance.CAPTURES).p_value


def test_order_has_the_probability_of_the_rank_sum() -> None:
    """Eight independent values each: 2 of 12,870 orders."""
    random = Random(0)
    low = [random.choice((1.0, 1.01)) for _ in range(8)]
    high = [2.0, 100.0, 2.0, 2.0, 2.0, 2.0, 90.0, 2.0]
    worth = [significance._mean_error(values)[1] + 1 for values in (low, high)]
    expected = 2 / math.comb(16, 8) if worth == [8.0, 8.0] else None

    found = compare(low, high)
    logarithm = math.lgamma(worth[0] + 1) + math.lgamma(worth[1] + 1) - math.lgamma(sum(worth) + 1)
    assert found.p_value == pytest.approx(expected or 2 * math.exp(logarithm), rel=1e-3)
