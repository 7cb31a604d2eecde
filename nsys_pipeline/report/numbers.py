"""Numbers as people read them: the only place that rounds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nsys_pipeline.records import Bound

UNKNOWN = "–"
#: Unit of a column → how much of a value (ns, FLOPs, bytes, a ratio) is one of it.
SCALES = {"ms": 1e6, "TFLOP": 1e12, "GB": 1e9, "TFLOP/s": 1e12, "GB/s": 1e9, "%": 0.01}
_PREFIXES = {
    "F": ("F", "kF", "MF", "GF", "TF", "PF"),
    "B": ("B", "kB", "MB", "GB", "TB", "PB"),
    "B/s": ("B/s", "kB/s", "MB/s", "GB/s", "TB/s"),
    "ns": ("ns", "µs", "ms", "s"),
}


def count(number: float | None) -> str:
    """An integer with thousands separators."""
    return UNKNOWN if number is None else f"{int(number):,}"


def milliseconds(ns: float | None) -> str:
    """Nanoseconds as milliseconds with three to four digits that matter, for a sentence."""
    if ns is None:
        return UNKNOWN
    ms = ns / 1e6
    if ms >= 1000:
        return f"{ms:,.0f}"
    return f"{ms:.1f}" if ms >= 100 else f"{ms:.2f}" if ms >= 1 else f"{ms:.3f}"


def signed(text: str, bound: Bound | None) -> str:
    """A number as it is written, with the sign of what it is if it is not exact."""
    if bound is None or text in ("", UNKNOWN):
        return text
    if text.startswith("<"):
        # At least less than a thousandth is at least nothing.
        return text if bound is Bound.most else f"{bound}0"
    return f"{bound}{text}"


def prefixed(value: float | None, unit: str) -> str:
    """FLOPs ("F"), bytes ("B", "B/s") or a duration ("ns") with four digits and a prefix: 30.79 TF, 4.561 ms."""
    if value is None:
        return UNKNOWN
    *units, largest = _PREFIXES[unit]
    for each in units:
        if abs(value) < 1000:
            return f"{value:.4g} {each}"
        value /= 1000
    return f"{value:,.4g} {largest}"


def amounts(values: Sequence[float | None], unit: str) -> list[str]:
    """Numbers of one column in `unit`, with equally many decimals, so that their points line up.

    As many decimals as show three digits of the smallest number, but at most three.
    """
    numbers = [abs(value) / SCALES[unit] for value in values if value]
    places = min(3, max(0, 2 - math.floor(math.log10(min(numbers))))) if numbers else 0
    return [_fixed(value, SCALES[unit], places) for value in values]


def percentages(ratios: Sequence[float | None], *, most: int = 1) -> list[str]:
    """Ratios as percentages with one decimal, or with `most` decimals if one would hide a small one."""
    places = most if any(ratio and abs(ratio) < 0.0095 for ratio in ratios) else 1
    return [_fixed(ratio, SCALES["%"], places) for ratio in ratios]


def _fixed(value: float | None, scale: float, places: int) -> str:
    if value is None:
        return UNKNOWN
    least = 10.0**-places
    if value and abs(value) / scale < least / 2:
        return f"<{least:.{places}f}"
    return f"{value / scale:,.{places}f}"
