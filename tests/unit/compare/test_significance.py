"""The t-test against tabulated values, and its power and false alarms at the noise of real decode steps."""

from __future__ import annotations

from random import Random
from statistics import fmean, pstdev

import pytest

from nsys_pipeline.compare.significance import compare, two_sided
from nsys_pipeline.duck import records
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.real_traces import SUFFIX, TRACES


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


def real_steps() -> list[float]:
    """GPU busy time of the decode steps of a real request."""
    with open_trace(TRACES / f"h100_llama_nsys2024.2{SUFFIX}", TraceOptions(use_cache=False)) as trace:
        trace.build("attribute.busy_by_occurrence", "attribute.phase_ranges")
        rows = records(
            trace.connection,
            "SELECT b.gpu_busy_ns FROM attribute.busy_by_occurrence AS b "
            "JOIN attribute.phase_ranges AS p USING (occurrence_id) WHERE p.phase = 'decode' ORDER BY p.occurrence",
        )
    return [float(row["gpu_busy_ns"]) for row in rows]


def test_power_and_false_alarms_at_the_noise_of_real_steps() -> None:
    # given pairs of runs of 32 steps drawn from real ones, the second shifted by a known amount
    steps, random = real_steps(), Random(7)
    spread = pstdev(steps) / fmean(steps)
    found = {}
    for shift in (0.0, 0.02, 0.05, 0.20):
        pairs = [
            compare(random.choices(steps, k=32), [value * (1 + shift) for value in random.choices(steps, k=32)])
            for _ in range(400)
        ]
        found[shift] = sum(bool(pair.is_significant) for pair in pairs) / len(pairs)

    assert found[0.0] <= 0.03, found  # of equal runs, one in a hundred is called different
    assert found[0.20] >= 0.99, found
    # A mean of 32 steps is off by spread / √32, a difference of two by √2 times that.
    for shift in (0.02, 0.05):
        if shift >= 5 * spread / 4:
            assert found[shift] >= 0.95, (found, spread)
