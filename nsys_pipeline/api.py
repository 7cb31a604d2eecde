"""Traces from Python: `llmperf.open(...)` and what it returns."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, overload

import attrs

from nsys_pipeline.analyze import analyze
from nsys_pipeline.errors import UsageError
from nsys_pipeline.hardware import checked_bandwidth, checked_peaks
from nsys_pipeline.inputs import AnalysisOptions, GoodputLimits, ImageOptions, RequestShape
from nsys_pipeline.model import Model, load_model
from nsys_pipeline.query.recipes import all_recipes, find_recipe
from nsys_pipeline.query.session import Session
from nsys_pipeline.query.views import find_view, public_views
from nsys_pipeline.rules.phases import PhaseRule
from nsys_pipeline.sqlmods import Module
from nsys_pipeline.trace import TraceOptions, open_trace
from nsys_pipeline.trace.options import DEFAULT_MEMORY_LIMIT

if TYPE_CHECKING:
    import polars as pl
    from duckdb import DuckDBPyConnection

    from nsys_pipeline.query.session import Parameters
    from nsys_pipeline.records import Report

__all__ = ["TraceReader", "View"]


_FLOPS = """
    SELECT phase, tokens, flops, bytes, sol_ns, mfu_wall, mfu_busy, mbu_wall, mbu_busy, is_lower_bound,
        is_upper_bound, is_tokens_upper_bound, flops_min, flops_max, bytes_min, bytes_max, mfu_wall_min, mfu_wall_max,
        mfu_busy_min, mfu_busy_max, mbu_busy_min, mbu_busy_max
    FROM phase_summary
    ORDER BY measured_wall_ns DESC NULLS LAST, phase
"""


class View:
    """A public view as an attribute: reading it runs the view once and keeps the frame."""

    def __init__(self, module: Module) -> None:
        self._name = module.relation
        self.__doc__ = f"{module.doc}\n\nGrain: {module.grain}"

    @overload
    def __get__(self, reader: None, owner: type) -> Self: ...

    @overload
    def __get__(self, reader: TraceReader, owner: type) -> pl.DataFrame: ...

    def __get__(self, reader: TraceReader | None, owner: type) -> Self | pl.DataFrame:
        return self if reader is None else reader.view(self._name)


class TraceReader:
    """An open trace. Made by `nsys_pipeline.open`; close it, or use it as a context manager.

    Everything that fails raises an LlmperfError with a `message` and, mostly, a `hint`: QueryError for a query,
    TraceError for a trace that cannot be read, UsageError where the trace is closed or an argument makes no sense.

    Every public view is an attribute that gives a Polars frame: built when it is first read, then kept. Threads may
    read side by side. Times are whole nanoseconds.
    """

    if TYPE_CHECKING:

        def __getattr__(self, view: str) -> pl.DataFrame: ...

    def __init__(self, path: Path, trace_options: TraceOptions, options: AnalysisOptions) -> None:
        self.path = path
        self._trace_options = trace_options
        self._session = Session.of(open_trace(path, trace_options), options, close_off=False)
        self._lock = threading.RLock()
        self._frames: dict[str, pl.DataFrame] = {}

    def __enter__(self) -> Self:
        self._session.check_open()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the trace and remove what is temporary. Frames that were read stay valid."""
        self._session.close()

    def __reduce__(self) -> NoReturn:
        # What pickle and copy call. An open trace is a connection and a lock.
        raise UsageError(
            f"the open trace `{self.path}` cannot be copied or sent to another process",
            hint="send its path and open it there; frames and reports can be sent",
        )

    def __repr__(self) -> str:
        return f"<trace {str(self.path)!r}{', closed' if self._session.is_closed else ''}>"

    def _repr_html_(self) -> str:
        if self._session.is_closed:
            return f"<p>{_escape(repr(self))}</p>"
        summary = self.sql(
            "SELECT phase, occurrences, wall_ns / 1e6 AS wall_ms, gpu_busy_ns / 1e6 AS gpu_busy_ms, busy_ratio, "
            "kernel_count, mfu_busy, mbu_busy FROM phase_summary ORDER BY wall_ns DESC, phase"
        )
        gpus = [str(name) for name in self.sql("SELECT name FROM devices WHERE has_work ORDER BY device_id")["name"]]
        return f"<p><b>{_escape(self.path.name)}</b> {_escape(', '.join(gpus))}</p>{summary._repr_html_()}"

    @property
    def views(self) -> list[str]:
        """Names of the public views."""
        return [module.relation for module in public_views()]

    @property
    def recipes(self) -> list[str]:
        """Names of the recipes that `recipe` runs."""
        return list(all_recipes())

    def view(self, name: str) -> pl.DataFrame:
        """A public view by name, as the attribute of that name gives it. Raises QueryError where there is none."""
        name = find_view(name).relation
        with self._lock:
            if name not in self._frames:
                self._frames[name] = self.sql(f"FROM {name}")
            return self._frames[name]

    def schema(self, view: str) -> pl.DataFrame:
        """Columns of a view with types and descriptions. Raises QueryError where there is none."""
        import polars as pl

        columns = find_view(view).columns
        return pl.DataFrame(
            {
                "column": [one.name for one in columns],
                "type": [one.type for one in columns],
                "description": [one.doc for one in columns],
            }
        )

    def sql(self, query: str, parameters: Parameters = None, *, time_limit_s: float | None = None) -> pl.DataFrame:
        """Run one SELECT; `$name` in it takes its value from `parameters`, `?` from a sequence of them.

        Raises QueryError where it is no SELECT, fails, or takes longer than `time_limit_s`.
        """
        return self._session.frame(query, parameters, time_limit_s=time_limit_s)

    def recipe(self, name: str, **parameters: Any) -> pl.DataFrame:
        """Run a recipe; parameters that are left out have their defaults. Raises QueryError for an unknown name."""
        recipe = find_recipe(name)
        return self.sql(recipe.sql, recipe.arguments(parameters))

    def report(self) -> Report:
        """Everything that `llmperf analyze` prints, as records."""
        self._session.check_open()
        provider = self._session.provider
        with provider.lock:
            return analyze(provider.trace, provider.options)

    def flops(self, model: str | Model | None = None, *, shapes: str | Sequence[str] | None = None) -> pl.DataFrame:
        """FLOPs, bytes, MFU, MBU and speed of light per phase, under `model` and `shapes` (default: those of `open`).

        Columns: phase, tokens, flops, bytes, sol_ns, mfu_wall, mfu_busy, mbu_wall, mbu_busy; NULL where the model or a
        shape is not known. `is_lower_bound`: parts of the model that nobody counts may have run in the phase, so that
        its numbers may be higher; `is_upper_bound`, and `is_tokens_upper_bound` of tokens: they may be lower. For
        requests of unknown lengths FLOPs, bytes, MFU and MBU are NULL, and lie between columns with `_min` and `_max`.
        Raises ModelError for a model that is not understood.
        """
        self._session.check_open()
        options = self._session.provider.options
        if model is not None:
            options = attrs.evolve(options, model=_model(model))
        if shapes is not None:
            options = attrs.evolve(options, shapes=_shapes(shapes))
        if options is self._session.provider.options:
            return self.sql(_FLOPS)
        # A session of its own: other threads go on with the model that the trace was opened with.
        with Session.of(open_trace(self.path, self._trace_options), options, close_off=False) as session:
            return session.frame(_FLOPS)

    @property
    def connection(self) -> DuckDBPyConnection:
        """A DuckDB connection of its own with all public views, for whatever `sql` does not allow.

        The raw tables of the export are under `nsys.` as far as `sql` has read them. What is created is in memory.
        """
        self._session.build(*(module.name for module in public_views()))
        return self._session.cursor()


for _module in public_views():
    setattr(TraceReader, _module.relation, View(_module))


def open_reader(
    path: str | Path,
    *,
    model: str | Model | None = None,
    shapes: str | Sequence[str] = (),
    phases: Mapping[str, str] | None = None,
    not_phases: str | Sequence[str] = (),
    ranges: str | Sequence[str] = (),
    peaks: Mapping[str, float | str] | None = None,
    bandwidth: float | str | None = None,
    dtype: str | None = None,
    weight_dtype: str | None = None,
    kv_dtype: str | None = None,
    tp: int | None = None,
    pp: int | None = None,
    ep: int | None = None,
    dp: int | None = None,
    cp: int | None = None,
    train_only: str | None = None,
    lora: int | None = None,
    max_context: int | None = None,
    images: int | None = None,
    image_patches: str | Sequence[str] = (),
    image_size: str | Sequence[str] = (),
    audio_seconds: str | float | Sequence[float] | None = None,
    strict: bool = False,
    infer: bool | None = None,
    keep_cold: bool = False,
    goodput: str | None = None,
    cache: bool = True,
    memory_limit: str = DEFAULT_MEMORY_LIMIT,
) -> TraceReader:
    """See `nsys_pipeline.open`."""
    excluded = [not_phases] if isinstance(not_phases, str) else not_phases
    rules = (
        *(PhaseRule.excluding(pattern) for pattern in excluded),
        *(PhaseRule.from_option(f"{name}={pattern}") for name, pattern in (phases or {}).items()),
        *(PhaseRule.of_ranges(pattern) for pattern in ([ranges] if isinstance(ranges, str) else ranges)),
    )
    trace_options = TraceOptions(
        phase_rules=rules, is_strict=strict, infers=infer, use_cache=cache, memory_limit=memory_limit
    )
    options = AnalysisOptions.told(
        model=None if model is None else _model(model),
        shapes=_shapes(shapes),
        dtype=dtype,
        weight_dtype=weight_dtype,
        kv_dtype=kv_dtype,
        tp=tp,
        pp=pp,
        ep=ep,
        dp=dp,
        cp=cp,
        train_only=train_only,
        lora_rank=lora,
        peaks=checked_peaks(peaks or {}),
        bandwidth_bytes_per_s=None if bandwidth is None else checked_bandwidth(bandwidth),
        max_context=max_context,
        images=ImageOptions(images, _listed(image_patches), _listed(image_size)),
        audio_seconds=_seconds(audio_seconds),
        keep_cold=keep_cold,
        goodput=None if goodput is None else GoodputLimits.parse(goodput),
    )
    return TraceReader(Path(path), trace_options, options)


def _seconds(clips: str | float | Sequence[float] | None) -> str | None:
    if clips is None or isinstance(clips, str):
        return clips
    return ",".join(map(str, [clips] if isinstance(clips, int | float) else clips))


def _model(model: str | Model) -> Model:
    return model if isinstance(model, Model) else load_model(model)


def _shapes(shapes: str | Sequence[str]) -> tuple[RequestShape, ...]:
    return tuple(RequestShape.parse(text) for text in _listed(shapes))


def _listed(texts: str | Sequence[str]) -> tuple[str, ...]:
    return (texts,) if isinstance(texts, str) else tuple(texts)


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
