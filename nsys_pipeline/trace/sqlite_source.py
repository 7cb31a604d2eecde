"""Read an nsys SQLite export into DuckDB through the Arrow ADBC driver, in parallel over ranges of rowids."""

from __future__ import annotations

import re
import sqlite3
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote as percent_encode

import attrs

from nsys_pipeline.duck import quote
from nsys_pipeline.errors import TraceError
from nsys_pipeline.trace.source import EXPORT_AGAIN, ROW_ID, TableLoad
from nsys_pipeline.trace.sqlite_stream import BATCH_ROWS, Chunk, DamagedError, Streamer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duckdb import DuckDBPyConnection

# Of one stream. Fewer would cost time to set up, more would leave a thread alone with the last one.
CHUNK_ROWS = 250_000
# Row numbers may be anything: a table with gaps between them is not cut into ever more pieces.
MAX_CHUNKS = 1000
SMALL_FILE_BYTES = 32 << 20
# Messages of SQLite quote the schema; where that is damaged they may be no UTF-8, and then reading them fails.
SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
_INTEGER = re.compile(r"\s*([+-]?[0-9]+)(?:\.0*)?\s*", re.ASCII)
_MAY_BE_STORED_SO = re.compile(r"(TEXT|NULL|non-\w+) value in ")


@attrs.frozen
class _Relation:
    """A table or view: `has_rowid` is False for views and for tables WITHOUT ROWID."""

    columns: tuple[str, ...]
    has_rowid: bool

    @property
    def row_id(self) -> str:
        """What numbers its rows."""
        return "rowid" if self.has_rowid else "row_number() OVER ()"


class SqliteSource:
    """An nsys export in SQLite, opened read-only and immutable: no lock is taken, no journal is replayed.

    `shown`: what the user calls it, where `path` is a copy that was made of it.
    """

    def __init__(self, path: Path, *, shown: Path | None = None) -> None:
        self.path = path
        self._shown = shown or path
        self._uri = f"file:{percent_encode(str(path.resolve()))}?mode=ro&immutable=1"
        self._check: Future[None] | None = None
        self._streamer: Streamer | None = None

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

    def files(self) -> list[tuple[object, ...]]:
        """See `Source.files`: this one."""
        return [(1, None, 0, 0, None, 0, None, 0, str(self._shown.resolve()), None)]

    def reader(self) -> sqlite3.Connection:
        """A connection of the standard library's own, for small questions; the caller closes it."""
        return self._connect()

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

    def load(self, con: DuckDBPyConnection, loads: Sequence[TableLoad]) -> None:
        """Create the DuckDB tables, large ones in several ranges of rows at a time; see `Source.load`."""
        self._begin_check()
        refused = self._stream(con, loads)
        if refused:
            # Ids that are too large.
            refused = self._stream(con, [load.widened() for load in refused])
        for load in refused:
            # Text that is not UTF-8, or a column that changes its type half-way: slower, but it takes anything.
            self._load_row_by_row(con, load)
        self._check_rows(con, [load for load in loads if self._relations[load.table].has_rowid and not load.only_with])

    def _stream(self, con: DuckDBPyConnection, loads: Sequence[TableLoad]) -> list[TableLoad]:
        """Load through Arrow; returns those that it cannot carry."""
        chunks = self._chunks(loads)
        for load in {chunk.load.target: chunk.load for chunk in chunks if not chunk.is_only}.values():
            con.execute(f"CREATE OR REPLACE TABLE {load.target} ({load.definition})")
        streamer = self._streamer = Streamer(self._uri, con)
        try:
            refused = streamer.run(chunks, _threads(con))
        except DamagedError as error:
            raise self._unreadable(error) from error
        finally:
            self._streamer = None
        return [load for load in loads if load.target in refused]

    def interrupt(self) -> None:
        """Stop a `load` that another thread is in."""
        if streamer := self._streamer:
            streamer.stop()

    def _chunks(self, loads: Sequence[TableLoad]) -> list[Chunk]:
        """What to read, the largest tables first so that no thread is left with one at the end."""
        sized: list[tuple[int, Chunk]] = []
        try:
            with closing(self._connect()) as lite:
                for load in loads:
                    relation = self._relations[load.table]
                    present = frozenset(relation.columns)
                    if not relation.has_rowid:
                        sized.append((0, Chunk(load, present, relation.row_id)))
                        continue
                    # O(log n), where COUNT(*) would read the whole table
                    query = f"SELECT min(rowid), max(rowid) FROM {quote(load.table)}"  # noqa: S608
                    low, high = lite.execute(query).fetchone()
                    rows = 0 if low is None else high - low + 1
                    if rows <= CHUNK_ROWS:
                        sized.append((rows, Chunk(load, present, relation.row_id)))
                        continue
                    parts = min(-(-rows // CHUNK_ROWS), MAX_CHUNKS)
                    bounds = [low + rows * i // parts for i in range(parts + 1)]
                    sized += [
                        (rows, Chunk(load, present, relation.row_id, first, end)) for first, end in pairwise(bounds)
                    ]
        except SQLITE_ERRORS as error:
            raise self._unreadable(error) from error
        return [chunk for _, chunk in sorted(sized, key=lambda pair: -pair[0])]

    def _begin_check(self) -> None:
        """Check the structure of a small file as a whole, beside the loading; see `_check_rows` for larger ones."""
        if self._check is None and self.path.stat().st_size <= SMALL_FILE_BYTES:
            pool = ThreadPoolExecutor(1)
            self._check = pool.submit(self._quick_check, "")
            pool.shutdown(wait=False)

    def settle(self) -> None:
        """Wait for the check of a small file. Raises TraceError where it is damaged."""
        if self._check:
            self._check.result()

    def _check_rows(self, con: DuckDBPyConnection, loads: Sequence[TableLoad]) -> None:
        """Raise TraceError where rows are missing or repeated because a table's tree is damaged.

        SQLite reads what it finds: a damaged page may drop rows or show others twice without a word. nsys numbers its
        rows 1, 2, 3, …, so the numbers of an undamaged table add up; where they do not, SQLite's own check decides,
        because rows may also have been deleted. A full check of every file would take longer than reading it.
        """
        if not loads:
            return
        sums = " UNION ALL ".join(
            f"SELECT {i}, count(*), min({ROW_ID}), max({ROW_ID}), sum({ROW_ID}) FROM {load.target}"  # noqa: S608
            for i, load in enumerate(loads)
        )
        is_large_file = self.path.stat().st_size > SMALL_FILE_BYTES
        for i, count, low, high, total in con.execute(sums).fetchall():
            is_whole = not count or (low <= 1 and count == high - low + 1 and 2 * int(total) == (low + high) * count)
            if not is_whole or (is_large_file and count <= CHUNK_ROWS):
                self._quick_check(loads[i].table)

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

    def _load_row_by_row(self, con: DuckDBPyConnection, load: TableLoad) -> None:
        import json

        relation = self._relations[load.table]
        present = [name for name in load.columns if name in relation.columns]
        select = ", ".join([relation.row_id, *(quote(name) for name in present)])
        sent = {ROW_ID: "BIGINT", **{name: load.columns[name] for name in present}}
        con.execute(f"CREATE OR REPLACE TABLE {load.target} ({load.definition})")
        structure = json.dumps([sent])
        try:
            with closing(self._connect()) as lite:
                cursor = lite.execute(f"SELECT {select} FROM {quote(load.table)} WHERE {load.condition}")  # noqa: S608
                while rows := cursor.fetchmany(BATCH_ROWS):
                    batch = json.dumps(
                        [
                            {
                                name: _plain(_as_text(name, value, load), kind)
                                for (name, kind), value in zip(sent.items(), row, strict=True)
                            }
                            for row in rows
                        ]
                    )
                    rows_of_it = f"SELECT unnest(from_json(?::JSON, '{structure}'), recursive := true)"
                    con.execute(f"INSERT INTO {load.target} BY NAME {rows_of_it}", [batch])
        except SQLITE_ERRORS as error:
            raise self._unreadable(error) from error
        except _NotANumberError as error:
            raise TraceError(
                f"`{self._shown}` is no export of nsys as it is: {load.table} holds {error} where a number belongs",
                hint=EXPORT_AGAIN,
            ) from error

    def rows(self, table: str, columns: Sequence[str]) -> list[tuple[str | None, ...]]:
        """Texts of a small table; see `Source.rows`."""
        present = self._relations[table].columns
        select = ", ".join(f"CAST({quote(name)} AS TEXT)" if name in present else "NULL" for name in columns)
        try:
            with closing(self._connect()) as lite:
                return lite.execute(f"SELECT {select} FROM {quote(table)}").fetchall()  # noqa: S608
        except SQLITE_ERRORS as error:
            raise self._unreadable(error) from error

    def close(self) -> None:
        """Wait for what still reads the file."""
        if self._check:
            wait([self._check])

    def _unreadable(self, problem: Exception | str) -> TraceError:
        text = " ".join(str(problem).split())
        return TraceError(f"`{self._shown}` is damaged: SQLite says `{text}`", hint=EXPORT_AGAIN)


class _NotANumberError(Exception):
    """A value in a column of integers that is none, nor spelled like one."""


def _has_rowid(con: sqlite3.Connection, table: str) -> bool:
    try:
        con.execute(f"SELECT rowid FROM {quote(table)} LIMIT 0")  # noqa: S608
    except sqlite3.OperationalError:
        return False
    return True


def _threads(con: DuckDBPyConnection) -> int:
    # One more than there are cores: one of them always waits for another to let go of DuckDB or of the interpreter.
    return int(con.execute("SELECT current_setting('threads')").fetchall()[0][0]) + 1


def _repair_text(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace")


def _as_text(name: str, value: object, load: TableLoad) -> object:
    """`value` of a column that is read as another text than its own; other values as they are."""
    if name in load.bytes_columns:
        return value.hex().upper() if isinstance(value, bytes) else None
    return _unblocked(value) if name in load.blocks else value


def _unblocked(value: object) -> object:
    """None for a block of variables with NUL between them, '' for other text that holds one."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else value
    if not isinstance(text, str) or "\0" not in text:
        return value
    return None if "=" in text.partition("\0")[0] else ""


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
