"""Whether two sets of times differ by more than their noise: Welch's t-test for steps that follow each other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import pairwise
from statistics import fmean, variance

import attrs

ALPHA = 0.01
"""Of all that is called changed between two runs, at most this share is not; of equal runs, so many differ at all."""

CAPTURES = 0.0025
"""What the mean of a capture is off by, beside its steps: clocks, where memory lies. A share; standard deviation.

Two captures of one prefill on an H100 (tests/traces/h100_cuda_graph_node and _whole) differ by 0.05 % as a whole, and
by 0.1 to 1.3 % in single families, though steps of one run agree to 0.1 %.
"""

LONG = 8
"""Shorter series cannot tell the correlation of neighbours from chance; prefills seldom follow each other anyway."""

APART = 0.05
"""All values of one run must exceed all of the other by this much to be a change for that: captures differ by less."""

_MOST_CORRELATED = 0.95
# A series that drifts all the way is worth few values, but a change far outside of what it went through is one.
_LEAST_WORTH = 3
# Where Student's t is still told exactly.
_LEAST_PROBABILITY = 1e-12
# Degrees of freedom beyond which Student's t is a normal distribution.
_MANY = 1e4


@attrs.frozen
class Comparison:
    """Means of two samples; `error` and `degrees`, of freedom, are those of their difference, None: too few values.

    `level` is the probability below which a difference is no chance.
    """

    base: float
    new: float
    base_count: int
    new_count: int
    error: float | None
    degrees: float | None
    level: float = ALPHA

    @property
    def change(self) -> float | None:
        """Relative change; None from zero."""
        return (self.new - self.base) / self.base if self.base else None

    @property
    def p_value(self) -> float | None:
        """Probability that equal runs differ as much."""
        if self.error is None or self.degrees is None:
            return None
        if self.error == 0:
            return 1.0 if self.base == self.new else 0.0
        return two_sided(abs(self.new - self.base) / self.error, self.degrees)

    @property
    def noise(self) -> float | None:
        """Half width of the relative change's interval at `level`; None: too few values, or relative to zero."""
        if self.error is None or self.degrees is None or not self.base:
            return None
        return _quantile(self.degrees, self.level) * self.error / abs(self.base) if self.error else 0.0

    @property
    def is_significant(self) -> bool | None:
        """None where there are too few values to tell."""
        return None if self.p_value is None else self.p_value <= self.level

    @property
    def verdict(self) -> str:
        """'same', 'changed', 'within noise' or 'too few to tell'."""
        if self.base == self.new:
            return "same"
        return {None: "too few to tell", True: "changed", False: "within noise"}[self.is_significant]


def compare(base: Sequence[float], new: Sequence[float], *, paired: bool = False) -> Comparison:
    """Compare two samples that are not empty, each in the order of time.

    Welch's t-test (Biometrika 34, 1947): no equal variances assumed, degrees of freedom by Welch and Satterthwaite.
    With `paired`, value k of one belongs to value k of the other, and the test is of their differences. The error of a
    mean is that of values which resemble their neighbours (`_mean_error`), and of what captures differ by (CAPTURES).
    A few steps that took far longer make any mean uncertain; runs without a value in common differ all the same
    (`_told_by_order`).
    """
    mean_base, mean_new, counts = fmean(base), fmean(new), (len(base), len(new))
    if min(counts) < 2:
        return Comparison(mean_base, mean_new, *counts, None, None)
    if (all(base) and not any(new)) or (all(new) and not any(base)):
        # A kernel of every step in one run, and of none in the other: no noise does that.
        return Comparison(mean_base, mean_new, *counts, 0.0, 1.0)
    if paired:
        parts = [_mean_error([after - before for before, after in zip(base, new, strict=True)])]
    else:
        parts = [_mean_error(base), _mean_error(new)]
    return _told_by_order(_comparison(mean_base, mean_new, counts, parts, apart=CAPTURES), base, new)


def _told_by_order(found: Comparison, base: Sequence[float], new: Sequence[float]) -> Comparison:
    """`found`, surer if every value of one run is larger than every value of the other.

    Algorithm: of n and m values that are alike, all of one side are the larger ones in 2 of (n + m) choose n orders:
    the most extreme rank sum (Wilcoxon, Biometrics Bulletin 1, 1945). n and m are what the values are worth
    (`_mean_error`). The error becomes the one at which the t-test has that probability.
    """
    low, high = sorted((base, new), key=min)
    if min(found.base_count, found.new_count) < LONG or max(low) * (1 + APART) >= min(high):
        return found
    n, m = (_mean_error(values)[1] + 1 for values in (base, new))
    logarithm = math.log(2) + math.lgamma(n + 1) + math.lgamma(m + 1) - math.lgamma(n + m + 1)
    error = abs(found.new - found.base) / _quantile(_MANY, max(math.exp(min(logarithm, -1.0)), _LEAST_PROBABILITY))
    surer = attrs.evolve(found, error=error, degrees=_MANY)
    return surer if (surer.p_value or 0.0) < (found.p_value or 0.0) else found


@attrs.frozen
class Moments:
    """What a comparison needs of a sample: how many values, their mean and their variance (of 2 and more)."""

    count: int
    mean: float
    variance: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Moments:
        """Those of `values`, which are not empty."""
        return cls(len(values), fmean(values), variance(values) if len(values) > 1 else 0.0)


def compare_moments(base: Moments, new: Moments) -> Comparison:
    """Compare two samples of independent values of one capture by their moments: Welch's t-test alone."""
    counts = base.count, new.count
    if min(counts) < 2:
        return Comparison(base.mean, new.mean, *counts, None, None)
    parts = [(math.sqrt(one.variance / one.count), one.count - 1.0) for one in (base, new)]
    return _comparison(base.mean, new.mean, counts, parts, apart=0.0)


def _comparison(
    base: float, new: float, counts: tuple[int, int], parts: Sequence[tuple[float, float]], *, apart: float
) -> Comparison:
    """Means, and what they are off by: `parts` are standard errors with degrees of freedom, `apart` is a share."""
    squared = math.fsum(error**2 for error, _ in parts) + apart**2 * (base**2 + new**2)
    uncertain = math.fsum(error**4 / degrees for error, degrees in parts)
    degrees = min(squared**2 / uncertain, _MANY) if uncertain else _MANY
    return Comparison(base, new, *counts, math.sqrt(squared), degrees)


def judged(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """Comparisons that are read together, at the level at which at most ALPHA of what is called changed is not.

    Algorithm: Benjamini and Hochberg (J. R. Stat. Soc. B 57, 1995): of m comparisons, the k smallest p-values count,
    k being the largest for which the k-th is at most ALPHA * k / m. So ALPHA * k / m is the level of all of them, and
    an interval at that level excludes zero exactly where the verdict is `changed`.
    """
    found = list(comparisons)
    known = sorted(one.p_value for one in found if one.p_value is not None)
    passed = max((k for k, p_value in enumerate(known, 1) if p_value <= ALPHA * k / len(known)), default=1)
    return [attrs.evolve(one, level=ALPHA * passed / len(known)) for one in found] if known else found


def _mean_error(values: Sequence[float]) -> tuple[float, float]:
    """Standard error of the mean of at least two values in the order of time, and its degrees of freedom.

    Algorithm: if each value is correlated with its neighbour by r, n of them are worth n * (1 - r) / (1 + r) (a first-
    order autoregression). The estimate of r is too low by about (1 + 4r) / n (Marriott and Pope, Biometrika 41, 1954),
    and the sample's variance by the same correlation. A longer memory shows in means of batches, and counts if larger.
    """
    count, mean = len(values), fmean(values)
    squares = math.fsum((value - mean) ** 2 for value in values)
    if squares == 0:
        return 0.0, count - 1
    correlation = math.fsum((one - mean) * (two - mean) for one, two in pairwise(values)) / squares
    if count >= LONG:
        correlation += (1 + 4 * correlation) / count
    correlation = min(max(correlation, 0.0), _MOST_CORRELATED)
    inflation = max((1 + correlation) / (1 - correlation), _inflation_of_batches(values, squares / (count - 1)))
    worth = max(count / inflation, min(count, _LEAST_WORTH))
    spread = squares / max(count - inflation, (count - 1) / 3)
    return math.sqrt(spread / worth), worth - 1


def _inflation_of_batches(values: Sequence[float], spread: float) -> float:
    """How much more means of about √n neighbours vary than those of values, of variance `spread`, without a memory."""
    size = math.isqrt(len(values))
    means = [fmean(values[at : at + size]) for at in range(0, len(values) - size + 1, size)]
    return variance(means) * size / spread if len(values) >= LONG else 1.0


def two_sided(t: float, degrees: float) -> float:
    """Probability that Student's t with `degrees` of freedom is further from 0 than `t`."""
    return _incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t))


@cache
def _quantile(degrees: float, level: float) -> float:
    """The t beyond which lies `level`, both sides together; by bisection."""
    low, high = 0.0, 1.0
    while two_sided(high, degrees) > level:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided(middle, degrees) > level else (low, middle)
    return high


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularized incomplete beta function I_x(a, b). Source: NIST DLMF 8.17.22, by Lentz's method."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(b, a, 1 - x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    tiny = 1e-300
    value, c, d = 1.0, 1.0, 0.0
    for index in range(400):
        half = index // 2
        if index == 0:
            term = 1.0
        elif index % 2 == 0:
            term = half * (b - half) * x / ((a + 2 * half - 1) * (a + 2 * half))
        else:
            term = -(a + half) * (a + b + half) * x / ((a + 2 * half) * (a + 2 * half + 1))
        d = 1 / (1 + term * d or tiny)
        c = 1 + term / c or tiny
        value *= c * d
        if abs(c * d - 1) < 1e-13:
            break
    return front * (value - 1)
