"""Read the folder that `nsys export -t parquetdir` writes: one Parquet file per table."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from nsys_pipeline.duck import literal, quote
from nsys_pipeline.errors import TraceError
from nsys_pipeline.trace.source import ROW_ID, TableLoad

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duckdb import DuckDBPyConnection


class ParquetSource:
    """An nsys export in Parquet. Ids are unsigned there: they are cast to the types of the SQLite export."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _literal(self, table: str) -> str:
        return literal(str(self.path / f"{table}.parquet"))

    @cached_property
    def _tables(self) -> dict[str, tuple[str, ...]]:
        import duckdb

        tables = {}
        with duckdb.connect() as con:
            for file in sorted(self.path.glob("*.parquet")):
                try:
                    rows = con.execute(f"DESCRIBE SELECT * FROM read_parquet({self._literal(file.stem)})").fetchall()  # noqa: S608
                except duckdb.Error as error:
                    raise self._unreadable(file.name, error) from error
                tables[file.stem] = tuple(row[0] for row in rows)
        return tables

    def tables(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the tables that are present, with their columns."""
        return self._tables

    def types(self, table: str) -> Mapping[str, str]:
        """Columns of the table with their types; integers become BIGINT, as they are in the SQLite export."""
        return {name: "BIGINT" if "INT" in kind else kind for name, kind in self._columns(table).items()}

    def _columns(self, table: str) -> dict[str, str]:
        import duckdb

        with duckdb.connect() as con:
            rows = con.execute(f"DESCRIBE SELECT * FROM read_parquet({self._literal(table)})").fetchall()  # noqa: S608
        return {row[0]: row[1] for row in rows}

    def load(self, con: DuckDBPyConnection, loads: Sequence[TableLoad]) -> None:
        """Create the DuckDB tables, one after the other: DuckDB reads each in parallel. See `Source.load`."""
        import duckdb

        for load in loads:
            stored = self._columns(load.table)
            present = {
                name: _expression(name, stored[name], load.columns[name]) for name in load.columns if name in stored
            }
            present |= {name: f"hex({present[name]})" for name in load.bytes_columns if name in present}
            for name in load.blocks:
                if name in present:
                    text, nul = f"{present[name]}::VARCHAR", "chr(0)"
                    is_block = f"instr({text}, '=') BETWEEN 1 AND instr({text}, {nul})"
                    present[name] = (
                        f"CASE WHEN {is_block} THEN NULL WHEN contains({text}, {nul}) THEN '' ELSE {text} END"
                    )
            present[ROW_ID] = "file_row_number + 1"
            rows = f"FROM read_parquet({self._literal(load.table)}, file_row_number := true) WHERE {load.condition}"
            try:
                try:
                    con.execute(f"CREATE OR REPLACE TABLE {load.target} AS SELECT {load.select(present)} {rows}")
                except duckdb.ConversionException:
                    wide = load.widened()
                    con.execute(f"CREATE OR REPLACE TABLE {load.target} AS SELECT {wide.select(present)} {rows}")
            except (duckdb.OutOfMemoryException, duckdb.InterruptException):
                raise
            except duckdb.Error as error:
                raise self._unreadable(f"{load.table}.parquet", error) from error

    def files(self) -> list[tuple[object, ...]]:
        """See `Source.files`: this one."""
        return [(1, None, 0, 0, None, 0, None, 0, str(self.path.resolve()), None)]

    def rows(self, table: str, columns: Sequence[str]) -> list[tuple[str | None, ...]]:
        """Texts of a small table; see `Source.rows`."""
        import duckdb

        present = self._columns(table)
        select = ", ".join(f"{quote(name)}::VARCHAR" if name in present else "NULL" for name in columns)
        try:
            with duckdb.connect() as con:
                return con.execute(f"SELECT {select} FROM read_parquet({self._literal(table)})").fetchall()  # noqa: S608
        except duckdb.Error as error:
            raise self._unreadable(f"{table}.parquet", error) from error

    def settle(self) -> None:
        """Reading is all the check there is."""

    def interrupt(self) -> None:
        """Nothing runs but on the connection that was handed in."""

    def close(self) -> None:
        """Nothing is held open between loads."""

    def _unreadable(self, file: str, error: Exception) -> TraceError:
        return TraceError(
            f"`{self.path / file}` is damaged: {str(error).splitlines()[0]}",
            hint="export it again: `nsys export --type parquetdir REPORT.nsys-rep`",
        )


def _expression(name: str, stored: str, kind: str) -> str:
    column = quote(name)
    is_whole = "INT" in kind
    if is_whole and stored in ("DOUBLE", "FLOAT", "VARCHAR"):
        # A cast would round.
        exact = f"{column} = trunc({column})"
        if stored == "VARCHAR":
            exact = f"regexp_full_match({column}, '\\s*[+-]?[0-9]+(\\.0*)?\\s*')"
        problem = f"error('{name} holds ' || {column}::VARCHAR || ' where a whole number belongs')"
        column = f"CASE WHEN {column} IS NULL OR {exact} THEN {column} ELSE {problem} END"
    elif stored == "BOOLEAN" and name.startswith("is"):
        column = f"{column}::BIGINT"
    elif is_whole and "INT" not in stored:
        column = f"CASE WHEN {column} IS NOT NULL THEN error('{name} holds {stored}, no numbers') END"
    elif stored == "UBIGINT":
        # The same 64 bits: ids with the top bit set are negative in the SQLite export.
        column = f"CASE WHEN {column} >> 63 = 1 THEN {column}::HUGEINT - (1::HUGEINT << 64) ELSE {column} END"
    return column
