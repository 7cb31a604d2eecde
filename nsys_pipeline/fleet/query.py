"""Ask a dataset as one asks a trace: the same views, of all traces together, over their Parquet files."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from nsys_pipeline.duck import literal
from nsys_pipeline.errors import TraceError
from nsys_pipeline.fleet.dataset import OWN_TABLES, VIEWS, Dataset, escaped
from nsys_pipeline.fleet.storage import Storage, reaching
from nsys_pipeline.query.session import Session
from nsys_pipeline.query.statement import Relation
from nsys_pipeline.query.views import public_macros
from nsys_pipeline.records import Finding
from nsys_pipeline.sqlmods import all_modules, closure, macro_ddl
from nsys_pipeline.trace import TraceOptions
from nsys_pipeline.trace.identify import DATASET_MARKER
from nsys_pipeline.trace.memory import duckdb_limit_bytes

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

TABLES = (*OWN_TABLES, *VIEWS)
"""Everything that may follow FROM."""


def is_dataset(url: str) -> bool:
    """Whether a dataset of a fleet is at `url`."""
    if "://" not in url:
        return (Path(url) / DATASET_MARKER).is_file()
    storage = Storage.of(url)
    with reaching(url):
        return bool(storage.fs.exists(storage.path(DATASET_MARKER)))


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
    return Session([DatasetRelations(dataset, con, options.memory_limit)], con, close_off=close_off)


LOST_ROWS = "dataset_incomplete"
"""The code of the finding that only a dataset has."""


def _lost_rows(table: str, traces: int) -> Finding:
    of = "1 trace has lost its" if traces == 1 else f"{traces:,} traces have lost their"
    return Finding(
        code=LOST_ROWS, severity="warning", phase=None, at_stake_ns=None, budget_part=None,
        message=f"{of} rows of `{table}`: files of the dataset are gone",
        hint="`llmperf fleet SOURCE --out DATASET` analyzes those traces again",
    )  # fmt: skip


def _names(relations: Iterable[Relation]) -> set[str]:
    """What they may mean of a dataset."""
    return {one.name.lower() for one in relations if one.schema.lower() in ("", "views")}


class DatasetRelations:
    """The tables of a dataset, each a view over its files that is made when it is first asked for."""

    name = ""

    def __init__(self, dataset: Dataset, con: DuckDBPyConnection, memory_limit: str) -> None:
        self.path = Path(dataset.url)
        self.memory_limit = memory_limit
        self._dataset = dataset
        self._connection = con
        self._made: set[str] = set()
        self._lock = threading.RLock()

    def findings(self, relations: Iterable[Relation]) -> list[Finding]:
        """What the dataset lost of the tables that `relations` mean; what traces say is in the table `findings`."""
        if not (tables := sorted(_names(relations).intersection(VIEWS))):
            return []
        self.build("views.traces")
        with self._lock:
            lost = self._dataset.missing(self._connection, "views.traces", tables)
        return [_lost_rows(table, len(analyses)) for table, analyses in lost.items()]

    def provide(self, relations: Iterable[Relation]) -> None:
        """Make the views that `relations` mean. Raises TraceError if the dataset cannot be read."""
        import duckdb

        with self._lock:
            for table in _names(relations).intersection(TABLES) - self._made:
                try:
                    self._dataset.create_view(self._connection, table)
                except (duckdb.IOException, duckdb.InvalidInputException, OSError) as error:
                    reason = str(error).splitlines()[0]
                    raise TraceError(f"the dataset `{self.path}` cannot be read: {reason}") from error
                self._made.add(table)

    def build(self, *targets: str) -> None:
        """Make views by their full names, as `views.phases`."""
        self.provide(Relation("", *target.split(".", 1)) for target in targets)

    def table_names(self) -> list[str]:
        """Everything that may follow FROM."""
        return sorted(TABLES)

    def raw_columns(self, table: str) -> list[str]:
        """None: a dataset keeps no table of an export."""
        del table
        return []

    def before_closing_off(self) -> Path | None:
        """Nothing: which folders may be read is said when it is opened."""
        return None

    def interrupt(self) -> None:
        """Stop what another thread builds."""
        self._connection.interrupt()

    def close(self, *, waits: bool = True) -> None:
        """Nothing is open but the session's own connection."""
