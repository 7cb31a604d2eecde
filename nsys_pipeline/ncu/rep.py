"""A report of ncu's (.ncu-rep), read with the package `ncu-report`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import attrs

from nsys_pipeline.errors import TraceError
from nsys_pipeline.ncu.command import APART, METRICS
from nsys_pipeline.ncu.profile import KernelCounters, Profile, tensor_metrics, with_tensor_metrics

_DEVICE = "launch__device_id"
_MAJOR = "device__attribute_compute_capability_major"


def read_report(path: Path) -> Profile:
    """Each kernel of a .ncu-rep. Raises TraceError where it cannot be read, or the package is not installed."""
    try:
        import ncu_report
    except ImportError as error:
        raise TraceError(
            f"`{path}` needs the package ncu-report to be read here",
            hint="pip install ncu-report, or make a CSV: `ncu --import REPORT --csv --page raw > FILE.csv`",
        ) from error
    actions: list[tuple[str, int | None, str | None, dict[str, float | None]]] = []
    try:
        report = ncu_report.load_report(str(path))
        for index in range(report.num_ranges()):
            part = report.range_by_idx(index)
            for place in range(part.num_actions()):
                action = part.action_by_idx(place)
                values = {metric: _value(action, metric) for metric in (*METRICS, *APART)}
                # The interface does not tell processes apart: a range is a stream, and one process may have several.
                device, major = _value(action, _DEVICE), _value(action, _MAJOR)
                capability = None if major is None else str(int(major))
                actions.append((action.name(), None if device is None else int(device), capability, values))
    except Exception as error:  # the package raises its own classes, which differ by version
        raise TraceError(f"`{path}` is no report that ncu-report reads: {error}") from error
    if not actions:  # of what is no report, or ends early, the package makes an empty one
        raise TraceError(f"`{path}` has no kernel that ncu-report reads: it is damaged, no report, or of a newer ncu")
    if not any(value is not None for *_, values in actions for value in values.values()):
        raise TraceError(
            f"`{path}` has none of the counters that llmperf reads, of {len(actions):,} kernels",
            hint="`llmperf ncu TRACE` prints the command that measures them",
        )
    chosen = tensor_metrics((capability, values) for *_, capability, values in actions)
    kernels = []
    launches: Counter[tuple[int | None, str]] = Counter()
    for name, device_id, _, values in actions:
        kernel = KernelCounters.of(name, with_tensor_metrics(values, chosen), device=device_id)
        launches[device_id, kernel.name] += 1
        kernels.append(attrs.evolve(kernel, launch=launches[device_id, kernel.name]))
    return Profile(tuple(kernels))


def _value(action: Any, metric: str) -> float | None:
    found = action.metric_by_name(metric)
    return float(found.as_double()) if found is not None and found.has_value() else None
