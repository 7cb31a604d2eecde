"""Render what ncu measured beside what the trace and the estimate say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TextIO

from nsys_pipeline.report.tables import plain_table, wide_console


class Counters(Protocol):
    """Counters of the kernels of one name, summed over `count` of them."""

    @property
    def name(self) -> str:
        """Short kernel name."""

    @property
    def count(self) -> int:
        """Kernels."""

    @property
    def time_ns(self) -> float | None:
        """Sum of their durations."""

    @property
    def flops(self) -> float | None:
        """FLOPs that ran."""

    @property
    def dram_bytes(self) -> float | None:
        """Bytes from and to DRAM."""


def ncu_json(
    rows: Iterable[Counters],
    traced: Mapping[str, Mapping[str, Any]],
    *,
    flops: int | None,
    minimum_bytes: int | None,
    busy_ns: int | None,
) -> dict[str, Any]:
    """Measured kernels with their mean time in the trace, and sums beside the estimate of the whole occurrence."""
    kernels: list[dict[str, Any]] = [
        {
            "name": row.name,
            "count": row.count,
            "time_ns": row.time_ns,
            "flops": row.flops,
            "dram_bytes": row.dram_bytes,
            "traced_mean_ns": traced[row.name]["mean_ns"] if row.name in traced else None,
            "in_occurrence": traced[row.name]["in_occurrence"] if row.name in traced else None,
        }
        for row in rows
    ]
    is_whole = bool(kernels) and all(kernel["count"] == kernel["in_occurrence"] for kernel in kernels)
    is_whole = is_whole and len(kernels) == sum(kernel["in_occurrence"] > 0 for kernel in traced.values())
    return {
        "schema": "llmperf.ncu/1",
        "kernels": kernels,
        "measured": {key: _sum(kernel[key] for kernel in kernels) for key in ("time_ns", "flops", "dram_bytes")},
        "estimated": {"flops": flops, "bytes": minimum_bytes, "gpu_busy_ns": busy_ns},
        # Sums of some kernels say nothing about the estimate of all.
        "is_whole_occurrence": is_whole,
    }


def render_ncu(data: Mapping[str, Any], out: TextIO) -> None:
    """Write the table of kernels, and the sums beside the estimate, to `out`."""
    console = wide_console(out)
    table = plain_table("measured by ncu; trace: mean duration of the same kernel under nsys")
    table.add_column("kernel")
    for heading in ("n", "µs each", "trace µs", "GFLOP", "TFLOP/s", "DRAM MB", "GB/s"):
        table.add_column(heading, justify="right")
    for kernel in data["kernels"]:
        seconds = (kernel["time_ns"] or 0) / 1e9
        flops, moved = kernel["flops"], kernel["dram_bytes"]
        table.add_row(
            kernel["name"],
            f"{kernel['count']:,}",
            _fixed(kernel["time_ns"], 1e3 * kernel["count"]),
            _fixed(kernel["traced_mean_ns"], 1e3),
            _fixed(flops, 1e9),
            _fixed(flops / seconds if flops and seconds else None, 1e12),
            _fixed(moved, 1e6),
            _fixed(moved / seconds if moved and seconds else None, 1e9),
        )
    console.print(table)
    for name, measured, estimated, unit in (
        ("FLOPs", data["measured"]["flops"], data["estimated"]["flops"], 1e9),
        ("bytes", data["measured"]["dram_bytes"], data["estimated"]["bytes"], 1e9),
    ):
        if data["is_whole_occurrence"] and measured and estimated:
            console.print(
                f"{name}: {measured / unit:,.3f} G measured, {estimated / unit:,.3f} G estimated for the same "
                f"occurrence: {measured / estimated:.3f}×"
            )
    if not data["is_whole_occurrence"]:
        console.print("not every kernel of the occurrence was profiled: `--top 0` compares sums with the estimate")


def _fixed(value: float | None, unit: float) -> str:
    return "–" if value is None else f"{value / unit:,.3f}"


def _sum(values: Iterable[float | None]) -> float | None:
    found = list(values)
    return sum(value for value in found if value is not None) if found and None not in found else None
