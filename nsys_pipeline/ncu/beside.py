"""What ncu measured, beside what the trace and the estimate say of the same kernels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nsys_pipeline.ncu.profile import KernelCounters, sum_or_none, summed

_SUMS = ("time_ns", "flops", "dram_bytes")


def beside_trace(
    measured: Iterable[KernelCounters],
    traced: Mapping[str, Mapping[str, Any]],
    launches: Iterable[Mapping[str, Any]] = (),
    *,
    flops: int | None,
    minimum_bytes: int | None,
    busy_ns: int | None,
    elsewhere: Mapping[str, Mapping[str, Any]] | None = None,
    is_damaged: bool = False,
) -> dict[str, Any]:
    """Kernels of one name together, with their mean time in the trace, and sums beside the estimate of the occurrence.

    `traced` holds every kernel name of the phase (rows of the recipe ncu_kernels, with `nested_count` if
    ranges of other phases inside the occurrence launch it), `elsewhere` names that other work of
    the trace has: `mean_ns` and `phases`. `launches` are rows of the view kernel_operators of this occurrence: which
    operator each launch computes, and the estimate of it. ncu profiles the launches of a name in the order of the
    trace, in each process. `is_damaged`: some kernels of the file could not be read.
    """
    measured = list(measured)
    elsewhere = elsewhere or {}
    of_name: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for launch in sorted(launches, key=lambda launch: launch["launch_index"]):
        of_name[launch["name"]].append(launch)
    # Launches in ranges of other phases inside the occurrence's: ncu profiles them, and they are no launches of it.
    nested = {name for name, row in traced.items() if row.get("nested_count")}
    for name in nested:
        of_name.pop(name, None)
    profiled: dict[str, list[int | None]] = defaultdict(list)
    for kernel in measured:
        profiled[kernel.name].append(kernel.launch)
    kernels: list[dict[str, Any]] = []
    for row in summed(measured):
        place = traced.get(row.name) or elsewhere.get(row.name)
        in_occurrence = None if place is None else place.get("in_occurrence", 0)
        nowhere = _nowhere(row.name, traced, elsewhere, nested)
        kernels.append(
            {
                "name": row.name,
                "count": row.count,
                "time_ns": row.time_ns,
                "flops": row.flops,
                "dram_bytes": row.dram_bytes,
                "traced_mean_ns": None if place is None else place["mean_ns"],
                "in_occurrence": in_occurrence,
                **_estimate(of_name.get(row.name, ()), profiled[row.name], nowhere),
            }
        )
    processes = len({kernel.process for kernel in measured})
    why_not = _why_not_whole(kernels, traced, nested, processes=processes, is_damaged=is_damaged)
    return {
        "schema": "llmperf.ncu/1",
        "kernels": kernels,
        "operators": _operators(measured, of_name) if processes == 1 else [],
        "measured": {key: sum_or_none([kernel[key] for kernel in kernels]) for key in _SUMS},
        "estimated": {"flops": flops, "bytes": minimum_bytes, "gpu_busy_ns": busy_ns},
        # Sums of some kernels say nothing about the estimate of all.
        "is_whole_occurrence": why_not is None,
        "not_whole_reason": why_not,
    }


def _why_not_whole(
    kernels: Sequence[Mapping[str, Any]],
    traced: Mapping[str, Mapping[str, Any]],
    nested: Iterable[str],
    *,
    processes: int,
    is_damaged: bool,
) -> str | None:
    """Why the sums cannot be held against the estimate of the occurrence; None if they can."""
    if processes > 1:
        return f"kernels of {processes:,} processes were profiled, and the estimate is of one occurrence in one of them"
    # The command leaves kernels that communicate out, and the estimate has no FLOPs and bytes of them.
    expected = {name: row["in_occurrence"] for name, row in traced.items() if row["in_occurrence"]}
    alone = {name: count for name, count in expected.items() if not traced[name]["communicates"]}
    found = {kernel["name"]: kernel["count"] for kernel in kernels}
    if found and found in (alone, expected):
        return "ranges of other phases are inside the occurrence, and the estimate is without them" if nested else None
    if is_damaged:
        return "the file is damaged: not every kernel that was profiled could be read"
    if any(found.get(name, 0) < count for name, count in alone.items()):
        return "not every kernel of the occurrence was profiled: `--top 0` compares sums with the estimate"
    return f"{sum(found.values()):,} launches were profiled, and the occurrence has {sum(alone.values()):,}"


def _nowhere(
    name: str, traced: Mapping[str, Any], elsewhere: Mapping[str, Mapping[str, Any]], nested: Iterable[str]
) -> str:
    """Why no launch of the occurrence has this name, or nobody knows which ones."""
    if name in nested:
        return "ranges of other phases inside the occurrence launch such kernels, too"
    if name in traced:
        return "the occurrence has no such kernel, or is warm-up or cold"
    if name in elsewhere:
        phases = ", ".join(elsewhere[name]["phases"])
        return f"the phase has no such kernel, but {phases} has" if phases else "no phase has such a kernel"
    return "the trace has no such kernel"


def _estimate(launches: Sequence[Mapping[str, Any]], numbers: Sequence[int | None], nowhere: str) -> dict[str, Any]:
    """What the estimate says of launches of a name, by their numbers; None with the reason where it is not known."""
    known = [number for number in numbers if number is not None]
    profiled = [launches[number - 1] for number in known if number <= len(launches)]
    # What helpers do counts with the kernels that they help.
    counted = [launch for launch in profiled if not launch["is_helper"]] or profiled
    reasons = list(dict.fromkeys(launch["reason"] for launch in counted if launch["reason"] is not None))
    if not launches:
        reasons = [nowhere]
    elif len(known) < len(numbers):
        reasons = ["which launches of the trace these are is not known: the file is damaged before them"]
    elif max(known) > len(launches):
        reasons = [f"ncu profiled {max(known):,} launches, and the occurrence has {len(launches):,}"]
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
    taken = {(kernel.name, kernel.launch): kernel for kernel in measured}
    too_many = {
        kernel.name
        for kernel in measured
        if kernel.launch is None or kernel.launch > len(launches.get(kernel.name, ()))
    }
    found = []
    for operator, of_operator in rows.items():
        if any(
            launch["name"] in too_many or (launch["name"], launch["launch_index"]) not in taken
            for launch in of_operator
        ):
            continue
        kernels = [taken[launch["name"], launch["launch_index"]] for launch in of_operator]
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
