"""Stream rows of a SQLite file into DuckDB tables through the Arrow ADBC driver, several ranges of rows at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import attrs

from nsys_pipeline.duck import quote
from nsys_pipeline.trace.source import ROW_ID, TableLoad

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

BATCH_ROWS = 65_536
_NO_INTEGERS = ("DOUBLE", "FLOAT", "VARCHAR", "BLOB")


class NotArrowError(Exception):
    """ADBC cannot carry these values: it fixes a column's type from the first batch and wants UTF-8."""


class DamagedError(Exception):
    """SQLite found the file malformed."""


@attrs.frozen
class Chunk:
    """Rows of a table that one stream carries: all of them, or those with rowids from `first` to before `end`."""

    load: TableLoad
    present: frozenset[str]
    row_id: str
    first: int | None = None
    end: int | None = None

    @property
    def is_only(self) -> bool:
        """Whether it is the whole table."""
        return self.first is None

    def query(self) -> str:
        """SQLite's side."""
        columns = [
            _sent(name, kind, may_be_block=name in self.load.blocks, is_bytes=name in self.load.bytes_columns)
            for name, kind in self.load.columns.items()
            if name in self.present
        ]
        where = f" WHERE {self.load.condition}"
        if self.first is not None:
            where += f" AND rowid >= {self.first} AND rowid < {self.end}"
        return f"SELECT {', '.join([f'{self.row_id} AS {ROW_ID}', *columns])} FROM {quote(self.load.table)}{where}"  # noqa: S608

    def statement(self, stream: str) -> str:
        """DuckDB's side."""
        present = {name: _received(name, kind) for name, kind in self.load.columns.items() if name in self.present}
        select = f"SELECT {self.load.select({ROW_ID: ROW_ID, **present})} FROM {stream}"  # noqa: S608
        if self.is_only:
            return f"CREATE OR REPLACE TABLE {self.load.target} AS {select}"
        return f"INSERT INTO {self.load.target} {select}"


class Streamer:
    """Carries chunks over on a few threads, each with a connection of its own to both sides."""

    def __init__(self, uri: str, con: DuckDBPyConnection) -> None:
        self._uri = uri
        self._con = con
        self._local = threading.local()
        self._lock = threading.Lock()
        self._opened: list[Any] = []
        self._cursors: list[DuckDBPyConnection] = []
        self._is_stopped = False

    def run(self, chunks: Iterable[Chunk], threads: int) -> set[str]:
        """Carry all `chunks` over; returns the targets that Arrow cannot carry.

        Raises the first other error, after everything under way has ended.
        """
        refused: set[str] = set()

        def carry(chunk: Chunk) -> None:
            if chunk.load.target not in refused:
                try:
                    self._carry(chunk)
                except NotArrowError:
                    refused.add(chunk.load.target)

        pool = ThreadPoolExecutor(threads, thread_name_prefix="llmperf-load")
        try:
            _first_error([pool.submit(carry, chunk) for chunk in chunks])
        except BaseException:
            self.stop()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            self._close()
        return refused

    def stop(self) -> None:
        """Interrupt what runs and start nothing more."""
        self._is_stopped = True
        with self._lock:
            for cursor in self._cursors:
                with suppress(Exception):
                    cursor.interrupt()

    def _carry(self, chunk: Chunk) -> None:
        import duckdb

        if self._is_stopped:
            raise duckdb.InterruptException("loading was interrupted")
        cursor, connection = self._own()
        name = f"_stream_{threading.get_ident()}"
        with _stream(connection, chunk.query()) as stream:
            cursor.register(name, stream)
            try:
                _check_types(cursor, name, chunk)
                cursor.execute(chunk.statement(name)).fetchall()
            except (duckdb.OutOfMemoryException, duckdb.InterruptException):
                raise
            except duckdb.Error as error:
                if "malformed" in str(error) or "disk I/O" in str(error):
                    raise DamagedError(str(error)) from error
                if isinstance(error, duckdb.IOException):
                    raise
                raise NotArrowError from error
            finally:
                cursor.unregister(name)

    def _own(self) -> tuple[DuckDBPyConnection, Any]:
        """This thread's DuckDB cursor and ADBC connection. The low-level manager: `dbapi` costs 0.2 s to import."""
        import adbc_driver_manager
        import adbc_driver_sqlite

        if not hasattr(self._local, "pair"):
            cursor = self._con.cursor()
            database = adbc_driver_manager.AdbcDatabase(driver=adbc_driver_sqlite._driver_path(), uri=self._uri)
            with self._lock:
                self._opened.append(database)
            connection = adbc_driver_manager.AdbcConnection(database)
            with self._lock:
                self._opened.append(connection)
                self._cursors.append(cursor)
            self._local.pair = (cursor, connection)
        pair: tuple[DuckDBPyConnection, Any] = self._local.pair
        return pair

    def _close(self) -> None:
        with self._lock:
            for handle in (*self._cursors, *reversed(self._opened)):
                handle.close()
            self._cursors, self._opened = [], []
        self._local = threading.local()


def _first_error(futures: Sequence[Future[None]]) -> None:
    """Wait for all; raise the first error as soon as it comes."""
    pending = set(futures)
    while pending:
        # From time to time, so that Ctrl-C is heard.
        done, pending = wait(pending, timeout=0.1, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()


@contextmanager
def _stream(connection: Any, query: str) -> Iterator[Any]:
    import adbc_driver_manager

    statement = adbc_driver_manager.AdbcStatement(connection)
    try:
        statement.set_options(**{"adbc.sqlite.query.batch_rows": str(BATCH_ROWS)})
        statement.set_sql_query(query)
        stream, _rows = statement.execute_query()
        yield stream
    except adbc_driver_manager.Error as error:
        if "malformed" in str(error):
            raise DamagedError(str(error)) from error
        raise NotArrowError from error
    finally:
        statement.close()


def _sent(name: str, kind: str, *, may_be_block: bool, is_bytes: bool) -> str:
    # ADBC takes a column's type from its first batch: an all-NULL start would make a text column an integer one.
    # The empty string carries "some text" and the NULLs come back through the flag column.
    if kind == "VARCHAR":
        # SQLite's hex of NULL is the empty text.
        text = f"hex({quote(name)})" if is_bytes else f"ifnull({quote(name)}, '')"
        is_null = f"{quote(name)} IS NULL"
        if may_be_block:
            nul = f"instr({quote(name)}, char(0))"
            text = f"CASE WHEN {nul} = 0 THEN {quote(name)} ELSE '' END"
            is_null = f"({is_null} OR instr({quote(name)}, '=') BETWEEN 1 AND {nul})"
        return f"{text} AS {quote(name)}, {is_null} AS {quote(name + '_is_null')}"
    return quote(name)


def _received(name: str, kind: str) -> str:
    if kind == "VARCHAR":
        return f"CASE WHEN {quote(name + '_is_null')} = 0 THEN {quote(name)} END"
    return quote(name)


def _check_types(cursor: DuckDBPyConnection, stream: str, chunk: Chunk) -> None:
    """Raise NotArrowError where a column of integers comes as floats, text or bytes.

    A cast would cut times short without a word: to DuckDB '12.7' is 13. Row by row, every value is looked at.
    """
    found = {row[0]: row[1] for row in cursor.execute(f"DESCRIBE SELECT * FROM {stream}").fetchall()}  # noqa: S608
    if any("INT" in kind and found.get(name) in _NO_INTEGERS for name, kind in chunk.load.columns.items()):
        raise NotArrowError
