"""The estimate operation by operation, as a table for SQL to join."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from nsys_pipeline import markers
from nsys_pipeline.duck import create_from_rows, scalar
from nsys_pipeline.errors import ModelError
from nsys_pipeline.inputs.costs import steps_without_costs
from nsys_pipeline.inputs.training import FORWARD
from nsys_pipeline.records import Step

if TYPE_CHECKING:
    from nsys_pipeline.inputs.inputs import Inputs

_ONE_TOKEN = Step.uniform(batch=1, q_tokens=1, kv_tokens=1)
_TYPES = {
    "shape_id": "BIGINT", "layer": "VARCHAR", "layers": "BIGINT", "kind": "VARCHAR", "name": "VARCHAR", "m": "BIGINT",
    "n": "BIGINT", "k": "BIGINT", "batch": "BIGINT", "dtype": "VARCHAR", "flops": "BIGINT", "bytes": "BIGINT",
    "weight_bytes": "BIGINT", "kv_read_bytes": "BIGINT", "kv_write_bytes": "BIGINT", "activation_bytes": "BIGINT",
    "comm_bytes": "BIGINT", "sol_ns": "DOUBLE",
}  # fmt: skip


def create_shape_ops(inputs: Inputs) -> None:
    """`input.shape_ops`: one row per distinct shape and operation of one layer; empty without a model."""
    create_from_rows(inputs.connection, "input.shape_ops", _TYPES, _rows(inputs))


def create_operator_costs(inputs: Inputs) -> None:
    """`input.operator_costs`: the same where layers are marked, for their kernels to be compared with; else empty."""
    has_layers = scalar(inputs.connection, "SELECT count(*) FROM attribute.layer_ranges") > 0
    create_from_rows(inputs.connection, "input.operator_costs", _TYPES, _rows(inputs) if has_layers else ())


def create_pass_ops(inputs: Inputs) -> None:
    """`input.pass_ops`: attention operations and products of one pass, to compare the kernels of the trace with.

    One row per phase that runs the model forward, of the shape that its first occurrence has. Inferred phases need
    none: each occurrence is one pass, whose number of operations depends on no length. `products_max`: with what may
    be fused taken apart (query, key and value; gate and up); NULL with experts, which run in any number of kernels.
    `expert_layers`: layers with experts; `expert_bytes`: weights of those that its tokens choose. `products_apart`:
    with two kernels for the experts of a layer and the rest taken apart. `dtype`: what most FLOPs of the products are
    counted in, `kv_dtype`: what the KV cache is counted in.

    Nothing without a model, for phases with parts that are not counted, and where a pass is split into stages.
    """
    types = {
        "phase": "VARCHAR", "attention": "BIGINT", "products_min": "BIGINT", "products_max": "BIGINT",
        "products_apart": "BIGINT", "expert_layers": "BIGINT", "expert_bytes": "BIGINT", "dtype": "VARCHAR",
        "kv_dtype": "VARCHAR",
    }  # fmt: skip
    create_from_rows(inputs.connection, "input.pass_ops", types, _pass_ops(inputs))


def _pass_ops(inputs: Inputs) -> list[tuple[object, ...]]:
    model, conventions = inputs.run.model, inputs.run.conventions
    if model is None or conventions.pp > 1:
        return []
    from nsys_pipeline.model import Estimator

    # Not `inputs.inference`: with tables from the cache nobody infers anew.
    is_inferred = scalar(inputs.connection, "SELECT count(*) FROM attribute._inferred_phases") > 0
    phases = inputs.connection.execute(
        "SELECT phase, list(occurrence_id ORDER BY start_ns) FROM attribute.occurrences WHERE is_measured "
        "AND phase IN ('prefill', 'decode', 'mixed', 'forward', 'encoder') GROUP BY phase ORDER BY phase"
    ).fetchall()
    rows: list[tuple[object, ...]] = []
    for phase, occurrences in phases:
        known = (inputs.steps.by_occurrence[one] for one in occurrences if one in inputs.steps.by_occurrence)
        step = next(known, _ONE_TOKEN if is_inferred else None)
        if step is None or not step.batch or (model.left_out() and phase != markers.DECODE):
            continue
        try:
            estimator = Estimator(model, conventions)
            ops = estimator.estimate(step).ops
        except ModelError:  # already said by the costs
            continue
        attention = sum(op.layers for op in ops if op.kind == "attention")
        products = [op for op in ops if op.kind in ("gemm", "grouped_gemm")]
        fewest = sum(op.layers for op in products)
        most = sum(op.layers * _PARTS.get(op.name, 1) for op in products)
        experts = [op for op in products if op.kind == "grouped_gemm"]
        layers = len({layer for op in experts for layer in op.layer_ids})
        expert_bytes = sum(op.layers * op.weight_bytes for op in experts)
        flops: Counter[str] = Counter()
        for op in products:
            flops[op.dtype] += op.layers * op.flops_model
        dtype, kv_dtype = max(flops, key=lambda one: flops[one], default=None), estimator.kv_dtype
        rows.append((phase, attention, fewest, None if experts else most, most, layers, expert_bytes, dtype, kv_dtype))
    return rows


_PARTS = {"qkv": 3, "gate_up": 2, "kv": 2, "kv_b": 2}


def _rows(inputs: Inputs) -> list[tuple[object, ...]]:
    """Operations of each step. A tensor-parallel rank is charged its share, as in `input.shape_costs`."""
    model, conventions = inputs.run.model, inputs.run.conventions
    if model is None:
        return []
    from nsys_pipeline.model import Estimator
    from nsys_pipeline.model.ops import PRODUCTS

    gpu = inputs.peaks.only_gpu
    stages = conventions.pp
    ranks = conventions.gpus
    rows: list[tuple[object, ...]] = []
    try:
        estimator = Estimator(model, conventions)
        without = steps_without_costs(inputs)
        for shape_id, step in enumerate(inputs.steps.distinct):
            if shape_id in without or step.part not in (None, FORWARD):
                continue
            estimate = estimator.estimate(step)
            dearest = estimate if step.upper is None else estimator.estimate(step.upper)
            for op, upper in zip(estimate.ops, dearest.ops, strict=True):
                named = (shape_id, op.layer, op.layers, op.kind, op.name)
                if upper != op or (step.is_unlimited and (step.upper is None or op.kind not in PRODUCTS)):
                    # Between bounds there is no number.
                    rows.append((*named, op.m, None, op.k, op.batch, op.dtype, *[None] * 8))
                    continue
                sizes = (op.m, op.n, op.k, op.batch, op.dtype)
                moved = (
                    op.bytes, op.weight_bytes, op.kv_read_bytes, op.kv_write_bytes, op.activation_bytes, op.comm_bytes,
                )  # fmt: skip
                shares = (amount // ranks for amount in (estimate.op_flops(op), *moved))
                sol_ns = _stage_ns(estimate.op_sol_ns(op, gpu), stages) if gpu else None
                rows.append((*named, *sizes, *shares, sol_ns))
    except ModelError:  # already said by the costs
        return []
    return rows


def _stage_ns(pass_ns: float | None, stages: int) -> float | None:
    """A rank's share of the time of a pass, which crosses the pipeline stages in turn."""
    return None if pass_ns is None else pass_ns / stages
