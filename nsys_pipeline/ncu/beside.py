"""What ncu measured, beside what the trace and the estimate say of the same kernels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nsys_pipeline.ncu.profile import KernelCounters, sum_or_none, summed


def beside_trace(
    measured: Iterable[KernelCounters],
    traced: Mapping[str, Mapping[str, Any]],
    *,
    flops: int | None,
    minimum_bytes: int | None,
    busy_ns: int | None,
    has_every_name: bool,
) -> dict[str, Any]:
    """Kernels of one name together, with their mean time in the trace, and sums beside the estimate of the occurrence.

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
        for row in summed(measured)
    ]
    is_whole = (
        has_every_name and bool(kernels) and all(kernel["count"] == kernel["in_occurrence"] for kernel in kernels)
    )
    is_whole = is_whole and len(kernels) == sum(kernel["in_occurrence"] > 0 for kernel in traced.values())
    return {
        "schema": "llmperf.ncu/1",
        "kernels": kernels,
        "measured": {
            key: sum_or_none([kernel[key] for kernel in kernels]) for key in ("time_ns", "flops", "dram_bytes")
        },
        "estimated": {"flops": flops, "bytes": minimum_bytes, "gpu_busy_ns": busy_ns},
        # Sums of some kernels say nothing about the estimate of all.
        "is_whole_occurrence": is_whole,
    }
