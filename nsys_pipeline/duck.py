"""Small helpers around a DuckDB connection."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, Statement

_parsed: dict[str, Statement] = {}


def execute_parsed(con: DuckDBPyConnection, sql: str) -> DuckDBPyConnection:
    """Run one statement that this process will run again, for another trace: it is parsed once.

    Parsing the modules takes a tenth of the time of a tiny trace.
    """
    if sql not in _parsed:
        (_parsed[sql],) = con.extract_statements(sql)
    return con.execute(_parsed[sql])


def create_from_rows(
    con: DuckDBPyConnection, name: str, types: Mapping[str, str], rows: Iterable[Sequence[object]]
) -> None:
    """Create the table `name` with columns `types` (name → DuckDB type) from Python rows.

    The rows travel as one JSON value: row-wise inserts cost a millisecond each, and a data frame a heavy import.
    """
    columns = ", ".join(f"{quote(column)} {kind}" for column, kind in types.items())
    con.execute(f"CREATE OR REPLACE TABLE {name} ({columns})")
    payload = [dict(zip(types, row, strict=True)) for row in rows]
    if payload:
        con.execute(
            f"INSERT INTO {name} SELECT unnest(from_json(?::JSON, ?), recursive := true)",
            [json.dumps(payload), json.dumps([dict(types)])],
        )


def quote(name: str) -> str:
    """`name` as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as a SQL string."""
    return "'" + text.replace("'", "''") + "'"


def is_disk_full(error: Exception) -> bool:
    """Whether DuckDB's `error` is that of a full disk."""
    return "No space left on device" in str(error) or "Disk quota exceeded" in str(error)


def records(con: DuckDBPyConnection, query: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
    """Rows of `query` as dicts."""
    cursor = con.execute(query, list(parameters))
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def scalar(con: DuckDBPyConnection, query: str, parameters: Sequence[object] = ()) -> Any:
    """First column of the only row of `query`."""
    rows = con.execute(query, list(parameters)).fetchall()
    return rows[0][0]
