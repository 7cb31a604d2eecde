"""An open trace: the input file, its cache entry, and the connection with the modules that were built so far."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from nsys_pipeline.errors import NsysError, TraceError, UsageError
from nsys_pipeline.sqlmods import Runner, closure
from nsys_pipeline.trace import cache
from nsys_pipeline.trace.duck import create_from_rows
from nsys_pipeline.trace.identify import PACKED, Kind, identify, run_traces
from nsys_pipeline.trace.inputs import PROVIDERS
from nsys_pipeline.trace.memory import duckdb_limit_bytes
from nsys_pipeline.trace.nsys_schema import (
    EXPORTED_COLUMNS,
    IDENTIFYING_TABLES,
    LATE_TABLES,
    METADATA_TABLES,
    NAMED_TABLES,
    TABLES,
)
from nsys_pipeline.trace.options import TraceOptions
from nsys_pipeline.trace.source import EXPORT_AGAIN, Source, TableLoad, quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
        self.path = path
        self.options = options
        self._kind = kind
        self._source: Source | None = None
        self._cache_dir = options.cache_dir or cache.default_cache_dir()
        self._scratch = tempfile.TemporaryDirectory(prefix="llmperf-")
        self._entry = self._find_entry()
        self._partial: Path | None = None
        self._unpacking = self._begin_unpacking()
        import duckdb

        self.catalog = "memory" if database is None else name or "trace"
        self.connection = self._connect(database, name or "trace")
        self.is_cached = False
        self.store = f"{name}_{STORE}" if name else STORE
        try:
            self._configure()
            self._attach_store()
            if not self.is_cached:
                self._check_tables()
        except duckdb.Error as error:
            self.close()
            raise TraceError(
                f"`{path}` cannot be opened: {_headline(error)}", hint="see whether it is whole and may be read"
            ) from error
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
            self._read_ahead(targets)
            try:
                self.runner.build(*targets)
            finally:
                # Damage is the better reason for whatever else went wrong.
                if self._source:
                    self._source.settle()
        except duckdb.OutOfMemoryException as error:
            raise TraceError(
                f"`{self.path}` does not fit the memory limit of {self.options.memory_limit}",
                hint="raise it with --memory-limit, or free disk space for spilling",
            ) from error
        except (duckdb.ConversionException, duckdb.InvalidInputException, duckdb.OutOfRangeException) as error:
            raise TraceError(
                f"`{self.path}` holds values that no nsys export has: {_headline(error)}", hint=EXPORT_AGAIN
            ) from error
        except duckdb.ConnectionException as error:
            raise UsageError(f"`{self.path}` is closed", hint="open it again") from error
        except OSError as error:
            raise TraceError(f"`{self.path}` cannot be read: {error.strerror or error}") from error
        except (duckdb.IOException, duckdb.TransactionException, duckdb.FatalException) as error:
            raise TraceError(
                f"disk trouble while reading `{self.path}`: {_headline(error)}",
                hint=f"make room in `{self._cache_dir}`, or pass --no-cache" if self._partial else None,
            ) from error

    def _read_ahead(self, targets: Sequence[str]) -> None:
        """Load at once, in parallel, all tables of the export that `targets` will need."""
        needed = closure(targets, built=self.runner.built)
        tables = [name.partition(".")[2] for name in needed if name.startswith("nsys.")]
        if tables:
            self._progress(f"reading {self.path.name}")
            self._load_tables(tables)

    def interrupt(self) -> None:
        """Stop what another thread has this trace do."""
        self.connection.interrupt()
        if self._source:
            self._source.interrupt()

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
        if self._unpacking:
            wait([self._unpacking])
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
        self._progress(f"unpacking {path.name}")
        unpacked = self._unpacking.result() if self._unpacking else self._unpack()
        inner = identify(unpacked)
        if inner is not Kind.SQLITE:
            raise TraceError(f"`{path}` holds {inner.value} data, not a SQLite export", hint=EXPORT_AGAIN)
        return SqliteSource(unpacked)

    def _unpack(self) -> Path:
        from nsys_pipeline.trace.unpack import unpack

        return unpack(self.path, self._kind, self._derived("unpacked", self.path))

    def _begin_unpacking(self) -> Future[Path] | None:
        """Unpack an archive that will have to be read, while DuckDB is being imported."""
        if self._kind not in PACKED or (self._entry and self._entry.exists()):
            return None
        pool = ThreadPoolExecutor(1)
        unpacking = pool.submit(self._unpack)
        pool.shutdown(wait=False)
        return unpacking

    def _find_entry(self) -> Path | None:
        # DuckDB takes what follows a question mark in a path for parameters.
        if not self.options.use_cache or "?" in str(self._cache_dir):
            return None
        return cache.entry(
            self._cache_dir, "traces", self.path, ".duckdb", cache.code_fingerprint(), self.options.identity()
        )

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
        limit = duckdb_limit_bytes(self.options.memory_limit)
        self.connection.execute(f"SET memory_limit = '{limit}B'")
        self.connection.execute("SET preserve_insertion_order = false")
        # DuckDB draws its own on stdout, which is for data.
        self.connection.execute("SET enable_progress_bar = false")
        self.connection.execute("SET temp_directory = '" + self._scratch.name.replace("'", "''") + "'")
        if self.options.threads:
            self.connection.execute(f"SET threads = {int(self.options.threads)}")

    def _attach_store(self) -> None:
        import duckdb

        if self._entry is None:
            self.connection.execute(f"ATTACH ':memory:' AS {self.store}")
            return
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
        self.connection.execute(f"ATTACH {_literal(file)} AS {self.store}{mode}")

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
        if layer in ("attribute", "report"):
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
        self._load_tables([relation])

    def _load_tables(self, relations: Sequence[str]) -> None:
        """Create nsys.* `relations`, in the cache's entry as long as it is being made."""
        if not self.runner.may_write:
            relations = [one for one in relations if not (one in LATE_TABLES and self._load_beside(one))]
            if not relations:
                return
        self._load_into(self.store if self.runner.may_write else self.catalog, relations)
        if self.runner.may_write:
            self.runner.adopt(*(f"nsys.{relation}" for relation in relations))
        self.runner.built |= {f"nsys.{relation}" for relation in relations}

    def attach_late_tables(self) -> None:
        """Make those that an earlier run has kept available: once access to files is turned off, it is too late."""
        for relation in LATE_TABLES:
            if self.is_cached and (file := self._file_beside(relation)) and file.exists():
                self.build(f"nsys.{relation}")

    def _file_beside(self, relation: str) -> Path | None:
        return self._entry and self._entry.with_name(f"{self._entry.stem}.{relation.lower()}.duckdb")

    def _load_beside(self, relation: str) -> bool:
        """Let nsys.`relation` mean the table in its own file of the cache, made first where it is not there yet.

        False where there is no cache, or no access to it any more.
        """
        import duckdb

        file = self._file_beside(relation)
        if file is None:
            return False
        catalog = f"{self.store}_{relation.lower()}"
        if not file.exists():
            partial = cache.temporary(file)
            try:
                self.connection.execute(f"ATTACH {_literal(partial)} AS {catalog}")
            except duckdb.Error:
                return False
            try:
                self._load_into(catalog, [relation])
                self.source().settle()
                self.connection.execute(f"DETACH {catalog}")
                partial.replace(file)
            except (OSError, duckdb.IOException):
                # No room for a cache: the table goes into memory, which spills where there is room.
                with suppress(duckdb.Error):
                    self.connection.execute(f"DETACH {catalog}")
                return False
            finally:
                for leftover in (partial, partial.with_name(partial.name + ".wal")):
                    leftover.unlink(missing_ok=True)
            cache.trim(self._cache_dir)
        try:
            self.connection.execute(f"ATTACH {_literal(file)} AS {catalog} (READ_ONLY)")
            view = f"{quote(self.catalog)}.nsys.{relation}"
            self.connection.execute(f"CREATE OR REPLACE VIEW {view} AS FROM {catalog}.nsys.{relation}")
        except duckdb.PermissionException:
            return False
        except duckdb.Error:
            # Damaged: the next run makes it again.
            with suppress(OSError):
                file.unlink()
            return False
        with suppress(OSError):
            os.utime(file)
        self.runner.built.add(f"nsys.{relation}")
        return True

    def _load_into(self, catalog: str, relations: Sequence[str]) -> None:
        """Create `relations` in `catalog` with exactly the wanted columns, NULL where the export lacks them."""
        present = self.source().tables()
        loads: dict[str, TableLoad] = {}
        statements = [f"CREATE SCHEMA IF NOT EXISTS {quote(catalog)}.nsys"]
        for relation in relations:
            wanted = TABLES[relation]
            target = f"{quote(catalog)}.nsys.{relation}"
            load = TableLoad(wanted.table or relation, wanted.columns, target, wanted.row_id)
            if load.table in present:
                loads[relation] = load
            elif relation != EXPORTED_COLUMNS:
                statements.append(f"CREATE OR REPLACE TABLE {load.target} ({load.definition})")
        self.connection.execute(";".join(statements))
        if EXPORTED_COLUMNS in relations:
            rows = [(name, column) for name, columns_of_it in present.items() for column in columns_of_it]
            target = f"{quote(catalog)}.nsys.{EXPORTED_COLUMNS}"
            create_from_rows(self.connection, target, TABLES[EXPORTED_COLUMNS].columns, rows)
        if loads:
            self.source().load(self.connection, list(loads.values()))
            self._check_loaded(loads)

    def _check_loaded(self, loads: Mapping[str, TableLoad]) -> None:
        """Raise TraceError where a table has rows that mean nothing, or none where nsys writes some."""
        present = self.source().tables()
        queries = []
        for load, wanted in ((load, TABLES[relation]) for relation, load in loads.items()):
            if wanted.required or wanted.marks or load.table in METADATA_TABLES:
                lacks = " OR ".join(f"{quote(name)} IS NULL" for name in wanted.required) or "false"
                queries.append(f"SELECT '{load.table}', count(*), count(*) FILTER (WHERE {lacks}) FROM {load.target}")  # noqa: S608
        found = self.connection.execute(" UNION ALL ".join(queries)).fetchall() if queries else []
        for table, rows, senseless in found:
            wanted = TABLES[table]
            problem = None
            if table in METADATA_TABLES and not rows:
                raise TraceError(
                    f"`{self.path}` is half an export: nsys did not come to writing {table}", hint=EXPORT_AGAIN
                )
            if rows and wanted.marks and not set(wanted.marks) & set(present[table]):
                problem = f"{table} holds another table: it has no {' and no '.join(wanted.marks)}"
            elif senseless:
                problem = f"{senseless:,} row(s) of {table} lack {' or '.join(wanted.required)}"
            if problem:
                raise TraceError(f"`{self.path}` is damaged: {problem}", hint=EXPORT_AGAIN)


def _literal(file: Path) -> str:
    return "'" + str(file).replace("'", "''") + "'"


def _headline(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
