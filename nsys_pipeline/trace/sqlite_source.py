"""Read an nsys SQLite export into DuckDB through the Arrow ADBC driver, in parallel over ranges of rowids."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote as percent_encode

from nsys_pipeline.errors import TraceError
from nsys_pipeline.trace.source import ROW_ID, quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from duckdb import DuckDBPyConnection

PARALLEL_ROWS = 100_000
BATCH_ROWS = 65_536


class SqliteSource:
    """An nsys export in SQLite, opened read-only and immutable: no lock is taken, no journal is replayed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._uri = f"file:{percent_encode(str(path.resolve()))}?mode=ro&immutable=1"

    @cached_property
    def _tables(self) -> dict[str, tuple[str, ...]]:
        try:
            with closing(sqlite3.connect(self._uri, uri=True)) as con:
                con.text_factory = _repair_text
                names = [name for (name,) in con.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
                return {
                    name: tuple(row[1] for row in con.execute(f"PRAGMA table_info({quote(name)})")) for name in names
                }
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def tables(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the tables that are present, with their columns."""
        return self._tables

    def types(self, table: str) -> Mapping[str, str]:
        """Columns of the table with their types: SQLite's INTEGER has 64 bits, and nsys declares no type but three."""
        try:
            with closing(sqlite3.connect(self._uri, uri=True)) as con:
                rows = con.execute(f"PRAGMA table_info({quote(table)})").fetchall()
        except sqlite3.Error as error:
            raise self._unreadable(error) from error
        return {row[1]: {"INTEGER": "BIGINT", "REAL": "DOUBLE"}.get(row[2].upper(), "VARCHAR") for row in rows}

    def load(self, con: DuckDBPyConnection, table: str, columns: Mapping[str, str], target: str) -> None:
        """Create the DuckDB table `target`; see `Source.load`."""
        try:
            with closing(sqlite3.connect(self._uri, uri=True)) as lite:
                # O(log n), where COUNT(*) would read the whole table
                low, high = lite.execute(f"SELECT min(rowid), max(rowid) FROM {quote(table)}").fetchone()  # noqa: S608
        except sqlite3.Error as error:
            raise self._unreadable(error) from error
        low, high = low or 0, high or 0
        parts = min(os.cpu_count() or 1, 8) if high - low > PARALLEL_ROWS else 1
        bounds = [low + (high - low + 1) * i // parts for i in range(parts + 1)]
        ranges = list(pairwise(bounds))
        try:
            self._load_through_arrow(con, table, columns, target, ranges)
        except _NotArrowError:
            # Text that is not UTF-8, or a column that changes its type half-way: slower, but it takes anything.
            self._load_row_by_row(con, table, columns, target)

    def _load_through_arrow(
        self,
        con: DuckDBPyConnection,
        table: str,
        columns: Mapping[str, str],
        target: str,
        ranges: list[tuple[int, int]],
    ) -> None:
        import duckdb

        select = ", ".join([f"rowid AS {ROW_ID}", *(_arrow_column(name, kind) for name, kind in columns.items())])
        casts = ", ".join([ROW_ID, *(_duckdb_column(name, kind) for name, kind in columns.items())])
        with _adbc_streams(
            self._uri,
            [f"SELECT {select} FROM {quote(table)} WHERE rowid >= {a} AND rowid < {b}" for a, b in ranges],  # noqa: S608
        ) as streams:
            names = [f"_stream_{i}" for i in range(len(streams))]
            try:
                for name, stream in zip(names, streams, strict=True):
                    con.register(name, stream)
                union = " UNION ALL ".join(f"SELECT {casts} FROM {name}" for name in names)  # noqa: S608
                con.execute(f"CREATE OR REPLACE TABLE {target} AS {union}")
            except duckdb.Error as error:
                if "malformed" in str(error) or "disk I/O" in str(error):
                    raise self._unreadable(error) from error
                if isinstance(error, (duckdb.OutOfMemoryException, duckdb.IOException, duckdb.InterruptException)):
                    raise
                raise _NotArrowError from error
            finally:
                for name in names:
                    con.unregister(name)

    def _load_row_by_row(self, con: DuckDBPyConnection, table: str, columns: Mapping[str, str], target: str) -> None:
        import json

        select = ", ".join(["rowid", *(quote(name) for name in columns)])
        types = {ROW_ID: "BIGINT", **columns}
        con.execute(f"CREATE OR REPLACE TABLE {target} ({', '.join(f'{quote(n)} {t}' for n, t in types.items())})")
        structure = json.dumps([types])
        try:
            with closing(sqlite3.connect(self._uri, uri=True)) as lite:
                lite.text_factory = _repair_text
                cursor = lite.execute(f"SELECT {select} FROM {quote(table)}")  # noqa: S608
                while rows := cursor.fetchmany(BATCH_ROWS):
                    batch = json.dumps(
                        [
                            {name: _plain(value, kind) for (name, kind), value in zip(types.items(), row, strict=True)}
                            for row in rows
                        ]
                    )
                    con.execute(
                        f"INSERT INTO {target} SELECT unnest(from_json(?::JSON, '{structure}'), recursive := true)",
                        [batch],
                    )
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def close(self) -> None:
        """Nothing is held open between loads."""

    def _unreadable(self, error: Exception) -> TraceError:
        return TraceError(
            f"`{self.path}` is damaged: SQLite says `{str(error).strip()}`",
            hint="export it again: `nsys export --type sqlite REPORT.nsys-rep`",
        )


class _NotArrowError(Exception):
    """ADBC cannot carry these values: it fixes a column's type from the first batch and wants UTF-8."""


def _arrow_column(name: str, kind: str) -> str:
    # ADBC takes a column's type from its first batch: an all-NULL start would make a text column an integer one.
    # The empty string carries "some text" and the NULLs come back through the flag column.
    if kind == "VARCHAR":
        return f"ifnull({quote(name)}, '') AS {quote(name)}, {quote(name)} IS NULL AS {quote(name + '_is_null')}"
    return quote(name)


def _duckdb_column(name: str, kind: str) -> str:
    if kind == "VARCHAR":
        return f"CASE WHEN {quote(name + '_is_null')} = 0 THEN {quote(name)}::VARCHAR END AS {quote(name)}"
    return f"{quote(name)}::{kind} AS {quote(name)}"


@contextmanager
def _adbc_streams(uri: str, queries: list[str]) -> Iterator[list[Any]]:
    # The low-level manager: the driver's `dbapi` module costs 0.2 s to import.
    import adbc_driver_manager
    import adbc_driver_sqlite

    opened: list[Any] = []
    try:
        streams = []
        for query in queries:
            database = adbc_driver_manager.AdbcDatabase(driver=adbc_driver_sqlite._driver_path(), uri=uri)
            opened.append(database)
            connection = adbc_driver_manager.AdbcConnection(database)
            opened.append(connection)
            statement = adbc_driver_manager.AdbcStatement(connection)
            opened.append(statement)
            statement.set_options(**{"adbc.sqlite.query.batch_rows": str(BATCH_ROWS)})
            statement.set_sql_query(query)
            stream, _rows = statement.execute_query()
            streams.append(stream)
        yield streams
    except adbc_driver_manager.Error as error:
        if "malformed" in str(error):
            raise TraceError(
                f"the trace is damaged: SQLite says `{error}`",
                hint="export it again: `nsys export --type sqlite REPORT.nsys-rep`",
            ) from error
        raise _NotArrowError from error
    finally:
        for handle in reversed(opened):
            handle.close()


def _repair_text(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace")


def _plain(value: object, kind: str) -> object:
    if isinstance(value, bytes):
        value = _repair_text(value)
    if kind == "VARCHAR":
        return None if value is None else str(value)
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return None
    return value
