"""FLOPs and bytes of the parts of the vision side, as a table for SQL to join."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nsys_pipeline.duck import create_from_rows, scalar
from nsys_pipeline.errors import ModelError
from nsys_pipeline.inputs.costs import compute_time_ns

if TYPE_CHECKING:
    from nsys_pipeline.hardware import Gpu
    from nsys_pipeline.inputs.inputs import Inputs
    from nsys_pipeline.model import Estimator
    from nsys_pipeline.records import Step

_TYPES = {
    "shape_id": "BIGINT", "part": "VARCHAR", "is_inside": "BOOLEAN", "flops": "BIGINT", "bytes": "BIGINT",
    "compute_ns": "DOUBLE", "memory_ns": "DOUBLE", "sol_ns": "DOUBLE",
}  # fmt: skip


def create_stage_costs(inputs: Inputs) -> None:
    """`input.stage_costs`: one row per shape with images and part of the vision side, without the parts inside it.

    Amounts are one rank's share, as in `input.shape_costs`; times are those of its GPU at peak, NULL if GPUs differ.
    `is_inside`: the part lies in the tower. Empty if no stage is marked, and without a model.
    """
    create_from_rows(inputs.connection, "input.stage_costs", _TYPES, _rows(inputs))


def _rows(inputs: Inputs) -> list[tuple[object, ...]]:
    from nsys_pipeline.model import Estimator

    model = inputs.run.model
    if model is None or not scalar(inputs.connection, "SELECT count(*) FROM attribute.stage_ranges"):
        return []
    gpu = inputs.peaks.only_gpu
    rows: list[tuple[object, ...]] = []
    try:
        estimator = Estimator(model, inputs.run.conventions)
        for shape_id, step in enumerate(inputs.steps.distinct):
            if step.images:
                rows += [(shape_id, *row) for row in _parts(estimator, step, gpu)]
    except ModelError:  # already said by the costs
        return []
    return rows


def _parts(estimator: Estimator, step: Step, gpu: Gpu | None) -> Sequence[tuple[object, ...]]:
    """Part, whether it is inside the tower, FLOPs, bytes and times of each part that `step` runs."""
    from nsys_pipeline.model.estimator import Estimate
    from nsys_pipeline.model.vision_parts import INSIDE_TOWER, is_vision, vision_part

    estimate = estimator.estimate(step)
    ops = [op for op in estimate.ops if is_vision(op)]
    has_sam = any(op.layer.startswith("vision.sam") for op in ops)
    by_part: dict[str, list[object]] = {}
    for op in ops:
        by_part.setdefault(vision_part(op, has_sam=has_sam), []).append(op)
    rows: list[tuple[object, ...]] = []
    ranks = estimate.gpus
    for part, found in by_part.items():
        own = Estimate(tuple(found), estimate.conventions, estimate.label, ranks)  # type: ignore[arg-type]
        compute = memory = sol = None
        if gpu is not None:
            whole = compute_time_ns(own.flops_by_dtype, gpu)
            compute = None if whole is None else whole / ranks
            if gpu.bandwidth_bytes_per_s:
                memory = own.bytes / gpu.bandwidth_bytes_per_s * 1e9 / ranks
            sol = own.sol_ns(gpu)
        # A pass crosses the pipeline stages in turn; the occurrence of one rank is its own stage of it.
        sol = sol and sol / estimate.conventions.pp
        rows.append((part, part in INSIDE_TOWER, own.flops // ranks, own.bytes // ranks, compute, memory, sol))
    return rows
