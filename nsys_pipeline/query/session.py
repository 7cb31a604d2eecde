"""Queries over one trace or several: one SELECT at a time, read-only, within limits."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import attrs

from nsys_pipeline.duck import literal
from nsys_pipeline.errors import Abandoned, Interrupted, LlmperfError, QueryError, UsageError
from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.query.describe import first_sentence
from nsys_pipeline.query.explain import explain
from nsys_pipeline.query.interrupt import interruptible
from nsys_pipeline.query.provider import Provider, Relations
from nsys_pipeline.query.statement import Listing, Relation, Statement, parse_select
from nsys_pipeline.query.views import public_macros, public_views
from nsys_pipeline.sqlmods import LAYERS, all_modules, closure, macro_ddl
from nsys_pipeline.trace import TraceOptions, open_trace
from nsys_pipeline.trace.memory import bounded_growth

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb
    import polars as pl
    from duckdb import DuckDBPyConnection

    from nsys_pipeline.records import Finding
    from nsys_pipeline.trace import Trace

# Spilled data of one query may not fill the disk.
MAX_SPILL = "50GB"
BATCH_ROWS = 8192
_RESERVED = frozenset({*LAYERS, "raw", "main", "memory", "system", "temp", "store", "pg_catalog", "information_schema"})

# Polars panics on them.
_NO_FRAME = re.compile(r"\b(?:INTERVAL|UNION)\b")

Parameters = Mapping[str, Any] | Sequence[Any] | None
Row = tuple[Any, ...]


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

    def check(self) -> None:
        """Raise QueryError where the time is over."""
        if self.is_over:
            raise self.failure()

    def failure(self) -> QueryError:
        """Say that the time was over."""
        return QueryError(f"the query took longer than {self.seconds:g} s", hint="raise --time-limit, or ask for less")

    def cancel(self) -> None:
        """Let the query that has ended be."""
        if self._timer:
            self._timer.cancel()


@attrs.frozen
class QueryResult:
    """An open result: names and DuckDB types of its columns, and its rows as they come.

    No two names are equal: of two columns `a`, the second is called `a_1`. `is_plan`: the only row is a plan, a text of
    many lines.
    """

    columns: tuple[str, ...]
    types: tuple[str, ...]
    _batches: Callable[[], Iterator[list[Row]]]
    is_plan: bool = False

    def batches(self) -> Iterator[list[Row]]:
        """Rows in batches. Raises QueryError where the time is over, be it for printing what came before."""
        return self._batches()

    def rows(self, limit: int | None = None) -> list[Row]:
        """All rows, or the first `limit`."""
        found: list[Row] = []
        for batch in self.batches():
            found += batch
            if limit is not None and len(found) >= limit:
                return found[:limit]
        return found

    def records(self) -> Iterator[dict[str, Any]]:
        """Rows as they come, each by the names of its columns."""
        for batch in self.batches():
            for row in batch:
                yield dict(zip(self.columns, row, strict=True))


def distinct_names(names: Sequence[str]) -> tuple[str, ...]:
    """`names`, with `_1`, `_2`, … after one that is there already, as DuckDB does in a subquery."""
    taken, seen, found = set(names), set[str](), []
    for name in names:
        new = name
        if name in seen:
            new = next(other for other in (f"{name}_{number}" for number in count(1)) if other not in taken)
        seen.add(name)
        taken.add(new)
        found.append(new)
    return tuple(found)


class Session:
    """Queries over one open trace, or over several that go by their names.

    With `close_off`, the first query turns off files, network, extensions and settings for the rest of the session.
    Queries run on cursors of their own, so that threads may ask side by side.
    """

    def __init__(self, providers: Sequence[Relations], database: DuckDBPyConnection, *, close_off: bool = True) -> None:
        self.providers = tuple(providers)
        self.database = database
        self.closes_off = close_off
        self.is_closed_off = False
        self.is_closed = False
        self.has_left_work = False
        self._keeps_order = False
        self._told: set[Finding] = set()
        self._lock = threading.RLock()

    @classmethod
    def of(cls, trace: Trace, options: AnalysisOptions | None = None, *, close_off: bool = True) -> Session:
        """Ask one open trace; the session closes it. `options`: the model and the shapes that fill in MFU and MBU."""
        return cls([Provider(trace, options or AnalysisOptions())], trace.connection, close_off=close_off)

    @classmethod
    def open(
        cls,
        traces: Mapping[str, Path],
        trace_options: TraceOptions | None = None,
        options: AnalysisOptions | None = None,
        *,
        close_off: bool = True,
    ) -> Session:
        """Open traces under names: `base.phases` is the view `phases` of the trace `base`. One may have the name ''."""
        if list(traces) == [""]:
            return cls.of(open_trace(traces[""], trace_options), options, close_off=close_off)
        import duckdb

        _check_names(traces)
        database = duckdb.connect(config={"python_enable_replacements": False})
        database.execute("CREATE SCHEMA macros")
        for macro in closure(name for name, module in all_modules().items() if module.is_macro):
            database.execute(macro_ddl(all_modules()[macro]))
        providers: list[Provider] = []
        try:
            for name, path in traces.items():
                trace = open_trace(path, trace_options, database=database, name=name)
                providers.append(Provider(trace, options or AnalysisOptions(), name))
        except BaseException:
            for provider in providers:
                provider.trace.close()
            database.close()
            raise
        return cls(providers, database, close_off=close_off)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the traces and remove what is temporary."""
        self.is_closed = True
        for provider in self.providers:
            provider.close(waits=not self.has_left_work)
        if not self.has_left_work:
            self.database.close()

    @property
    def provider(self) -> Provider:
        """The first trace's relations. Raises TypeError for a dataset, which has no trace."""
        first = self.providers[0]
        if not isinstance(first, Provider):
            raise TypeError(f"`{first.path}` is no trace")
        return first

    def build(self, *targets: str) -> None:
        """Build relations of ``sql/`` by their full names, for every trace. Raises UsageError where it is closed."""
        self.check_open()
        for provider in self.providers:
            provider.build(*targets)

    def provide(self, statement: Statement, trace: str | None = None) -> None:
        """Build whatever `statement` reads, of the one called `trace` where names mean its views.

        Raises TraceError where an export cannot be read.
        """
        for provider in self.providers:
            if trace is None:
                relations = (_of_trace(relation, provider.name) for relation in statement.relations)
                provider.provide([one for one in relations if one])
            elif provider.name == trace:
                provider.provide(statement.relations)

    def close_off(self) -> None:
        """Allow no file, no network, no extension and no setting from now on. Cannot be undone."""
        with self._lock:
            if self.is_closed_off:
                return
            folders = [path for provider in self.providers if (path := provider.before_closing_off())]
            if folders:
                allowed = ", ".join(literal(f"{path.resolve()}/") for path in folders)
                self._set(f"allowed_directories = [{allowed}]")
            self._set(f"max_temp_directory_size = '{MAX_SPILL}'")
            self._set("enable_external_access = false")
            self._set("lock_configuration = true")
            self.is_closed_off = True

    def _keep_order(self) -> None:
        """Let `UNION ALL` and `LIMIT` mean what they say: a trace is loaded without the order of rows."""
        with self._lock:
            if not self._keeps_order:
                self._set("preserve_insertion_order = true")
                self._keeps_order = True

    def _set(self, setting: str) -> None:
        # On a connection of its own: another thread may be building on the database's.
        with self.database.cursor() as cursor:
            cursor.execute(f"SET {setting}")

    def check_open(self) -> None:
        """Raise UsageError where the session is closed."""
        if self.is_closed:
            path = self.providers[0].path
            raise UsageError(f"`{path}` is closed", hint=f"open it again, as in llmperf.open({str(path)!r})")

    def cursor(self, trace: str | None = None) -> DuckDBPyConnection:
        """A connection of its own on the same tables, on which public views and macros need no schema.

        With `trace`, the views of that one of several need none. Raises UsageError where the session is closed.
        """
        self.check_open()
        cursor = self.database.cursor()
        path = "memory.macros" if self.providers[0].name else "views,macros"
        if trace:
            path = f"{trace}.views,{path}"
        cursor.execute(f"SET search_path = '{path}'").fetchall()
        return cursor

    @contextmanager
    def query(
        self,
        text: str,
        parameters: Parameters = None,
        *,
        time_limit_s: float | None = None,
        trace: str | None = None,
    ) -> Iterator[QueryResult]:
        """Run one SELECT in a read-only transaction. Raises QueryError where it is none, fails or takes too long.

        `trace`: of several, the one whose views the names mean.
        """
        with self.reader(text, parameters, time_limit_s, trace) as (cursor, statement, limit):
            interruptible(lambda: cursor.execute(statement.sql, parameters or None), cursor, limit=limit)
            columns = cursor.description or []
            names = distinct_names([str(name) for name, *_ in columns])
            types = tuple(str(kind) for _, kind, *_ in columns)

            def batches() -> Iterator[list[Row]]:
                while rows := interruptible(lambda: cursor.fetchmany(BATCH_ROWS), cursor, limit=limit):
                    yield rows
                    limit.check()

            yield QueryResult(names, types, batches, statement.is_plan)

    def records(self, text: str, parameters: Parameters = None) -> Iterator[dict[str, Any]]:
        """Rows of the answer to `text` as they come, each by the names of its columns; raises as `query` does."""
        with self.query(text, parameters) as result:
            yield from result.records()

    @contextmanager
    def query_each(
        self, text: str, parameters: Parameters = None, *, time_limit_s: float | None = None
    ) -> Iterator[QueryResult]:
        """As `query`, of each of several traces in turn, whose views the names mean; a first column says which."""
        if not self.names:
            with self.query(text, parameters, time_limit_s=time_limit_s) as result:
                yield result
            return
        with ExitStack() as stack:
            self._provide_each(text, parameters)
            results = {
                name: stack.enter_context(self.query(text, parameters, time_limit_s=time_limit_s, trace=name))
                for name in self.names
            }
            first = next(iter(results.values()))

            def batches() -> Iterator[list[Row]]:
                for name, result in results.items():
                    for rows in result.batches():
                        yield [(name, *row) for row in rows]

            yield QueryResult(("trace", *first.columns), ("VARCHAR", *first.types), batches, first.is_plan)

    def _provide_each(self, text: str, parameters: Parameters) -> None:
        # The first query closes the session off: what the others read must be there by then.
        for name in self.names:
            with self.reader(text, parameters, None, name, closes_off=False):
                pass

    def frame_each(
        self, text: str, parameters: Parameters = None, *, time_limit_s: float | None = None
    ) -> pl.DataFrame:
        """As `frame`, of each of several traces in turn; see `query_each`."""
        if not self.names:
            return self.frame(text, parameters, time_limit_s=time_limit_s)
        import polars as pl

        self._provide_each(text, parameters)
        frames = {name: self.frame(text, parameters, time_limit_s=time_limit_s, trace=name) for name in self.names}
        named = [frame.insert_column(0, pl.lit(name).alias("trace")) for name, frame in frames.items()]
        return pl.concat(named, how="vertical_relaxed")

    @property
    def names(self) -> list[str]:
        """Names of the traces, where there are several."""
        return [provider.name for provider in self.providers if provider.name]

    def frame(
        self,
        text: str,
        parameters: Parameters = None,
        *,
        time_limit_s: float | None = None,
        trace: str | None = None,
    ) -> pl.DataFrame:
        """Result of one SELECT as a Polars frame; raises as `query` does.

        Whole numbers are Int64, sums of them too, unless they do not fit: then they are Int128. Of columns with one
        name, the second is called `name_1`.
        """
        import duckdb
        import polars as pl

        with self.reader(text, parameters, time_limit_s, trace) as (cursor, statement, limit):
            try:
                relation = cursor.sql(statement.sql, params=parameters or None)
            except (duckdb.BinderException, duckdb.CatalogException):
                # Only `execute` says where in the query it is.
                cursor.execute(statement.sql, parameters or None)
                raise
            _check_frame_types(relation.columns, map(str, relation.types))
            names = distinct_names(relation.columns)
            if len(set(relation.columns)) < len(names):
                # Polars takes no two columns of one name.
                relation = relation.project(", ".join(f"#{index + 1} AS c{index}" for index in range(len(names))))
            frame: pl.DataFrame = interruptible(lambda: pl.DataFrame(relation), cursor, limit=limit)
        frame.columns = list(names)
        return frame.with_columns(
            _whole(frame[name]) for name in frame.columns if frame[name].dtype == pl.Decimal(38, 0)
        )

    @contextmanager
    def reader(
        self,
        text: str,
        parameters: Parameters = None,
        time_limit_s: float | None = None,
        trace: str | None = None,
        *,
        closes_off: bool = True,
    ) -> Iterator[tuple[DuckDBPyConnection, Statement, TimeLimit]]:
        """Yield a cursor in a read-only transaction with everything built that `text` reads; see `query`."""
        import duckdb

        _check_time_limit(time_limit_s)
        cursor = self.cursor(trace)
        limit = None
        is_left = False
        try:
            statement = parse_select(cursor, text)
            if statement.lists:
                statement = attrs.evolve(statement, sql=self._listing(statement.lists))
            _check_parameters(statement, parameters)
            try:
                interruptible(lambda: self.provide(statement, trace), *self.providers)
                self._keep_order()
                if self.closes_off and closes_off:
                    self.close_off()
                limit = TimeLimit(cursor, time_limit_s)
                cursor.execute("BEGIN TRANSACTION READ ONLY").fetchall()
                # Of a program that uses this as a library nothing is bounded but DuckDB.
                with bounded_growth(self._memory_limit) if self.closes_off else nullcontext():
                    yield cursor, statement, limit
            except Abandoned:
                is_left = self.has_left_work = True
                raise
            except MemoryError as error:
                raise self._too_large() from error
            except duckdb.Error as error:
                raise self.failure(error, limit) from error
        finally:
            if limit:
                limit.cancel()
            if not is_left:  # else all of this would wait for it
                with suppress(duckdb.Error):
                    cursor.abort()
                    cursor.execute("ROLLBACK").fetchall()
                cursor.close()

    def failure(self, error: duckdb.Error, limit: TimeLimit | None = None) -> LlmperfError:
        """Say what `error` means to the user."""
        import duckdb

        if limit and limit.is_over:
            return limit.failure()
        if isinstance(error, duckdb.OutOfMemoryException):
            return self._too_large()
        if isinstance(error, duckdb.InterruptException):
            return Interrupted("the query was interrupted")
        return explain(error, tables=self.table_names(), functions=self.function_names())

    def _too_large(self) -> QueryError:
        return QueryError(
            f"the query does not fit the memory limit of {self._memory_limit}",
            hint="raise --memory-limit, or ask for less",
        )

    @property
    def _memory_limit(self) -> str:
        return self.providers[0].memory_limit

    def findings(self, text: str, *, each: bool = False) -> list[Finding]:
        """What a reader of the answer to `text` must know: findings about the relations that it reads.

        Info is left out, unless it is why they are empty.

        `each`: its names mean the views of each trace; see `query_each`. Each finding is told once in a session. Raises
        QueryError where it is no SELECT.
        """
        with self.cursor() as cursor:
            statement = parse_select(cursor, text)
        return self.findings_about(statement.relations, each=each)

    def findings_about(self, relations: Collection[Relation], *, each: bool = False) -> list[Finding]:
        """The same of a reader of `relations`."""
        found = []
        for provider in self.providers:
            name = "" if each else provider.name
            of_trace = provider.findings([one for one in (_of_trace(relation, name) for relation in relations) if one])
            if provider.name:
                of_trace = [attrs.evolve(one, message=f"{provider.name}: {one.message}") for one in of_trace]
            found += of_trace
        new = [
            one
            for one in dict.fromkeys(found)
            if (one.severity != "info" or one.code in _WHY_EMPTY) and one not in self._told
        ]
        self._told.update(new)
        return new

    def _listing(self, what: Listing) -> str:
        """A query that lists what may follow FROM, with a line about each."""
        docs = {module.relation: first_sentence(module.doc) for module in public_views()}
        rows = []
        for name in self.table_names():
            _, _, relation = name.rpartition(".")
            is_raw = "nsys." in name
            if what is Listing.ALL or not is_raw:
                rows.append((name, "A table of the export itself, whole." if is_raw else docs.get(relation, "")))
        values = ", ".join(f"({literal(name)}, {literal(doc)})" for name, doc in rows)
        return f"SELECT * FROM (VALUES {values}) AS listed(name, description)"  # noqa: S608 - our own names

    def table_names(self) -> list[str]:
        """Everything that may follow FROM: the public views, then the exports' own tables."""
        return [name for provider in self.providers for name in provider.table_names()]

    def function_names(self) -> list[str]:
        """Macros, which need no schema."""
        return [module.relation for module in public_macros()]


# The only reason that an empty answer has.
_WHY_EMPTY = frozenset({"requests_not_marked"})


def _of_trace(relation: Relation, name: str) -> Relation | None:
    """Drop the trace's name from `relation`; None where it is of another trace."""
    if not name:
        return relation
    if relation.catalog.lower() == name.lower():
        return Relation("", relation.schema, relation.name)
    if not relation.catalog and relation.schema.lower() == name.lower():
        return Relation("", "", relation.name)
    return None


def _check_names(traces: Mapping[str, Path]) -> None:
    for name in traces:
        if not name.isidentifier() or not name.isascii() or name.lower() in _RESERVED:
            raise UsageError(f"a trace cannot be called `{name}`", hint="as in base=A.sqlite new=B.sqlite")
    paths = [path.resolve() for path in traces.values()]
    if len(set(paths)) < len(paths):
        raise UsageError("the same trace is given twice", hint="one name is enough: a query may use it twice")
    if len({name.lower() for name in traces}) < len(traces):
        raise UsageError("two traces have the same name")


def _check_frame_types(columns: Sequence[str], types: Iterable[str]) -> None:
    for name, kind in zip(columns, types, strict=True):
        if found := _NO_FRAME.search(kind):
            raise QueryError(
                f"column `{name}` has the type {found[0]}, which a frame cannot hold", hint=f"cast it: {name}::VARCHAR"
            )


def _check_time_limit(seconds: float | None) -> None:
    if seconds is not None and (not isinstance(seconds, int | float) or not seconds > 0):
        raise UsageError(f"{seconds!r} is no time limit", hint="give seconds, more than 0, or None")


def _check_parameters(statement: Statement, given: Parameters) -> None:
    if given is not None and (isinstance(given, str) or not isinstance(given, Mapping | Sequence)):
        raise UsageError(
            f"parameters are a dict of names and values, not {type(given).__name__}", hint='as in {"top": 5}'
        )
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
