"""Relations of the schema ``input``: what SQL cannot work out by itself and Python hands in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nsys_pipeline.rules.kernels import kernel_family
from nsys_pipeline.rules.phases import classify
from nsys_pipeline.trace.duck import create_from_rows
from nsys_pipeline.trace.options import TraceOptions
from nsys_pipeline.trace.sweep import latest_start_segments

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def create_settings(con: DuckDBPyConnection, options: TraceOptions) -> None:
    """`input.settings`: one row of options that the SQL heeds."""
    create_from_rows(con, "input.settings", {"is_strict": "BOOLEAN"}, [(options.is_strict,)])


def create_range_roles(con: DuckDBPyConnection, options: TraceOptions) -> None:
    """`input.range_roles`: one row per distinct range text that means something. Needs load.range_names."""
    types = {
        "domain": "VARCHAR", "name": "VARCHAR", "role": "VARCHAR", "phase": "VARCHAR", "rule": "VARCHAR",
        "is_weak": "BOOLEAN", "is_container": "BOOLEAN", "new_tokens": "BIGINT",
    }  # fmt: skip
    rows = []
    for domain, name in con.execute("SELECT domain, name FROM load.range_names ORDER BY ALL").fetchall():
        if role := classify(domain, name, options.phase_rules):
            traits = (role.role, role.phase, role.rule, role.is_weak, role.is_container, role.new_tokens)
            rows.append((domain, name, *traits))
    create_from_rows(con, "input.range_roles", types, rows)


def create_overlay_segments(con: DuckDBPyConnection, _options: TraceOptions) -> None:
    """`input.overlay_segments`: per thread, the start/end phase opened last. Needs attribute.phase_ranges."""
    types = {"global_tid": "BIGINT", "start_ns": "BIGINT", "end_ns": "BIGINT", "occurrence_id": "BIGINT"}
    spans = con.execute(
        "SELECT global_tid, occurrence_id, start_ns, end_ns FROM attribute.phase_ranges WHERE kind = 'start_end'"
    ).fetchall()
    create_from_rows(con, "input.overlay_segments", types, latest_start_segments(spans))


def create_kernel_families(con: DuckDBPyConnection, _options: TraceOptions) -> None:
    """`input.kernel_families`: one row per pair of kernel names."""
    rows = con.execute(
        """
        SELECT DISTINCT k.name_id, k.full_name_id, short.value, long.value
        FROM attribute.kernel_totals AS k
        LEFT JOIN load.strings AS short ON short.string_id = k.name_id
        LEFT JOIN load.strings AS long ON long.string_id = k.full_name_id
        """
    ).fetchall()
    types = {"name_id": "BIGINT", "full_name_id": "BIGINT", "family": "VARCHAR"}
    families = ((short_id, full_id, kernel_family(short, full)) for short_id, full_id, short, full in rows)
    create_from_rows(con, "input.kernel_families", types, families)


# Relation → (what it is made from, how).
PROVIDERS = {
    "input.settings": ((), create_settings),
    "input.range_roles": (("load.range_names",), create_range_roles),
    "input.kernel_families": (("attribute.kernel_totals", "load.strings"), create_kernel_families),
    "input.overlay_segments": (("attribute.phase_ranges",), create_overlay_segments),
}
