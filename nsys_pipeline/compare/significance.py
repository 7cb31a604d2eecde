"""Whether two sets of times differ by more than their noise: Welch's t-test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, variance

import attrs

ALPHA = 0.01
"""A change is significant if equal runs would differ as much in less than one case of a hundred."""


@attrs.frozen
class Comparison:
    """Means of two samples. `noise` is the half width of the 99 % interval of the relative change; None: too few."""

    base: float
    new: float
    base_count: int
    new_count: int
    noise: float | None
    p_value: float | None

    @property
    def change(self) -> float | None:
        """Relative change; None from zero."""
        return (self.new - self.base) / self.base if self.base else None

    @property
    def is_significant(self) -> bool | None:
        """None where there are too few values to tell."""
        return None if self.p_value is None else self.p_value < ALPHA

    @property
    def verdict(self) -> str:
        """'same', 'changed', 'within noise' or 'too few to tell'."""
        if self.base == self.new:
            return "same"
        return {None: "too few to tell", True: "changed", False: "within noise"}[self.is_significant]


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


def compare(base: Sequence[float], new: Sequence[float]) -> Comparison:
    """Compare two samples that are not empty; see `compare_moments`."""
    return compare_moments(Moments.of(base), Moments.of(new))


def compare_moments(base: Moments, new: Moments) -> Comparison:
    """Compare two samples by their moments.

    Welch's t-test (Biometrika 34, 1947): no equal variances assumed, degrees of freedom by Welch and Satterthwaite.
    """
    if base.count < 2 or new.count < 2:
        return Comparison(base.mean, new.mean, base.count, new.count, None, None)
    part_base, part_new = base.variance / base.count, new.variance / new.count
    error = math.sqrt(part_base + part_new)
    if error == 0:
        return Comparison(base.mean, new.mean, base.count, new.count, 0.0, 1.0 if base.mean == new.mean else 0.0)
    degrees = (part_base + part_new) ** 2 / (part_base**2 / (base.count - 1) + part_new**2 / (new.count - 1))
    p_value = two_sided(abs(new.mean - base.mean) / error, degrees)
    noise = _quantile(degrees) * error / abs(base.mean) if base.mean else None
    return Comparison(base.mean, new.mean, base.count, new.count, noise, p_value)


def two_sided(t: float, degrees: float) -> float:
    """Probability that Student's t with `degrees` of freedom is further from 0 than `t`."""
    return _incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t))


def _quantile(degrees: float) -> float:
    """The t beyond which lies ALPHA, both sides together; by bisection."""
    low, high = 0.0, 1e4
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided(middle, degrees) > ALPHA else (low, middle)
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
