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
    trace.build("load.nvtx_ranges", "load.range_names", "input.range_roles", "attribute._marked_phases")
    return records(
        trace.connection,
        r"""
        WITH text AS (
            SELECT
                r.domain, r.name, count(*) AS "count", sum(r.end_ns - r.start_ns)::BIGINT AS total_ns,
                count(m.occurrence_id) AS occurrences
            FROM load.nvtx_ranges AS r LEFT JOIN attribute._marked_phases AS m ON m.occurrence_id = r.range_id
            GROUP BY r.domain, r.name
        )
        SELECT
            text.domain,
            CASE
                WHEN count(*) = 1 THEN any_value(text.name)
                ELSE regexp_replace(n.pattern, '\d+', 'N', 'g')
            END AS name,
            count(*) AS texts, sum(text."count")::BIGINT AS "count", sum(text.total_ns)::BIGINT AS total_ns,
            m.role, m.phase, m.rule, sum(text.occurrences)::BIGINT AS occurrences
        FROM text
        JOIN load.range_names AS n ON n.domain = text.domain AND n.name = text.name
        LEFT JOIN input.range_roles AS m ON m.domain = text.domain AND m.name = text.name
        GROUP BY text.domain, n.pattern, m.role, m.phase, m.rule
        ORDER BY total_ns DESC, text.domain, name
        """,
    )
