"""What ncu measured, beside what the trace and the estimate say of the same kernels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nsys_pipeline.ncu.profile import KernelCounters, sum_or_none, summed

_SUMS = ("time_ns", "flops", "dram_bytes")
_NO_LAUNCHES = "the occurrence has no such kernel, or is warm-up or cold"


def beside_trace(
    measured: Iterable[KernelCounters],
    traced: Mapping[str, Mapping[str, Any]],
    launches: Iterable[Mapping[str, Any]] = (),
    *,
    flops: int | None,
    minimum_bytes: int | None,
    busy_ns: int | None,
    has_every_name: bool,
) -> dict[str, Any]:
    """Kernels of one name together, with their mean time in the trace, and sums beside the estimate of the occurrence.

    `traced` holds every kernel name of the occurrence if `has_every_name`, else some. `launches` are rows of the view
    kernel_operators of this occurrence: which operator each launch computes, and the estimate of it. ncu profiles the
    launches of a name in the order of the trace.
    """
    measured = list(measured)
    of_name: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for launch in sorted(launches, key=lambda launch: launch["launch_index"]):
        of_name[launch["name"]].append(launch)
    kernels: list[dict[str, Any]] = [
        {
            "name": row.name,
            "count": row.count,
            "time_ns": row.time_ns,
            "flops": row.flops,
            "dram_bytes": row.dram_bytes,
            "traced_mean_ns": traced[row.name]["mean_ns"] if row.name in traced else None,
            "in_occurrence": traced[row.name]["in_occurrence"] if row.name in traced else None,
            **_estimate(of_name.get(row.name, ()), row.count),
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
        "operators": _operators(measured, of_name),
        "measured": {key: sum_or_none([kernel[key] for kernel in kernels]) for key in _SUMS},
        "estimated": {"flops": flops, "bytes": minimum_bytes, "gpu_busy_ns": busy_ns},
        # Sums of some kernels say nothing about the estimate of all.
        "is_whole_occurrence": is_whole,
    }


def _estimate(launches: Sequence[Mapping[str, Any]], count: int) -> dict[str, Any]:
    """What the estimate says of the first `count` launches of a name; None with the reason where one is not known."""
    profiled = launches[:count]
    # What helpers do counts with the kernels that they help.
    counted = [launch for launch in profiled if not launch["is_helper"]] or profiled
    reasons = list(dict.fromkeys(launch["reason"] for launch in counted if launch["reason"] is not None))
    if not launches:
        reasons = [_NO_LAUNCHES]
    elif count > len(launches):
        reasons = [f"ncu profiled {count:,} launches, and the occurrence has {len(launches):,}"]
    return {
        "operators": list(dict.fromkeys(launch["operator"] for launch in profiled if launch["operator"] is not None)),
        "estimate_source": next((launch["source"] for launch in profiled if launch["source"] is not None), None),
        "estimated_flops": None if reasons else sum_or_none([launch["flops"] for launch in counted]),
        "estimated_bytes": None if reasons else sum_or_none([launch["bytes"] for launch in counted]),
        "no_estimate": "; ".join(reasons) or None,
    }


def _operators(
    measured: Sequence[KernelCounters], launches: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """Operators of which every launch was profiled: what was measured of them, beside their estimate."""
    rows: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for of_name in launches.values():
        for launch in of_name:
            if launch["operator"] is not None and launch["operator_flops"] is not None:
                rows[launch["operator"]].append(launch)
    taken: dict[str, list[KernelCounters]] = defaultdict(list)
    for kernel in measured:
        taken[kernel.name].append(kernel)
    found = []
    for operator, of_operator in rows.items():
        if any(
            not launch["launch_index"] <= len(taken[launch["name"]]) <= len(launches[launch["name"]])
            for launch in of_operator
        ):
            continue
        kernels = [taken[launch["name"]][launch["launch_index"] - 1] for launch in of_operator]
        found.append(
            {
                "operator": operator,
                "kernels": list(dict.fromkeys(kernel.name for kernel in kernels)),
                "count": len(kernels),
                **{key: sum_or_none([getattr(kernel, key) for kernel in kernels]) for key in _SUMS},
                "estimated_flops": of_operator[0]["operator_flops"],
                "estimated_bytes": of_operator[0]["operator_bytes"],
            }
        )
    return sorted(found, key=lambda row: (-(row["time_ns"] or 0), row["operator"]))
