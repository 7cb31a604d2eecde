"""Numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence

UNKNOWN = "–"


def milliseconds(ns: float | None) -> str:
    """Nanoseconds as milliseconds with three to four digits that matter."""
    if ns is None:
        return UNKNOWN
    ms = ns / 1e6
    if ms >= 1000:
        return f"{ms:,.0f}"
    return f"{ms:.1f}" if ms >= 100 else f"{ms:.2f}" if ms >= 1 else f"{ms:.3f}"


def percent(ratio: float | None) -> str:
    """A ratio as a percentage: one decimal, more where it would read as zero."""
    if ratio is None:
        return UNKNOWN
    value = ratio * 100
    if value and abs(value) < 0.1:
        return f"{value:.3f}"
    return f"{value:.1f}"


def count(number: int | None) -> str:
    """An integer with thousands separators."""
    return UNKNOWN if number is None else f"{number:,}"


def tera(number: float | None) -> str:
    """A number in units of 10¹²."""
    if number is None:
        return UNKNOWN
    value = number / 1e12
    return f"{value:,.0f}" if value >= 1000 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def giga(number: float | None) -> str:
    """A number in units of 10⁹."""
    if number is None:
        return UNKNOWN
    value = number / 1e9
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 1 else f"{value:.3f}"


def number_column(values: Sequence[float | None], *, unit: float) -> list[str]:
    """Numbers of one column, in units of `unit`, with equally many decimals, so that their points line up.

    As many decimals as show three digits of the smallest number, but at most three.
    """
    numbers = [abs(value) / unit for value in values if value]
    places = min(3, max(0, 2 - math.floor(math.log10(min(numbers))))) if numbers else 0
    return [_fixed(value, unit, places) for value in values]


def milliseconds_column(values: Sequence[float | None]) -> list[str]:
    """Nanoseconds as milliseconds."""
    return number_column(values, unit=1e6)


def percent_column(ratios: Sequence[float | None], *, most: int = 1) -> list[str]:
    """Ratios as percentages with one decimal, or with `most` decimals where one would hide a small one."""
    places = most if any(ratio and abs(ratio) < 0.0095 for ratio in ratios) else 1
    return [_fixed(ratio, 0.01, places) for ratio in ratios]


def utilization_column(ratios: Sequence[float | None]) -> list[str]:
    """MFU or MBU as percentages; a decode step's MFU is far below one percent, and its digits matter."""
    return percent_column(ratios, most=2)


def _fixed(value: float | None, unit: float, places: int) -> str:
    if value is None:
        return UNKNOWN
    least = 10.0**-places
    if value and abs(value) / unit < least / 2:
        return f"<{least:.{places}f}"
    return f"{value / unit:,.{places}f}"
