"""FLOPs, bytes and ideal times of every step shape in the trace, as tables for SQL to join."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from nsys_pipeline import markers
from nsys_pipeline.duck import create_from_rows
from nsys_pipeline.errors import HardwareError, ModelError, UsageError
from nsys_pipeline.inputs.training import FORWARD, OPTIMIZER, TrainingCost, TrainingEstimator, TrainingFacts
from nsys_pipeline.records import Notice, Step

if TYPE_CHECKING:
    from nsys_pipeline.hardware import Gpu
    from nsys_pipeline.inputs.inputs import Inputs
    from nsys_pipeline.model import Conventions, Model

_AMOUNTS = (
    "flops", "bytes", "weight_bytes", "kv_read_bytes", "kv_write_bytes", "executed_flops", "recomputed_flops",
    "recomputed_min_flops", "padding_flops",
)  # fmt: skip
_TIMES = ("compute_ns", "memory_ns", "executed_compute_ns", "sol_ns")
_COST_COLUMNS = ("shape_id", *_AMOUNTS, "flops_min", "flops_max", "bytes_min", "bytes_max", "product_flops")
_TIME_COLUMNS = (
    "shape_id", "device_id", *_TIMES, "compute_min_ns", "compute_max_ns", "memory_min_ns", "memory_max_ns",
)  # fmt: skip


@attrs.frozen
class Costs:
    """Rows of `input.shape_costs` and `input.shape_device_costs`; none without a model."""

    costs: tuple[tuple[object, ...], ...] = ()
    times: tuple[tuple[object, ...], ...] = ()
    notices: tuple[Notice, ...] = ()


def product_dtypes(model: Model, steps: Sequence[Step], conventions: Conventions) -> list[str]:
    """Dtypes that the products of a pass run in, that with most FLOPs first: the peaks that utilization is of."""
    from nsys_pipeline.model import Estimator

    passes = [step for step in steps if step.part != OPTIMIZER]
    try:
        flops = Estimator(model, conventions).totals(passes[:1])[0].flops_by_dtype
    except (ModelError, IndexError):  # said by the cost tables; without a step there is nothing to say
        return [conventions.dtype or model.dtype]
    return sorted(flops, key=lambda dtype: -flops[dtype])


def find_costs(inputs: Inputs) -> Costs:
    """Costs of every step. Raises UsageError where an option names weights that the model does not have.

    A tensor-parallel rank marks its own passes, so an occurrence is charged its share of the pass.
    """
    model, steps = inputs.run.model, inputs.steps.distinct
    if model is None:
        return Costs()
    without, notices = steps_without_costs(inputs), []
    if without:
        notices.append(
            Notice(
                "encoder_has_no_decode",
                f"`{model.name}` is an encoder and has no decode steps: phase decode has no FLOPs, MFU or MBU",
                "pass the --model that ran these steps, or another name for the ranges with --phase NAME=REGEX",
            )
        )
    run = inputs.run
    training = None
    if any(step.part for step in steps):
        facts = TrainingFacts.of(inputs.connection)
        training = TrainingEstimator(
            model,
            run.conventions,
            facts,
            train_only=run.train_only,
            lora_rank=run.lora_rank,
            lora_on=run.lora_on,
            lora_ranks=run.lora_ranks,
            trained_at=run.trained_at,
            is_frozen=any(step.is_frozen for step in steps),
            is_unknown=run.is_trained_unknown,
            dp=run.dp,
            expert_ranks=run.expert_ranks,
        )
    make = functools.partial(_costs, model, run.conventions, inputs.peaks.gpus, training)
    try:
        open_ids = [index for index, step in enumerate(steps) if not step.is_exact]
        dearest = make([steps[index].upper or steps[index] for index in open_ids])
        costs, times = _table_rows(steps, make(steps), dict(zip(open_ids, dearest, strict=True)))
        _check_range(costs)
    except (ModelError, HardwareError, UsageError) as error:
        if isinstance(error, UsageError) and inputs.options.is_training_told:
            raise
        return Costs(notices=(*notices, Notice("no_estimate", error.message, error.hint)))
    return Costs(
        tuple(row for row in costs if row[0] not in without),
        tuple(row for row in times if row[0] not in without),
        tuple(notices),
    )


def steps_without_costs(inputs: Inputs) -> set[int]:
    """Ids of the steps that the model has no passes of: those of decode phases, if it is nothing but an encoder."""
    model = inputs.run.model
    if model is None or model.architecture.decoder is not None:
        return set()
    decodes = inputs.connection.execute(
        "SELECT occurrence_id FROM attribute.phase_ranges WHERE phase = ?", [markers.DECODE]
    ).fetchall()
    by_occurrence = inputs.steps.ids
    return {by_occurrence[occurrence] for (occurrence,) in decodes if occurrence in by_occurrence}


@attrs.frozen
class _Cost:
    """One GPU's share of a pass: `amounts` as in `_AMOUNTS`, and by device the `_TIMES` that it would take at peak.

    `products`: FLOPs of the products; None for a pass of training.
    """

    amounts: tuple[int | None, ...]
    times: Mapping[int, tuple[float | None, ...]]
    products: int | None = None


def _costs(
    model: Model,
    conventions: Conventions,
    gpus: Mapping[int, Gpu],
    training: TrainingEstimator | None,
    steps: Sequence[Step],
) -> list[_Cost]:
    places = [index for index, step in enumerate(steps) if step.part in (None, FORWARD)]
    costs = dict(zip(places, _forward_costs(model, conventions, gpus, [steps[index] for index in places]), strict=True))
    if training is not None:
        ranks = conventions.gpus
        for index, step in enumerate(steps):
            if step.part:
                cost, padding = training.cost(step), 0
                if step.padded:
                    padding = training.cost(step.executed).run_flops - cost.run_flops
                costs[index] = _training_cost(cost, costs.get(index), gpus, ranks, padding)
    return [costs[index] for index in range(len(steps))]


def _training_cost(
    cost: TrainingCost, forward: _Cost | None, gpus: Mapping[int, Gpu], ranks: int, padding: int
) -> _Cost:
    """`cost` of a pass that `ranks` GPUs share, with the FLOPs that its padding adds.

    A forward moves what any `forward` does, and adapters add products.
    """
    flops = sum(cost.flops_by_dtype.values()) // ranks if cost.flops_by_dtype else None
    compute_ns: dict[int, float | None] = {}
    for device, gpu in gpus.items():
        whole = compute_time_ns(cost.flops_by_dtype, gpu) if cost.flops_by_dtype else None
        compute_ns[device] = whole and whole / ranks
    if forward is not None:
        times = {device: (compute, *forward.times[device][1:]) for device, compute in compute_ns.items()}
        return _Cost((flops, *forward.amounts[1:-1], padding // ranks), times)
    moved, recomputed = _share(cost.bytes, ranks), _share(cost.recomputed, ranks)
    executed = None if flops is None or recomputed is None else flops + recomputed + padding // ranks
    times = {}
    for device, gpu in gpus.items():
        compute = compute_ns[device]
        # What updates weights is elementwise: its time at the speed of light is that of its bytes.
        memory = moved / gpu.bandwidth_bytes_per_s * 1e9 if moved is not None and gpu.bandwidth_bytes_per_s else None
        run = compute * executed / flops if compute and executed and flops else None
        times[device] = (compute, memory, run, memory)
    return _Cost(
        (flops, moved, None, None, None, executed, recomputed, _share(cost.recomputed_min, ranks), padding // ranks),
        times,
    )


def _share(amount: int | None, ranks: int) -> int | None:
    return None if amount is None else amount // ranks


def _forward_costs(
    model: Model, conventions: Conventions, gpus: Mapping[int, Gpu], steps: Sequence[Step]
) -> list[_Cost]:
    from nsys_pipeline.model import Estimator

    estimator = Estimator(model, conventions)
    totals = estimator.totals(steps)
    executed = Estimator(model, attrs.evolve(conventions, count="executed", attention="full")).totals(
        [step.executed for step in steps]
    )
    ranks = conventions.gpus
    # A pass crosses the pipeline stages in turn; the occurrence of one rank is its own stage of it.
    sol = {
        key: [t.sol_ns and t.sol_ns / conventions.pp for t in estimator.totals(steps, gpu)]
        for key, gpu in {id(gpu): gpu for gpu in gpus.values()}.items()
    }
    costs = []
    for index, total in enumerate(totals):
        amounts = (total.flops, total.bytes, total.weight_bytes, total.kv_read_bytes, total.kv_write_bytes)
        times = {}
        for device, gpu in gpus.items():
            compute = compute_time_ns(total.flops_by_dtype, gpu)
            memory = total.bytes / gpu.bandwidth_bytes_per_s * 1e9 if gpu.bandwidth_bytes_per_s else None
            run = compute_time_ns(executed[index].flops_by_dtype, gpu)
            shares = (compute and compute / ranks, memory and memory / ranks, run and run / ranks)
            times[device] = (*shares, sol[id(gpu)][index])
        shared = (amount // ranks for amount in (*amounts, executed[index].flops))
        costs.append(_Cost((*shared, None, None, None), times, total.product_flops // ranks))
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
        has_fixed_products = step.is_exact or (step.upper is not None and cost.products == upper.products)
        amounts.append((index, *exact, *bounds, cost.products if has_fixed_products else None))
        for device, low_ns in cost.times.items():
            high_ns = [None if step.is_unlimited else value for value in upper.times[device]]
            pairs = list(zip(low_ns, high_ns, strict=True))
            exact_ns = [low if low == high else None for low, high in pairs]
            times.append((index, device, *exact_ns, *(value for pair in pairs[:2] for value in pair)))
    return amounts, times


def create_shape_costs(inputs: Inputs) -> None:
    """`input.shape_costs`: FLOPs and bytes of one pass of each shape, for one rank."""
    types = dict.fromkeys(_COST_COLUMNS, "BIGINT")
    create_from_rows(inputs.connection, "input.shape_costs", types, inputs.costs.costs)


def create_shape_device_costs(inputs: Inputs) -> None:
    """`input.shape_device_costs`: how long that would take each GPU at its peaks."""
    types = dict.fromkeys(_TIME_COLUMNS, "DOUBLE") | {"shape_id": "BIGINT", "device_id": "BIGINT"}
    create_from_rows(inputs.connection, "input.shape_device_costs", types, inputs.costs.times)


def _check_range(costs: Sequence[Sequence[object]]) -> None:
    if any(isinstance(value, int) and value >= 2**63 for row in costs for value in row):
        raise ModelError(
            "the FLOPs of a step do not fit 64 bits, so there is no MFU and no MBU",
            hint="give the shapes that the trace really has",
        )


def compute_time_ns(flops_by_dtype: Mapping[str, int], gpu: Gpu) -> float | None:
    """Σ over dtypes of FLOPs / peak, in ns; None where a peak is not known."""
    total = 0.0
    for dtype, flops in flops_by_dtype.items():
        peak = gpu.peaks_flops_per_s.get(dtype)
        if not peak:
            return None
        total += flops / peak * 1e9
    return total
