"""What ncu measured beside what the trace and the estimate say: a document. Gets plain dicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from nsys_pipeline.report.document import Column, Document, Note, Notes, Section, Table, Tone
from nsys_pipeline.report.numbers import UNKNOWN, prefixed

#: Reasons for which kernels have no estimate; JSON has all.
_REASONS = 4


def ncu_document(data: Mapping[str, Any]) -> Document:
    """The table of kernels, and the sums beside the estimate."""
    kernels = data["kernels"]
    each = [kernel["time_ns"] and kernel["time_ns"] / kernel["count"] for kernel in kernels]
    columns = [
        Column.name("kernel", [kernel["name"] for kernel in kernels]),
        Column.count("n", [kernel["count"] for kernel in kernels]),
        Column.prefixed("time each", each, "ns"),
        Column.prefixed("in the trace", [kernel["traced_mean_ns"] for kernel in kernels], "ns"),
        *_beside(kernels),
    ]
    title = "measured by ncu, with the mean duration of the same kernels in the trace; ×: measured / estimated"
    sections = [Section("kernels", (Table(columns),), title=title)]
    if operators := data["operators"]:
        names = Column.name("operator", [row["operator"] for row in operators])
        columns = [
            names,
            Column.count("n", [row["count"] for row in operators]),
            Column.prefixed("time", [row["time_ns"] for row in operators], "ns"),
            *_beside(operators),
        ]
        sections.append(Section("operators", (Table(columns),), title="operators whose kernels were all profiled"))
    return Document("", (), (*sections, Section("sums", (Notes([*_sums(data), *_unknown(kernels)]),))))


def _beside(rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    """FLOPs and DRAM bytes of `rows` with their rates, beside the estimate if one of them has it."""
    columns = []
    for heading, rate, key, estimated, unit in (
        ("FLOPs", "TFLOP/s", "flops", "estimated_flops", "F"),
        ("DRAM bytes", "GB/s", "dram_bytes", "estimated_bytes", "B"),
    ):
        columns.append(Column.prefixed(heading, [row[key] for row in rows], unit))
        if any(row[estimated] is not None for row in rows):
            columns.append(Column.prefixed("estimated", [row[estimated] for row in rows], unit))
            ratios = [row[key] / row[estimated] if row[key] is not None and row[estimated] else None for row in rows]
            columns.append(Column.text("×", [UNKNOWN if ratio is None else f"{ratio:.3f}" for ratio in ratios]))
        columns.append(Column.amount(rate, [_rate(row[key], row["time_ns"]) for row in rows], rate))
    return columns


def _unknown(kernels: Sequence[Mapping[str, Any]]) -> list[Note]:
    """Why kernels have no estimate, and how much of the measured time that is: the reasons that matter most."""
    times: dict[str, float] = defaultdict(float)
    for kernel in kernels:
        if kernel["no_estimate"]:
            times[kernel["no_estimate"]] += kernel["time_ns"] or 0
    total = sum(kernel["time_ns"] or 0 for kernel in kernels)
    most = sorted(times.items(), key=lambda item: (-item[1], item[0]))[:_REASONS]
    return [
        Note("no estimate", f"{time_ns / total:.0%} of the time: {reason}" if total else reason, tone=Tone.quiet)
        for reason, time_ns in most
    ]


def _sums(data: Mapping[str, Any]) -> list[Note]:
    if data["not_whole_reason"] is not None:
        return [Note("", data["not_whole_reason"])]
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
