"""Render GPU peaks. Gets plain dicts: rooms do not import each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from nsys_pipeline.report.tables import plain_table, wide_console

_DTYPES = ("fp32", "tf32", "bf16", "fp16", "fp8", "int8", "fp4")


def render_gpus(data: Mapping[str, Any], out: TextIO) -> None:
    """Write the table of peaks in TFLOP/s and GB/s, then each source, to `out`."""
    console = wide_console(out)
    table = plain_table("dense peaks with FP32 accumulation, TFLOP/s (int8: TOP/s); bandwidth, GB/s")
    for column in ("GPU", "SM", "cc", *_DTYPES, "GB/s", "memory"):
        table.add_column(column, justify="left" if column in ("GPU", "memory") else "right")
    for gpu in data["gpus"]:
        peaks = gpu["peaks_flops_per_s"]
        cells = [f"{peaks[dtype] / 1e12:.5g}" if dtype in peaks else "–" for dtype in _DTYPES]
        bandwidth = gpu["bandwidth_bytes_per_s"]
        table.add_row(
            gpu["name"],
            str(gpu["sm_count"] or "–"),
            gpu["compute_capability"] or "–",
            *cells,
            f"{bandwidth / 1e9:.5g}" if bandwidth else "–",
            gpu["memory"] or "–",
        )
    if data["gpus"]:
        console.print(table)
        console.print()
        _sources(console, data["gpus"])
    for entry in data["measured"]:
        rates = ", ".join(f"{dtype} {rate / 1e12:.4g} TFLOP/s" for dtype, rate in entry["flops_per_s"].items())
        console.print(f"measured on {entry['name']}: {rates}; copy {entry['bandwidth_bytes_per_s'] / 1e9:.4g} GB/s")
        console.print(f"  {entry['method']}")


def _sources(console: Any, gpus: Sequence[Mapping[str, Any]]) -> None:
    for gpu in gpus:
        console.print(f"{gpu['name']}: {gpu['source']}", markup=False)
