#!/usr/bin/env python
"""Check the modules of sql/ against their own headers, and against what they build on a real trace.

    python scripts/check_sql_modules.py                 all modules, on one of tests/traces
    python scripts/check_sql_modules.py TRACE.sqlite    on another trace

For every module: one SELECT without a top-level star; no aggregate over a window has a FILTER; `requires` names exactly
the relations that the statement reads, in the order of layers nsys, input < macros < load < attribute < estimate <
views < findings; `columns` are those of the built relation, in order, with their types; every column and the relation
itself are described, and times carry their unit.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nsys_pipeline.inputs.registry import INPUTS, NEEDS  # noqa: E402
from nsys_pipeline.query.session import Session  # noqa: E402
from nsys_pipeline.records import SEVERITIES  # noqa: E402
from nsys_pipeline.sqlmods import (  # noqa: E402
    ALL_FINDINGS,
    EXTERNAL_LAYERS,
    LAYERS,
    Module,
    ModuleError,
    all_modules,
    closure,
    template_sql,
)
from nsys_pipeline.trace import TraceOptions, open_trace  # noqa: E402

DEFAULT_TRACE = ROOT / "tests" / "traces" / "h100_gpu_metrics.sqlite.xz"
UNITS = {"_ns": "ns", "_bytes": "bytes", "_bytes_per_s": "bytes/s", "_flops_per_s": "FLOP/s"}


def syntax_tree(con: Any, sql: str) -> dict[str, Any]:
    """DuckDB's own tree of one SELECT. Raises ValueError for anything else."""
    tree = json.loads(con.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()[0][0])
    if tree.get("error"):
        raise ValueError(f"is not one SELECT: {tree.get('error_message')}")
    if len(tree["statements"]) != 1:
        raise ValueError(f"holds {len(tree['statements'])} statements")
    node: dict[str, Any] = tree["statements"][0]["node"]
    return node


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every node of a tree, each before those below it."""
    if isinstance(tree, dict):
        yield tree
    for value in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from nodes(value)


def references(tree: Any) -> Iterator[str]:
    """Relations with a schema that a tree reads, those among them that a macro is handed by name."""
    for node in nodes(tree):
        if node.get("type") == "BASE_TABLE" and node["schema_name"]:
            yield f"{node['schema_name']}.{node['table_name']}"
        if node.get("class") == "FUNCTION" and node.get("schema") == "macros":
            yield f"macros.{node['function_name']}"
            for argument in node["arguments"]:
                literal = argument["expression"].get("literal") or {}
                if literal.get("kind") == "STRING":
                    yield literal["text"]


def top_level_stars(node: Mapping[str, Any]) -> Iterator[str]:
    """Where the columns of a statement are not spelled out."""
    if node["type"] == "SELECT_NODE":
        for expression in node["select_list"]:
            if expression["class"] == "STAR":
                yield "has a top-level SELECT *"
    else:
        for branch in (node.get("left"), node.get("right"), *(node.get("children") or ())):
            if branch:
                yield from top_level_stars(branch.get("node", branch))


def filtered_windows(tree: Any) -> Iterator[str]:
    """Aggregates over a window that have a FILTER: DuckDB then takes time that grows with the square of the frame."""
    for node in nodes(tree):
        if node.get("class") == "WINDOW" and node.get("filter_expr"):
            yield (
                f"has a FILTER on {node['function_name']} over a window, which is quadratic: "
                "put CASE WHEN … END into the aggregate"
            )


def check_header(module: Module) -> Iterator[str]:
    """What is wrong with the documentation of a module."""
    for what, text in (
        ("what a row is", module.doc),
        ("its grain", module.grain or module.returns),
        ("its columns", module.columns or module.returns),
    ):
        if not text:
            yield f"does not say {what}"
    if module.is_finding:
        yield from check_finding(module)
    for source in module.needed_rows_of:
        needed = all_modules().get(source)
        if needed is not None and needed.is_temporary:
            yield f"is empty without {source}, which may be gone by then"
        elif source not in closure([module.name], {**all_modules(), module.name: module}, needs=NEEDS):
            yield f"is empty without {source}, which it is not made from"
    names = [column.name for column in module.columns]
    if len(set(names)) != len(names):
        yield "documents a column twice"
    for column in module.columns:
        suffix = max((one for one in UNITS if column.name.endswith(one)), key=len, default=None)
        if suffix and f"Unit: {UNITS[suffix]}." not in column.doc:
            yield f"column {column.name} does not end in `Unit: {UNITS[suffix]}.`"


def check_finding(module: Module) -> Iterator[str]:
    """What is wrong with the header of a finding."""
    if module.severity not in SEVERITIES:
        yield f"has the severity {module.severity}, which is not one of {', '.join(SEVERITIES)}"
    first = [(column.name, column.type) for column in module.columns[:2]]
    if first != [("phase", "VARCHAR"), ("at_stake_ns", "BIGINT")]:
        yield "does not begin with the columns phase VARCHAR and at_stake_ns BIGINT"
    for name in module.concerns:
        if name not in all_modules() and name not in INPUTS:
            yield f"concerns {name}, which does not exist"
    if (module.message or "").endswith("."):
        yield "has a message that ends in a full stop"
    try:
        for template in (module.message, module.hint):
            template_sql(module, template)
    except ModuleError as error:
        yield str(error)


def check_statement(con: Any, module: Module) -> Iterator[str]:
    """What is wrong with the statement of a module."""
    try:
        tree = syntax_tree(con, module.sql)
    except ValueError as error:
        yield str(error)
        return
    yield from top_level_stars(tree)
    yield from filtered_windows(tree)
    # A name without a schema, handed to a table macro, is a CTE of the statement itself.
    read = {name for name in references(tree) if "." in name}
    if missing := sorted(read - set(module.requires)):
        yield f"reads {', '.join(missing)} without requiring it"
    if unused := sorted(set(module.requires) - read):
        yield f"requires {', '.join(unused)} without reading it"
    yield from check_layers(module, read)


def check_layers(module: Module, read: set[str]) -> Iterator[str]:
    """Which of the relations that a module reads it may not."""
    for name in sorted(read):
        layer = name.partition(".")[0]
        if layer not in LAYERS:
            yield f"reads {name}, which is in no layer"
        elif LAYERS.index(layer) > LAYERS.index(module.layer) and name not in EXEMPT.get(module.name, ()):
            yield f"reads {name}, a layer to its right"
        elif layer == "nsys" and module.layer != "load" and name not in EXEMPT.get(module.name, ()):
            yield f"reads {name}: only sql/load knows nsys' tables"


# Reading nsys' tables outside sql/load, or a layer to the right, needs a reason.
EXEMPT: Mapping[str, tuple[str, ...]] = {
    # What was recorded is added up from nsys' own rows, so that a mistake of sql/load cannot hide.
    "attribute.conservation": (
        "nsys.CUPTI_ACTIVITY_KIND_KERNEL", "nsys.CUPTI_ACTIVITY_KIND_MEMCPY", "nsys.CUPTI_ACTIVITY_KIND_MEMSET",
    ),
    # Findings are about what the views show, and the list of them is a view like any other.
    "views.findings": (ALL_FINDINGS,),
}  # fmt: skip


def check_columns(session: Session, module: Module) -> Iterator[str]:
    """What is wrong with the documented columns of a module, by the relation it builds."""
    session.build(module.name)
    built = session.database.execute(f"DESCRIBE {module.name}").fetchall()
    actual = [(row[0], row[1]) for row in built]
    documented = [(column.name, column.type) for column in module.columns]
    for position in range(max(len(actual), len(documented))):
        got = actual[position] if position < len(actual) else None
        said = documented[position] if position < len(documented) else None
        if got != said:
            yield f"column {position + 1} is {_spell(got)}, documented as {_spell(said)}"


def _spell(column: tuple[str, str] | None) -> str:
    return "absent" if column is None else " ".join(column)


def problems(trace: Path) -> list[str]:
    """Every problem of every module, one line each."""
    found = []
    modules = all_modules()
    assert not any(module.layer in EXTERNAL_LAYERS for module in modules.values())
    with Session.of(open_trace(trace, TraceOptions(use_cache=False)), close_off=False) as session:
        for module in modules.values():
            complaints = [*check_header(module), *check_statement(session.database, module)]
            if not module.is_macro:
                complaints += check_columns(session, module)
            found += [f"sql/{module.layer}/{module.relation}.sql: {complaint}" for complaint in complaints]
    return found


def main(arguments: list[str]) -> int:
    """Exit status: 0 where nothing is wrong."""
    found = problems(Path(arguments[0]) if arguments else DEFAULT_TRACE)
    for line in found:
        print(line)
    print(f"{len(all_modules())} SQL modules, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
