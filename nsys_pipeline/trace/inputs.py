"""Relations of the schema ``input``: what SQL cannot work out by itself and Python hands in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nsys_pipeline.rules.kernels import kernel_family
from nsys_pipeline.rules.phases import LIBRARY_ROLES, classify
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
        "strength": "BIGINT", "is_container": "BOOLEAN", "new_tokens": "BIGINT",
    }  # fmt: skip
    rows = []
    for domain, name in _promising_names(con, options):
        role = classify(domain, name, options.phase_rules)
        if role and role.role not in LIBRARY_ROLES:
            traits = (role.role, role.phase, role.rule, role.strength, role.is_container, role.new_tokens)
            rows.append((domain, name, *traits))
    create_from_rows(con, "input.range_roles", types, rows)


def _promising_names(con: DuckDBPyConnection, options: TraceOptions) -> list[tuple[str, str]]:
    """Texts that a rule may know: `emit_nvtx` writes a million that differ in numbers, which no shipped rule minds."""
    if options.phase_rules:
        return con.execute("SELECT domain, name FROM load.range_names ORDER BY ALL").fetchall()
    patterns = con.execute("SELECT DISTINCT domain, pattern FROM load.range_names").fetchall()
    known = [list(one) for one in patterns if (role := classify(*one)) and role.role not in LIBRARY_ROLES]
    return con.execute(
        "SELECT domain, name FROM load.range_names SEMI JOIN (SELECT unnest(?::VARCHAR[][]) AS known) AS k "
        "ON k.known = [domain, pattern] ORDER BY ALL",
        [known],
    ).fetchall()


def create_library_ranges(con: DuckDBPyConnection, _options: TraceOptions) -> None:
    """`input.library_ranges`: one row per pattern of range texts that libraries write. Needs load.range_names."""
    types = {"domain": "VARCHAR", "pattern": "VARCHAR", "role": "VARCHAR"}
    rows = []
    for domain, pattern in con.execute("SELECT DISTINCT domain, pattern FROM load.range_names ORDER BY ALL").fetchall():
        if (role := classify(domain, pattern)) and role.role in LIBRARY_ROLES:
            rows.append((domain, pattern, role.role))
    create_from_rows(con, "input.library_ranges", types, rows)


def create_overlay_segments(con: DuckDBPyConnection, _options: TraceOptions) -> None:
    """`input.overlay_segments`: per thread, the start/end phase opened last. Needs attribute._marked_phases."""
    types = {"global_tid": "BIGINT", "start_ns": "BIGINT", "end_ns": "BIGINT", "occurrence_id": "BIGINT"}
    spans = con.execute(
        "SELECT global_tid, occurrence_id, start_ns, end_ns FROM attribute._marked_phases WHERE kind = 'start_end'"
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
    "input.library_ranges": (("load.range_names",), create_library_ranges),
    "input.kernel_families": (("attribute.kernel_totals", "load.strings"), create_kernel_families),
    "input.overlay_segments": (("attribute._marked_phases",), create_overlay_segments),
}
