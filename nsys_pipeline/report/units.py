"""Numbers with units, for people."""

from __future__ import annotations


def _scaled(value: float, units: tuple[str, ...], step: float = 1000.0) -> str:
    for unit in units[:-1]:
        if abs(value) < step:
            return f"{value:.4g} {unit}" if value < 1000 else f"{value:.0f} {unit}"
        value /= step
    return f"{value:,.4g} {units[-1]}"


def flops_text(flops: float) -> str:
    """FLOPs with four digits: 30.79 TF."""
    return _scaled(flops, ("F", "kF", "MF", "GF", "TF", "PF"))


def flops_rate_text(flops_per_s: float) -> str:
    """A rate in TFLOP/s."""
    return f"{flops_per_s / 1e12:,.4g} TFLOP/s"


def bytes_text(count: float) -> str:
    """Decimal bytes with four digits: 16.06 GB."""
    return _scaled(count, ("B", "kB", "MB", "GB", "TB", "PB"))


def bytes_rate_text(bytes_per_s: float) -> str:
    """A rate in GB/s."""
    return f"{bytes_per_s / 1e9:,.4g} GB/s"


def time_text(ns: float) -> str:
    """A duration given in ns: 4.561 ms."""
    return _scaled(ns, ("ns", "µs", "ms", "s"))
