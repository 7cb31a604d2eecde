"""What NVTX ranges a trace offers, and what each counts as."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nsys_pipeline.duck import records

if TYPE_CHECKING:
    from nsys_pipeline.trace import Trace


def list_ranges(trace: Trace) -> list[dict[str, object]]:
    """One row for range texts that differ in numbers alone and mean the same; the longest in total first.

    Columns: domain, name (with `N` for numbers if there are several texts), texts, count, total_ns, role, phase, rule,
    and `occurrences`: those of the ranges that count as occurrences of the phase, the others being parts or loops.
    """
    trace.build("views.range_texts")
    return records(trace.connection, "FROM views.range_texts ORDER BY total_ns DESC, domain, name")
