"""The dataset: Parquet files for each trace, and one row for each trace that says that they are whole.

    traces/<trace>.parquet                                   one row for each analyzed trace: the last to be written
    failures/<trace>.parquet                                 one row for each trace that could not be analyzed
    <view>/run=<run>/trace_rank=<rank>/<analysis>.parquet    rows of a view of one trace

The rows of `<analysis>` count if a row of `traces` names it. So a trace is in the dataset as a whole or not at all,
whenever the process that wrote it was killed. A table without rows has no file; `tables` of `traces` says which have.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote as percent_encoded

import attrs

from nsys_pipeline.duck import literal
from nsys_pipeline.errors import TraceError, UsageError
from nsys_pipeline.fleet.places import Place
from nsys_pipeline.fleet.storage import Storage, reaching
from nsys_pipeline.sqlmods import Module, all_modules
from nsys_pipeline.trace.cache import code_fingerprint
from nsys_pipeline.trace.identify import DATASET_MARKER

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SCHEMA = "llmperf.fleet/1"
#: Views that are kept of each trace. Their size goes by occurrences, requests and names, not by kernels.
VIEWS = (
    "collective_summary", "devices", "diagnostics", "findings", "kernel_summary", "occurrence_budget", "phase_summary",
    "phases", "rank_summary", "ranks", "request_summary", "requests", "shape_summary", "time_budget", "top_kernels",
    "trace_checks", "training_steps", "training_summary", "verdicts",
)  # fmt: skip
TRACE_COLUMNS = {
    "analysis": "VARCHAR", "run": "VARCHAR", "trace_rank": "BIGINT", "world": "BIGINT", "path": "VARCHAR",
    "started_at": "TIMESTAMP", "duration_ns": "BIGINT", "hostname": "VARCHAR", "gpu": "VARCHAR", "gpu_count": "BIGINT",
    "driver_version": "VARCHAR", "cuda_version": "VARCHAR", "nsys_version": "VARCHAR", "model": "VARCHAR",
    "dtype": "VARCHAR", "kernel_count": "BIGINT", "kernel_time_ns": "BIGINT", "size_bytes": "BIGINT",
    "llmperf_version": "VARCHAR", "analyzed_at": "TIMESTAMP", "tables": "VARCHAR",
}  # fmt: skip
"""Columns of the table `traces`."""
FAILURE_COLUMNS = {"path": "VARCHAR", "run": "VARCHAR", "trace_rank": "BIGINT", "error": "VARCHAR", "hint": "VARCHAR"}
"""Columns of the table `failures`."""
OWN_TABLES = {"traces": TRACE_COLUMNS, "failures": FAILURE_COLUMNS}
"""Tables that are no view of a trace, with their columns."""
_OWN = {"run": "VARCHAR", "trace_rank": "BIGINT", "analysis": "VARCHAR"}


@cache
def numbers_fingerprint() -> str:
    """Hash of everything that decides what a trace's rows say."""
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256(code_fingerprint().encode())
    for file in sorted(one for room in ("model", "hardware", "fleet") for one in (package / room).rglob("*")):
        if file.suffix in (".py", ".toml", ".json"):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def analysis_id(place: Place, options: str) -> str:
    """What names the analysis of a trace: another for another content, other `options`, or another llmperf."""
    parts = (place.url, place.run, str(place.rank), place.fingerprint, options, numbers_fingerprint())
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()[:24]


@attrs.frozen
class Dataset:
    """The dataset in the folder or bucket `storage`."""

    storage: Storage

    @classmethod
    def at(cls, url: str) -> Dataset:
        """Open the dataset at `url`. Raises UsageError if there is none, or one of another llmperf."""
        dataset = cls(Storage.of(url))
        with reaching(url):
            marker = dataset.storage.read(DATASET_MARKER)
        if marker is None:
            raise UsageError(f"`{url}` is no dataset of a fleet", hint="llmperf fleet DIR --out DATASET makes one")
        if _schema(marker) != SCHEMA:
            raise UsageError(
                f"`{url}` is a dataset of another llmperf: {_schema(marker)}, and this one reads {SCHEMA}",
                hint="make a new one, or use the llmperf that made it",
            )
        return dataset

    @classmethod
    def create(cls, url: str) -> Dataset:
        """Open the dataset at `url`, or begin one. Raises UsageError for a folder with something else in it."""
        with reaching(url):
            return cls._create(url)

    @classmethod
    def _create(cls, url: str) -> Dataset:
        dataset = cls(Storage.of(url))
        if dataset.storage.read(DATASET_MARKER) is not None:
            return cls.at(url)
        storage = dataset.storage
        if (around := _dataset_around(storage)) is not None:
            raise UsageError(f"`{url}` lies inside the dataset `{around}`", hint="give --out a folder outside of it")
        try:
            if storage.fs.exists(storage.root) and storage.fs.ls(storage.root, detail=False):
                raise UsageError(f"`{url}` holds something else", hint="give --out a new folder")
            if storage.is_local:
                # A prefix of a bucket needs no folder, and a bucket that is missing is a typing error.
                storage.fs.makedirs(storage.root, exist_ok=True)
            with storage.fs.open(storage.path(DATASET_MARKER), "wb") as stream:
                stream.write(json.dumps({"schema": SCHEMA}).encode() + b"\n")
        except OSError as error:
            raise UsageError(f"`{url}` cannot be written: {error.strerror or error}") from error
        return dataset

    def missing(self, con: DuckDBPyConnection, traces: str, tables: Collection[str] = VIEWS) -> dict[str, set[str]]:
        """Tables of `tables` that lost files since they were written, with the analyses whose rows are gone.

        `traces`: a relation of `con` that holds the table `traces`.
        """
        rows = con.execute(f"FROM {traces}").fetchall()
        columns = [one[0] for one in con.description or ()]
        if "tables" not in columns:
            # An older llmperf wrote it.
            return {}
        names, kept = columns.index("analysis"), columns.index("tables")
        found = {}
        for table in tables:
            wanted = {row[names] for row in rows if table in (row[kept] or "").split(",")}
            if wanted and (lost := wanted - self.storage.stems(table)):
                found[table] = lost
        return found

    def analyses(self, con: DuckDBPyConnection) -> dict[str, str]:
        """Names of the analyses that are whole, by the id of their trace: those that lost rows since then are not.

        Raises TraceError where a file cannot be read.
        """
        import duckdb

        if not self.storage.has("traces/*.parquet"):
            return {}
        files = self._parquet("traces/*.parquet", named=True)
        try:
            con.execute(f"CREATE OR REPLACE TEMP TABLE traces AS FROM {files}")
        except duckdb.Error as error:
            raise TraceError(
                f"a file of the dataset cannot be read: {str(error).splitlines()[0]}",
                hint="remove that file: its trace is analyzed again",
            ) from error
        lost = set().union(*self.missing(con, "traces").values())
        rows = con.execute("SELECT filename, analysis FROM traces").fetchall()
        return {Path(filename).stem: analysis for filename, analysis in rows if analysis not in lost}

    @property
    def url(self) -> str:
        """What opens it again, and what DuckDB calls its folder."""
        return self.storage.url

    def attach(self, con: DuckDBPyConnection) -> None:
        """Let DuckDB read the storage."""
        if not self.storage.is_local:
            con.register_filesystem(self.storage.fs)

    def create_view(self, con: DuckDBPyConnection, table: str) -> None:
        """Create `table` in the schema `views` of `con`, over the Parquet files as they are now.

        All others need `traces`, which is read once.
        """
        if table in OWN_TABLES:
            con.execute(f"CREATE TABLE IF NOT EXISTS views.{table} AS {self.select(table)}")
        else:
            self.create_view(con, "traces")
            con.execute(f"CREATE OR REPLACE VIEW views.{table} AS {self.select(table, 'views.traces')}")

    def select(self, table: str, traces: str = "") -> str:
        """The rows of `table` over its files as they are when it is asked; `traces` holds the table of that name."""
        pattern = f"{table}/*.parquet" if table in OWN_TABLES else f"{table}/*/*/*.parquet"
        if not self.storage.has(pattern):
            nothing = ", ".join(f'NULL::{kind} AS "{name}"' for name, kind in columns_of(table).items())
            return f"SELECT {nothing} WHERE false"
        if table in OWN_TABLES:
            return f"SELECT * FROM {self._parquet(pattern)}"  # noqa: S608 - our own names
        rows = self._parquet(pattern, partitioned=True)
        return f"SELECT * FROM {rows} WHERE analysis IN (SELECT analysis FROM {traces})"  # noqa: S608 - our own names

    def _parquet(self, pattern: str, *, named: bool = False, partitioned: bool = False) -> str:
        files = literal(f"{escaped(self.url)}/{pattern}")
        # With partitions, a query about one run opens the files of that run alone.
        partitions = ", hive_types = {'run': VARCHAR, 'trace_rank': BIGINT}" if partitioned else ""
        return (
            f"read_parquet({files}, union_by_name = true, filename = {str(named).lower()}, "
            f"hive_partitioning = {str(partitioned).lower()}{partitions})"
        )


def _dataset_around(storage: Storage) -> str | None:
    """The dataset that a folder lies in."""
    for around in PurePosixPath(storage.root).parents:
        parent = Storage(storage.fs, str(around))
        if around.name and parent.read(DATASET_MARKER) is not None:
            return parent.url
    return None


def columns_of(table: str) -> dict[str, str]:
    """Columns of a table of the dataset with their types in DuckDB. Raises KeyError for a name that is none."""
    if table in OWN_TABLES:
        return OWN_TABLES[table]
    return _OWN | {one.name: _kept_type(one.type) for one in view(table).columns}


def view(table: str) -> Module:
    """The public view whose rows the table holds. Raises KeyError for a name that is none."""
    if table not in VIEWS:
        raise KeyError(table)
    return all_modules()[f"views.{table}"]


def partition(table: str, run: str, rank: int | None, analysis: str) -> str:
    """Name of the file with the rows of `table` of one trace."""
    number = "__HIVE_DEFAULT_PARTITION__" if rank is None else str(rank)
    return f"{table}/run={percent_encoded(run, safe='')}/trace_rank={number}/{analysis}.parquet"


def select_rows(table: str, run: str, rank: int | None, analysis: str) -> str:
    """The rows of the view `table` of an open trace as the dataset keeps them: whose they are comes first."""
    module = view(table)
    number = "NULL" if rank is None else str(rank)
    own = [f"{literal(run)} AS run", f"{number}::BIGINT AS trace_rank", f"{literal(analysis)} AS analysis"]
    # Parquet has no HUGEINT, and DuckDB would write a DOUBLE.
    kept = [f'"{one.name}"::{_kept_type(one.type)} AS "{one.name}"' for one in module.columns]
    return f"SELECT {', '.join([*own, *kept])} FROM {module.name}"  # noqa: S608 - our own names


def write_rows(con: DuckDBPyConnection, query: str, file: Path) -> None:
    """Write the result of `query` to the Parquet `file`. Raises TraceError if there is no room for it."""
    import duckdb

    try:
        con.execute(f"COPY ({query}) TO {literal(str(file))} (FORMAT parquet, COMPRESSION zstd)").fetchall()
    except duckdb.IOException as error:
        raise TraceError(f"`{file.parent}` cannot be written: {str(error).splitlines()[0]}") from error


def values(row: dict[str, Any], columns: dict[str, str]) -> str:
    """A SELECT of one row. Bytes of a path that are not UTF-8 become escapes: DuckDB takes no others."""
    cells: Sequence[str] = [
        f'{"NULL" if row.get(name) is None else literal(str(row[name]))}::{kind} AS "{name}"'
        for name, kind in columns.items()
    ]
    return f"SELECT {', '.join(cells)}".encode(errors="backslashreplace").decode()


def _kept_type(kind: str) -> str:
    return "DECIMAL(38, 0)" if kind == "HUGEINT" else kind


def escaped(path: str) -> str:
    """`path` without characters that a pattern of DuckDB would take for its own."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in path)


def _schema(marker: bytes) -> str:
    try:
        found = json.loads(marker)
    except ValueError:
        return "an unknown format"
    return str(found.get("schema")) if isinstance(found, dict) else "an unknown format"
