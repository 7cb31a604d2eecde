"""Hand a trace over to other tools: all public views as one DuckDB file, or as a folder of Parquet files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from nsys_pipeline.duck import is_disk_full, literal
from nsys_pipeline.errors import TraceError, UsageError
from nsys_pipeline.query.views import as_json, public_macros, public_views
from nsys_pipeline.sqlmods import closure, macro_ddl

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from nsys_pipeline.query.session import Session
    from nsys_pipeline.sqlmods import Module

FORMATS = ("duckdb", "parquet")
SCHEMA_NAME = "schema.json"


def hand_over(session: Session, target: Path, to: str, *, force: bool = False) -> Path:
    """Write every public view of the session's trace to `target`: a DuckDB file or a folder of Parquet files.

    Descriptions of views and columns travel as comments (DuckDB) or as metadata and a `schema.json` (Parquet). The
    session must not be closed off. `target` appears when it is whole. Raises UsageError where it exists and `force` is
    not set, or cannot be written.
    """
    if to not in FORMATS:
        raise UsageError(f"`{to}` is no format to hand over", hint=f"choose one of: {', '.join(FORMATS)}")
    if session.closes_off or len(session.providers) != 1:
        raise ValueError("a hand-over needs a session of one trace that is not closed off")
    check_replaceable(target, force=force)
    session.build(*(module.name for module in public_views()))
    write = _write_duckdb if to == "duckdb" else _write_parquet
    import duckdb

    try:
        with replaced(target, force=force) as partial:
            write(session.database, partial)
    except OSError as error:
        raise UsageError(f"`{target}` cannot be written: {error.strerror or error}") from error
    except (duckdb.IOException, duckdb.TransactionException, duckdb.FatalException) as error:
        reason = "no space is left there" if is_disk_full(error) else str(error).splitlines()[0]
        raise TraceError(
            f"`{target}` cannot be written: {reason}", hint="make room, or choose another disk with `-o`"
        ) from error
    return target


def is_export(names: Iterable[str]) -> bool:
    """Whether a folder with files of these names is empty, or an export: Parquet files and what describes them."""
    found = set(names)
    return not found or (SCHEMA_NAME in found and all(name.endswith(".parquet") for name in found - {SCHEMA_NAME}))


def check_replaceable(target: Path, *, force: bool) -> None:
    """Raise UsageError where `target` exists and `force` is not set, or is a folder of more than an export."""
    if target.exists() and not force:
        raise UsageError(f"`{target}` exists", hint="choose another name, or pass --force to replace it")
    if target.is_dir() and not is_export(file.name for file in target.iterdir()):
        raise UsageError(f"`{target}` holds something else", hint="choose another name")


@contextmanager
def replaced(target: Path, *, force: bool) -> Iterator[Path]:
    """A name to write to, which becomes `target` where all goes well. Raises what `check_replaceable` does."""
    check_replaceable(target, force=force)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    _remove(partial)
    try:
        yield partial
        _remove(target)
        partial.replace(target)
    finally:
        _remove(partial)
        # What DuckDB leaves beside a file that it could not finish.
        _remove(partial.with_name(f"{partial.name}.wal"))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write_duckdb(con: DuckDBPyConnection, path: Path) -> None:
    import duckdb

    con.execute(f"ATTACH {literal(str(path))} AS handover")
    try:
        for module in public_views():
            table = f"handover.main.{module.relation}"
            con.execute(f"CREATE TABLE {table} AS FROM {module.name}")
            write_comments(con, "TABLE", table, module)
        con.execute("CREATE SCHEMA handover.macros")
        # Written as in the trace's own database: the bodies name their macros by schema.
        cursor = con.cursor()
        cursor.execute("USE handover")
        write_macros(cursor)
        cursor.close()
    finally:
        # After a failure the next use of the connection, even this one, may say it again.
        with suppress(duckdb.Error):
            con.execute("DETACH handover")


def write_comments(con: DuckDBPyConnection, kind: str, name: str, module: Module) -> None:
    """Say of the TABLE or VIEW `name` (`kind`), and of its columns, what `module` says."""
    con.execute(f"COMMENT ON {kind} {name} IS {literal(f'{module.doc} Grain: {module.grain}')}")
    for column in module.columns:
        con.execute(f'COMMENT ON COLUMN {name}."{column.name}" IS {literal(column.doc)}')


def write_macros(con: DuckDBPyConnection) -> None:
    """Create the public macros in the schema `macros` of the database that `con` uses."""
    macros = {module.name: module for module in public_macros()}
    for name in closure(macros):
        con.execute(macro_ddl(macros[name]))


def _write_parquet(con: DuckDBPyConnection, path: Path) -> None:
    path.mkdir()
    for module in public_views():
        metadata = ", ".join(f"{literal(column.name)}: {literal(column.doc)}" for column in module.columns)
        file = literal(str(path / f"{module.relation}.parquet"))
        # Parquet has no HUGEINT, and DuckDB would write a DOUBLE.
        wide = [f'"{one.name}"::DECIMAL(38, 0) AS "{one.name}"' for one in module.columns if one.type == "HUGEINT"]
        columns = f"* REPLACE ({', '.join(wide)})" if wide else "*"
        options = f"FORMAT parquet, COMPRESSION zstd, KV_METADATA {{'description': {literal(module.doc)}, {metadata}}}"
        con.execute(f"COPY (SELECT {columns} FROM {module.name}) TO {file} ({options})")  # noqa: S608
    schema = json.dumps([as_json(module) for module in public_views()], indent=2, ensure_ascii=False)
    (path / SCHEMA_NAME).write_text(schema + "\n", encoding="utf-8")
