"""From an open trace to the report: every number comes from a module of ``sql/``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs

from nsys_pipeline.duck import records, scalar
from nsys_pipeline.errors import TraceError
from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.inputs.costs import product_dtypes
from nsys_pipeline.inputs.run import RunDescription
from nsys_pipeline.nsys.export import report_version
from nsys_pipeline.records import (
    BaselineRow,
    BucketRow,
    Budget,
    Check,
    CollectiveRow,
    Finding,
    HostLine,
    HostRow,
    KernelRow,
    Measured,
    ModelInfo,
    OperatorRow,
    Phase,
    PhaseDevice,
    PhaseTreeRow,
    ProcessInfo,
    RankLateness,
    RankRow,
    RepeatRow,
    Report,
    RequestRow,
    ServedSummary,
    ShapeRow,
    StageRow,
    Step,
    TorchOperatorRow,
    TraceInfo,
    TrainingSummary,
    Unattributed,
    WorkTotals,
)
from nsys_pipeline.trace.run_file import read_run, report_path

if TYPE_CHECKING:
    from nsys_pipeline.model import Model
    from nsys_pipeline.trace import Trace

# What the report reads.
TARGETS = (
    "views.bucket_budget",
    "views.phase_summary", "views.trace_checks", "views.shape_summary", "views.operator_summary", "views.stage_summary",
    "views.repeat_summary", "views.operators", "views.findings", "views.host_functions", "views.host_time",
    "views.collective_summary", "views.rank_lateness", "views.rank_summary", "views.request_summary",
    "views.served_summary", "views.top_kernels", "views.training_summary", "views.verdicts",
    "attribute.phase_budgets", "attribute.phase_devices", "attribute.phase_measured", "attribute.phase_walls",
    "attribute.missing_counters", "attribute.unattributed_reasons", "attribute.unattributed_totals",
    "attribute.window_totals", "attribute.work_totals", "estimate.measured_shapes", "load.metadata", "load.processes",
    "load.recorder", "load.session",
)  # fmt: skip


def analyze(trace: Trace, options: AnalysisOptions | None = None) -> Report:
    """The report of `trace`. Raises TraceError where the trace cannot be read; never on what it merely lacks."""
    with trace.reading():
        return _report(trace, options or AnalysisOptions())


def list_ranges(trace: Trace) -> list[dict[str, object]]:
    """What NVTX ranges a trace offers, and what each counts as: rows of the view `range_texts`, the longest first."""
    trace.build("views.range_texts")
    return records(trace.connection, "FROM views.range_texts ORDER BY total_ns DESC, domain, name")


def _report(trace: Trace, options: AnalysisOptions) -> Report:
    trace.describe(options)
    trace.runner.will_read(TARGETS)
    trace.build(*TARGETS)
    con = trace.connection
    (budgets, medians), verdicts = _budgets(trace), _verdicts(trace)
    phases = _phases(trace, budgets, medians, verdicts)
    operators = records(con, "FROM views.operator_summary ORDER BY phase DESC, shape, time_ns DESC, operator")
    return Report(
        trace=_trace_info(trace),
        totals=WorkTotals(**records(con, "SELECT * FROM attribute.work_totals")[0]),
        phases=phases,
        unattributed=_unattributed(trace, budgets.get(None, Budget()), verdicts.get((None, None), _NO_VERDICT)),
        windows_ns=_windows_ns(trace),
        kernels=_kernels(trace, phases, options.top_kernels),
        host=_host(trace, phases, options.top_kernels),
        baseline=_baseline(trace),
        time_buckets=_time_buckets(trace),
        phase_tree=_phase_tree(trace),
        checks=[Check(**row) for row in records(con, "FROM views.trace_checks ORDER BY name")],
        findings=[Finding(**row) for row in records(con, "FROM views.findings")],
        model=_describe_model(trace),
        operators=[OperatorRow(**row) for row in operators],
        torch_operators=_torch_operators(trace, phases, options.top_kernels),
        stages=[StageRow(**row) for row in records(con, _STAGES)],
        repeats=[RepeatRow(**row) for row in records(con, _REPEATS)],
        requests=[RequestRow(**row) for row in records(con, "FROM views.request_summary ORDER BY shape NULLS LAST")],
        served=_served(trace),
        training=next((TrainingSummary(**row) for row in records(con, "FROM views.training_summary")), None),
        ranks=[RankRow(**row) for row in records(con, "FROM views.rank_summary ORDER BY rank, host_id, process_id")],
        rank_lateness=[
            RankLateness(**row)
            for row in records(con, "FROM views.rank_lateness ORDER BY rank, host_id, process_id, wait_ns DESC, phase")
        ],
        collectives=[
            CollectiveRow(**row)
            for row in records(con, "FROM views.collective_summary ORDER BY phase NULLS LAST, time_ns DESC, name")
        ],
    )


_STAGES = (
    "FROM views.stage_summary ORDER BY phase DESC, stage = 'rest', "
    "max(wall_ns) OVER (PARTITION BY phase, coalesce(parent, stage)) DESC, coalesce(parent, stage), "
    "parent IS NOT NULL, wall_ns DESC, stage"
)
_REPEATS = (
    "FROM views.repeat_summary ORDER BY shape, phase = 'decode', phase, stage IS NOT NULL, mean_wall_ns DESC, stage"
)


def _describe_model(trace: Trace) -> ModelInfo | None:
    inputs = trace.inputs
    model, conventions = inputs.run.model, inputs.run.conventions
    if model is None:
        return None
    # Each size once: a request has as many images as its pass says.
    images = sorted({grid for step in inputs.steps.distinct for grid in step.images})
    audio = sorted({frames for step in inputs.steps.distinct for frames in step.audio})
    convention = {key: value for key, value in attrs.asdict(conventions).items() if value is not None}
    if images:
        convention["images"] = [list(grid) for grid in images]
    if audio:
        convention["audio_frames"] = audio
    return ModelInfo(
        name=model.name,
        params=model.params,
        active_params=model.active_params,
        dtype=conventions.dtype or model.dtype,
        products=product_dtypes(model, inputs.steps.distinct, conventions),
        label=model.label,
        not_counted=list(model.left_out(len(images), len(audio), inputs.steps.unsized)),
        notes=[*model.unread, *model.counted_as, *(model.notes if conventions.weight is None else ())],
        routing=_routing(trace, model, inputs.steps.distinct),
        convention=convention,
    )


def _routing(trace: Trace, model: Model, steps: Sequence[Step]) -> str | None:
    """What the number of experts whose weights are read rests on, outside warm-up; None without experts."""
    if not model.has_experts:
        return None
    measured = records(trace.connection, "SELECT shape_id FROM estimate.measured_shapes")
    counted = {steps[row["shape_id"]].experts is not None for row in measured}
    return "partly counted" if len(counted) > 1 else "counted" if True in counted else "uniform"


def _trace_info(trace: Trace) -> TraceInfo:
    con = trace.connection
    metadata = {
        (row["source"], row["name"]): row["value"]
        for row in records(con, "SELECT source, name, value FROM load.metadata WHERE source = 'export'")
    }
    recorder, exporter = _recorder(trace), metadata.get(("export", "EXPORT_PRODUCT_VERSION"))
    return TraceInfo(
        path=str(trace.path),
        nsys_version=recorder or exporter,
        recorder=scalar(con, "SELECT recorder FROM load.recorder"),
        recorder_version=recorder,
        exporter_version=exporter,
        schema_version=metadata.get(("export", "EXPORT_SCHEMA_VERSION")),
        duration_ns=scalar(con, "SELECT duration_ns FROM load.session"),
        window=str(trace.options.window) if trace.options.window else None,
        processes=[
            ProcessInfo(**row)
            for row in records(
                con, "SELECT process_id AS id, name FROM load.processes WHERE has_events ORDER BY process_key"
            )
        ],
        devices=list(trace.inputs.peaks.devices),
    )


def _budgets(trace: Trace) -> tuple[dict[str | None, Budget], dict[str | None, Budget]]:
    """Phase, or None outside every phase, → what its time was spent on, over all GPUs: sums, and medians."""
    rows = records(trace.connection, "FROM attribute.phase_budgets")

    def by_phase(column: str) -> dict[str | None, Budget]:
        times: dict[str | None, dict[str, int]] = defaultdict(dict)
        for row in rows:
            times[row["phase"]][f"{row['class']}_ns"] = row[column] or 0
        return {phase: Budget(**classes) for phase, classes in times.items()}

    return by_phase("time_ns"), by_phase("median_ns")


def _time_buckets(trace: Trace) -> list[BucketRow]:
    """The budget of a trace without phases as time goes on, over all GPUs."""
    times: dict[tuple[int, int], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in records(trace.connection, "FROM views.bucket_budget ORDER BY start_ns"):
        times[row["start_ns"], row["end_ns"]][f"{row['class']}_ns"] += row["time_ns"]
    return [BucketRow(start_ns, end_ns, Budget(**classes)) for (start_ns, end_ns), classes in times.items()]


def _phase_tree(trace: Trace) -> list[PhaseTreeRow]:
    """Ranges of --range inside each other, each under the one around it; nothing without that option, or if none is."""
    if not any(rule.is_text for rule in trace.options.phase_rules):
        return []
    trace.build("views.phase_tree")
    rows = [PhaseTreeRow(**row) for row in records(trace.connection, "FROM views.phase_tree")]
    if all(row.depth == 0 for row in rows):
        return []
    below: dict[str | None, list[PhaseTreeRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (-row.wall_ns, row.path)):
        below[row.parent_path].append(row)
    found, left = [], below[None][::-1]
    while left:
        found.append(left.pop())
        left += below[found[-1].path][::-1]
    return found


_NO_VERDICT: dict[str, Any] = {"bound": None, "bound_detail": None}


def _verdicts(trace: Trace) -> dict[tuple[str | None, str | None], dict[str, Any]]:
    """Phase, or None outside, and shape, or None for all of them → what bounds it, and the numbers that say so."""
    rows = records(trace.connection, "SELECT phase, shape, bound, bound_detail FROM views.verdicts")
    return {(row.pop("phase"), row.pop("shape")): row for row in rows}


def _windows_ns(trace: Trace) -> dict[int, int]:
    rows = records(trace.connection, "FROM attribute.window_totals ORDER BY device_id")
    return {row["device_id"]: row["window_ns"] for row in rows}


def _recorder(trace: Trace) -> str | None:
    """Version of the nsys that recorded: as the trace says, or the report that it is, or that lies beside it."""
    if said := scalar(trace.connection, "SELECT recorder_version FROM load.recorder"):
        return str(said)
    with suppress(TraceError):
        if version := report_version(report_path(trace.path)):
            return ".".join(map(str, version))
    return None


def _phases(
    trace: Trace,
    budgets: Mapping[str | None, Budget],
    medians: Mapping[str | None, Budget],
    verdicts: Mapping[tuple[str | None, str | None], dict[str, Any]],
) -> list[Phase]:
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
        verdict = verdicts.get((row["phase"], row["shape"]), _NO_VERDICT)
        shapes[row.pop("phase")].append(ShapeRow(**row, **verdict))
    measured = _measured(trace)
    phases = []
    for row in records(con, "FROM views.phase_summary"):
        name = row.pop("phase")
        phases.append(
            Phase(
                name=name,
                **verdicts.get((name, None), _NO_VERDICT),
                shapes=shapes[name],
                devices=devices[name],
                budget=budgets.get(name, Budget()),
                median_budget=medians.get(name, Budget()),
                measured=measured.get(name),
                **row,
            )
        )
    first_start = dict(con.execute("SELECT phase, first_start_ns FROM attribute.phase_walls").fetchall())
    return sorted(phases, key=lambda phase: (_PHASE_ORDER.get(phase.name, 2), first_start[phase.name], phase.name))


def _measured(trace: Trace) -> dict[str, Measured]:
    """Counters of each phase over its GPUs; empty if the capture sampled none."""
    found = {}
    query = "SELECT counter, reason FROM attribute.missing_counters ORDER BY ALL"
    missing = dict(trace.connection.execute(query).fetchall())
    for row in records(trace.connection, "FROM attribute.phase_measured"):
        name = row.pop("phase")
        busy = {key.replace("_busy_ratio", "_ratio"): row.pop(key) for key in list(row) if key.endswith("_busy_ratio")}
        reasons = {counter: why for counter, why in missing.items() if busy.get(f"{counter}_ratio") is None}
        if row["sm_clock_hz"] is not None:
            reasons.pop("sm_clock", None)
        found[name] = Measured(busy=busy, missing=reasons, **row)
    return found


_PHASE_ORDER = {"prefill": 0, "decode": 1}


def _unattributed(trace: Trace, budget: Budget, verdict: dict[str, Any]) -> Unattributed:
    con = trace.connection
    reasons = {row.pop("reason"): row for row in records(con, "FROM attribute.unattributed_reasons ORDER BY reason")}
    (sums,) = records(con, "FROM attribute.unattributed_totals")
    return Unattributed(reasons=reasons, budget=budget, **verdict, **sums)


def _baseline(trace: Trace) -> list[BaselineRow]:
    """What run.json beside the trace says of the same run without nsys; nothing where it does not, or is damaged."""
    recorded_ns = scalar(trace.connection, "SELECT duration_ns FROM load.session")
    found = []
    try:
        for row in read_run(trace.path).get("baseline") or []:
            phase, shape = (None if row[name] is None else str(row[name]) for name in ("phase", "shape"))
            traced_ns = recorded_ns if row["traced_s"] is None else round(float(row["traced_s"]) * 1e9)
            untraced_ns = round(float(row["untraced_s"]) * 1e9)
            if traced_ns and untraced_ns > 0:
                found.append(BaselineRow(phase, shape, traced_ns, untraced_ns, traced_ns / untraced_ns - 1))
    except (ValueError, TypeError, KeyError, OverflowError):
        return []
    return found


def _served(trace: Trace) -> ServedSummary | None:
    """What an engine served, and how long run.json beside the trace says that the load on it ran."""
    rows = records(trace.connection, "FROM views.served_summary")
    if not rows:
        return None
    # vLLM schedules no further step for a request that reaches its limit, but one for a request that ends before it.
    is_ahead = any(
        run.fields.get("framework") == "sglang" or run.fields.get("async_scheduling") is True
        for _, run in RunDescription.all_of(trace.connection)
    )
    load_s = read_run(trace.path).get("load_s")
    load_ns = None
    if isinstance(load_s, int | float) and not isinstance(load_s, bool) and 0 < load_s < _LONGEST_LOAD_S:
        load_ns = round(load_s * 1e9)
    return ServedSummary(**rows[0], load_ns=load_ns, may_count_discarded=is_ahead)


# Longer than any: 2^63 ns would not be more.
_LONGEST_LOAD_S = 1e9


def _host(trace: Trace, phases: list[Phase], top: int) -> list[HostRow]:
    """The functions of each phase that ran longest while the GPUs were idle, and of its cold occurrences."""
    lines: dict[tuple[Any, ...], list[HostLine]] = defaultdict(list)
    for row in records(
        trace.connection,
        "SELECT phase, part, function, file, line, self_samples, self_ns, self_error_ns FROM views.host_time "
        "WHERE self_ns > 0 ORDER BY self_ns DESC, line",
    ):
        of_it = lines[row["phase"], row["part"], row["function"], row["file"]]
        if len(of_it) < _MOST_LINES:
            of_it.append(HostLine(row["line"], row["self_samples"], row["self_ns"], row["self_error_ns"]))
    rows = records(
        trace.connection,
        "FROM views.host_functions WHERE self_ns > 0 "
        "QUALIFY row_number() OVER (PARTITION BY phase, part = 'cold' ORDER BY self_ns DESC, part, function, file) "
        "<= ? ORDER BY part = 'cold', self_ns DESC, part, function, file",
        [max(top, _LEAST_FUNCTIONS)],
    )
    found = [HostRow(**row, lines=lines[row["phase"], row["part"], row["function"], row["file"]]) for row in rows]
    order = _phase_order(phases)
    return sorted(found, key=lambda row: (order(row.phase), row.is_cold))


_MOST_LINES = 5
_LEAST_FUNCTIONS = 10


def _torch_operators(trace: Trace, phases: list[Phase], top: int) -> list[TorchOperatorRow]:
    """The operators of each phase with most GPU time of their own, or host time where they have none."""
    rows = records(
        trace.connection,
        "FROM views.operators QUALIFY row_number() OVER "
        "(PARTITION BY phase ORDER BY gpu_self_ns DESC, host_self_ns DESC, operator, shapes, module) <= ? "
        "ORDER BY gpu_self_ns DESC, host_self_ns DESC, operator, shapes, module",
        [top],
    )
    order = _phase_order(phases)
    return sorted((TorchOperatorRow(**row) for row in rows), key=lambda row: order(row.phase))


def _kernels(trace: Trace, phases: list[Phase], top: int) -> list[KernelRow]:
    """The kernels of each phase that take most of its time, warm-up left out unless there is nothing else."""
    rows = records(
        trace.connection, "SELECT * EXCLUDE (rank) FROM views.top_kernels WHERE rank <= ? ORDER BY rank, phase", [top]
    )
    order = _phase_order(phases)
    return sorted((KernelRow(**row) for row in rows), key=lambda row: order(row.phase))


def _phase_order(phases: list[Phase]) -> Callable[[str | None], int]:
    """The place of a phase in the report; what is in none comes last."""
    places: dict[str | None, int] = {phase.name: index for index, phase in enumerate(phases)}
    return lambda phase: places.get(phase, len(places))
