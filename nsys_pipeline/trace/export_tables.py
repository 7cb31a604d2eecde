"""Load tables of an export into DuckDB as the catalogue wants them, and refuse what cannot be a whole nsys export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nsys_pipeline.duck import create_from_rows, quote
from nsys_pipeline.errors import TraceError
from nsys_pipeline.nsys.clean import without_values
from nsys_pipeline.trace.nsys_schema import (
    EXPORTED_COLUMNS,
    IDENTIFYING_TABLES,
    MAX_DEVICE_ID,
    METADATA_TABLES,
    NAMED_TABLES,
    TABLES,
    TRACE_FILES,
    UNREAD_WORK,
    NsysTable,
    is_unread_work,
)
from nsys_pipeline.trace.source import EXPORT_AGAIN, Source, TableLoad

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def check_tables(source: Source, path: Path) -> None:
    """Raise TraceError where the names of the tables show that `path` is no export, or half of one."""
    present = source.tables()
    if not present:
        raise TraceError(f"`{path}` is an empty database", hint="the export did not finish; make it again")
    if "StringTable" in present and "CUPTI_ACTIVITY_KIND_DRIVER" in present:
        raise TraceError(f"`{path}` is a profile of nvprof", hint="record the workload with `llmperf capture`, or nsys")
    if not any(table in present for table in IDENTIFYING_TABLES):
        some = ", ".join(f"`{name}`" for name in sorted(present)[:3])
        raise TraceError(
            f"`{path}` is a database of something else: it has {some} and no table of nsys",
            hint="llmperf reads what `nsys export --type sqlite` writes",
        )
    named = [table for table in NAMED_TABLES if table in present]
    if named and "StringIds" not in present:
        raise TraceError(
            f"`{path}` is half an export: {named[0]} is there, but not the names in StringIds",
            hint=EXPORT_AGAIN,
        )


def load_tables(con: DuckDBPyConnection, source: Source, catalog: str, relations: Sequence[str], path: Path) -> None:
    """Create nsys.* `relations` in `catalog` with exactly the wanted columns, NULL where the export lacks them.

    Raises TraceError, which calls the trace `path`, where a table cannot be read or cannot be what its name says.
    """
    present = source.tables()
    loads: dict[str, TableLoad] = {}
    private: list[TableLoad] = []
    statements = [f"CREATE SCHEMA IF NOT EXISTS {quote(catalog)}.nsys"]
    for relation in relations:
        wanted = TABLES[relation]
        target = f"{quote(catalog)}.nsys.{relation}"
        load = TableLoad(
            wanted.table or relation,
            wanted.columns,
            target,
            wanted.row_id,
            wanted.blocks,
            wanted.bytes_columns,
            wanted.only_with,
        )
        if wanted.is_private and load.table in present:
            private.append(load)
        elif _has_rows_for(wanted, load.table, present):
            loads[relation] = load
        elif relation not in (EXPORTED_COLUMNS, UNREAD_WORK, TRACE_FILES):
            statements.append(f"CREATE OR REPLACE TABLE {load.target} ({load.definition})")
    con.execute(";".join(statements))
    if EXPORTED_COLUMNS in relations:
        rows = [(name, column) for name, columns_of_it in present.items() for column in columns_of_it]
        target = f"{quote(catalog)}.nsys.{EXPORTED_COLUMNS}"
        create_from_rows(con, target, TABLES[EXPORTED_COLUMNS].columns, rows)
    if UNREAD_WORK in relations:
        target = f"{quote(catalog)}.nsys.{UNREAD_WORK}"
        create_from_rows(con, target, TABLES[UNREAD_WORK].columns, _unread_work(con, source, catalog))
    for load in private:
        kept = without_values(load.table, ((row[0], row[1]) for row in source.rows(load.table, ("name", "value"))))
        create_from_rows(con, load.target, load.types, [(number, *row) for number, row in enumerate(kept, 1)])
    if loads:
        source.load(con, list(loads.values()))
        _check_rows(con, source, loads, path)
    if TRACE_FILES in relations:
        target = f"{quote(catalog)}.nsys.{TRACE_FILES}"
        create_from_rows(con, target, TABLES[TRACE_FILES].columns, source.files())


def _unread_work(con: DuckDBPyConnection, source: Source, catalog: str) -> list[tuple[object, ...]]:
    """Rows and time of tables with GPU work that nothing reads; exports may have tables without rows."""
    found: list[tuple[object, ...]] = []
    for table, columns in source.tables().items():
        if not is_unread_work(table, columns):
            continue
        load = TableLoad(table, {"start": "BIGINT", "end": "BIGINT"}, f"{quote(catalog)}.nsys._unread")
        source.load(con, [load])
        query = f'SELECT count(*), sum(greatest("end" - "start", 0))::BIGINT FROM {load.target}'  # noqa: S608
        ((count, time_ns),) = con.execute(query).fetchall()
        con.execute(f"DROP TABLE {load.target}")
        if count:
            found.append((count, time_ns, table))
    return found


def _has_rows_for(wanted: NsysTable, table: str, present: Mapping[str, tuple[str, ...]]) -> bool:
    return (
        table in present
        and (wanted.only_with is None or wanted.only_with in present[table])
        and (wanted.explained_by is None or wanted.explained_by in present)
    )


def _check_rows(con: DuckDBPyConnection, source: Source, loads: Mapping[str, TableLoad], path: Path) -> None:
    """Raise TraceError where a table has rows that mean nothing, or none where nsys writes some."""
    present = source.tables()
    checked = {
        relation: load
        for relation, load in loads.items()
        if TABLES[relation].required or TABLES[relation].marks or load.table in METADATA_TABLES
    }
    queries = [
        f"SELECT '{relation}', count(*), count(*) FILTER (WHERE {_lacks(TABLES[relation])}), "  # noqa: S608
        f"count(*) FILTER (WHERE {_misplaced(TABLES[relation])}) FROM {load.target}"
        for relation, load in checked.items()
    ]
    found = con.execute(" UNION ALL ".join(queries)).fetchall() if queries else []
    for relation, rows, senseless, misplaced in found:
        wanted, table = TABLES[relation], checked[relation].table
        problem = None
        if table in METADATA_TABLES and not rows:
            raise TraceError(f"`{path}` is half an export: nsys did not come to writing {table}", hint=EXPORT_AGAIN)
        if rows and wanted.marks and not set(wanted.marks) & set(present[table]):
            problem = f"{table} holds another table: it has no {' and no '.join(wanted.marks)}"
        elif senseless:
            problem = f"{senseless:,} row(s) of {table} lack {' or '.join(wanted.required)}"
        elif misplaced:
            problem = f"{misplaced:,} row(s) of {table} name a GPU that is none of 0 to {MAX_DEVICE_ID}"
        if problem:
            raise TraceError(f"`{path}` is damaged: {problem}", hint=EXPORT_AGAIN)


def _lacks(wanted: NsysTable) -> str:
    return " OR ".join(f"{quote(name)} IS NULL" for name in wanted.required) or "false"


def _misplaced(wanted: NsysTable) -> str:
    is_gpu_work = wanted.required and "deviceId" in wanted.columns
    return f"deviceId NOT BETWEEN 0 AND {MAX_DEVICE_ID}" if is_gpu_work else "false"
