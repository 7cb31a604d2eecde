"""Every number of a JSON report by name: `decode.mfu_busy`, `totals.kernel_count`, `decode.budget.host_ns`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

#: Time to first token is prefill's, time per output token decode's, and people ask for them there.
_REQUEST_PHASES = {"ttft": "prefill", "tpot": "decode"}
_SUMS = ("_ns", "_count", "flops", "bytes", "tokens")
#: Of one occurrence, of the hardware, of all of the trace.
_NO_SUMS = (
    "median_",
    "step_",
    "ttft_",
    "tpot_",
    "longest_",
    "thread_",
    "ridge_",
    "flops_per_",
    "launch_latency",
    "measured.",
)

#: What the costs of the model say: not exact where these are not. Of `hfu` and `tokens` other flags say whether they
#: are upper bounds, and tokens are no lower ones.
_OF_COSTS = re.compile(
    r"(?P<costs>(?:mfu|mbu)_(?:wall|span|busy)|flops|bytes|(?:compute|memory|sol)_ns|sol_ratio|flops_per_byte)"
    r"|(?P<hfu>hfu_(?:wall|span|busy)|executed_flops)|(?P<tokens>tokens(?:_per_s)?)|(?P<per_token>launches_per_token)"
)
#: May be larger or smaller, whichever way FLOPs and bytes are off.
_RATIOS_OF_COSTS = ("flops_per_byte",)


@attrs.frozen
class Bounds:
    """Between what a number lies that is not exact: `low` is 0 and `high` infinite where nothing says more."""

    low: float
    high: float

    @property
    def is_nothing(self) -> bool:
        return not self.low and math.isinf(self.high)


def numbers(report: Mapping[str, Any]) -> dict[str, float | None]:
    """Names and values of the JSON `report` (schema llmperf.report/1); None is a value that is not known.

    `PHASE.FIELD` for phases, `PHASE[SHAPE].FIELD` for their shapes, `totals.FIELD`, `unattributed.FIELD`,
    `trace.duration_ns`, `served.FIELD` of the requests of an engine, and `requests[SHAPE].FIELD`. Of one shape, those
    are also `requests.FIELD`, `prefill.ttft_p50_ns` and `decode.tpot_p50_ns`. Beside a sum of times there is
    its mean for one occurrence: `decode.step_wall_ns`, `decode.step_busy_ns`; and `PHASE.tokens_per_s` of wall time,
    which is not known where the GPU is busy for longer.
    """
    found: dict[str, float | None] = {}
    for section in ("totals", "unattributed"):
        found.update(_flat(section, report.get(section) or {}))
    found["trace.duration_ns"] = (report.get("trace") or {}).get("duration_ns")
    for phase in report.get("phases") or []:
        name = phase["name"]
        found.update(_flat(name, phase))
        found.update(_derived(name, phase))
        for shape in phase.get("shapes") or []:
            found.update(_flat(f"{name}[{shape['shape']}]", shape))
    requests = report.get("requests") or []
    for row in requests:
        found.update(_flat(f"requests[{row.get('shape') or 'unknown'}]", row))
    if served := report.get("served"):
        found.update(_flat("served", served))
        for row in requests:
            if row.get("shape") == "served":
                found |= {f"served.{key}": row[key] for key in row if key.startswith(tuple(_REQUEST_PHASES))}
    if len(requests) == 1:
        found.update(_flat("requests", requests[0]))
        for prefix, phase in _REQUEST_PHASES.items():
            found |= {f"{phase}.{key}": value for key, value in requests[0].items() if key.startswith(prefix)}
    return found


def bounds(report: Mapping[str, Any]) -> dict[str, Bounds]:
    """Names of the numbers of the JSON `report` that are not exact, and between what they lie.

    Those of a phase, or of a shape in it, of which a part of the model is not counted (`is_lower_bound`) or what is
    counted may be too much (`is_upper_bound`), and those that are known between `_min` and `_max` only.
    """
    found: dict[str, Bounds] = {}
    for phase in report.get("phases") or []:
        rate = _derived(phase["name"], phase)[f"{phase['name']}.tokens_per_s"]
        found |= _bounds(phase["name"], {**phase, "tokens_per_s": rate})
        for shape in phase.get("shapes") or []:
            found |= _bounds(f"{phase['name']}[{shape['shape']}]", shape)
    return found


def _bounds(prefix: str, row: Mapping[str, Any]) -> dict[str, Bounds]:
    has_lower, has_upper, has_upper_hfu, has_upper_tokens = (
        bool(row.get(f"is_{name}_bound")) for name in ("lower", "upper", "hfu_upper", "tokens_upper")
    )
    flags = {
        "costs": (has_lower, has_upper),
        "hfu": (has_lower, has_upper_hfu),
        "tokens": (False, has_upper_tokens),
        "per_token": (has_upper_tokens, False),
    }
    found = {}
    for key, kind in ((key, match.lastgroup) for key in row if (match := _OF_COSTS.fullmatch(key))):
        is_lower, is_upper = flags[kind or "costs"]
        value, least, most = (row.get(key + end) for end in ("", "_min", "_max"))
        if value is None and least is None:
            continue
        is_between = value is None
        low, high = (least, most) if is_between else (value, value)
        if key in _RATIOS_OF_COSTS and (is_lower or is_upper):
            low, high = None, None
        bound = Bounds(0.0 if is_upper or low is None else low, math.inf if is_lower or high is None else high)
        if is_between or bound.low != bound.high:
            found[f"{prefix}.{key}"] = bound
    return found


def find(found: Mapping[str, float | None], name: str) -> str | None:
    """The full name of what a user calls `name`: a unit (`_ns`, `_ratio`) may be left out. None if there is none."""
    return next((each for each in (name, f"{name}_ns", f"{name}_ratio") if each in found), None)


def those_near(found: Mapping[str, float | None], name: str) -> str:
    """What somebody who asked for `name` can ask for: the fields of the part that it names, else all parts."""
    parts: dict[str, list[str]] = {}
    for each in found:
        part, field = _parted(each)
        parts.setdefault(part, []).append(field)
    part = _parted(name)[0]
    if part in parts:
        return f"`{part}` has {', '.join(sorted(field for field in parts[part] if '.' not in field))}"
    if part == "served":
        return "no step says which requests it serves: record the server with `llmperf capture --auto` or `--profile`"
    return f"numbers are named PART.FIELD, as in the JSON report, and the parts are {', '.join(sorted(parts))}"


def _parted(name: str) -> tuple[str, str]:
    """Part and field; the shape in a part is between brackets and may have dots."""
    end = name.find("].") + 1 if "[" in name.partition(".")[0] else name.find(".")
    return (name[:end], name[end + 1 :]) if end > 0 else (name, "")


def summed_over(found: Mapping[str, float | None], name: str) -> tuple[str, float] | None:
    """The phase or shape over whose occurrences `name` is a sum, and how many they are; None for other numbers."""
    owners = [key.removesuffix(".occurrences") for key in found if key.endswith(".occurrences")]
    owner = max((each for each in owners if name.startswith(f"{each}.")), key=len, default=None)
    if owner is None:
        return None
    field = name.removeprefix(f"{owner}.")
    occurrences = found.get(f"{owner}.measured_occurrences", found[f"{owner}.occurrences"])
    if occurrences is None or field.startswith(_NO_SUMS) or not field.endswith(_SUMS):
        return None
    return owner, occurrences


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    for key, value in values.items():
        if isinstance(value, bool):
            continue
        if value is None or isinstance(value, int | float):
            yield f"{prefix}.{key}", value
        elif isinstance(value, Mapping):
            yield from _flat(f"{prefix}.{key}", value)


def _derived(name: str, phase: Mapping[str, Any]) -> dict[str, float | None]:
    """Means for one occurrence that is neither warm-up nor cold, and the rate of tokens of one model copy."""
    count = phase.get("occurrences", 0) - phase.get("warmup_occurrences", 0) - phase.get("cold_occurrences", 0)
    wall, busy = _measured(phase, "wall_ns"), _measured(phase, "gpu_busy_ns")
    measured, tokens = phase.get("measured_wall_ns") or wall, phase.get("tokens")
    # Wall time is that of all ranks that share the passes.
    ranks = phase.get("sharing_ranks") or 1
    # Launches that run ahead of the GPU end their ranges before the work is done: `work_outlives_range`.
    is_ahead = bool(busy) and phase.get("busy_ratio", 0) is None
    return {
        f"{name}.step_wall_ns": None if wall is None or count <= 0 else wall / count,
        f"{name}.step_busy_ns": None if busy is None or count <= 0 else busy / count,
        f"{name}.tokens_per_s": None if tokens is None or not measured or is_ahead else tokens * ranks / measured * 1e9,
    }


def _measured(phase: Mapping[str, Any], key: str) -> float | None:
    value: float | None = phase.get(key)
    part = key.removeprefix("gpu_")
    return None if value is None else value - sum(phase.get(f"{what}_{part}") or 0 for what in ("warmup", "cold"))
