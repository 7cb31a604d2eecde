"""An open trace: the input file, its cache entry, and the connection with the modules that were built so far."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from nsys_pipeline.duck import is_disk_full, literal, quote
from nsys_pipeline.errors import TraceError, UsageError
from nsys_pipeline.inputs.inputs import Inputs
from nsys_pipeline.inputs.options import AnalysisOptions
from nsys_pipeline.sqlmods import KEPT_FINDINGS
from nsys_pipeline.trace.export_tables import check_tables, load_tables
from nsys_pipeline.trace.formats import CONVERTED
from nsys_pipeline.trace.memory import duckdb_limit_bytes
from nsys_pipeline.trace.nsys_schema import LATE_TABLES
from nsys_pipeline.trace.options import TraceOptions
from nsys_pipeline.trace.runner import Runner
from nsys_pipeline.trace.source import EXPORT_AGAIN, Source
from nsys_pipeline.trace.store import STORE, Store
from nsys_pipeline.trace.trace_file import TraceFile, find_trace
from nsys_pipeline.trace.window import DECIDED, TABLES, Window, cut
from nsys_pipeline.trace.window import NEEDS as CUT_NEEDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from duckdb import DuckDBPyConnection


# A relation without rows in a trace in which no range is a phase; ranges that mark warm-up alone are none.
RANGES_OF_PHASES = "attribute._phase_candidates"
INFERRED = ("input.inferred_phases", "input.inferred_requests", "input.inference")
# What goes into the cache, for the next run to find there: all of the attribution, and nothing that rests on a model.
KEPT = (
    "load.devices", "load.processes", "load.session", "load.metadata", "load.diagnostics", "load.generation",
    "load.environment", "load.recorder", "load.trace_files", "load.ranks",
    "load.nvtx_marks", "attribute.api_time_by_occurrence", "attribute.graph_calls", "attribute.kernel_totals",
    "attribute.kernel_families", "attribute.phase_busy", "attribute.phase_devices", "attribute.phase_walls",
    "attribute.range_segments", "attribute.request_times", "attribute.unattributed_work", "attribute.conservation",
    "attribute.work_totals", "attribute.layer_ranges", "attribute._busy_slots", "attribute._idle_slots",
    "attribute._cut_gap_slots", "attribute.occurrence_times", "attribute.phase_counters", "attribute.missing_counters",
    "attribute.served_request_times", "attribute.step_sequences", "attribute.windows", "attribute._inferred_phases",
    "attribute._inferred_requests", "attribute.inference", "attribute.operator_ranges", "attribute.operator_calls",
    "attribute.stage_idle", KEPT_FINDINGS,
)  # fmt: skip
# Of DuckDB's some fifty, those that a small trace is planned with: what keeps a join from comparing each row with all,
# and what keeps a relation from being made twice.
OPTIMIZERS = (
    "column_lifetime", "cte_filter_pusher", "cte_inlining", "deliminator", "expression_rewriter", "extension",
    "filter_pullup", "filter_pushdown", "join_order", "materialized_cte", "unnest_rewriter", "unused_columns",
)  # fmt: skip


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
    return Trace(find_trace(path, options), database=database, name=name)


class Trace:
    """A trace being analysed. Use as a context manager; not thread-safe (`connection.cursor()` is)."""

    def __init__(self, file: TraceFile, *, database: DuckDBPyConnection | None = None, name: str | None = None) -> None:
        import duckdb

        self.path = file.path
        self.options = file.options
        self.is_closed_off = False
        self._file = file
        self._store = Store(file.path, file.options, f"{name}_{STORE}" if name else STORE)
        self.catalog = "memory" if database is None else name or "trace"
        self._is_alone = database is None
        self.connection = self._connect(database, name or "trace")
        try:
            self._configure()
            self._store.attach(self.connection)
            if self._is_alone and not self._store.is_attached:
                # Of tables in memory a checkpoint saves nothing, and takes a tenth of the time of a large trace.
                self.connection.execute("SET checkpoint_threshold = '1TB'")
            if not self.is_cached:
                check_tables(self.source(), self.path)
            is_small = self._file.is_small(self._store.cached_file or self.source().path)
            self._set_effort(is_small=is_small)
        except duckdb.Error as error:
            self.close()
            raise TraceError(
                f"`{self.path}` cannot be opened: {_headline(error)}", hint="see whether it is whole and may be read"
            ) from error
        except BaseException:
            self.close()
            raise
        from nsys_pipeline.inputs.registry import NEEDS

        self.inputs = self._new_inputs()
        self._is_cut = False
        self.runner = Runner(
            self.connection,
            self._make_external,
            store=self._store.name if self._store.is_attached else None,
            on_module=self._report_module,
            may_write=self._store.is_in_file,
            needs=NEEDS,
            passing=self._passing(),
            copies_views=is_small and not self.is_cached,
        )

    @classmethod
    def open(cls, path: str | Path, options: TraceOptions | None = None) -> Trace:
        """Same as `open_trace`."""
        return open_trace(path, options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def _new_inputs(self) -> Inputs:
        return Inputs(
            self.connection,
            phase_rules=self.options.phase_rules,
            is_strict=self.options.is_strict,
            is_inference_forced=bool(self.options.infers),
        )

    def describe(self, options: AnalysisOptions) -> None:
        """Have the model, the shapes and the peaks of `options` decide what rests on them from now on."""
        if self.inputs.describe(options):
            self.runner.forget_passing(self._passing())

    def _passing(self) -> frozenset[str]:
        """Relations that another run may fill otherwise."""
        from nsys_pipeline.inputs.registry import passing

        return passing(self.inputs.options)

    def build(self, *targets: str) -> None:
        """Build relations of ``sql/`` and all they need. Raises TraceError where the data cannot be read.

        The first that needs the attribution, or anything that rests on a model, has the attribution put into the cache.
        """
        with self.reading():
            if (
                self._store.is_in_file
                and not (self.is_cached or self.is_closed_off)
                and self._is_worth_keeping(targets)
            ):
                self._keep_attribution()
            if self.options.window and not self._is_cut:
                self._cut(self.options.window)
            self._build(targets)

    def _cut(self, window: Window) -> None:
        """Have everything be of the rows inside `window`. Raises UsageError if there are none."""
        self._is_cut = True
        self._build((*CUT_NEEDS, *(f"nsys.{name}" for name in TABLES)))
        cut(self.connection, window)
        from nsys_pipeline.inputs.inferred import kept_inference
        from nsys_pipeline.inputs.registry import NEEDS

        told, inference = self.inputs.options, kept_inference(self.connection, "cut.occurrences")
        self.runner.restart({name for name in self.runner.built if name.startswith("nsys.")} | DECIDED.keys())
        self.inputs = self._new_inputs()
        self.inputs.describe(told)
        # What a few steps alone do not tell, all of them did.
        self.runner.needs = NEEDS
        self.inputs.is_cut, self.inputs.infers = True, inference is not None
        if inference:
            self.inputs.inference = inference

    def _keep_attribution(self) -> None:
        """Build and keep what the trace alone says, whatever this analysis is told."""
        told = self.inputs.options
        self.describe(AnalysisOptions())
        self._build(KEPT)
        if not self._file.lacks_nsys:
            self.keep()
        self.describe(told)

    def _is_worth_keeping(self, targets: Sequence[str]) -> bool:
        needed = self.runner.closure(targets)
        return "attribute.gpu_work" in needed or any(map(self.runner.rests_on_passing, needed))

    def _build(self, targets: Sequence[str]) -> None:
        self._read_ahead(targets)
        try:
            if not set(INFERRED).isdisjoint(self.runner.closure(targets)):
                self._decide_inference(targets)
            self.runner.build(*targets)
        finally:
            # Damage is the better reason for whatever else went wrong.
            self._file.settle()

    def _decide_inference(self, targets: Sequence[str]) -> None:
        """Have phases inferred if they are wanted, or if no range is a phase."""
        if self.inputs.is_cut:
            return
        infers = self.options.infers
        if infers is None:
            self.runner.build(RANGES_OF_PHASES)
            infers = not self.connection.execute(f"SELECT 1 FROM {RANGES_OF_PHASES} LIMIT 1").fetchall()  # noqa: S608 - our own name
        self.inputs.infers = infers
        if infers:
            from nsys_pipeline.inputs.inferred import NEEDS as NEEDS_OF_INFERENCE

            self.runner.needs = {**self.runner.needs, **NEEDS_OF_INFERENCE}
            self._read_ahead(targets)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around queries on the tables: DuckDB's errors become TraceError, with what they say about the trace."""
        import duckdb

        try:
            yield
        except duckdb.OutOfMemoryException as error:
            raise TraceError(
                f"`{self.path}` does not fit the memory limit of {self.options.memory_limit}",
                hint="raise it with --memory-limit, or free disk space for spilling",
            ) from error
        except (duckdb.ConversionException, duckdb.InvalidInputException, duckdb.OutOfRangeException) as error:
            kind = f"trace of {self.converted_from}" if self.converted_from else "nsys export"
            raise TraceError(
                f"`{self.path}` holds values that no {kind} has: {_headline(error)}",
                hint="record it again" if self.converted_from else EXPORT_AGAIN,
            ) from error
        except duckdb.ConnectionException as error:
            raise UsageError(f"`{self.path}` is closed", hint="open it again") from error
        except OSError as error:
            raise TraceError(f"`{self.path}` cannot be read: {error.strerror or error}") from error
        except (duckdb.IOException, duckdb.TransactionException, duckdb.FatalException) as error:
            where = self._store.cache_dir if self._store.is_in_file else self._file.scratch
            reason = f"no space is left in `{where}`" if is_disk_full(error) else f"disk trouble: {_headline(error)}"
            raise TraceError(
                f"`{self.path}` cannot be analyzed: {reason}",
                hint=f"make room in `{where}`, or pass --no-cache" if self._store.is_in_file else None,
            ) from error

    def _read_ahead(self, targets: Sequence[str]) -> None:
        """Load at once, in parallel, all tables of the export that `targets` will need."""
        needed = self.runner.closure(targets)
        tables = [name.partition(".")[2] for name in needed if name.startswith("nsys.")]
        if tables:
            self.options.progress(f"reading {self.path.name}")
            self._load_tables(tables)

    def interrupt(self) -> None:
        """Stop what another thread has this trace do."""
        self.connection.interrupt()
        self._file.interrupt()

    @property
    def converted_from(self) -> str | None:
        """The recorder of a trace that is no export of nsys, but was made one; None for exports."""
        converted = CONVERTED.get(self._file.kind)
        return converted.recorder if converted else None

    @property
    def is_cached(self) -> bool:
        """Whether the tables are in the cache, where nothing more can be added."""
        return self._store.is_cached

    def keep(self) -> None:
        """Put what was built into the cache, for the next run. Failing to is no error: the cache is a convenience."""
        if self._store.keep(self.connection):
            self.runner.may_write = False

    def close(self, *, waits: bool = True) -> None:
        """Close the connection and remove what is temporary; without `waits`, leave a busy connection open."""
        if waits:
            self.connection.close()
            self._store.close()
        self._file.close()

    def source(self) -> Source:
        """The tables of the export, exported or unpacked first where need be."""
        return self._file.source()

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
        # Where it guesses a few rows, DuckDB compares each with all of the other side. Its guess behind some joins is
        # often far too low: 247,000 kernels beside 22,000 islands took minutes instead of 0.6 s.
        self.connection.execute("SET asof_loop_join_threshold = 0")
        import duckdb

        # DuckDB draws its own on stdout, which is for data. In a notebook without ipywidgets it draws none, and refuses
        # to be told so.
        with suppress(duckdb.InvalidInputException):
            self.connection.execute("SET enable_progress_bar = false")
        self.connection.execute(f"SET temp_directory = {literal(str(self._file.scratch))}")

    def _set_effort(self, *, is_small: bool) -> None:
        """Have as many threads as were asked for. Of a small trace one is enough, and a quick plan."""
        is_small &= self._is_alone
        threads = self.options.threads or (1 if is_small else None)
        if threads:
            self.connection.execute(f"SET threads = {int(threads)}")
        if is_small:
            self._plan_quickly()

    def _plan_quickly(self) -> None:
        """Leave out optimizers that take longer than they save: a seventh of the time of a small trace."""
        kept = ", ".join(map(literal, OPTIMIZERS))
        names = self.connection.execute(f"SELECT name FROM duckdb_optimizers() WHERE name NOT IN ({kept})").fetchall()  # noqa: S608 - our own names
        self.connection.execute(f"SET disabled_optimizers = {literal(','.join(name for (name,) in names))}")

    def _report_module(self, name: str) -> None:
        layer, _, relation = name.partition(".")
        if layer in ("attribute", "views"):
            self.options.progress(f"working out {relation.lstrip('_').replace('_', ' ')}")

    def _make_external(self, name: str) -> None:
        layer, _, relation = name.partition(".")
        if layer == "input":
            self.inputs.make(name)
        else:
            self._load_tables([relation])

    def _load_tables(self, relations: Sequence[str]) -> None:
        """Create nsys.* `relations`, in the cache's entry as long as it is being made."""
        if self.runner.may_write:
            self._load_into(self._store.name, relations)
            self.runner.adopt(*(f"nsys.{relation}" for relation in relations))
            return
        relations = [one for one in relations if not (one in LATE_TABLES and self._load_late(one))]
        if relations:
            self._load_into(self.catalog, relations)
            self.runner.built |= {f"nsys.{relation}" for relation in relations}

    def _load_into(self, catalog: str, relations: Sequence[str]) -> None:
        load_tables(self.connection, self.source(), catalog, relations, self.path)

    def attach_late_tables(self) -> None:
        """Make those that an earlier run has kept available: once access to files is turned off, it is too late."""
        for relation in LATE_TABLES:
            if self._store.has_late(relation):
                self.build(f"nsys.{relation}")

    def _load_late(self, relation: str) -> bool:
        """Let nsys.`relation` mean the table in its own file of the cache; False where there is none."""

        def load(catalog: str) -> None:
            self._load_into(catalog, [relation])
            self._file.settle()

        catalog = self._store.attach_late(self.connection, relation, load)
        if catalog is None:
            return False
        view = f"{quote(self.catalog)}.nsys.{relation}"
        self.connection.execute(f"CREATE OR REPLACE VIEW {view} AS FROM {catalog}.nsys.{relation}")
        self.runner.built.add(f"nsys.{relation}")
        return True


def _headline(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
