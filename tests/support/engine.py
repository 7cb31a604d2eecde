"""The engine's answer in the reference's words, for comparing them operation by operation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nsys_pipeline.duck import records
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.reference import NO_API_CALL, NO_PHASE, NO_RANGE, Attribution, attribute

KINDS = ("kernel", "memcpy", "memset", "graph")


def engine_work(path: Path, *, strict: bool = False) -> dict[tuple[str, int], tuple[Any, ...]]:
    """(kind, row) → (device, start, end, phase, start of the occurrence, warm-up, range, how, reason)."""
    with open_trace(path, TraceOptions(use_cache=False, is_strict=strict)) as trace:
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


def differences(path: Path, *, strict: bool = False) -> dict[tuple[str, int], tuple[Any, Any]]:
    """Operations about which the two disagree: (kind, row) → (engine, reference)."""
    engine = engine_work(path, strict=strict)
    reference = reference_work(attribute(path, strict=strict))
    return {
        key: (engine.get(key), reference.get(key))
        for key in engine.keys() | reference.keys()
        if engine.get(key) != reference.get(key)
    }
