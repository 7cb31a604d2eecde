"""A parquetdir has the rows of the trace under the types that nsys gives them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb

from tests.support import real_traces
from tests.support.edge_traces import EDGE_TRACES
from tests.support.parquet_export import to_parquetdir


def test_tables_rows_and_types(tmp_path: Path) -> None:
    trace = EDGE_TRACES["three_deep_in_two_domains"]().write(tmp_path / "t.sqlite")

    folder = to_parquetdir(trace, tmp_path / "t_pqtdir")

    with closing(sqlite3.connect(trace)) as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        ranges = db.execute("SELECT * FROM NVTX_EVENTS").fetchall()
    assert {file.name for file in folder.iterdir()} == {f"{table}.parquet" for table in tables}
    with duckdb.connect() as con:
        file = str(folder / "NVTX_EVENTS.parquet")
        assert con.execute("SELECT * FROM read_parquet(?)", [file]).fetchall() == ranges
        described = con.execute("DESCRIBE SELECT * FROM read_parquet(?)", [file]).fetchall()
    types = {row[0]: row[1] for row in described}
    expected = {
        "globalTid": "UBIGINT",
        "textId": "BIGINT",
        "start": "BIGINT",
        "text": "VARCHAR",
        "doubleValue": "DOUBLE",
    }
    assert {column: types[column] for column in expected} == expected


def test_real_traces_with_negative_ids_are_unsigned(tmp_path: Path) -> None:
    trace = real_traces.unpack_by_name("h100_train", tmp_path)

    folder = to_parquetdir(trace, tmp_path / "pqtdir")

    with duckdb.connect() as con:
        query = "SELECT count(*), max(globalPid) FROM read_parquet(?)"
        [(count, largest)] = con.execute(query, [str(folder / "DIAGNOSTIC_EVENT.parquet")]).fetchall()
    assert (count, largest) == (25, 2**64 - 144115188075855872)  # the row of nsys itself has <hw> 0xFE
