"""The floor under any analysis: read the columns that it needs, in parallel, and do nothing else.

    python scripts/bench_floor.py TRACE.sqlite load|drain [--threads N]

``load`` leaves the rows in DuckDB tables in memory, which every analysis must do; ``drain`` only counts them. Rows come
through the Arrow ADBC driver for SQLite, one connection per rowid range, as many at a time as there are threads.
Prints the number of rows.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

COLUMNS = {
    "CUPTI_ACTIVITY_KIND_RUNTIME": ("start", "end", "eventClass", "globalTid", "correlationId", "nameId"),
    "CUPTI_ACTIVITY_KIND_KERNEL": (
        "start", "end", "deviceId", "streamId", "correlationId", "globalPid", "demangledName", "graphNodeId",
        "gridX", "gridY", "gridZ",
    ),
    "CUPTI_ACTIVITY_KIND_MEMCPY": (
        "start", "end", "deviceId", "streamId", "correlationId", "globalPid", "bytes", "copyKind", "graphNodeId",
    ),
    "CUPTI_ACTIVITY_KIND_MEMSET": (
        "start", "end", "deviceId", "streamId", "correlationId", "globalPid", "bytes", "graphNodeId",
    ),
    "CUPTI_ACTIVITY_KIND_GRAPH_TRACE": (
        "start", "end", "deviceId", "streamId", "correlationId", "globalPid", "graphId",
    ),
    "NVTX_EVENTS": ("start", "end", "eventType", "globalTid", "domainId", "textId"),
}  # fmt: skip
CHUNK_ROWS = 1_000_000
BATCH_ROWS = 65_536


@dataclass(frozen=True)
class Chunk:
    """One rowid range of one table, first and last included."""

    table: str
    index: int
    first: int
    last: int

    def query(self) -> str:
        columns = ", ".join(f'"{column}"' for column in COLUMNS[self.table])
        return f"SELECT {columns} FROM {self.table} WHERE rowid BETWEEN {self.first} AND {self.last}"


def chunks(trace: Path) -> Iterator[Chunk]:
    """The rowid ranges of all tables of COLUMNS that the trace has, the largest tables first."""
    with closing(sqlite3.connect(f"{trace.resolve().as_uri()}?mode=ro", uri=True)) as db:
        present = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table in COLUMNS:
            if table not in present:
                continue
            low, high = db.execute(f"SELECT min(rowid), max(rowid) FROM {table}").fetchone()
            if low is None:
                continue
            for index, first in enumerate(range(low, high + 1, CHUNK_ROWS)):
                yield Chunk(table, index, first, min(first + CHUNK_ROWS - 1, high))


def read(trace: Path, *, keep: bool, threads: int) -> int:
    """Read everything; returns the number of rows. With `keep` they stay in memory until the end."""
    import adbc_driver_sqlite.dbapi as adbc
    import duckdb

    uri = f"{trace.resolve().as_uri()}?mode=ro"
    with duckdb.connect(config={"threads": threads}) as con:
        con.execute("SET enable_progress_bar = false").fetchall()  # it would print to stdout

        def read_one(chunk: Chunk) -> int:
            with adbc.connect(uri) as db, db.cursor() as cursor, con.cursor() as own:
                cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(BATCH_ROWS)})
                cursor.execute(chunk.query())
                own.register("rows", cursor.fetch_arrow())
                source = "rows"
                if keep:
                    source = f"{chunk.table}_{chunk.index}"
                    own.execute(f"CREATE TABLE {source} AS SELECT * FROM rows").fetchall()
                [(counted,)] = own.execute(f"SELECT count(*) FROM {source}").fetchall()
                own.unregister("rows")
                return int(counted)

        with ThreadPoolExecutor(threads) as pool:
            return sum(pool.map(read_one, list(chunks(trace))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", type=Path)
    parser.add_argument("what", choices=("load", "drain"))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    print(read(options.trace, keep=options.what == "load", threads=options.threads))


if __name__ == "__main__":
    main()
