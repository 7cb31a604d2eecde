"""FLOPs, bytes and ideal times of every step shape in the trace, as tables for SQL to join."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from nsys_pipeline import markers
from nsys_pipeline.duck import create_from_rows
from nsys_pipeline.errors import HardwareError, ModelError
from nsys_pipeline.records import Notice, Step

if TYPE_CHECKING:
    from nsys_pipeline.hardware import Gpu
    from nsys_pipeline.inputs.inputs import Inputs
    from nsys_pipeline.model import Conventions, Model

_COST_COLUMNS = ("shape_id", "flops", "bytes", "weight_bytes", "kv_read_bytes", "kv_write_bytes", "executed_flops")
_TIME_COLUMNS = ("compute_ns", "memory_ns", "sol_ns", "executed_compute_ns")


@attrs.frozen
class Costs:
    """Rows of `input.shape_costs` and `input.shape_device_costs`; none without a model."""

    costs: tuple[tuple[object, ...], ...] = ()
    times: tuple[tuple[object, ...], ...] = ()
    notices: tuple[Notice, ...] = ()


def product_dtypes(model: Model, steps: Sequence[Step], conventions: Conventions) -> list[str]:
    """Dtypes that the products of a pass run in, that with most FLOPs first: the peaks that utilization is of."""
    from nsys_pipeline.model import Estimator

    try:
        flops = Estimator(model, conventions).totals(steps[:1])[0].flops_by_dtype
    except (ModelError, IndexError):  # said by the cost tables; without a step there is nothing to say
        return [conventions.dtype or model.dtype]
    return sorted(flops, key=lambda dtype: -flops[dtype])


def find_costs(inputs: Inputs) -> Costs:
    """Costs of every step.

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
    try:
        costs, times = _costs(model, steps, inputs.run.conventions, inputs.peaks.gpus) if steps else ([], [])
    except (ModelError, HardwareError) as error:
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


def _costs(
    model: Model, steps: Sequence[Step], conventions: Conventions, gpus: Mapping[int, Gpu]
) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    from nsys_pipeline.model import Estimator

    estimator = Estimator(model, conventions)
    totals = estimator.totals(steps)
    executed = Estimator(model, attrs.evolve(conventions, count="executed", attention="full")).totals(steps)
    ranks = conventions.tp * conventions.pp
    costs: list[tuple[object, ...]] = [
        (i, total.flops // ranks, total.bytes // ranks, total.weight_bytes // ranks,
         total.kv_read_bytes // ranks, total.kv_write_bytes // ranks, executed[i].flops // ranks)
        for i, total in enumerate(totals)
    ]  # fmt: skip
    _check_range(costs)
    # A pass crosses the pipeline stages in turn; the occurrence of one rank is its own stage of it.
    by_gpu = {
        id(gpu): [t.sol_ns and t.sol_ns / conventions.pp for t in estimator.totals(steps, gpu)] for gpu in gpus.values()
    }
    times: list[tuple[object, ...]] = []
    for device, gpu in gpus.items():
        for index, total in enumerate(totals):
            compute = _compute_ns(total.flops_by_dtype, gpu)
            memory = total.bytes / gpu.bandwidth_bytes_per_s * 1e9 if gpu.bandwidth_bytes_per_s else None
            run = _compute_ns(executed[index].flops_by_dtype, gpu)
            times.append(
                (index, device, compute and compute / ranks, memory and memory / ranks, by_gpu[id(gpu)][index],
                 run and run / ranks)
            )  # fmt: skip
    return costs, times


def create_shape_costs(inputs: Inputs) -> None:
    """`input.shape_costs`: FLOPs and bytes of one pass of each shape, for one rank."""
    types = dict.fromkeys(_COST_COLUMNS, "BIGINT")
    create_from_rows(inputs.connection, "input.shape_costs", types, inputs.costs.costs)


def create_shape_device_costs(inputs: Inputs) -> None:
    """`input.shape_device_costs`: how long that would take each GPU at its peaks."""
    types = {"shape_id": "BIGINT", "device_id": "BIGINT", **dict.fromkeys(_TIME_COLUMNS, "DOUBLE")}
    create_from_rows(inputs.connection, "input.shape_device_costs", types, inputs.costs.times)


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
