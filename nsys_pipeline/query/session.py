"""A trace that queries are asked of: relations are built when a query first mentions them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import attrs

from nsys_pipeline.analysis.analyze import STATIC_TARGETS, AnalysisOptions, Prepared, estimate
from nsys_pipeline.analysis.ops import create_shape_ops
from nsys_pipeline.errors import QueryError, TraceError
from nsys_pipeline.query.explain import explain
from nsys_pipeline.query.raw_tables import RawTables
from nsys_pipeline.query.statement import Relation, Statement, parse_select
from nsys_pipeline.sqlmods import LAYERS, all_modules, closure

if TYPE_CHECKING:
    import polars as pl
    from duckdb import DuckDBPyConnection

    from nsys_pipeline.trace import Trace

ESTIMATE_INPUTS = frozenset(
    {"input.shapes", "input.occurrence_shapes", "input.shape_costs", "input.shape_device_costs"}
)
SEARCH_PATH = "report,macros"
# Spilled data of one query may not fill the disk.
MAX_SPILL = "50GB"
BATCH_ROWS = 8192


Parameters = Mapping[str, Any] | Sequence[Any] | None


@attrs.frozen
class QueryResult:
    """An open result: names and DuckDB types of its columns, and its rows as they come."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    _cursor: Any

    def batches(self) -> Iterator[list[tuple[Any, ...]]]:
        """Rows in batches."""
        while rows := self._cursor.fetchmany(BATCH_ROWS):
            yield rows

    def rows(self, limit: int | None = None) -> list[tuple[Any, ...]]:
        """All rows, or the first `limit`."""
        found: list[tuple[Any, ...]] = []
        for batch in self.batches():
            found += batch
            if limit is not None and len(found) >= limit:
                return found[:limit]
        return found


class TimeLimit:
    """Interrupts a cursor's query when its time is over."""

    def __init__(self, cursor: DuckDBPyConnection, seconds: float | None) -> None:
        self.seconds = seconds
        self.is_over = False
        self._cursor = cursor
        self._timer = threading.Timer(seconds, self._fire) if seconds else None
        if self._timer:
            self._timer.daemon = True
            self._timer.start()

    def _fire(self) -> None:
        self.is_over = True
        self._cursor.interrupt()

    def cancel(self) -> None:
        """The query has ended."""
        if self._timer:
            self._timer.cancel()


class Session:
    """Queries over one open trace.

    `options` give the model and the shapes that fill in FLOPs, MFU and MBU. With `close_off`, the first query turns off
    files, network, extensions and settings for the rest of the session. Building is serialized by a lock; queries
    run on cursors of their own, so that threads may ask side by side.
    """

    def __init__(self, trace: Trace, options: AnalysisOptions | None = None, *, close_off: bool = True) -> None:
        self.trace = trace
        self.options = options or AnalysisOptions()
        self.raw = RawTables(trace)
        self.closes_off = close_off
        self.is_closed_off = False
        self._prepared: Prepared | None = None
        self._lock = threading.RLock()
        macros = [name for name, module in all_modules().items() if module.params]
        self.trace.build(*macros)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.trace.close()

    # -- what a query needs ------------------------------------------------------------------------------------------

    def provide(self, statement: Statement) -> None:
        """Build whatever `statement` reads. Raises TraceError where the export cannot be read."""
        modules = all_modules()
        targets: set[str] = set()
        raw: set[str] = set()
        if statement.wants_all:
            targets |= {name for name, module in modules.items() if module.is_public}
        for relation in statement.relations:
            if relation.schema.lower() == "nsys":
                if table := self.raw.find(relation.name):
                    raw.add(table)
                elif f"nsys.{relation.name.upper()}" == "nsys.KERNEL_LAUNCH_CONFIG":
                    targets.add("nsys.KERNEL_LAUNCH_CONFIG")
            elif target := _module(relation):
                targets.add(target)
        with self._lock:
            self.build(*targets)
            if raw:
                self._load_raw(raw)

    def build(self, *targets: str) -> None:
        """Build relations of ``sql/`` by their full names, the estimate's inputs among them."""
        with self._lock:
            self._build(targets)
            self.raw.provide(())

    def _build(self, targets: Sequence[str]) -> None:
        needed = set(closure(targets, built=self.trace.runner.built))
        if "attribute.gpu_work" in needed and not self.trace.is_cached and not self.is_closed_off:
            # The whole of what analyze keeps: the next command finds it in the cache, whichever it is.
            self.trace.build(*STATIC_TARGETS)
            self.trace.keep()
        if "input.shape_ops" in needed:
            create_shape_ops(self.trace, self.prepared())
        if needed & ESTIMATE_INPUTS:
            self.prepared()
        self.trace.build(*targets)

    def prepared(self) -> Prepared:
        """Model, shapes and hardware, joined in once."""
        with self._lock:
            if self._prepared is None:
                if not self.trace.is_cached and not self.is_closed_off:
                    self.trace.build(*STATIC_TARGETS)
                    self.trace.keep()
                self._prepared = estimate(self.trace, self.options)
            return self._prepared

    def _load_raw(self, tables: set[str]) -> None:
        import duckdb

        try:
            self.raw.provide(sorted(tables))
        except duckdb.OutOfMemoryException as error:
            raise TraceError(
                f"{', '.join(sorted(tables))} does not fit the memory limit", hint="raise it with --memory-limit"
            ) from error

    # -- queries -----------------------------------------------------------------------------------------------------

    def close_off(self) -> None:
        """Allow no file, no network, no extension and no setting from now on. Cannot be undone."""
        with self._lock:
            if self.is_closed_off:
                return
            con = self.trace.connection
            source = self.trace.source()
            if source.path.is_dir():
                # Tables of a Parquet export are read when they are needed: its own folder stays readable.
                con.execute("SET allowed_directories = ['" + str(source.path.resolve()).replace("'", "''") + "/']")
            con.execute(f"SET max_temp_directory_size = '{MAX_SPILL}'")
            con.execute("SET enable_external_access = false")
            con.execute("SET lock_configuration = true")
            self.is_closed_off = True

    def cursor(self) -> DuckDBPyConnection:
        """A connection of its own on the same tables, on which the public views need no schema."""
        cursor = self.trace.connection.cursor()
        cursor.execute(f"SET search_path = '{SEARCH_PATH}'").fetchall()
        return cursor

    @contextmanager
    def query(
        self, text: str, parameters: Parameters = None, *, time_limit_s: float | None = None
    ) -> Iterator[QueryResult]:
        """Run one SELECT in a read-only transaction. Raises QueryError where it is none, fails or takes too long."""
        with self._reader(text, parameters, time_limit_s) as (cursor, statement, _limit):
            cursor.execute(statement.sql, parameters or None)
            columns = cursor.description or []
            yield QueryResult(
                tuple(str(name) for name, *_ in columns), tuple(str(kind) for _, kind, *_ in columns), cursor
            )

    def frame(self, text: str, parameters: Parameters = None, *, time_limit_s: float | None = None) -> pl.DataFrame:
        """The result of one SELECT as a Polars frame; raises as `query` does.

        Whole numbers are Int64, sums of them too, unless they do not fit: then they are Int128.
        """
        import polars as pl

        with self._reader(text, parameters, time_limit_s) as (cursor, statement, _limit):
            frame = pl.DataFrame(cursor.sql(statement.sql, params=parameters or None))
        return frame.with_columns(
            _whole(frame[name]) for name in frame.columns if frame[name].dtype == pl.Decimal(38, 0)
        )

    @contextmanager
    def _reader(
        self, text: str, parameters: Parameters, time_limit_s: float | None
    ) -> Iterator[tuple[DuckDBPyConnection, Statement, TimeLimit]]:
        """A cursor in a read-only transaction, everything built that the query reads; failures become QueryError."""
        import duckdb

        cursor = self.cursor()
        limit = None
        try:
            statement = parse_select(cursor, text)
            _check_parameters(statement, parameters)
            self.provide(statement)
            if self.closes_off:
                self.close_off()
            limit = TimeLimit(cursor, time_limit_s)
            try:
                cursor.execute("BEGIN TRANSACTION READ ONLY").fetchall()
                yield cursor, statement, limit
            except (duckdb.Error, RuntimeError) as error:
                raise self.failure(error, limit) from error
        finally:
            if limit:
                limit.cancel()
            with suppress(duckdb.Error):
                cursor.abort()
                cursor.execute("ROLLBACK").fetchall()
            cursor.close()

    def failure(self, error: Exception, limit: TimeLimit | None) -> QueryError:
        """What to tell the user about `error`."""
        import duckdb

        if limit and limit.is_over:
            return QueryError(
                f"the query took longer than {limit.seconds:g} s", hint="raise --time-limit, or ask for less"
            )
        if isinstance(error, duckdb.OutOfMemoryException):
            return QueryError(
                f"the query does not fit the memory limit of {self.trace.options.memory_limit}",
                hint="raise --memory-limit, or ask for less",
            )
        if isinstance(error, duckdb.InterruptException):
            return QueryError("the query was interrupted")
        if isinstance(error, duckdb.Error):
            return explain(error, tables=self.table_names(), functions=self.function_names())
        return QueryError(str(error))

    def table_names(self) -> list[str]:
        """Everything that may follow FROM: the public views, then the export's own tables."""
        public = [module.relation for module in all_modules().values() if module.is_public]
        return sorted(public) + [f"nsys.{name}" for name in self.raw.names()]

    def function_names(self) -> list[str]:
        """Macros that the search path offers."""
        return sorted(module.relation for module in all_modules().values() if module.params)


def _module(relation: Relation) -> str | None:
    schema, name = relation.schema.lower(), relation.name.lower()
    full = f"{schema or 'report'}.{name}"
    if schema and schema not in LAYERS:
        return None
    if schema == "input":
        return full if full in _inputs() else None
    module = all_modules().get(full)
    return full if module and not module.params else None


def _inputs() -> set[str]:
    return {name for module in all_modules().values() for name in module.requires if name.startswith("input.")}


def _check_parameters(statement: Statement, given: Mapping[str, Any] | Sequence[Any] | None) -> None:
    wanted = statement.parameters
    names = set(given) if isinstance(given, Mapping) else {str(i + 1) for i in range(len(given or ()))}
    if missing := sorted(wanted - names):
        raise QueryError(
            f"the query has the parameter{'s' if len(missing) > 1 else ''} {', '.join(f'${name}' for name in missing)} "
            "without a value",
            hint=f"pass --param {missing[0]}=VALUE",
        )
    if unused := sorted(names - wanted):
        raise QueryError(f"the query has no parameter ${unused[0]}", hint="write $name where the value belongs")


def _whole(series: pl.Series) -> pl.Series:
    """HUGEINT, which arrives as a decimal, as whole numbers."""
    import polars as pl

    wide = series.cast(pl.Int128)
    low, high = wide.min(), wide.max()
    fits = low is None or max(abs(int(str(low))), abs(int(str(high)))) < 2**63
    return wide.cast(pl.Int64) if fits else wide
