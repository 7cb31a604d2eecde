"""What names of ranges mean, and the options that decide which phase GPU work belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nsys_pipeline.duck import create_from_rows
from nsys_pipeline.inputs.sweep import latest_start_segments
from nsys_pipeline.rules.phases import classify

if TYPE_CHECKING:
    from nsys_pipeline.inputs.inputs import Inputs


def create_settings(inputs: Inputs) -> None:
    """`input.settings`: one row of options that the SQL heeds."""
    create_from_rows(inputs.connection, "input.settings", {"is_strict": "BOOLEAN"}, [(inputs.is_strict,)])


def create_phase_rules(inputs: Inputs) -> None:
    """`input.phase_rules`: the user's own rules, as --phase has them."""
    types = {"rule": "VARCHAR", "pattern": "VARCHAR"}
    rows = [(rule.name, rule.pattern.pattern) for rule in inputs.phase_rules]
    create_from_rows(inputs.connection, "input.phase_rules", types, rows)


def create_range_roles(inputs: Inputs) -> None:
    """`input.range_roles`: one row per distinct range text that means something. Needs load.range_names."""
    types = {
        "domain": "VARCHAR", "name": "VARCHAR", "role": "VARCHAR", "phase": "VARCHAR", "rule": "VARCHAR",
        "is_weak": "BOOLEAN", "is_container": "BOOLEAN", "new_tokens": "BIGINT",
    }  # fmt: skip
    rows = []
    for domain, name in inputs.connection.execute("SELECT domain, name FROM load.range_names ORDER BY ALL").fetchall():
        if role := classify(domain, name, inputs.phase_rules):
            traits = (role.role, role.phase, role.rule, role.is_weak, role.is_container, role.new_tokens)
            rows.append((domain, name, *traits))
    create_from_rows(inputs.connection, "input.range_roles", types, rows)


def create_overlay_segments(inputs: Inputs) -> None:
    """`input.overlay_segments`: per thread, the start/end phase opened last. Needs attribute.phase_ranges."""
    types = {"global_tid": "BIGINT", "start_ns": "BIGINT", "end_ns": "BIGINT", "occurrence_id": "BIGINT"}
    spans = inputs.connection.execute(
        "SELECT global_tid, occurrence_id, start_ns, end_ns FROM attribute.phase_ranges WHERE kind = 'start_end'"
    ).fetchall()
    create_from_rows(inputs.connection, "input.overlay_segments", types, latest_start_segments(spans))
