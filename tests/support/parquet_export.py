"""A trace as ``nsys export -t parquetdir`` writes it: one Parquet file for each table, with nsys' types.

Types are those of a parquetdir export of nsys 2024.2.3: process, thread, domain and other ids are UBIGINT, string ids
of NVTX_EVENTS and times BIGINT. Where that export had no such table, the same rule by name is applied.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

_SIGNED_IDS = {("NVTX_EVENTS", "textId"), ("NVTX_EVENTS", "jsonTextId"), ("StringIds", "id")}
_UNSIGNED = {"pid", "duration", "startTime", "stopTime", "category", "uint64Value", "priority"}
_ALL_BITS = (1 << 64) - 1


def to_parquetdir(trace: Path, folder: Path) -> Path:
    """Write the SQLite export `trace` as the directory `folder`, which must not exist, and return it."""
    import polars as pl

    folder.mkdir(parents=True)
    with closing(sqlite3.connect(f"{trace.resolve().as_uri()}?mode=ro", uri=True)) as db:
        db.text_factory = lambda raw: raw.decode("utf-8", "replace")
        for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            schema = {row[1]: _type(table, row[1], row[2]) for row in db.execute(f"PRAGMA table_info({table})")}
            unsigned = [dtype == pl.UInt64 for dtype in schema.values()]
            rows = [
                # SQLite has no unsigned integers: ids with the top bit set are negative there.
                [v & _ALL_BITS if is_id and v is not None else v for v, is_id in zip(row, unsigned, strict=True)]
                for row in db.execute(f"SELECT * FROM {table}")
            ]
            pl.DataFrame(rows, schema=schema, orient="row").write_parquet(folder / f"{table}.parquet")
    return folder


def _type(table: str, column: str, declared: str) -> type:
    import polars as pl

    if declared == "TEXT":
        return pl.String
    if declared == "REAL":
        return pl.Float64
    is_id = column in _UNSIGNED or column.endswith(("Id", "Tid", "Pid", "Vid"))
    return pl.UInt64 if is_id and (table, column) not in _SIGNED_IDS else pl.Int64
