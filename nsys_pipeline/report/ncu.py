"""What ncu measured beside what the trace and the estimate say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from nsys_pipeline.report.document import Column, Document, Note, Notes, Section, Table
from nsys_pipeline.report.numbers import prefixed


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
    has_every_name: bool,
) -> dict[str, Any]:
    """Measured kernels with their mean time in the trace, and sums beside the estimate of the whole occurrence.

    `traced` holds every kernel name of the occurrence if `has_every_name`, else some.
    """
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
    is_whole = (
        has_every_name and bool(kernels) and all(kernel["count"] == kernel["in_occurrence"] for kernel in kernels)
    )
    is_whole = is_whole and len(kernels) == sum(kernel["in_occurrence"] > 0 for kernel in traced.values())
    return {
        "schema": "llmperf.ncu/1",
        "kernels": kernels,
        "measured": {key: _sum(kernel[key] for kernel in kernels) for key in ("time_ns", "flops", "dram_bytes")},
        "estimated": {"flops": flops, "bytes": minimum_bytes, "gpu_busy_ns": busy_ns},
        # Sums of some kernels say nothing about the estimate of all.
        "is_whole_occurrence": is_whole,
    }


def ncu_document(data: Mapping[str, Any]) -> Document:
    """The table of kernels, and the sums beside the estimate."""
    kernels = data["kernels"]
    each = [kernel["time_ns"] and kernel["time_ns"] / kernel["count"] for kernel in kernels]
    columns = [
        Column.name("kernel", [kernel["name"] for kernel in kernels]),
        Column.count("n", [kernel["count"] for kernel in kernels]),
        Column.prefixed("time each", each, "ns"),
        Column.prefixed("in the trace", [kernel["traced_mean_ns"] for kernel in kernels], "ns"),
        Column.prefixed("FLOPs", [kernel["flops"] for kernel in kernels], "F"),
        Column.amount("TFLOP/s", [_rate(kernel["flops"], kernel["time_ns"]) for kernel in kernels], "TFLOP/s"),
        Column.prefixed("DRAM bytes", [kernel["dram_bytes"] for kernel in kernels], "B"),
        Column.amount("GB/s", [_rate(kernel["dram_bytes"], kernel["time_ns"]) for kernel in kernels], "GB/s"),
    ]
    title = "measured by ncu, with the mean duration of the same kernels in the trace"
    return Document(
        "", (), (Section("kernels", (Table(columns),), title=title), Section("sums", (Notes(_sums(data)),)))
    )


def _sums(data: Mapping[str, Any]) -> list[Note]:
    if not data["is_whole_occurrence"]:
        return [Note("", "not every kernel of the occurrence was profiled: `--top 0` compares sums with the estimate")]
    notes = []
    for name, measured, estimated, unit in (
        ("FLOPs", data["measured"]["flops"], data["estimated"]["flops"], "F"),
        ("bytes", data["measured"]["dram_bytes"], data["estimated"]["bytes"], "B"),
    ):
        if measured and estimated:
            both = f"{prefixed(measured, unit)} measured, {prefixed(estimated, unit)} estimated for the same occurrence"
            notes.append(Note(name, f"{both}: {measured / estimated:.3f}×"))
    return notes


def _rate(amount: float | None, time_ns: float | None) -> float | None:
    return amount / time_ns * 1e9 if amount is not None and time_ns else None


def _sum(values: Iterable[float | None]) -> float | None:
    found = list(values)
    return sum(value for value in found if value is not None) if found and None not in found else None
