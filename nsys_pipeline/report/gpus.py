"""Peaks of GPUs. Gets plain dicts: rooms do not import each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nsys_pipeline.report.document import Column, Document, Note, Notes, Section, Table
from nsys_pipeline.report.numbers import UNKNOWN

_DTYPES = ("fp32", "tf32", "bf16", "fp16", "fp8", "int8", "fp4")


def gpus_document(data: Mapping[str, Any]) -> Document:
    """The table of peaks in TFLOP/s and GB/s, the source of each, and what was measured."""
    gpus = data["gpus"]
    sections = []
    if gpus:
        peaks = [gpu["peaks_flops_per_s"] for gpu in gpus]
        columns = [
            Column.text("GPU", [gpu["name"] for gpu in gpus]),
            Column.count("SM", [gpu["sm_count"] or None for gpu in gpus]),
            _as_published("cc", (gpu["compute_capability"] for gpu in gpus)),
            *(_rates(dtype, (each.get(dtype) for each in peaks), 1e12) for dtype in _DTYPES),
            _rates("GB/s", (gpu["bandwidth_bytes_per_s"] for gpu in gpus), 1e9),
            Column.text("memory", [gpu["memory"] or UNKNOWN for gpu in gpus]),
        ]
        title = "dense peaks with FP32 accumulation, TFLOP/s (int8: TOP/s); bandwidth, GB/s"
        sections.append(Section("peaks", (Table(columns),), title=title))
        # A table, so that no address is broken in two.
        sources = [Column.text("GPU", columns[0].cells), Column.text("source", [gpu["source"] for gpu in gpus])]
        sections.append(Section("sources", (Table(sources),)))
    notes = []
    for entry in data["measured"]:
        rates = ", ".join(f"{dtype} {rate / 1e12:.4g} TFLOP/s" for dtype, rate in entry["flops_per_s"].items())
        copy = f"copy {entry['bandwidth_bytes_per_s'] / 1e9:.4g} GB/s"
        notes += [Note("", f"measured on {entry['name']}: {rates}; {copy}"), Note("", f"  {entry['method']}")]
    if notes:
        sections.append(Section("measured", (Notes(notes),)))
    return Document("", (), tuple(sections))


def _rates(heading: str, values: Iterable[float | None], scale: float) -> Column:
    """Rates with the digits that the datasheet gives them."""
    rates = list(values)
    return Column(heading, [f"{rate / scale:.5g}" if rate else UNKNOWN for rate in rates], rates)


def _as_published(heading: str, values: Iterable[str | None]) -> Column:
    texts = [value or UNKNOWN for value in values]
    return Column(heading, texts, texts)
