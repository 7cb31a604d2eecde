"""Passes of training steps: their shapes, and what they must compute and move."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import attrs

from nsys_pipeline.duck import records, scalar
from nsys_pipeline.errors import ModelError, UsageError
from nsys_pipeline.records import Step

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from nsys_pipeline.inputs.options import RequestShape
    from nsys_pipeline.model import Conventions, Model
    from nsys_pipeline.model.training import Training

FORWARD, BACKWARD, BOTH, OPTIMIZER = "forward", "backward", "step", "optimizer"

#: C++ types of what optimizer kernels update → dtype.
_SCALARS = {"float": "fp32", "c10::BFloat16": "bf16", "__nv_bfloat16": "bf16", "c10::Half": "fp16", "__half": "fp16"}


@attrs.frozen
class _Pass:
    id: int
    part: str
    lane: int
    is_in_step: bool
    forward_id: int | None
    together_id: int | None


def training_steps(
    con: DuckDBPyConnection, marked: Mapping[int, Step], shapes: Sequence[RequestShape]
) -> tuple[dict[int, Step], bool]:
    """`marked` with the passes of training steps, and whether `shapes` were given to some of them.

    A forward has the shape of its mark, else the given one with logits for all tokens; its backward has the same.
    Raises UsageError where there are several shapes and their number is not that of a rank's forwards.
    """
    steps = dict(marked)
    by_lane: dict[int, list[_Pass]] = defaultdict(list)
    for one in _passes(con):
        by_lane[one.lane].append(one)
    is_given, is_adam = False, _is_adam(con)
    for passes in by_lane.values():
        heads = [one for one in passes if one.is_in_step and one.part in (FORWARD, BOTH)]
        if shapes and heads and not any(one.id in marked for one in heads):
            given = _given_steps(len(heads), shapes)
            steps.update((one.id, step) for one, step in zip(heads, given, strict=True))
            is_given = True
        for one in heads:
            # Between bounds there is no backward to count.
            if one.id in steps and steps[one.id].is_exact:
                steps[one.id] = attrs.evolve(steps[one.id], part=one.part)
        together: dict[int | None, list[Step | None]] = defaultdict(list)
        for one in heads:
            together[one.together_id].append(steps.get(one.id))
        for one in passes:
            shape = _joined(together[one.forward_id]) if one.forward_id is not None else None
            if one.part == BACKWARD and shape is not None and shape.part == FORWARD:
                steps[one.id] = attrs.evolve(shape, part=BACKWARD)
            elif one.part == OPTIMIZER and is_adam:
                steps[one.id] = Step((), (), 0, part=OPTIMIZER)
    return steps, is_given


def _joined(steps: Sequence[Step | None]) -> Step | None:
    """The batch of all `steps`, which run at once and share a backward; None if the shape of one is not known."""
    known = [step for step in steps if step is not None]
    if not known or len(known) < len(steps):
        return None
    first = known[0]
    if len(known) == 1:
        return first
    if any((step.part, step.experts, step.sums) != (first.part, None, None) for step in known):
        return None
    return attrs.evolve(
        first,
        q_tokens=sum((step.q_tokens for step in known), ()),
        kv_tokens=sum((step.kv_tokens for step in known), ()),
        logits=sum(step.logits for step in known),
        images=sum((step.images for step in known), ()),
        seen_images=sum((step.seen_images for step in known), ()),
        audio=sum((step.audio for step in known), ()),
        unsized=tuple(sorted({kind for step in known for kind in step.unsized})),
        padded=_padding_of(known),
        is_unread=any(step.is_unread for step in known),
        head=max((step.head for step in known if step.head), default=None),
    )


def _padding_of(steps: Sequence[Step]) -> Step | None:
    if not any(step.padded for step in steps):
        return None
    run = [step.executed for step in steps]
    q_tokens, kv_tokens = (sum((getattr(one, name) for one in run), ()) for name in ("q_tokens", "kv_tokens"))
    return Step(q_tokens, kv_tokens, sum(one.logits for one in run))


def _passes(con: DuckDBPyConnection) -> list[_Pass]:
    rows = con.execute(
        "SELECT occurrence_id, part, lane, step IS NOT NULL, forward_id, together_id FROM attribute.training_passes "
        "ORDER BY lane, start_ns, occurrence_id"
    ).fetchall()
    return [_Pass(*row) for row in rows]


def _is_adam(con: DuckDBPyConnection) -> bool:
    return bool(con.execute("SELECT bool_or(is_adam) FROM attribute.optimizer_kernels").fetchall()[0][0])


def _given_steps(forwards: int, shapes: Sequence[RequestShape]) -> list[Step]:
    if len(shapes) not in (1, forwards):
        raise UsageError(
            f"{len(shapes)} shapes for {forwards} forward passes of a rank's training steps",
            hint="give one --shape for all of them, or one for each in order",
        )
    if any(shape.new_tokens is not None for shape in shapes):
        raise UsageError(
            "a training step generates no tokens", hint="write BATCHxTOKENS, as in 2x1024, for a rank's micro-batch"
        )
    each = shapes if len(shapes) == forwards else list(shapes) * forwards
    return [
        Step.uniform(batch=one.batch, q_tokens=one.prompt_tokens, logits=one.batch * one.prompt_tokens) for one in each
    ]


@attrs.frozen(kw_only=True)
class TrainingFacts:
    """What the trace shows of checkpointing and of the optimizer; None where it does not.

    `layers_ratio`: share of the layers whose forward is run again. `products`, `products_again`: products of a layer in
    the forward and when it is run again. `scalar`: C++ type that the optimizer updates; `shards`: GPUs that its weights
    are spread over, which replicas hide (`is_replicated`); `ranks`: ranks of the trace. `has_fused_head`: the forward
    computes the gradients of the LM head.
    """

    layers_ratio: float | None = None
    products: int | None = None
    products_again: int | None = None
    is_nothing_again: bool = False
    scalar: str | None = None
    shards: int | None = None
    is_replicated: bool = False
    ranks: int | None = None
    has_fused_head: bool = False

    @property
    def missing(self) -> int | None:
        """Products of a layer that are not run again."""
        if self.products is None or self.products_again is None:
            return None
        return self.products - self.products_again

    @classmethod
    def of(cls, con: DuckDBPyConnection) -> TrainingFacts:
        """Read attribute.recomputation, attribute.optimizer_kernels and attribute.fused_heads."""
        again = records(
            con,
            "SELECT layers_ratio, products, products_again, again_kernels = 0 AS is_nothing_again "
            "FROM attribute.recomputation",
        )
        optimizer = records(con, "SELECT scalar, shards, is_replicated, ranks FROM attribute.optimizer_kernels")
        known = {name: value for row in (*again[:1], *optimizer[:1]) for name, value in row.items()}
        return cls(**known, has_fused_head=scalar(con, "SELECT count(*) FROM attribute.fused_heads") > 0)


@attrs.frozen(kw_only=True)
class TrainingCost:
    """One pass of a training step over all GPUs that share it. Units: FLOP, bytes.

    `recomputed` is None, and `recomputed_min` the least that it is, where the trace does not show all of it.
    """

    flops_by_dtype: Mapping[str, int] = attrs.field(factory=dict)
    recomputed: int | None = None
    recomputed_min: int | None = None
    bytes: int | None = None

    @property
    def run_flops(self) -> int:
        """FLOPs that are run, as far as they are known."""
        return sum(self.flops_by_dtype.values()) + (self.recomputed_min or 0)


class TrainingEstimator:
    """Costs of training passes of `model`, all of whose weights are trained unless `train_only` or `lora_rank` say."""

    def __init__(
        self,
        model: Model,
        conventions: Conventions,
        facts: TrainingFacts,
        *,
        train_only: str | None = None,
        lora_rank: int | None = None,
        lora_on: str | None = None,
        lora_ranks: Mapping[int, str] | None = None,
        trained_at: str | None = None,
        is_frozen: bool = False,
        is_unknown: bool = False,
        dp: int | None = None,
        expert_ranks: int = 1,
    ) -> None:
        self.model = model
        self.conventions = conventions
        self.facts = facts
        self.train_only = train_only
        self.lora_rank = lora_rank
        self.lora_on = lora_on
        self.lora_ranks = lora_ranks
        self.trained_at = trained_at
        self.is_frozen = is_frozen
        self.is_unknown = is_unknown
        self.dp = dp
        self.expert_ranks = expert_ranks

    def cost(self, step: Step) -> TrainingCost:
        """What `step` must compute and move. Raises ModelError for a model that cannot take its shape."""
        if self.is_unknown and step.part != FORWARD:
            return TrainingCost()
        if step.part == OPTIMIZER:
            return TrainingCost(bytes=self._optimizer_bytes)
        # Reentrant checkpointing, which runs whole layers again, wants gradients below the first trained weight, too.
        training = self._training(step, is_checkpointed=bool(self.facts.layers_ratio) and self.facts.missing == 0)
        if step.part == FORWARD:
            return TrainingCost(flops_by_dtype=training.forward_by_dtype)
        if step.part == BOTH:
            return TrainingCost(flops_by_dtype=training.by_phase()["step"])
        exact, least = self._recomputed(step)
        return TrainingCost(flops_by_dtype=training.backward_by_dtype, recomputed=exact, recomputed_min=least)

    def _training(self, step: Step, *, is_checkpointed: bool) -> Training:
        from nsys_pipeline.model.training import training_flops

        training = training_flops(
            self.model, step, self.conventions, checkpointing="full" if is_checkpointed else "none",
            train_only=self.train_only, lora_rank=self.lora_rank, lora_on=self.lora_on,
            lora_ranks=self.lora_ranks, trained_at=self.trained_at,
            # One per sequence is what a mark has that says nothing of them; a fused head may be no part of the pass.
            all_logits=step.logits == step.batch or (self.facts.has_fused_head and not step.logits),
        )  # fmt: skip
        return training.with_fused_head() if self.facts.has_fused_head else training

    def _recomputed(self, step: Step) -> tuple[int | None, int | None]:
        """FLOPs that are run again, and the least that they are."""
        facts = self.facts
        if facts.is_nothing_again:
            return 0, 0
        if not facts.layers_ratio:
            return None, None
        from nsys_pipeline.model import Estimator
        from nsys_pipeline.model.ops import PRODUCTS

        estimate = Estimator(self.model, self.conventions).estimate(step)
        products = [op for op in estimate.ops if op.kind in PRODUCTS]
        attention = sum(estimate.op_flops(op) * op.layers for op in estimate.ops if op.kind == "attention")
        # What ends each layer need not run again for its gradient, and non-reentrant checkpointing stops before it.
        last = sum(estimate.op_flops(op) * op.layers for op in products if op.name == "down")
        is_dense = not any(op.kind == "grouped_gemm" for op in products)
        # Ring attention has several kernels in a layer, so that they do not count layers.
        is_counted = self.conventions.cp == 1
        if is_counted and (facts.missing == 0 or (facts.missing == 1 and is_dense)):
            recomputed = self._training(step, is_checkpointed=True).recomputed
            whole = round(facts.layers_ratio * (recomputed - (last if facts.missing else 0)))
            return whole, whole
        return None, round(facts.layers_ratio * attention)

    @cached_property
    def _optimizer_bytes(self) -> int | None:
        """Bytes that AdamW moves on all GPUs that share a model copy; None where it is not known how many have it."""
        from nsys_pipeline.model.training import adamw_bytes

        dtype = _SCALARS.get(self.facts.scalar or "")
        shards = self._shards
        if dtype is None or shards is None or self._updated_params is None:
            return None
        return adamw_bytes(self._updated_params, dtype) // shards

    @property
    def _shards(self) -> int | None:
        """GPUs that hold one copy of what the optimizer updates of a GPU's share of the model."""
        if self.facts.shards and self.facts.ranks:
            # Ranks that share the model scatter at the same time as each other, and may look like one communicator.
            return min(self.facts.shards, max(1, self.facts.ranks // self.conventions.gpus))
        # Ranks that split sequences may share the optimizer's state with the data-parallel ones, or not.
        return self.dp if self.conventions.cp == 1 and not self.facts.is_replicated else None

    @cached_property
    def _updated_params(self) -> int | None:
        """Parameters that the GPUs which share a model copy update together; None where it is not known."""
        if self.trained_at is not None or (self.is_frozen and self.train_only is None and self.lora_rank is None):
            # What is trained beside the model's weights, or outside of the model.
            return None
        # Ranks that share experts each have all other weights, unless they scatter gradients.
        ranks = self.expert_ranks if self.facts.shards == 1 else 1
        if self.train_only is None and self.lora_rank is None and ranks == 1:
            return self.model.params
        try:
            training = self._training(Step.uniform(batch=1, q_tokens=1), is_checkpointed=False)
        except ModelError:
            return None
        experts = training.trained_expert_params
        return training.trained_params - experts + experts // ranks
