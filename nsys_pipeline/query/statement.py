"""What a user's text is, before it is run: exactly one SELECT, and the relations that it reads."""

from __future__ import annotations

import json
import re
from enum import Enum
from typing import TYPE_CHECKING, Any

import attrs

from nsys_pipeline.errors import QueryError
from nsys_pipeline.query.explain import explain

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@attrs.frozen
class Relation:
    """A relation as a query names it; `catalog` and `schema` are '' where it gives none."""

    catalog: str
    schema: str
    name: str


class Listing(Enum):
    """What there is to list: the public views, or with them the export's own tables."""

    VIEWS = "SHOW TABLES"
    ALL = "SHOW ALL TABLES"


@attrs.frozen
class Statement:
    """One SELECT. `relations` may hold names of the query's own CTEs; `lists`: what it lists, where it is a SHOW.

    `is_plan`: it is an EXPLAIN of that SELECT.
    """

    sql: str
    relations: frozenset[Relation]
    parameters: frozenset[str]
    lists: Listing | None = None
    is_plan: bool = False


# What a node of the tree may be: everything else writes, even inside a SELECT.
_READING_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})


def parse_select(con: DuckDBPyConnection, text: str) -> Statement:
    """Read `text` as one SELECT. Raises QueryError for anything else: other statements, several, none, bad syntax."""
    import duckdb

    if not isinstance(text, str):
        raise QueryError(f"a query is a text, not {type(text).__name__}", hint='for example "from phases"')
    try:
        statements = con.extract_statements(text)
    except duckdb.Error as error:
        raise explain(error) from error
    if not statements:
        raise QueryError("there is no query", hint='for example "from phases"')
    if len(statements) > 1:
        raise QueryError(f"{len(statements)} statements, and only one can be run", hint="write one SELECT")
    (statement,) = statements
    kind = statement.type.name
    if kind == "MULTI" and re.search(r"(?i)\bpivot\b", text):
        raise QueryError(
            "PIVOT needs the values that become columns", hint="name them: PIVOT … ON phase IN ('prefill', 'decode')"
        )
    if kind == "EXPLAIN":
        inner = parse_select(con, _explained(statement.query))
        return attrs.evolve(inner, sql=f"EXPLAIN {inner.sql}", lists=None, is_plan=True)
    if kind != "SELECT":
        raise QueryError(f"{kind} is refused: a trace can only be read", hint="write one SELECT")
    tree = _tree(con, statement.query)
    if listing := _listing(tree):
        return Statement(statement.query, frozenset(), frozenset(), listing)
    relations: set[Relation] = set()
    _collect(tree, relations)
    return Statement(_unended(statement.query), frozenset(relations), frozenset(statement.named_parameters))


def _explained(sql: str) -> str:
    """The statement behind `EXPLAIN`. Raises QueryError for EXPLAIN ANALYZE, and other options."""
    import duckdb

    raw = sql.encode()
    places = [offset for offset, kind in duckdb.tokenize(sql) if kind.name != "comment"]
    start = places[1] if len(places) > 1 else len(raw)
    if re.match(rb"(?i)analyze\b|\(\s*(?:analyze|format)\b", raw[start:]):
        raise QueryError("EXPLAIN takes no options here: it shows the plan", hint="write EXPLAIN SELECT …")
    return raw[start:].decode()


def _tree(con: DuckDBPyConnection, sql: str) -> Any:
    (serialized,) = con.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()[0]
    tree = json.loads(serialized)
    if tree.get("error"):
        raise QueryError(str(tree.get("error_message")), hint="write one SELECT")
    return tree


def _unended(sql: str) -> str:
    """`sql` without `;` at its end, and comments after it: the text may become a subquery."""
    import duckdb

    raw = sql.encode()
    kept = len(raw)
    for offset, kind in reversed(duckdb.tokenize(sql)):
        if raw[offset : offset + 1] == b";":
            kept = offset
        elif kind.name != "comment":
            break
    return raw[:kept].decode()


def _listing(tree: Any) -> Listing | None:
    """What the whole statement lists, None for any other. DuckDB reads DESCRIBE without a name as SHOW ALL TABLES."""
    table = tree["statements"][0]["node"].get("from_table") or {}
    if table.get("type") != "SHOW_REF" or table.get("show_type") != "SHOW_SPECIAL":
        return None
    names = {'"tables"': Listing.VIEWS, "__show_tables_expanded": Listing.ALL}
    return names.get(str(table.get("table_name")))


def _collect(node: Any, relations: set[Relation]) -> None:
    if isinstance(node, dict):
        kind = str(node.get("type"))
        if kind.endswith("_NODE") and kind not in _READING_NODES:
            raise QueryError(f"{kind.partition('_')[0]} is refused: a trace can only be read", hint="write one SELECT")
        if node.get("function_name") == "query":
            raise QueryError("query(…) is refused: it hides what is read", hint="write the query itself")
        shows = node.get("show_type") if node.get("type") == "SHOW_REF" else None
        if node.get("type") == "BASE_TABLE" or shows == "SHOW":
            relations.add(Relation(node["catalog_name"], node["schema_name"], node["table_name"]))
        elif shows in ("SHOW_SPECIAL", "SHOW_FROM"):
            # It would list what is internal, and miss what no query has read yet.
            raise QueryError(
                "that would list internal relations",
                hint="`SHOW TABLES`, alone, lists the views; `llmperf schema` says what they hold",
            )
        elif node.get("kind") == "STRING" and isinstance(node.get("text"), str):
            # A text may be the name of a relation that a table macro is handed, as in islands('gpu_work').
            for name in re.findall(r"[A-Za-z_][\w.]*", node["text"]):
                relations.add(Relation(*["", "", *name.split(".")][-3:]))
        for value in node.values():
            _collect(value, relations)
    elif isinstance(node, list):
        for value in node:
            _collect(value, relations)
