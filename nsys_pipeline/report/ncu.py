"""What ncu measured beside what the trace and the estimate say: a document. Gets plain dicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nsys_pipeline.report.document import Column, Document, Note, Notes, Section, Table
from nsys_pipeline.report.numbers import prefixed


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
