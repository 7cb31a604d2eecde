"""FLOPs, bytes and ideal times of every step shape in the trace, as tables for SQL to join."""

from __future__ import annotations

import functools
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

_AMOUNTS = ("flops", "bytes", "weight_bytes", "kv_read_bytes", "kv_write_bytes", "executed_flops")
_TIMES = ("compute_ns", "memory_ns", "executed_compute_ns", "sol_ns")
_COST_COLUMNS = ("shape_id", *_AMOUNTS, "flops_min", "flops_max", "bytes_min", "bytes_max")
_TIME_COLUMNS = (
    "shape_id", "device_id", *_TIMES, "compute_min_ns", "compute_max_ns", "memory_min_ns", "memory_max_ns",
)  # fmt: skip


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

    def max_context(self, model: Model | None) -> int | None:
        """Tokens of the longest sequence that the engine took, else that the model allows; None where nobody says."""
        told = self.fields.get("max_context")
        if isinstance(told, int) and not isinstance(told, bool) and told > 0:
            return told
        return model.max_context if model is not None else None

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
        try:
            make = functools.partial(_costs, model, conventions, gpus)
            least = make(steps)
            open_ids = [index for index, step in enumerate(steps) if not step.is_exact]
            dearest = make([steps[index].upper or steps[index] for index in open_ids])
            costs, times = _table_rows(steps, least, dict(zip(open_ids, dearest, strict=True)))
            _check_range(costs)
        except (ModelError, HardwareError) as error:
            notices.append(Notice("no_estimate", error.message, error.hint))
            costs, times = [], []
    costs = [row for row in costs if row[0] not in without]
    times = [row for row in times if row[0] not in without]
    create_from_rows(trace.connection, "input.shape_costs", dict.fromkeys(_COST_COLUMNS, "BIGINT"), costs)
    types = dict.fromkeys(_TIME_COLUMNS, "DOUBLE") | {"shape_id": "BIGINT", "device_id": "BIGINT"}
    create_from_rows(trace.connection, "input.shape_device_costs", types, times)
    return notices


@attrs.frozen
class _Cost:
    """One GPU's share of a pass: `amounts` as in `_AMOUNTS`, and by device the `_TIMES` that it would take at peak."""

    amounts: tuple[int, ...]
    times: Mapping[int, tuple[float | None, ...]]


def _costs(model: Model, conventions: Conventions, gpus: Mapping[int, Gpu], steps: Sequence[Step]) -> list[_Cost]:
    from nsys_pipeline.model import Estimator

    estimator = Estimator(model, conventions)
    totals = estimator.totals(steps)
    executed = Estimator(model, attrs.evolve(conventions, count="executed", attention="full")).totals(steps)
    ranks = conventions.tp * conventions.pp
    # A pass crosses the pipeline stages in turn; the occurrence of one rank is its own stage of it.
    sol = {
        id(gpu): [t.sol_ns and t.sol_ns / conventions.pp for t in estimator.totals(steps, gpu)] for gpu in gpus.values()
    }
    costs = []
    for index, total in enumerate(totals):
        amounts = (total.flops, total.bytes, total.weight_bytes, total.kv_read_bytes, total.kv_write_bytes)
        times = {}
        for device, gpu in gpus.items():
            compute = _compute_ns(total.flops_by_dtype, gpu)
            memory = total.bytes / gpu.bandwidth_bytes_per_s * 1e9 if gpu.bandwidth_bytes_per_s else None
            run = _compute_ns(executed[index].flops_by_dtype, gpu)
            shares = (compute and compute / ranks, memory and memory / ranks, run and run / ranks)
            times[device] = (*shares, sol[id(gpu)][index])
        costs.append(_Cost(tuple(amount // ranks for amount in (*amounts, executed[index].flops)), times))
    return costs


def _table_rows(
    steps: Sequence[Step], costs: Sequence[_Cost], dearest: Mapping[int, _Cost]
) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """Rows of the two tables. Where the cheapest and the dearest step differ there are bounds, and no number."""
    amounts: list[tuple[object, ...]] = []
    times: list[tuple[object, ...]] = []
    for index, (step, cost) in enumerate(zip(steps, costs, strict=True)):
        upper = dearest.get(index, cost)
        most = [None if step.is_unlimited else value for value in upper.amounts]
        exact = [low if low == high else None for low, high in zip(cost.amounts, most, strict=True)]
        bounds = [value for low, high in list(zip(cost.amounts, most, strict=True))[:2] for value in (low, high)]
        amounts.append((index, *exact, *bounds))
        for device, low_ns in cost.times.items():
            high_ns = [None if step.is_unlimited else value for value in upper.times[device]]
            pairs = list(zip(low_ns, high_ns, strict=True))
            exact_ns = [low if low == high else None for low, high in pairs]
            times.append((index, device, *exact_ns, *(value for pair in pairs[:2] for value in pair)))
    return amounts, times


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
