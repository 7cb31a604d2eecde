"""The export's own tables under `nsys.`, whole: the engine itself keeps only the columns that it needs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from nsys_pipeline.duck import quote
from nsys_pipeline.trace.nsys_schema import TABLES
from nsys_pipeline.trace.source import TableLoad

if TYPE_CHECKING:
    from nsys_pipeline.trace import Trace

SCHEMA = "raw"


class RawTables:
    """Loads a table of the export with all its columns when a query first names it.

    The copy stands in for the engine's `nsys.<table>`, whose columns it holds with the same types, so that the modules
    of ``sql/load`` read the same from either.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._loaded: set[str] = set()

    def names(self) -> list[str]:
        """Tables that the export has, and those that it could have."""
        present = self._trace.source().tables()
        return sorted({*present, *(name for name, table in TABLES.items() if table.table is None)})

    def find(self, name: str) -> str | None:
        """The table that `name` means whatever its case, or None."""
        return next((table for table in self.names() if table.lower() == name.lower()), None)

    def columns(self, table: str) -> list[str]:
        """Columns of a table as `find` gives it."""
        source = self._trace.source()
        return list(source.tables().get(table) or TABLES[table].columns)

    def provide(self, tables: Iterable[str]) -> None:
        """Load `tables` (as `find` gives them) and let `nsys.<table>` mean the whole of each that was ever loaded."""
        for table in tables:
            if table not in self._loaded:
                self._load(table)
                self._loaded.add(table)
        for table in self._loaded:
            self._point(table)

    def _load(self, table: str) -> None:
        con, source = self._trace.connection, self._trace.source()
        wanted = TABLES[table].columns if table in TABLES else {}
        con.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        target = f"{quote(self._trace.catalog)}.{SCHEMA}.{quote(table)}"
        if table not in source.tables():
            con.execute(f"CREATE OR REPLACE TABLE {target} ({TableLoad(table, wanted, target).widened().definition})")
            return
        typed = {name: wanted.get(name, kind) for name, kind in source.types(table).items()}
        # Users subtract ids from each other: unsigned ones would wrap or fail.
        source.load(con, [TableLoad(table, {**typed, **wanted}, target).widened()])
        source.settle()

    def _point(self, table: str) -> None:
        con, runner = self._trace.connection, self._trace.runner
        relation = f"nsys.{quote(table)}"
        is_table = con.execute(
            "SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'nsys' AND table_name = ? "
            "AND database_name = current_database()", [table]
        ).fetchall()[0][0]  # fmt: skip
        if is_table:
            con.execute(f"DROP TABLE {relation}")
        con.execute(f"CREATE OR REPLACE VIEW {relation} AS FROM {SCHEMA}.{quote(table)}")
        if not runner.may_write:
            # Nothing more goes into the store: the engine may use the whole copy as its own.
            runner.built.add(f"nsys.{table}")
