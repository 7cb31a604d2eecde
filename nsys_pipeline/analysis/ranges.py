"""What NVTX ranges a trace offers, and what each counts as."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nsys_pipeline.duck import records

if TYPE_CHECKING:
    from nsys_pipeline.trace import Trace


def list_ranges(trace: Trace) -> list[dict[str, object]]:
    """One row per distinct range text: domain, name, count, total_ns, role, phase, rule; the longest first."""
    trace.build("load.nvtx_ranges", "input.range_roles")
    return records(
        trace.connection,
        """
        SELECT
            r.domain, r.name, count(*) AS "count", sum(r.end_ns - r.start_ns)::BIGINT AS total_ns,
            any_value(m.role) AS role, any_value(m.phase) AS phase, any_value(m.rule) AS rule
        FROM load.nvtx_ranges AS r
        LEFT JOIN input.range_roles AS m ON m.domain = r.domain AND m.name = r.name
        GROUP BY r.domain, r.name
        ORDER BY total_ns DESC, r.domain, r.name
        """,
    )
