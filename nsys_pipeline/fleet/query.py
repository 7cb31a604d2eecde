"""Ask a dataset as one asks a trace: the same views, of all traces together, over their Parquet files."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from nsys_pipeline.duck import literal
from nsys_pipeline.fleet.dataset import MARKER, VIEWS, Dataset, escaped
from nsys_pipeline.fleet.storage import Storage
from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.query.provider import Provider
from nsys_pipeline.query.session import Session
from nsys_pipeline.query.statement import Relation
from nsys_pipeline.query.views import public_macros
from nsys_pipeline.sqlmods import all_modules, closure, macro_ddl
from nsys_pipeline.trace import TraceOptions
from nsys_pipeline.trace.memory import duckdb_limit_bytes

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from nsys_pipeline.query.raw_tables import RawTables
    from nsys_pipeline.records import Finding
    from nsys_pipeline.trace import Trace

TABLES = ("traces", "failures", *VIEWS)
"""Everything that may follow FROM."""


def is_dataset(url: str) -> bool:
    """Whether a dataset of a fleet is at `url`."""
    if "://" not in url:
        return (Path(url) / MARKER).is_file()
    storage = Storage.of(url)
    return bool(storage.fs.exists(storage.path(MARKER)))


def open_dataset(url: str, options: TraceOptions | None = None, *, close_off: bool = True) -> Session:
    """Ask the dataset at `url`; see `Session`. Of `options` only the memory limit counts.

    Raises UsageError if there is none.
    """
    import duckdb

    dataset = Dataset.at(url)
    options = options or TraceOptions()
    con = duckdb.connect(config={"python_enable_replacements": False})
    con.execute(f"SET memory_limit = '{duckdb_limit_bytes(options.memory_limit)}B'")
    dataset.attach(con)
    con.execute("CREATE SCHEMA views; CREATE SCHEMA macros")
    for macro in closure(module.name for module in public_macros()):
        con.execute(macro_ddl(all_modules()[macro]))
    # All that a query may read once everything else is turned off.
    folders = ", ".join(literal(f"{folder}/") for folder in (dataset.url, escaped(dataset.url)))
    con.execute(f"SET allowed_directories = [{folders}]")
    return Session([DatasetProvider(dataset, con, options)], con, close_off=close_off)


class DatasetProvider(Provider):
    """The tables of a dataset, each a view over its files that is made when it is first asked for."""

    def __init__(self, dataset: Dataset, con: DuckDBPyConnection, options: TraceOptions) -> None:
        self.name = ""
        self.lock = threading.RLock()
        self.trace = cast("Trace", _OpenDataset(dataset, con, options))
        self.raw = cast("RawTables", _NoTables())
        self._dataset = dataset
        self._connection = con
        self._made: set[str] = set()

    @property
    def options(self) -> AnalysisOptions:
        """Nothing was told: the rows are as they were analyzed."""
        return AnalysisOptions()

    def findings(self, relations: Iterable[Relation]) -> list[Finding]:
        """None of the dataset as a whole: each trace has its own, in the table `findings`."""
        del relations
        return []

    def provide(self, relations: Iterable[Relation]) -> None:
        """Make the views that `relations` mean."""
        names = {one.name.lower() for one in relations if one.schema.lower() in ("", "views")}
        with self.lock, self.trace.reading():
            for table in names.intersection(TABLES) - self._made:
                self._dataset.create_view(self._connection, table)
                self._made.add(table)

    def build(self, *targets: str) -> None:
        """Make views by their full names, as `views.phases`."""
        self.provide(Relation("", *target.split(".", 1)) for target in targets)

    def table_names(self) -> list[str]:
        """Everything that may follow FROM."""
        return sorted(TABLES)


class _OpenDataset:
    """What a session asks of a trace."""

    is_closed_off = False

    def __init__(self, dataset: Dataset, con: DuckDBPyConnection, options: TraceOptions) -> None:
        self.path = Path(dataset.url)
        self.options = options
        self.connection = con

    @contextmanager
    def reading(self) -> Iterator[None]:
        import duckdb

        from nsys_pipeline.errors import TraceError

        try:
            yield
        except (duckdb.IOException, duckdb.InvalidInputException, OSError) as error:
            raise TraceError(f"the dataset `{self.path}` cannot be read: {str(error).splitlines()[0]}") from error

    def source(self) -> SimpleNamespace:
        # Not a folder: which ones may be read is said already.
        return SimpleNamespace(path=self.path / MARKER)

    def attach_late_tables(self) -> None:
        return

    def interrupt(self) -> None:
        self.connection.interrupt()

    def close(self) -> None:
        return


class _NoTables:
    def find(self, name: str) -> None:
        del name
