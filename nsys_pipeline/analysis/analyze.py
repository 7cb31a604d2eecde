"""From an open trace to the report: every number comes from a module of ``sql/``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from nsys_pipeline.analysis.costs import RunDescription, create_cost_tables, parallel_notices, product_dtypes
from nsys_pipeline.analysis.devices import describe_devices
from nsys_pipeline.analysis.notices import create_notices, operator_notices, trace_notices
from nsys_pipeline.analysis.shapes import RequestShape, assign_shapes, create_shape_tables
from nsys_pipeline.analysis.verdict import bound
from nsys_pipeline.errors import ModelError
from nsys_pipeline.model import Conventions
from nsys_pipeline.records import (
    Check,
    Device,
    Finding,
    KernelRow,
    Notice,
    OperatorRow,
    Phase,
    PhaseDevice,
    Report,
    ShapeRow,
    Step,
    TraceInfo,
    Unattributed,
    WorkTotals,
)
from nsys_pipeline.duck import records, scalar

if TYPE_CHECKING:
    from nsys_pipeline.hardware import Gpu
    from nsys_pipeline.model import Model
    from nsys_pipeline.trace import Trace

# What the report reads. Built before the trace goes into the cache, so that the next run finds it there.
STATIC_TARGETS = (
    "load.devices", "load.processes", "load.session", "load.metadata", "load.diagnostics", "load.generation",
    "load.nvtx_marks", "attribute.api_time_by_occurrence", "attribute.graph_calls", "attribute.kernel_totals",
    "attribute.phase_busy", "attribute.phase_devices", "attribute.phase_walls",
    "attribute.range_segments", "attribute.request_times", "attribute.unattributed_work", "attribute.conservation",
    "attribute.work_totals", "attribute.layer_ranges",
)  # fmt: skip
MODEL_TARGETS = (
    "views.phase_summary", "views.phases", "views.kernel_summary", "views.trace_checks", "views.shape_summary",
    "attribute.cold_occurrences", "attribute.request_summary",
)  # fmt: skip


@attrs.frozen(kw_only=True)
class AnalysisOptions:
    """What the analysis is told beside the trace. `model` wins over the model that the trace describes."""

    model: Model | None = None
    shapes: tuple[RequestShape, ...] = ()
    conventions: Conventions = attrs.field(factory=Conventions)
    peaks: Mapping[str, float] = attrs.field(factory=dict)
    bandwidth_bytes_per_s: float | None = None
    top_kernels: int = 5


@attrs.frozen
class Prepared:
    """What `prepare` found out on the way to the tables."""

    model: Model | None
    devices: list[Device]
    notices: list[Notice]
    run: RunDescription
    conventions: Conventions
    steps: list[Step]
    gpus: Mapping[int, Gpu]


def prepare(trace: Trace, options: AnalysisOptions) -> Prepared:
    """Build every relation that the report reads, with shapes, costs and peaks joined in."""
    trace.build(*STATIC_TARGETS)
    trace.keep()
    prepared = estimate(trace, options)
    trace.build(*MODEL_TARGETS)
    return prepared


def estimate(trace: Trace, options: AnalysisOptions) -> Prepared:
    """Fill in the relations of ``input`` that shapes, model and hardware decide."""
    trace.build("load.devices")
    run = RunDescription.of(trace)
    model, notices = _model(run, options)
    conventions = run.conventions(options.conventions)
    steps_by_occurrence, shape_notices = assign_shapes(trace, options.shapes)
    steps = create_shape_tables(trace, steps_by_occurrence)
    devices, gpus, gpu_notices = describe_devices(trace, options.peaks, options.bandwidth_bytes_per_s)
    cost_notices = create_cost_tables(trace, steps, model, conventions, gpus)
    cost_notices += parallel_notices(trace, run, model, options.conventions, conventions)
    trace.runner.built |= {
        "input.shapes", "input.occurrence_shapes", "input.shape_costs", "input.shape_device_costs",
    }  # fmt: skip
    return Prepared(
        model, devices, [*notices, *shape_notices, *gpu_notices, *cost_notices], run, conventions, steps, gpus
    )


def analyze(trace: Trace, options: AnalysisOptions | None = None) -> Report:
    """The report of `trace`. Raises TraceError where the trace cannot be read; never on what it merely lacks."""
    with trace.reading():
        return _report(trace, options or AnalysisOptions())


def _report(trace: Trace, options: AnalysisOptions) -> Report:
    prepared = prepare(trace, options)
    phases = _phases(trace)
    unattributed = _unattributed(trace)
    info = _trace_info(trace, prepared.devices)
    operators = _operators(trace, prepared)
    notices = [*prepared.notices, *trace_notices(trace, phases, unattributed, prepared.model, prepared.conventions)]
    create_notices(trace, [*notices, *operator_notices(operators)])
    trace.build("views.findings")
    return Report(
        trace=info,
        totals=WorkTotals(**records(trace.connection, "SELECT * FROM attribute.work_totals")[0]),
        phases=phases,
        unattributed=unattributed,
        kernels=_kernels(trace, phases, options.top_kernels),
        checks=[Check(**row) for row in records(trace.connection, "FROM views.trace_checks ORDER BY name")],
        findings=[Finding(**row) for row in records(trace.connection, "FROM views.findings")],
        model=_describe_model(trace, prepared),
        operators=operators,
        requests=records(trace.connection, "FROM attribute.request_summary ORDER BY shape NULLS LAST"),
    )


def _operators(trace: Trace, prepared: Prepared) -> list[OperatorRow]:
    """Operators of marked layers; none where no layer is marked or the model is not known."""
    trace.build("attribute.layer_ranges")
    if prepared.model is None or not scalar(trace.connection, "SELECT count(*) FROM attribute.layer_ranges"):
        return []
    from nsys_pipeline.analysis.ops import create_shape_ops

    create_shape_ops(trace, prepared)
    trace.build("views.operator_summary")
    rows = records(trace.connection, "FROM views.operator_summary ORDER BY phase DESC, shape, time_ns DESC, operator")
    return [OperatorRow(**row) for row in rows]


def _model(run: RunDescription, options: AnalysisOptions) -> tuple[Model | None, list[Notice]]:
    if options.model is not None:
        return options.model, []
    try:
        return run.model(), []
    except ModelError as error:
        return None, [Notice("model_not_understood", f"the trace's own model: {error.message}", error.hint)]


def _describe_model(trace: Trace, prepared: Prepared) -> dict[str, object] | None:
    model = prepared.model
    if model is None:
        return None
    return {
        "name": model.name,
        "params": model.params,
        "active_params": model.active_params,
        "dtype": prepared.conventions.dtype or model.dtype,
        "products": product_dtypes(model, prepared.steps, prepared.conventions),
        "label": model.label,
        "routing": _routing(trace, model, prepared.steps),
        "convention": {key: value for key, value in attrs.asdict(prepared.conventions).items() if value is not None},
    }


def _routing(trace: Trace, model: Model, steps: Sequence[Step]) -> str | None:
    """What the number of experts whose weights are read rests on, outside warm-up; None without experts."""
    if not model.has_experts:
        return None
    measured = records(
        trace.connection,
        "SELECT DISTINCT shape_id FROM input.occurrence_shapes JOIN attribute.phase_ranges USING (occurrence_id) "
        "WHERE NOT is_warmup",
    )
    counted = {steps[row["shape_id"]].experts is not None for row in measured}
    return "partly counted" if len(counted) > 1 else "counted" if True in counted else "uniform"


def _trace_info(trace: Trace, devices: list[Device]) -> TraceInfo:
    con = trace.connection
    metadata = {
        (row["source"], row["name"]): row["value"]
        for row in records(con, "SELECT source, name, value FROM load.metadata WHERE source = 'export'")
    }
    return TraceInfo(
        path=str(trace.path),
        nsys_version=metadata.get(("export", "EXPORT_PRODUCT_VERSION")),
        schema_version=metadata.get(("export", "EXPORT_SCHEMA_VERSION")),
        duration_ns=scalar(con, "SELECT duration_ns FROM load.session"),
        processes=records(
            con, "SELECT process_id AS id, name FROM load.processes WHERE has_events ORDER BY process_key"
        ),
        devices=devices,
    )


def _phases(trace: Trace) -> list[Phase]:
    con = trace.connection
    devices: dict[str, list[PhaseDevice]] = defaultdict(list)
    for row in records(
        con,
        "SELECT phase, device_id, process_key & 16777215 AS process_id, kernel_count, kernel_time_ns, memop_count, "
        "memop_time_ns, graph_launch_count, graph_time_ns, gpu_span_ns, gpu_busy_ns "
        "FROM attribute.phase_devices ORDER BY phase, device_id, process_key",
    ):
        devices[row.pop("phase")].append(PhaseDevice(**row))
    shapes: dict[str, list[ShapeRow]] = defaultdict(list)
    for row in records(con, "FROM views.shape_summary ORDER BY first_start_ns, phase, shape"):
        row.pop("first_start_ns")
        shapes[row.pop("phase")].append(ShapeRow(**row))
    communication = {
        row["phase"]: row["ratio"]
        for row in records(
            con,
            "SELECT phase, sum(time_ns) FILTER (WHERE family = 'communication') / nullif(sum(time_ns), 0) AS ratio "
            "FROM views.kernel_summary GROUP BY phase",
        )
    }
    phases = []
    for row in records(con, "FROM views.phase_summary"):
        word, detail = bound(
            busy_ratio=row["busy_ratio"],
            communication_ratio=communication.get(row["phase"]),
            compute_ns=row["compute_ns"],
            memory_ns=row["memory_ns"],
            has_gpu_work=bool(row["gpu_busy_ns"]),
        )
        name = row.pop("phase")
        phases.append(
            Phase(name=name, bound=word, bound_detail=detail, shapes=shapes[name], devices=devices[name], **row)
        )
    first_start = dict(con.execute("SELECT phase, min(start_ns) FROM attribute.phase_ranges GROUP BY phase").fetchall())
    return sorted(phases, key=lambda phase: (_PHASE_ORDER.get(phase.name, 2), first_start[phase.name], phase.name))


_PHASE_ORDER = {"prefill": 0, "decode": 1}


def _unattributed(trace: Trace) -> Unattributed:
    con = trace.connection
    reasons = {
        row["reason"]: {"count": row["count"], "time_ns": row["time_ns"]}
        for row in records(
            con, 'SELECT reason, sum("count")::BIGINT AS "count", sum(time_ns)::BIGINT AS time_ns '
            "FROM attribute.unattributed_work GROUP BY reason ORDER BY reason"
        )
    }  # fmt: skip
    sums = records(
        con,
        """
        SELECT
            coalesce(sum("count") FILTER (WHERE kind = 'kernel'), 0)::BIGINT AS kernel_count,
            coalesce(sum(time_ns) FILTER (WHERE kind = 'kernel'), 0)::BIGINT AS kernel_time_ns,
            coalesce(sum("count") FILTER (WHERE kind IN ('memcpy', 'memset')), 0)::BIGINT AS memop_count,
            coalesce(sum(time_ns) FILTER (WHERE kind IN ('memcpy', 'memset')), 0)::BIGINT AS memop_time_ns,
            coalesce(sum("count") FILTER (WHERE kind = 'graph'), 0)::BIGINT AS graph_launch_count,
            coalesce(sum(time_ns) FILTER (WHERE kind = 'graph'), 0)::BIGINT AS graph_time_ns
        FROM attribute.unattributed_work
        """,
    )[0]
    return Unattributed(reasons=reasons, **sums)


def _kernels(trace: Trace, phases: list[Phase], top: int) -> list[KernelRow]:
    """The kernels of each phase that take most of its time, warm-up left out unless there is nothing else."""
    order: dict[Any, int] = {phase.name: index for index, phase in enumerate(phases)}
    rows = records(
        trace.connection,
        """
        SELECT
            phase, name, family, sum("count")::BIGINT AS "count", sum(time_ns)::BIGINT AS time_ns,
            sum(warmup_count)::BIGINT AS warmup_count, sum(warmup_ns)::BIGINT AS warmup_time_ns,
            (sum(time_ns - warmup_ns) / nullif(sum(sum(time_ns - warmup_ns)) OVER (PARTITION BY phase), 0))::DOUBLE
                AS share
        FROM views.kernel_summary
        GROUP BY phase, name, family
        QUALIFY row_number() OVER (
            PARTITION BY phase ORDER BY sum(time_ns - warmup_ns) DESC, sum(time_ns) DESC, name, family
        ) <= ?
        """,
        [top],
    )
    kernels = [KernelRow(**row) for row in rows]
    kernels.sort(
        key=lambda row: (order.get(row.phase, len(order)), -row.measured_time_ns, -row.time_ns, row.name or "")
    )
    return kernels
