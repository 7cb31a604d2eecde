"""Read an nsys SQLite export into DuckDB through the Arrow ADBC driver, in parallel over ranges of rowids."""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing, contextmanager
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote as percent_encode

import attrs

from nsys_pipeline.errors import TraceError
from nsys_pipeline.trace.source import EXPORT_AGAIN, ROW_ID, quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from duckdb import DuckDBPyConnection

PARALLEL_ROWS = 100_000
BATCH_ROWS = 65_536
SMALL_FILE_BYTES = 32 << 20
# Messages of SQLite quote the schema; where that is damaged they may be no UTF-8, and then reading them fails.
SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
_INTEGER = re.compile(r"\s*([+-]?[0-9]+)(?:\.0*)?\s*", re.ASCII)
_NO_INTEGERS = ("DOUBLE", "FLOAT", "VARCHAR", "BLOB")
_MAY_BE_STORED_SO = re.compile(r"(TEXT|NULL|non-\w+) value in ")


@attrs.frozen
class _Relation:
    """A table or view: `has_rowid` is False for views and for tables WITHOUT ROWID."""

    columns: tuple[str, ...]
    has_rowid: bool


class SqliteSource:
    """An nsys export in SQLite, opened read-only and immutable: no lock is taken, no journal is replayed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._uri = f"file:{percent_encode(str(path.resolve()))}?mode=ro&immutable=1"
        self._is_checked = False

    @cached_property
    def _relations(self) -> dict[str, _Relation]:
        try:
            with closing(self._connect()) as con:
                names = con.execute(
                    "SELECT name, type = 'table' FROM sqlite_master WHERE type IN ('table', 'view')"
                ).fetchall()
                return {
                    name: _Relation(
                        tuple(row[1] for row in con.execute(f"PRAGMA table_info({quote(name)})")),
                        is_table and _has_rowid(con, name),
                    )
                    for name, is_table in names
                }
        except SQLITE_ERRORS as error:
            raise self._unreadable(error) from error

    def tables(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the tables that are present, with their columns."""
        return {name: relation.columns for name, relation in self._relations.items()}

    def _connect(self) -> sqlite3.Connection:
        con = sqlite3.connect(self._uri, uri=True)
        con.text_factory = _repair_text
        return con

    def types(self, table: str) -> Mapping[str, str]:
        """Columns of the table with their types: SQLite's INTEGER has 64 bits, and nsys declares no type but three."""
        try:
            with closing(sqlite3.connect(self._uri, uri=True)) as con:
                rows = con.execute(f"PRAGMA table_info({quote(table)})").fetchall()
        except SQLITE_ERRORS as error:
            raise self._unreadable(error) from error
        return {row[1]: {"INTEGER": "BIGINT", "REAL": "DOUBLE"}.get(row[2].upper(), "VARCHAR") for row in rows}

    def load(self, con: DuckDBPyConnection, table: str, columns: Mapping[str, str], target: str) -> None:
        """Create the DuckDB table `target`; see `Source.load`."""
        self._check_small_file()
        has_rowid = self._relations[table].has_rowid
        conditions = self._rowid_ranges(table) if has_rowid else [""]
        row_id = "rowid" if has_rowid else "row_number() OVER ()"
        try:
            self._load_through_arrow(con, table, columns, target, row_id, conditions)
        except _NotArrowError:
            # Text that is not UTF-8, or a column that changes its type half-way: slower, but it takes anything.
            self._load_row_by_row(con, table, columns, target, row_id)
        if has_rowid:
            self._check_rows(con, table, target)

    def _rowid_ranges(self, table: str) -> list[str]:
        try:
            with closing(self._connect()) as lite:
                # O(log n), where COUNT(*) would read the whole table
                low, high = lite.execute(f"SELECT min(rowid), max(rowid) FROM {quote(table)}").fetchone()  # noqa: S608
        except SQLITE_ERRORS as error:
            raise self._unreadable(error) from error
        if low is None or high - low <= PARALLEL_ROWS:
            return [""]
        parts = min(os.cpu_count() or 1, 8)
        bounds = [low + (high - low + 1) * i // parts for i in range(parts + 1)]
        return [f" WHERE rowid >= {first} AND rowid < {end}" for first, end in pairwise(bounds)]

    def _check_small_file(self) -> None:
        """A structural check of the whole file where that takes no time; see `_check_rows` for larger ones."""
        if self._is_checked:
            return
        self._is_checked = True
        if self.path.stat().st_size <= SMALL_FILE_BYTES:
            self._quick_check("")

    def _check_rows(self, con: DuckDBPyConnection, table: str, target: str) -> None:
        """Raise TraceError where rows are missing or repeated because the table's tree is damaged.

        SQLite reads what it finds: a damaged page may drop rows or show others twice without a word. nsys numbers its
        rows 1, 2, 3, …, so the numbers of an undamaged table add up; where they do not, SQLite's own check decides,
        because rows may also have been deleted. A full check of every file would take longer than reading it.
        """
        count, low, high, total = con.execute(
            f"SELECT count(*), min({ROW_ID}), max({ROW_ID}), sum({ROW_ID}) FROM {target}"  # noqa: S608
        ).fetchall()[0]
        is_whole = not count or (low <= 1 and count == high - low + 1 and 2 * int(total) == (low + high) * count)
        is_small = count <= PARALLEL_ROWS and self.path.stat().st_size > SMALL_FILE_BYTES
        if is_small or not is_whole:
            self._quick_check(table)

    def _quick_check(self, table: str) -> None:
        argument = f"({quote(table)})" if table else ""
        try:
            with closing(self._connect()) as lite:
                found = [row[0] for row in lite.execute(f"PRAGMA quick_check{argument}")]
        except SQLITE_ERRORS as error:
            raise self._unreadable(error) from error
        # A number in a text column is proof, because SQLite turns numbers into text on their way into one. Text in a
        # number column is not: it may have been stored so.
        problems = [line for line in found if line != "ok" and not _MAY_BE_STORED_SO.match(line)]
        if problems:
            raise self._unreadable(problems[0].removeprefix("*** in database main ***").strip().splitlines()[0])

    def _load_through_arrow(
        self,
        con: DuckDBPyConnection,
        table: str,
        columns: Mapping[str, str],
        target: str,
        row_id: str,
        conditions: list[str],
    ) -> None:
        import duckdb

        select = ", ".join([f"{row_id} AS {ROW_ID}", *(_arrow_column(name, kind) for name, kind in columns.items())])
        casts = ", ".join([ROW_ID, *(_duckdb_column(name, kind) for name, kind in columns.items())])
        with _adbc_streams(
            self._uri,
            [f"SELECT {select} FROM {quote(table)}{condition}" for condition in conditions],  # noqa: S608
        ) as streams:
            names = [f"_stream_{i}" for i in range(len(streams))]
            try:
                for name, stream in zip(names, streams, strict=True):
                    con.register(name, stream)
                    _check_types(con, name, columns)
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

    def _load_row_by_row(
        self, con: DuckDBPyConnection, table: str, columns: Mapping[str, str], target: str, row_id: str
    ) -> None:
        import json

        select = ", ".join([row_id, *(quote(name) for name in columns)])
        types = {ROW_ID: "BIGINT", **columns}
        con.execute(f"CREATE OR REPLACE TABLE {target} ({', '.join(f'{quote(n)} {t}' for n, t in types.items())})")
        structure = json.dumps([types])
        try:
            with closing(self._connect()) as lite:
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
        except SQLITE_ERRORS as error:
            raise self._unreadable(error) from error
        except _NotANumberError as error:
            raise TraceError(
                f"`{self.path}` is no export of nsys as it is: {table} holds {error} where a number belongs",
                hint=EXPORT_AGAIN,
            ) from error

    def close(self) -> None:
        """Nothing is held open between loads."""

    def _unreadable(self, problem: Exception | str) -> TraceError:
        text = " ".join(str(problem).split())
        return TraceError(f"`{self.path}` is damaged: SQLite says `{text}`", hint=EXPORT_AGAIN)


class _NotANumberError(Exception):
    """A value in a column of integers that is none, nor spelled like one."""


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


def _has_rowid(con: sqlite3.Connection, table: str) -> bool:
    try:
        con.execute(f"SELECT rowid FROM {quote(table)} LIMIT 0")  # noqa: S608
    except sqlite3.OperationalError:
        return False
    return True


def _check_types(con: DuckDBPyConnection, stream: str, columns: Mapping[str, str]) -> None:
    """Raise _NotArrowError where a column of integers comes as floats, text or bytes.

    A cast would cut times short without a word: to DuckDB '12.7' is 13. Row by row, every value is looked at.
    """
    found = {row[0]: row[1] for row in con.execute(f"DESCRIBE SELECT * FROM {stream}").fetchall()}  # noqa: S608
    if any(kind == "BIGINT" and found.get(name) in _NO_INTEGERS for name, kind in columns.items()):
        raise _NotArrowError


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
                f"the trace is damaged: SQLite says `{' '.join(str(error).split())}`",
                hint=EXPORT_AGAIN,
            ) from error
        raise _NotArrowError from error
    finally:
        for handle in reversed(opened):
            handle.close()


def _repair_text(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace")


def _plain(value: object, kind: str) -> object:
    """`value` as JSON can carry it into a column of `kind`."""
    if isinstance(value, bytes):
        value = _repair_text(value)
    if value is None:
        return None
    if kind == "VARCHAR":
        # JSON's escape of it is refused by DuckDB, and no name has one.
        return str(value).replace("\0", "\N{REPLACEMENT CHARACTER}")
    if kind == "BIGINT":
        if isinstance(value, int):
            return value
        # Shifted times come as floats, and other programs' copies of an export hold text.
        if isinstance(value, float):
            number = int(value) if value.is_integer() else None
        else:
            spelled = _INTEGER.fullmatch(value) if isinstance(value, str) else None
            number = int(spelled[1]) if spelled else None
        if number is None or not -(1 << 63) <= number < 1 << 63:
            raise _NotANumberError(repr(value)[:40])
        return number
    return value
