"""An open trace: the input file, its cache entry, and the connection with the modules that were built so far."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from nsys_pipeline.errors import NsysError, TraceError, UsageError
from nsys_pipeline.sqlmods import Runner
from nsys_pipeline.trace import cache
from nsys_pipeline.trace.duck import create_from_rows, scalar
from nsys_pipeline.trace.identify import Kind, identify, run_traces
from nsys_pipeline.trace.inputs import PROVIDERS
from nsys_pipeline.trace.nsys_schema import (
    EXPORTED_COLUMNS,
    IDENTIFYING_TABLES,
    METADATA_TABLES,
    NAMED_TABLES,
    TABLES,
    NsysTable,
)
from nsys_pipeline.trace.options import TraceOptions
from nsys_pipeline.trace.source import EXPORT_AGAIN, ROW_ID, Source, quote

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

STORE = "store"


def open_trace(
    path: str | Path,
    options: TraceOptions | None = None,
    *,
    database: DuckDBPyConnection | None = None,
    name: str | None = None,
) -> Trace:
    """Open the trace at `path`: a run directory, an export (SQLite, packed or not, or a Parquet folder) or a report.

    With `database` the trace becomes the catalog `name` there, so that one query can read several traces.

    Raises TraceError, with what the path is, where it is no usable trace; NsysError where a report must be exported
    first and nsys cannot. Nothing is read yet but the names of the tables.
    """
    options = options or TraceOptions()
    path = Path(path)
    kind = identify(path)
    if kind is Kind.RUN_DIR:
        traces = run_traces(path)
        if len(traces) > 1:
            raise TraceError(
                f"`{path}` holds {len(traces)} traces: {', '.join(each.name for each in traces)}",
                hint=f"take one of them, as in `{traces[0]}`",
            )
        path = traces[0]
        kind = identify(path)
    return Trace(path, kind, options, database=database, name=name)


class Trace:
    """A trace being analysed. Use as a context manager; not thread-safe (`connection.cursor()` is)."""

    def __init__(
        self,
        path: Path,
        kind: Kind,
        options: TraceOptions,
        *,
        database: DuckDBPyConnection | None = None,
        name: str | None = None,
    ) -> None:
        import duckdb

        self.path = path
        self.options = options
        self._kind = kind
        self._source: Source | None = None
        self._cache_dir = options.cache_dir or cache.default_cache_dir()
        self._entry: Path | None = None
        self._partial: Path | None = None
        self.connection = self._connect(database, name or "trace")
        self._scratch = tempfile.TemporaryDirectory(prefix="llmperf-")
        self.is_cached = False
        self.store = f"{name}_{STORE}" if name else STORE
        try:
            self._configure()
            self._attach_store()
            if not self.is_cached:
                self._check_tables()
        except duckdb.Error as error:
            self.close()
            raise TraceError(f"`{path}` cannot be opened: {_headline(error)}") from error
        except BaseException:
            self.close()
            raise
        self.runner = Runner(
            self.connection,
            self._make_external,
            store=self.store,
            on_module=self._report_module,
            may_write=not self.is_cached,
        )

    @classmethod
    def open(cls, path: str | Path, options: TraceOptions | None = None) -> Trace:
        """Same as `open_trace`."""
        return open_trace(path, options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def build(self, *targets: str) -> None:
        """Build relations of ``sql/`` and all they need. Raises TraceError where the data cannot be read."""
        import duckdb

        try:
            self.runner.build(*targets)
        except duckdb.OutOfMemoryException as error:
            raise TraceError(
                f"`{self.path}` does not fit the memory limit of {self.options.memory_limit}",
                hint="raise it with --memory-limit, or free disk space for spilling",
            ) from error
        except (duckdb.ConversionException, duckdb.InvalidInputException, duckdb.OutOfRangeException) as error:
            raise TraceError(f"`{self.path}` holds values that no nsys export has: {_headline(error)}") from error
        except OSError as error:
            raise TraceError(f"`{self.path}` cannot be read: {error.strerror or error}") from error
        except (duckdb.IOException, duckdb.TransactionException, duckdb.FatalException) as error:
            raise TraceError(
                f"disk trouble while reading `{self.path}`: {_headline(error)}",
                hint=f"make room in `{self._cache_dir}`, or pass --no-cache" if self._partial else None,
            ) from error

    def keep(self) -> None:
        """Put what was built into the cache, for the next run. Failing to is no error: the cache is a convenience."""
        if self.is_cached or self._partial is None or self._entry is None:
            return
        self.connection.execute(f"DETACH {self.store}")
        kept = self._partial
        with suppress(OSError):
            self._partial.replace(self._entry)
            kept, self._partial = self._entry, None
        self._attach(kept, read_only=True)
        self.is_cached = True
        self.runner.may_write = False
        cache.trim(self._cache_dir)

    def close(self) -> None:
        """Close the connection and remove what is temporary."""
        self.connection.close()
        if self._source:
            self._source.close()
        if self._partial:
            for leftover in (self._partial, self._partial.with_name(self._partial.name + ".wal")):
                leftover.unlink(missing_ok=True)
        self._scratch.cleanup()

    def source(self) -> Source:
        """The tables of the export, exported or unpacked first where need be."""
        if self._source is None:
            self._source = self._open_source(self.path, self._kind)
        return self._source

    def _open_source(self, path: Path, kind: Kind) -> Source:
        from nsys_pipeline.trace.parquet_source import ParquetSource
        from nsys_pipeline.trace.sqlite_source import SqliteSource

        if kind is Kind.PARQUET_DIR:
            return ParquetSource(path)
        if kind is Kind.SQLITE:
            return SqliteSource(path)
        if kind is Kind.REPORT:
            from nsys_pipeline.capture import export_sqlite, find_nsys

            self._progress(f"exporting {path.name}")
            exported = self._derived("exports", path)
            if not exported.exists():
                exported.parent.mkdir(parents=True, exist_ok=True)
                try:
                    nsys = find_nsys(self.options.nsys)
                except NsysError as error:
                    raise NsysError(f"`{path}` must be exported by nsys: {error.message}", hint=error.hint) from error
                export_sqlite(nsys, path, exported)
            return SqliteSource(exported)
        from nsys_pipeline.trace.unpack import unpack

        self._progress(f"unpacking {path.name}")
        unpacked = unpack(path, kind, self._derived("unpacked", path))
        inner = identify(unpacked)
        if inner is not Kind.SQLITE:
            raise TraceError(f"`{path}` holds {inner.value} data, not a SQLite export")
        return SqliteSource(unpacked)

    def _derived(self, folder: str, path: Path) -> Path:
        use_cache = self.options.use_cache and cache.is_writable(self._cache_dir / folder)
        return cache.entry(self._cache_dir if use_cache else Path(self._scratch.name), folder, path, ".sqlite")

    def _connect(self, database: DuckDBPyConnection | None, name: str) -> DuckDBPyConnection:
        import duckdb

        if database is None:
            return duckdb.connect(config={"python_enable_replacements": False})
        connection = database.cursor()
        connection.execute(f"ATTACH ':memory:' AS {quote(name)}")
        connection.execute(f"USE {quote(name)}")
        return connection

    def _configure(self) -> None:
        import duckdb

        try:
            if self.options.memory_limit.strip().startswith("-"):
                raise duckdb.InvalidInputException("negative")
            self.connection.execute(f"SET memory_limit = '{self.options.memory_limit}'")
        except duckdb.Error as error:
            raise UsageError(
                f"`{self.options.memory_limit}` is no amount of memory", hint="for example --memory-limit 2GB"
            ) from error
        self.connection.execute("SET preserve_insertion_order = false")
        # DuckDB draws its own on stdout, which is for data.
        self.connection.execute("SET enable_progress_bar = false")
        self.connection.execute("SET temp_directory = '" + self._scratch.name.replace("'", "''") + "'")
        if self.options.threads:
            self.connection.execute(f"SET threads = {int(self.options.threads)}")

    def _attach_store(self) -> None:
        import duckdb

        # DuckDB takes what follows a question mark in a path for parameters.
        if not self.options.use_cache or "?" in str(self._cache_dir):
            self.connection.execute(f"ATTACH ':memory:' AS {self.store}")
            return
        self._entry = cache.entry(
            self._cache_dir, "traces", self.path, ".duckdb", cache.code_fingerprint(), self.options.identity()
        )
        if self._entry.exists():
            with suppress(duckdb.Error):
                self._attach(self._entry, read_only=True)
                self.is_cached = True
                with suppress(OSError):
                    os.utime(self._entry)
                return
        try:
            self._partial = cache.temporary(self._entry)
            self._partial.unlink(missing_ok=True)
            self._attach(self._partial, read_only=False)
        except (OSError, duckdb.Error):
            # No place for a cache: work in memory.
            self._partial = self._entry = None
            self.connection.execute(f"ATTACH ':memory:' AS {self.store}")

    def _attach(self, file: Path, *, read_only: bool) -> None:
        mode = " (READ_ONLY)" if read_only else ""
        self.connection.execute(f"ATTACH '{str(file).replace(chr(39), chr(39) * 2)}' AS {self.store}{mode}")

    def _check_tables(self) -> None:
        present = self.source().tables()
        if not present:
            raise TraceError(f"`{self.path}` is an empty database", hint="the export did not finish; make it again")
        if not any(table in present for table in IDENTIFYING_TABLES):
            some = ", ".join(f"`{name}`" for name in sorted(present)[:3])
            raise TraceError(
                f"`{self.path}` is a database of something else: it has {some} and no table of nsys",
                hint="llmperf reads what `nsys export --type sqlite` writes",
            )
        named = [table for table in NAMED_TABLES if table in present]
        if named and "StringIds" not in present:
            raise TraceError(
                f"`{self.path}` is half an export: {named[0]} is there, but not the names in StringIds",
                hint=EXPORT_AGAIN,
            )

    def _report_module(self, name: str) -> None:
        layer, _, relation = name.partition(".")
        if layer == "nsys":
            self._progress(f"reading {relation}")
        elif layer in ("attribute", "report"):
            self._progress(f"working out {relation.lstrip('_').replace('_', ' ')}")

    def _progress(self, text: str) -> None:
        if self.options.on_progress:
            self.options.on_progress(text)

    def _make_external(self, name: str) -> None:
        layer, _, relation = name.partition(".")
        if layer == "input":
            needs, create = PROVIDERS[name]
            self.runner.build(*needs)
            create(self.connection, self.options)
            return
        wanted = TABLES[relation]
        self._load_table(relation, wanted)

    def _load_table(self, relation: str, wanted: NsysTable) -> None:
        """Create nsys.`relation` with exactly the columns of the catalogue, NULL where the export lacks them."""
        prefix = f"{self.store}." if self.runner.may_write else ""
        if prefix:
            self.connection.execute(f"CREATE SCHEMA IF NOT EXISTS {self.store}.nsys")
        target = f"{prefix}nsys.{relation}"
        if relation == EXPORTED_COLUMNS:
            listed = self.source().tables().items()
            rows = [(name, column) for name, each in listed for column in each]
            create_from_rows(self.connection, target, wanted.columns, rows)
            if prefix:
                self.runner.adopt(f"nsys.{relation}")
            return
        table = wanted.table or relation
        columns = self.source().tables().get(table)
        if columns is None:
            stub = ", ".join(f"{quote(name)} {kind}" for name, kind in {ROW_ID: "BIGINT", **wanted.columns}.items())
            self.connection.execute(f"CREATE OR REPLACE TABLE {target} ({stub})")
        else:
            present = {name: kind for name, kind in wanted.columns.items() if name in columns}
            self.source().load(self.connection, table, present, target)
            for name, kind in wanted.columns.items():
                if name not in present:
                    self.connection.execute(f"ALTER TABLE {target} ADD COLUMN {quote(name)} {kind}")
            self._check_required(table, wanted, target)
            if table in METADATA_TABLES and not scalar(self.connection, f"SELECT count(*) FROM {target}"):  # noqa: S608
                raise TraceError(
                    f"`{self.path}` is half an export: nsys did not come to writing {table}", hint=EXPORT_AGAIN
                )
        if prefix:
            self.runner.adopt(f"nsys.{relation}")

    def _check_required(self, table: str, wanted: NsysTable, target: str) -> None:
        if not wanted.required:
            return
        missing = " OR ".join(f"{quote(name)} IS NULL" for name in wanted.required)
        rows = scalar(self.connection, f"SELECT count(*) FROM {target} WHERE {missing}")  # noqa: S608
        if rows:
            raise TraceError(
                f"`{self.path}` is damaged: {rows:,} row(s) of {table} lack {' or '.join(wanted.required)}",
                hint=EXPORT_AGAIN,
            )


def _headline(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
