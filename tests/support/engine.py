"""What engine and references say of one open trace: its attribution, time budget and cold occurrences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nsys_pipeline.duck import records
from nsys_pipeline.trace import Trace
from tests.support import budget_reference
from tests.support.cold_reference import Size, cold_of
from tests.support.reference import NO_API_CALL, NO_PHASE, NO_RANGE, Attribution, attribute

Key = tuple[Any, ...]
Times = dict[Key, int]


def disagreements(trace: Trace) -> dict[str, dict[Any, tuple[Any, Any]]]:
    """What the two do not agree on: (engine, reference). The trace is a plain export."""
    right = attribute(trace.path, strict=trace.options.is_strict)
    found = {
        "attribution": attribution_differences(trace, right),
        "budget": budget_differences(trace, right),
        "cold": cold_differences(trace, right),
    }
    return {name: differences for name, differences in found.items() if differences}


def _unequal(engine: Mapping[Any, Any], reference: Mapping[Any, Any]) -> dict[Any, tuple[Any, Any]]:
    return {
        key: (engine.get(key), reference.get(key))
        for key in engine.keys() | reference.keys()
        if engine.get(key) != reference.get(key)
    }


# -- attribution -----------------------------------------------------------------------------------------------------


def engine_work(trace: Trace) -> dict[tuple[str, int], tuple[Any, ...]]:
    """(kind, row) → (device, start, end, phase, start of the occurrence, warm-up, range, how, reason)."""
    trace.build("attribute.gpu_work", "attribute.phase_ranges")
    rows = records(
        trace.connection,
        """
        SELECT w.*, p.phase, p.start_ns AS occurrence_start_ns, p.is_warmup
        FROM attribute.gpu_work AS w LEFT JOIN attribute.phase_ranges AS p USING (occurrence_id)
        """,
    )
    found: dict[tuple[str, int], tuple[Any, ...]] = {}
    for row in rows:
        key = (row["kind"], row["op_id"] // 8)
        assert key not in found, f"{key} is there twice"
        reason = NO_PHASE if row["reason"] == "several_phases_open" and row["range_id"] is not None else row["reason"]
        found[key] = (
            row["device_id"], row["start_ns"], row["end_ns"], row["phase"], row["occurrence_start_ns"],
            row["is_warmup"], row["range_id"], row["method"],
            NO_RANGE if reason == "several_phases_open" else reason,
        )  # fmt: skip
    return found


def reference_work(attribution: Attribution) -> dict[tuple[str, int], tuple[Any, ...]]:
    """The same of the reference."""
    found = {}
    for each in attribution.work:
        occurrence = each.occurrence
        reason = each.reason
        if reason in (NO_RANGE, NO_PHASE):
            # The engine speaks of push/pop ranges only.
            reason = NO_RANGE if each.range is None else NO_PHASE
        assert reason in (None, NO_API_CALL, NO_RANGE, NO_PHASE)
        found[(each.work.kind, each.work.row)] = (
            each.work.device, each.work.start, each.work.end,
            occurrence.phase if occurrence else None, occurrence.range.start if occurrence else None,
            occurrence.warmup if occurrence else None, each.range.row if each.range else None,
            "thread" if each.how == "same_thread" else each.how, reason,
        )  # fmt: skip
    return found


def attribution_differences(trace: Trace, attribution: Attribution | None = None) -> dict[Any, tuple[Any, Any]]:
    """Operations about which the two disagree, by (kind, row)."""
    return _unequal(
        engine_work(trace), reference_work(attribution or attribute(trace.path, strict=trace.options.is_strict))
    )


# -- the time budget, class by class, to the nanosecond --------------------------------------------------------------


def engine_budget(trace: Trace) -> tuple[Times, Times, dict[int, int], set[tuple[str, int]]]:
    """(GPU, phase, occurrence, class) → ns; GPU → ns of its window; kernel → until when it waits; cold occurrences."""
    trace.build("attribute.occurrence_times", "attribute.windows", "attribute.phase_ranges")
    times = trace.connection.execute(
        "SELECT t.device_id, p.phase, p.occurrence, t.class, t.time_ns "
        "FROM attribute.occurrence_times AS t LEFT JOIN attribute.phase_ranges AS p USING (occurrence_id)"
    ).fetchall()
    waits = trace.connection.execute("SELECT op_id, end_ns FROM attribute.collective_waits").fetchall()
    windows = trace.connection.execute(
        "SELECT device_id, sum(end_ns - start_ns)::BIGINT FROM attribute.windows GROUP BY device_id"
    ).fetchall()
    # `cold_differences` has the same done twice.
    cold = set(trace.connection.execute("SELECT phase, occurrence FROM attribute.occurrences WHERE is_cold").fetchall())
    return {row[:4]: row[4] for row in times}, {(device,): time for device, time in windows}, dict(waits), set(cold)


def budget_differences(trace: Trace, attribution: Attribution | None = None) -> dict[Any, tuple[Any, Any]]:
    """Times about which engine and walk disagree: (ns of the engine, ns of the walk)."""
    times, windows, waits, cold = engine_budget(trace)
    walked = budget_reference.budget(
        trace.path,
        strict=trace.options.is_strict,
        waits=waits,
        measured=lambda one: (one.phase, one.index) not in cold,
        attribution=attribution,
    )
    right = walked.by_occurrence() | {(device,): time for device, time in walked.window_ns().items()}
    return _unequal(times | windows, right)


# -- cold occurrences ------------------------------------------------------------------------------------------------


def cold_differences(trace: Trace, attribution: Attribution | None = None) -> dict[Any, tuple[Any, Any]]:
    """Occurrences about which engine and definition disagree, by (phase, occurrence): why each says it is cold."""
    trace.build("attribute._slow_occurrences", "attribute.phase_ranges", "input.step_sizes")
    con = trace.connection
    found = con.execute(
        "SELECT p.phase, p.occurrence, c.reason FROM attribute._slow_occurrences AS c "
        "JOIN attribute.phase_ranges AS p USING (occurrence_id)"
    ).fetchall()
    rows = con.execute(
        "SELECT p.phase, p.occurrence, s.kind, s.label, s.batch, s.new_tokens, s.cached_tokens "
        "FROM input.step_sizes AS s JOIN attribute.phase_ranges AS p USING (occurrence_id)"
    ).fetchall()
    sizes: dict[tuple[str, int], Size] = {row[:2]: row[2:] for row in rows}
    return _unequal({row[:2]: row[2] for row in found}, cold_of(trace.path, sizes, attribution=attribution))
