"""FLOPs, bytes and ideal times of every step shape in the trace, as tables for SQL to join."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from nsys_pipeline import markers
from nsys_pipeline.errors import HardwareError, ModelError
from nsys_pipeline.records import Notice, Step
from nsys_pipeline.trace.duck import create_from_rows

if TYPE_CHECKING:
    from nsys_pipeline.hardware import Gpu
    from nsys_pipeline.model import Conventions, Model
    from nsys_pipeline.trace import Trace

_COST_COLUMNS = ("shape_id", "flops", "bytes", "weight_bytes", "kv_read_bytes", "kv_write_bytes", "executed_flops")


@attrs.frozen
class RunDescription:
    """What the trace's own run mark says; empty where there is none."""

    fields: Mapping[str, Any] = attrs.field(factory=dict)

    @classmethod
    def of(cls, trace: Trace) -> RunDescription:
        """Read the first run mark of the trace that can be read."""
        trace.build("load.nvtx_marks")
        rows = trace.connection.execute(
            'SELECT "text" FROM load.nvtx_marks WHERE starts_with("text", ?) ORDER BY at_ns, "text"',
            [markers.RUN_MARK + " "],
        ).fetchall()
        for (text,) in rows:
            try:
                fields = json.loads(text.removeprefix(markers.RUN_MARK))
            except (ValueError, RecursionError):
                continue
            if isinstance(fields, dict):
                return cls(fields)
        return cls()

    def model(self) -> Model | None:
        """The model of the run mark. Raises ModelError where its config is not understood."""
        config = self.fields.get("model")
        if not isinstance(config, Mapping):
            return None
        name = self.fields.get("name") or config.get("_name_or_path") or config.get("model_type") or "model"
        from nsys_pipeline.model import Model

        return Model.from_config(dict(config), name=str(name))

    def conventions(self, given: Conventions) -> Conventions:
        """`given`, with dtype and parallel degrees filled in from the run mark where the user says nothing."""
        changes: dict[str, Any] = {}
        if given.dtype is None and isinstance(self.fields.get("dtype"), str):
            changes["dtype"] = self.fields["dtype"]
        for degree in ("tp", "pp"):
            if getattr(given, degree) == 1 and isinstance(self.fields.get(degree), int) and self.fields[degree] > 1:
                changes[degree] = self.fields[degree]
        return attrs.evolve(given, **changes) if changes else given


def parallel_notices(
    trace: Trace, run: RunDescription, model: Model | None, given: Conventions, used: Conventions
) -> list[Notice]:
    """Degrees `used` that take more GPUs than worked in the trace; none where the run itself says that it is so.

    A report of one rank, whose run mark tells the degrees, has one GPU of many and is right.
    """
    if model is None:
        return []
    own = run.conventions(attrs.evolve(given, tp=1, pp=1))
    ranks = used.tp * used.pp
    (gpus,) = trace.connection.execute("SELECT count(*) FROM load.devices WHERE has_work").fetchone() or (0,)
    if not 0 < gpus < ranks or own.tp * own.pp == ranks:
        return []
    degrees = " ".join(f"--{name} {degree}" for name, degree in (("tp", used.tp), ("pp", used.pp)) if degree > 1)
    return [
        Notice(
            "parallel_degree_mismatch",
            f"with {degrees} each pass is split among {ranks:,} GPUs, but the trace has work on only {gpus:,}: "
            f"FLOPs, MFU and MBU are of 1/{ranks:,} of each pass on each GPU",
            "right only if the other GPUs are in other traces; else pass the degree that the run had",
        )
    ]


def product_dtypes(model: Model, steps: Sequence[Step], conventions: Conventions) -> list[str]:
    """Dtypes that the products of a pass run in, that with most FLOPs first: the peaks that utilization is of."""
    from nsys_pipeline.model import Estimator

    try:
        flops = Estimator(model, conventions).totals(steps[:1])[0].flops_by_dtype
    except (ModelError, IndexError):  # said by the cost tables; without a step there is nothing to say
        return [conventions.dtype or model.dtype]
    return sorted(flops, key=lambda dtype: -flops[dtype])


def shapes_without_costs(trace: Trace, model: Model | None) -> set[int]:
    """Ids of the shapes that `model` has no passes of: those of decode phases, if it is an encoder and nothing else."""
    if model is None or model.architecture.decoder is not None:
        return set()
    trace.build("attribute.phase_ranges")
    rows = trace.connection.execute(
        "SELECT DISTINCT shape_id FROM input.occurrence_shapes JOIN attribute.phase_ranges USING (occurrence_id) "
        "WHERE phase = ?",
        [markers.DECODE],
    ).fetchall()
    return {shape_id for (shape_id,) in rows}


def create_cost_tables(
    trace: Trace, steps: Sequence[Step], model: Model | None, conventions: Conventions, gpus: Mapping[int, Gpu]
) -> list[Notice]:
    """`input.shape_costs` and `input.shape_device_costs`, empty without a model.

    A tensor-parallel rank marks its own passes, so an occurrence is charged its share of the pass.
    """
    costs: list[tuple[object, ...]] = []
    times: list[tuple[object, ...]] = []
    notices: list[Notice] = []
    without = shapes_without_costs(trace, model)
    if model is not None and without:
        notices.append(
            Notice(
                "encoder_has_no_decode",
                f"`{model.name}` is an encoder and has no decode steps: phase decode has no FLOPs, MFU or MBU",
                "pass the --model that ran these steps, or another name for the ranges with --phase NAME=REGEX",
            )
        )
    if model is not None and steps:
        from nsys_pipeline.model import Estimator

        try:
            estimator = Estimator(model, conventions)
            totals = estimator.totals(steps)
            executed = Estimator(model, attrs.evolve(conventions, count="executed", attention="full")).totals(steps)
            ranks = conventions.tp * conventions.pp
            costs = [
                (i, total.flops // ranks, total.bytes // ranks, total.weight_bytes // ranks,
                 total.kv_read_bytes // ranks, total.kv_write_bytes // ranks, executed[i].flops // ranks)
                for i, total in enumerate(totals)
            ]  # fmt: skip
            _check_range(costs)
            # A pass crosses the pipeline stages in turn; the occurrence of one rank is its own stage of it.
            by_gpu = {
                id(gpu): [t.sol_ns and t.sol_ns / conventions.pp for t in estimator.totals(steps, gpu)]
                for gpu in gpus.values()
            }
            for device, gpu in gpus.items():
                for index, total in enumerate(totals):
                    compute = _compute_ns(total.flops_by_dtype, gpu)
                    memory = total.bytes / gpu.bandwidth_bytes_per_s * 1e9 if gpu.bandwidth_bytes_per_s else None
                    run = _compute_ns(executed[index].flops_by_dtype, gpu)
                    times.append(
                        (index, device, compute and compute / ranks, memory and memory / ranks, by_gpu[id(gpu)][index],
                         run and run / ranks)
                    )  # fmt: skip
        except (ModelError, HardwareError) as error:
            notices.append(Notice("no_estimate", error.message, error.hint))
            costs, times = [], []
    costs = [row for row in costs if row[0] not in without]
    times = [row for row in times if row[0] not in without]
    create_from_rows(
        trace.connection,
        "input.shape_costs",
        dict.fromkeys(_COST_COLUMNS, "BIGINT"),
        costs,
    )
    create_from_rows(
        trace.connection,
        "input.shape_device_costs",
        {
            "shape_id": "BIGINT",
            "device_id": "BIGINT",
            "compute_ns": "DOUBLE",
            "memory_ns": "DOUBLE",
            "sol_ns": "DOUBLE",
            "executed_compute_ns": "DOUBLE",
        },
        times,
    )
    return notices


def _check_range(costs: Sequence[Sequence[object]]) -> None:
    if any(isinstance(value, int) and value >= 2**63 for row in costs for value in row):
        raise ModelError(
            "the FLOPs of a step do not fit 64 bits, so there is no MFU and no MBU",
            hint="give the shapes that the trace really has",
        )


def _compute_ns(flops_by_dtype: Mapping[str, int], gpu: Gpu) -> float | None:
    """Σ over dtypes of FLOPs / peak, in ns; None where a peak is not known."""
    total = 0.0
    for dtype, flops in flops_by_dtype.items():
        peak = gpu.peaks_flops_per_s.get(dtype)
        if not peak:
            return None
        total += flops / peak * 1e9
    return total
