"""What every kind of trace input offers to the loader."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from duckdb import DuckDBPyConnection

# Added to every table: the row's identity within its table, stable for one export.
ROW_ID = "row_id"

EXPORT_AGAIN = "export it again: `nsys export --type sqlite REPORT.nsys-rep`"


class Source(Protocol):
    """Tables of one nsys export."""

    path: Path

    def tables(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the tables that are present, with their columns."""
        ...

    def types(self, table: str) -> Mapping[str, str]:
        """Columns of the table that is present, in its order, each with the DuckDB type that holds its values."""
        ...

    def load(self, con: DuckDBPyConnection, table: str, columns: Mapping[str, str], target: str) -> None:
        """Create the DuckDB table `target` with `row_id` and `columns` (name → DuckDB type) of `table`.

        Every column asked for exists in the table. Raises TraceError where the data cannot be read.
        """
        ...

    def close(self) -> None:
        """Let go of files."""
        ...


def quote(name: str) -> str:
    """`name` as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
