"""Numbers as people read them."""

from __future__ import annotations

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
