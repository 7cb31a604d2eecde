"""What every kind of trace input offers to the loader."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import attrs

from nsys_pipeline.duck import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duckdb import DuckDBPyConnection

# Added to every table: the row's identity within its table, stable for one export.
ROW_ID = "row_id"

EXPORT_AGAIN = "export it again: `nsys export --type sqlite REPORT.nsys-rep`"


@attrs.frozen
class TableLoad:
    """A table of the export that is to become the DuckDB table `target`, whose name must say its catalog.

    It gets `row_id`, of the type `row_id_type`, and `columns` (name → DuckDB type), NULL where the export's table lacks
    one. `blocks`, `bytes_columns`, `only_with`: see `NsysTable`.
    """

    table: str
    columns: Mapping[str, str]
    target: str
    row_id_type: str = "BIGINT"
    blocks: tuple[str, ...] = ()
    bytes_columns: tuple[str, ...] = ()
    only_with: str | None = None

    @property
    def types(self) -> dict[str, str]:
        """All columns of the target with their types."""
        return {ROW_ID: self.row_id_type, **self.columns}

    @property
    def definition(self) -> str:
        """The columns of the target as CREATE TABLE wants them."""
        return ", ".join(f"{quote(name)} {kind}" for name, kind in self.types.items())

    @property
    def condition(self) -> str:
        """Which rows of the export's table are wanted, as SQL of SQLite and of DuckDB."""
        return "true" if self.only_with is None else f"{quote(self.only_with)} IS NOT NULL"

    def select(self, present: Mapping[str, str]) -> str:
        """All columns with their types: `present` gives the expression for each that the export has."""
        return ", ".join(f"({present.get(name, 'NULL')})::{kind} AS {quote(name)}" for name, kind in self.types.items())

    def widened(self) -> TableLoad:
        """The same with all whole numbers as BIGINT."""
        wide = {name: "BIGINT" if "INT" in kind else kind for name, kind in self.columns.items()}
        return attrs.evolve(self, columns=wide, row_id_type="BIGINT")


class Source(Protocol):
    """Tables of one nsys export."""

    path: Path

    def tables(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the tables that are present, with their columns."""
        ...

    def types(self, table: str) -> Mapping[str, str]:
        """Columns of the table that is present, in its order, each with the DuckDB type that holds its values."""
        ...

    def load(self, con: DuckDBPyConnection, loads: Sequence[TableLoad]) -> None:
        """Make all `loads`, whose tables all exist. Raises TraceError where the data cannot be read."""
        ...

    def files(self) -> list[tuple[object, ...]]:
        """Rows of nsys_schema.TRACE_FILES in the order of its columns; known for certain after all was loaded.

        Paths are resolved, as the key of the cache has them: they hold for whoever finds the trace there.
        """
        ...

    def settle(self) -> None:
        """Wait for checks that go on after a `load`. Raises TraceError where they found damage."""
        ...

    def rows(self, table: str, columns: Sequence[str]) -> list[tuple[str | None, ...]]:
        """Texts of a small table, NULL in columns that it lacks. Raises TraceError where it cannot be read."""
        ...

    def interrupt(self) -> None:
        """Let a `load` in another thread end soon, with whatever error."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...
