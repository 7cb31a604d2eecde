"""What names of ranges mean, and the options that decide which phase GPU work belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from nsys_pipeline.duck import create_from_rows
from nsys_pipeline.inputs.sweep import latest_start_segments
from nsys_pipeline.rules.phases import LIBRARY_ROLES, classify
from nsys_pipeline.rules.stated import StatedBatch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nsys_pipeline.inputs.inputs import Inputs
    from nsys_pipeline.rules.phases import RangeRole

_UNTOLD = StatedBatch()
_BATCH = tuple(field.name for field in attrs.fields(StatedBatch))


def create_settings(inputs: Inputs) -> None:
    """`input.settings`: one row of options that the SQL heeds."""
    create_from_rows(inputs.connection, "input.settings", {"is_strict": "BOOLEAN"}, [(inputs.is_strict,)])


def create_measuring(inputs: Inputs) -> None:
    """`input.measuring`: one row that says which occurrences count."""
    create_from_rows(inputs.connection, "input.measuring", {"keep_cold": "BOOLEAN"}, [(inputs.options.keep_cold,)])


def create_goodput_limits(inputs: Inputs) -> None:
    """`input.goodput_limits`: within what a request is a good one; no row where nobody says so."""
    limits = inputs.options.goodput
    types = dict.fromkeys(("ttft_ns", "tpot_ns", "e2el_ns"), "DOUBLE")
    create_from_rows(inputs.connection, "input.goodput_limits", types, [attrs.astuple(limits)] if limits else [])


def create_phase_rules(inputs: Inputs) -> None:
    """`input.phase_rules`: the user's own rules, as --phase has them."""
    types = {"rule": "VARCHAR", "option": "VARCHAR"}
    rows = [(rule.name, rule.option) for rule in inputs.phase_rules]
    create_from_rows(inputs.connection, "input.phase_rules", types, rows)


def create_range_roles(inputs: Inputs) -> None:
    """`input.range_roles`: one row per distinct range text that means something. Needs load.range_names."""
    types = {
        "domain": "VARCHAR", "name": "VARCHAR", "role": "VARCHAR", "phase": "VARCHAR", "rule": "VARCHAR",
        "strength": "BIGINT", "is_certain": "BOOLEAN", "is_container": "BOOLEAN", "new_tokens": "BIGINT",
        **dict.fromkeys(_BATCH, "BIGINT"),
    }  # fmt: skip
    rows = []
    for domain, name in _promising_names(inputs):
        role = role_of(inputs, domain, name)
        if role and role.role not in LIBRARY_ROLES:
            traits = (
                role.role,
                role.phase,
                role.rule,
                role.strength,
                role.is_certain,
                role.is_container,
                role.new_tokens,
                *attrs.astuple(role.stated.batch if role.stated else _UNTOLD),
            )
            rows.append((domain, name, *traits))
    create_from_rows(inputs.connection, "input.range_roles", types, rows)


def role_of(inputs: Inputs, domain: str, name: str) -> RangeRole | None:
    """Role of a range text in this trace.

    Where SGLang checks guesses, its decode steps are the draft model's: the model's own check what those guess.
    Evaluation is a phase beside training: a trace of nothing else has steps like any other, or phases inside.
    """
    role = classify(domain, name, inputs.phase_rules)
    if role and role.rule.startswith("sglang-decode") and inputs.checks_guesses:
        return attrs.evolve(role, phase="draft", stated=None)
    if role and "evaluation" in role.rule and not inputs.trains:
        return attrs.evolve(role, phase="step") if role.rule.endswith("-step") else None
    return role


def _promising_names(inputs: Inputs) -> list[tuple[str, str]]:
    """Texts that a rule may know: `emit_nvtx` writes a million that differ in numbers, which no shipped rule minds."""
    con = inputs.connection
    if inputs.phase_rules:
        return con.execute("SELECT domain, name FROM load.range_names ORDER BY ALL").fetchall()
    known = [list(one) for one, role in inputs.pattern_roles.items() if role.role not in LIBRARY_ROLES]
    return con.execute(
        "SELECT domain, name FROM load.range_names SEMI JOIN (SELECT unnest(?::VARCHAR[][]) AS known) AS k "
        "ON k.known = [domain, pattern] ORDER BY ALL",
        [known],
    ).fetchall()


def find_pattern_roles(inputs: Inputs) -> dict[tuple[str, str], RangeRole]:
    """Domain and pattern of range texts → what the shipped rules say of them; those that no rule knows are absent."""
    patterns = inputs.connection.execute(
        "SELECT DISTINCT domain, pattern FROM load.range_names ORDER BY ALL"
    ).fetchall()
    roles = {(domain, pattern): classify(domain, pattern) for domain, pattern in patterns}
    return {one: role for one, role in roles.items() if role is not None}


def create_library_ranges(inputs: Inputs) -> None:
    """`input.library_ranges`: one row per pattern of range texts that libraries write. Needs load.range_names."""
    types = {"domain": "VARCHAR", "pattern": "VARCHAR", "role": "VARCHAR"}
    rows = [(*one, role.role) for one, role in inputs.pattern_roles.items() if role.role in LIBRARY_ROLES]
    create_from_rows(inputs.connection, "input.library_ranges", types, rows)


def create_overlay_segments(inputs: Inputs) -> None:
    """`input.overlay_segments`: per thread, the start/end phase opened last. Needs attribute._marked_phases."""
    types = {"global_tid": "BIGINT", "start_ns": "BIGINT", "end_ns": "BIGINT", "occurrence_id": "BIGINT"}
    spans = inputs.connection.execute(
        "SELECT global_tid, occurrence_id, start_ns, end_ns FROM attribute._marked_phases WHERE kind = 'start_end'"
    ).fetchall()
    create_from_rows(inputs.connection, "input.overlay_segments", types, latest_start_segments(spans))


def create_cut_phases(inputs: Inputs) -> None:
    """`input.cut_phases`: all phases of a trace of which a window leaves some out; none without a window."""
    types = {
        "occurrence_id": "BIGINT", "kind": "VARCHAR", "domain_id": "BIGINT", "global_tid": "BIGINT",
        "start_ns": "BIGINT", "end_ns": "BIGINT", "is_kept": "BOOLEAN",
    }  # fmt: skip
    _create_of_window(inputs, "input.cut_phases", types, f"SELECT {', '.join(types)} FROM cut.occurrences")  # noqa: S608 - our own names


def create_cut_phase_work(inputs: Inputs) -> None:
    """`input.cut_phase_work`: until when a GPU works for a phase that a window leaves out."""
    types = {"occurrence_id": "BIGINT", "device_id": "BIGINT", "last_end_ns": "BIGINT"}
    query = (
        "SELECT occurrence_id, device_id, max(end_ns) FROM cut.ops "
        "WHERE NOT is_kept AND occurrence_id IS NOT NULL GROUP BY ALL"
    )
    _create_of_window(inputs, "input.cut_phase_work", types, query)


def create_cut_work(inputs: Inputs) -> None:
    """`input.cut_work`: GPU work that the window of the analysis leaves out, in time; none without a window."""
    types = {"group_id": "BIGINT", "start_ns": "BIGINT", "end_ns": "BIGINT"}
    query = "SELECT device_id, start_ns, end_ns FROM cut.ops WHERE NOT is_kept AND end_ns > start_ns"
    _create_of_window(inputs, "input.cut_work", types, query)


def _create_of_window(inputs: Inputs, name: str, types: Mapping[str, str], query: str) -> None:
    """The relation `name` with the rows of `query` where a window cuts the trace, else with none."""
    create_from_rows(inputs.connection, name, types, [])
    if inputs.is_cut:
        inputs.connection.execute(f"INSERT INTO {name} {query} ORDER BY ALL")
