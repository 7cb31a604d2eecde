"""FLOPs of a training step: forward with all logits, backward, what checkpointing runs again; the optimizer's bytes.

A product Y = X·W of the forward has two in the backward, each with its FLOPs: dX = dY·Wᵀ if anything before it is
trained, dW = Xᵀ·dY if W is. Attention has four: two for the scores (dQ, dK), two for the values (dP, dV). With every
weight trained the backward is twice the forward; elementwise work and lookups are not counted, as everywhere here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import attrs

from nsys_pipeline.errors import ModelError, UsageError
from nsys_pipeline.model.architecture import Stack
from nsys_pipeline.model.blocks import (
    Around,
    Attention,
    Block,
    Embedding,
    InFloat32,
    LastTokens,
    LatentAttention,
    Linear,
    Mlp,
    Moe,
    Norm,
    OnTokens,
    WithImages,
)
from nsys_pipeline.model.compressed_attention import CompressedAttention, HyperConnection
from nsys_pipeline.model.conventions import Conventions
from nsys_pipeline.model.dtypes import BITS, bytes_of
from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.estimator import Estimator
from nsys_pipeline.model.families.gemma3n import AltUp
from nsys_pipeline.model.model import Model
from nsys_pipeline.model.modules import ENCODER, Patterns, Place, parts_of, weights_of
from nsys_pipeline.model.ops import PRODUCTS, Op
from nsys_pipeline.model.quantization import ATTENTION, EMBEDDING, EXPERT, HEAD, MLP, NORM, ROUTER, TOWERS, VISION
from nsys_pipeline.model.towers import TowerNames, label_of, tower_names
from nsys_pipeline.records import Step

CHECKPOINTING = ("none", "full")
#: What a LoRA adapter is put on: every linear layer of the blocks but routers and routed experts, as PEFT's
#: `all-linear` does (arXiv 2106.09685).
_ADAPTED = (ATTENTION, MLP)
#: Products that choose where to look. A choice has no gradient; such weights are trained by a loss of their own.
CHOOSING = "index_"
#: What the input of a product comes from, inside of its block; other products see the block's own input.
_FROM: Mapping[str, tuple[str, ...]] = {
    "q_b": ("q_a", "q_a_norm"),
    "kv_b": ("kv_a", "kv_a_norm"),
    "down": ("gate_up", "up"),
    "shared_down": ("shared_gate_up", "shared_up"),
    "experts_gate_up": ("experts_latent_in",),
    "experts_up": ("experts_latent_in",),
    "experts_down": ("experts_gate_up", "experts_up"),
    "experts_latent_out": ("experts_down",),
    "cross_o": ("cross_q", "cross_kv"),
    "o_b": ("o_a",),
    "kda_f_b": ("kda_f_a",),
    "kda_g_b": ("kda_g_a",),
    "dt_proj": ("x_proj",),
}
#: Products at the end of a mixer, whose input comes from everything else in it.
_LAST = frozenset({"o", "o_a", "out_proj", "kda_o", "lightning_o", "time_mix_output", "channel_mix_value"})
#: Products that mix streams, and those that the matrix comes from.
_MIXES = {
    "attention_streams_mix": "attention_streams",
    "mlp_streams_mix": "mlp_streams",
    "altup_mix": "altup_coefficients",
}
#: Norms behind the attention of their layer, and the last thing in it.
_LATE_NORMS = frozenset({"mlp_norm", "norm_1", "norm_2", "norm_3", "post_attention_norm"})
_LAST_NORMS = frozenset({"post_mlp_norm"})


@attrs.frozen
class Trained:
    """Which weights a step updates: all, those whose name an expression finds, or adapters of a rank (and such beside).

    `lora_on`: what has adapters; default every linear layer of the blocks but routers and routed experts. `at`: frozen
    weights at whose outputs gradients begin. `lora_ranks`: adapters of other ranks than `lora_rank`, each with what it
    is beside. `is_none`: no weight is updated.
    """

    only: Patterns | None = None
    lora_rank: int | None = None
    lora_on: Patterns | None = None
    at: Patterns | None = None
    lora_ranks: tuple[tuple[int, Patterns], ...] = ()
    is_none: bool = False

    def begins(self, names: Sequence[str], place: Place) -> bool:
        """Whether gradients begin at the output of the weights that go by `names`."""
        return self.at is not None and _means(self.at, names, place)

    def adapts(self, names: Sequence[str], place: Place) -> bool:
        """Whether adapters, if there are any, stand beside the weights that go by `names`."""
        return self.lora_on is None or _means(self.lora_on, names, place)

    def rank(self, names: Sequence[str], place: Place) -> int:
        """The rank of the adapter beside the weights that go by `names`."""
        own = (rank for rank, patterns in self.lora_ranks if _means(patterns, names, place))
        return next(own, self.lora_rank or 0)

    def holds(self, names: Sequence[str], place: Place) -> bool:
        """Whether the weights that go by `names` are updated."""
        if self.only is None:
            return self.is_all
        return _means(self.only, names, place)

    @property
    def is_by_name(self) -> bool:
        return any(one is not None for one in (self.only, self.lora_on, self.at))

    @property
    def is_all(self) -> bool:
        return self.only is None and self.lora_rank is None and self.at is None and not self.is_none


def _means(patterns: Patterns, names: Sequence[str], place: Place) -> bool:
    """Whether `patterns` mean the weights that go by `names`: below a layer, of a tower whole ones."""
    return patterns.match_whole(names) if place.is_whole else patterns.match(names, place)


@attrs.frozen
class Training:
    """FLOPs of one training step by the dtype of their products, over all sequences and GPUs; trained parameters."""

    forward_by_dtype: Mapping[str, int]
    backward_by_dtype: Mapping[str, int]
    recomputed_by_dtype: Mapping[str, int]
    trained_params: int
    #: Those of routed experts.
    trained_expert_params: int
    #: The part of the backward that is the gradients of what stands behind the layers, as the LM head.
    head_gradients_by_dtype: Mapping[str, int] = attrs.field(factory=dict)

    @property
    def forward(self) -> int:
        return sum(self.forward_by_dtype.values())

    @property
    def backward(self) -> int:
        """FLOPs of the gradients, without what is run again for them."""
        return sum(self.backward_by_dtype.values())

    @property
    def recomputed(self) -> int:
        return sum(self.recomputed_by_dtype.values())

    @property
    def required(self) -> int:
        """FLOPs that the step requires, which MFU is of: forward and backward, nothing twice."""
        return self.forward + self.backward

    @property
    def step(self) -> int:
        """FLOPs that the step runs, which HFU is of: with what is recomputed."""
        return self.required + self.recomputed

    def with_fused_head(self) -> Training:
        """The same step with a loss that computes the gradients of the LM head in the forward."""
        forward, backward = dict(self.forward_by_dtype), dict(self.backward_by_dtype)
        for dtype, flops in self.head_gradients_by_dtype.items():
            forward[dtype] = forward.get(dtype, 0) + flops
            backward[dtype] -= flops
        return attrs.evolve(self, forward_by_dtype=forward, backward_by_dtype=backward, head_gradients_by_dtype={})

    def by_phase(self) -> dict[str, Mapping[str, int]]:
        """FLOPs by dtype of the phases of a step, for utilization: `step` is what is required."""
        both = {
            dtype: self.forward_by_dtype.get(dtype, 0) + self.backward_by_dtype.get(dtype, 0)
            for dtype in {**self.forward_by_dtype, **self.backward_by_dtype}
        }
        return {"forward": self.forward_by_dtype, "backward": self.backward_by_dtype, "optimizer": {}, "step": both}


def adamw_bytes(
    params: int,
    weight: str,
    *,
    gradient: str | None = None,
    moment: str | None = None,
    master: str | None = None,
) -> int:
    """Bytes that AdamW reads and writes for `params` weights, by the dtypes of what it keeps for each.

    It reads gradient, both moments and the weight (or its `master` copy of higher precision), and writes the moments,
    the weight and the master copy (arXiv 1711.05101, algorithm 2). Gradients and moments are of the weight's dtype
    unless said otherwise, as in torch.optim.AdamW.
    """
    read = [gradient or weight, moment or weight, moment or weight, master or weight]
    written = [moment or weight, moment or weight, weight, *([master] if master else [])]
    return sum(bytes_of(params, dtype) for dtype in (*read, *written))


def training_flops(
    model: Model,
    step: Step,
    conventions: Conventions | None = None,
    *,
    checkpointing: str = "none",
    train_only: str | None = None,
    lora_rank: int | None = None,
    lora_on: str | None = None,
    lora_ranks: Mapping[int, str] | None = None,
    trained_at: str | None = None,
    encoder_tokens: Sequence[int] | None = None,
    all_logits: bool = True,
) -> Training:
    """FLOPs of forward and backward over `step`'s new tokens, with logits for all of them, or for as many as it says.

    `checkpointing` = ``full``: every layer's forward is run again in the backward (reentrant), the LM head's is not.
    `train_only`: an expression that finds the names of the weights that are updated, as `named_parameters` has them.
    `lora_rank`: adapters of that rank are updated and nothing else; their products are counted. `lora_ranks`: other
    ranks, each with an expression for what has such adapters. `lora_on`: an expression for what adapters stand beside,
    default every linear layer but routers and routed experts; with it, `train_only` finds what is updated beside them.
    `trained_at`: an expression for frozen weights at whose outputs gradients begin, as beside biases. Raises UsageError
    for options that cannot be, ModelError for a model that cannot take the shape or the conventions.
    """
    if checkpointing not in CHECKPOINTING:
        raise UsageError(
            f"checkpointing = `{checkpointing}` is not known", hint=f"choose one of: {', '.join(CHECKPOINTING)}"
        )
    if train_only is not None and lora_rank is not None and lora_on is None:
        raise UsageError("adapters alone are trained, or weights by name, not both")
    only = _searching(train_only, model)
    walk = _Walk(
        Estimator(model, attrs.evolve(conventions or Conventions(), logits="all" if all_logits else None)),
        Trained(
            only,
            lora_rank,
            _searching(lora_on, model),
            _searching(trained_at, model),
            tuple((rank, found) for rank, one in (lora_ranks or {}).items() if (found := _searching(one, model))),
            is_none=step.is_frozen and train_only is None and lora_rank is None,
        ),
        is_checkpointed=checkpointing == "full",
    )
    result = walk.run(attrs.evolve(step, logits=step.new_tokens) if all_logits else step, encoder_tokens)
    if (train_only or lora_on) is not None and not result.trained_params:
        raise UsageError(
            f"`{train_only or lora_on}` finds no weight of `{model.name}`",
            hint="names are those of named_parameters(), such as model.layers.0.self_attn.q_proj.weight",
        )
    if trained_at is not None and not result.backward:
        raise UsageError(f"`{trained_at}` finds no weight of `{model.name}`")
    return result


def _searching(expression: str | None, model: Model) -> Patterns | None:
    """What finds the weights that `expression` means. Raises UsageError for one that is none."""
    if expression is None:
        return None
    try:
        re.compile(expression)
    except re.error as error:
        raise UsageError(f"`{expression}` is no regular expression: {error}") from error
    towers = filter(None, (tower_names(model.config, stack) for stack in (*TOWERS, ENCODER)))
    return Patterns(
        (f"re:{expression}",),
        model.stacks,
        searches=True,
        suffix=".weight",
        weights=weights_of(model.model_type),
        elsewhere=tuple(name for tower in towers for name in tower.all),
    )


@attrs.define
class _Sums:
    """FLOPs by dtype of one part of the model."""

    forward: dict[str, int] = attrs.field(factory=dict)
    backward: dict[str, int] = attrs.field(factory=dict)
    params: int = 0
    expert_params: int = 0
    #: Whether what leaves the part has a gradient.
    has_gradient: bool = False
    #: Whether its K and V have gradients, by the kind of attention that later layers may share them with.
    shared: dict[tuple[int | None, int], tuple[bool, bool]] = attrs.field(factory=dict)

    def add(self, dtype: str, forward: int, backward: int) -> None:
        for sums, flops in ((self.forward, forward), (self.backward, backward)):
            if flops:
                sums[dtype] = sums.get(dtype, 0) + flops


def _merge(into: dict[str, int], more: Mapping[str, int]) -> None:
    for dtype, flops in more.items():
        into[dtype] = into.get(dtype, 0) + flops


class _Walk:
    """Goes through the layers in the order of the forward and knows at each where gradients have to go."""

    def __init__(self, estimator: Estimator, trained: Trained, *, is_checkpointed: bool) -> None:
        self.estimator = estimator
        self.trained = trained
        self.is_checkpointed = is_checkpointed
        self._known: dict[tuple[object, ...], _Sums] = {}
        #: Whether K and V of the last layer with any have gradients, by kind of attention.
        self.shared: dict[tuple[int | None, int], tuple[bool, bool]] = {}

    def run(self, step: Step, encoder_tokens: Sequence[int] | None) -> Training:
        forward: dict[str, int] = {}
        backward: dict[str, int] = {}
        again: dict[str, int] = {}
        head: dict[str, int] = {}
        params = expert_params = 0
        encoded = False
        depth = self.estimator.model.architecture.vision_depth
        # What cross attention reads: of some models a tower's outputs.
        crosses = self.estimator.model.architecture.cross_attends_to_images
        read_from = TOWERS if crosses else (ENCODER,)
        # Whether tokens that a tower makes, which stand beside the embeddings, have gradients.
        is_seen = False
        for stack, run in self.estimator.passes(step, encoder_tokens):
            # Reentrant checkpointing passes no gradient on unless its input has one, so that embeddings are given one.
            is_given = step.gradients_of == "embeddings" and stack.name not in TOWERS
            has_gradient = self.is_checkpointed or is_given or (is_seen and stack.name not in TOWERS)
            for label, ids, blocks in _in_order(stack):
                sums = self._part(stack, run, (label, ids, blocks), has_gradient=has_gradient, encoded=encoded)
                _merge(forward, sums.forward)
                params += sums.params
                if stack.name == VISION and depth is not None and ids and ids[0] >= depth:
                    # Its output is thrown away.
                    continue
                _merge(backward, sums.backward)
                if label == f"{stack.name}.after":
                    _merge(head, sums.backward)
                if ids and self.is_checkpointed:
                    _merge(again, sums.forward)
                expert_params += sums.expert_params
                has_gradient = sums.has_gradient
                self.shared.update(sums.shared)
            encoded = encoded or (has_gradient and stack.name in read_from)
            is_seen = not crosses and (is_seen or has_gradient) and stack.name in TOWERS
        if self.trained.is_all:
            params = self.estimator.model.params
        elif self.trained.is_by_name:
            params += self._not_run(step, encoder_tokens)
        return Training(forward, backward, again, params, expert_params, head)

    def _not_run(self, step: Step, encoder_tokens: Sequence[int] | None) -> int:
        """Trained parameters of towers that the step does not run."""
        ran = {stack.name for stack, _ in self.estimator.passes(step, encoder_tokens)}
        run = Pass(Step.uniform(batch=1, q_tokens=1), 0, grids=((1, 1),))
        return sum(
            self._part(stack, run, part, has_gradient=False, encoded=False).params
            for stack in self.estimator.model.architecture.stacks
            if stack.name in TOWERS and stack.name not in ran and self._tower(stack.name) is not None
            for part in _in_order(stack)
        )

    def _part(
        self,
        stack: Stack,
        run: Pass,
        part: tuple[str, tuple[int, ...], tuple[Block, ...]],
        *,
        has_gradient: bool,
        encoded: bool,
    ) -> _Sums:
        """One layer, or what stands before or behind the layers."""
        label, ids, blocks = part
        place = Place(stack.name, ids[0] if ids else None, label, self._is_whole(stack.name))
        updated = (label, place.layer) if self.trained.is_by_name else ()
        # Layers of one label may still differ in size.
        key = (stack.name, bool(ids), blocks, has_gradient, encoded, frozenset(self.shared.items()), *updated)
        if key not in self._known:
            self._known[key] = self._walk(
                run, blocks, place, has_gradient=has_gradient, encoded=encoded, is_tied=stack.is_tied
            )
        return self._known[key]

    def names(self, role: str, name: str, place: Place) -> tuple[tuple[str, ...], ...]:
        """Names of the parts of an operation's weights. Raises ModelError for a tower whose names are not known."""
        if not place.is_whole:
            return parts_of(role, name)
        tower = self._tower(place.stack)
        if tower is None:
            raise ModelError(
                f"what is trained of the {place.stack} tower of `{self.estimator.model.name}` is not known: nor are the"
                " names of its weights"
            )
        return tower.parts(name, place, is_norm=role == NORM)

    def _is_whole(self, stack: str) -> bool:
        """Whether weights of a stack go by whole names."""
        return self.trained.is_by_name and (stack in TOWERS or self._tower(stack) is not None)

    def _tower(self, stack: str) -> TowerNames | None:
        return tower_names(self.estimator.model.config, stack)

    def _walk(
        self, run: Pass, blocks: tuple[Block, ...], place: Place, *, has_gradient: bool, encoded: bool, is_tied: bool
    ) -> _Sums:
        total = _Sums(has_gradient=has_gradient)
        early = late = is_last = is_gated = has_branch = False
        branch = ""
        has_late = any(isinstance(norm := _only(block), Norm) and norm.name in _LATE_NORMS for block in blocks)
        for block in _in_flow(blocks):
            if _branch(block) != branch:
                # Each starts from what all of them start from.
                branch, has_branch = _branch(block), has_branch or total.has_gradient or early or late
                total.has_gradient, early, late = has_gradient, False, False
            if isinstance(norm := _only(block), Norm):
                names = self.names(NORM, norm.name, place)[0]
                is_held = self.trained.holds(names, place)
                if is_held or self.trained.begins(names, place):
                    total.params += norm.weights if is_held else 0
                    is_last = is_last or norm.name in _LAST_NORMS
                    late = late or norm.name in _LATE_NORMS
                    early = early or norm.name not in _LATE_NORMS | _LAST_NORMS
                continue
            walked = _BlockWalk(self, block, place, run, is_tied=is_tied, is_gated=is_gated)
            if getattr(_only(block), "is_parallel", False):
                # What comes of the attention beside it is no way to it.
                start = has_gradient or (late if has_late else early)
            else:
                # Streams are collapsed before the norm.
                normed = not isinstance(block, HyperConnection) and (early or (late and walked.is_feed_forward))
                start = total.has_gradient or normed
            sums = walked.sums(has_gradient=start, encoded=encoded)
            _merge(total.forward, sums.forward)
            _merge(total.backward, sums.backward)
            total.params += sums.params
            total.expert_params += sums.expert_params
            total.shared.update(sums.shared)
            # A gate is no way to anything but the end of the attention beside it.
            is_gated = _is_gate(block) and sums.has_gradient
            total.has_gradient = total.has_gradient or (sums.has_gradient and not is_gated)
        total.has_gradient = total.has_gradient or early or late or is_last or has_branch
        if total.has_gradient and not has_gradient:
            for block in blocks:
                if isinstance(block, AltUp):
                    # The streams are corrected by what the layer makes of one of them.
                    total.add(self.estimator.emitter().dtype, 0, block.correction(run.tokens))
        return total


def _in_order(stack: Stack) -> Iterator[tuple[str, tuple[int, ...], tuple[Block, ...]]]:
    """Before the layers, each layer by itself in the order of the forward, behind the layers."""
    yield f"{stack.name}.before", (), stack.before
    # A tower may have several lists of layers, one behind the other.
    lists = list(dict.fromkeys(label_of(group.label) for group in stack.layers)) if stack.name in TOWERS else []
    layers = [(layer, group) for group in stack.layers for layer in group.ids]
    for layer, group in sorted(layers, key=lambda one: (lists.index(label_of(one[1].label)) if lists else 0, one[0])):
        yield group.label, (layer,), group.blocks
    yield f"{stack.name}.after", (), stack.after


def _branch(block: Block) -> str:
    """Which of the networks side by side behind a tower a block is in; empty for the one that all have."""
    name = str(getattr(_only(block), "name", ""))
    return name.rpartition("_")[0] if name.startswith("deepstack") else ""


def _is_gate(block: Block) -> bool:
    return isinstance(block, Linear) and block.name == "attention_gate"


def _apart(blocks: tuple[Block, ...]) -> Iterator[Block]:
    """`blocks`, each of those that only say on what others run once for each of these."""
    for block in blocks:
        if isinstance(block, OnTokens | WithImages | LastTokens | InFloat32):
            for one in _apart(block.blocks):
                yield attrs.evolve(block, blocks=(one,))
        else:
            yield block


def _only(block: Block) -> Block:
    """The block that a block runs, if it is one."""
    return _only(block.blocks[0]) if isinstance(block, Around) and len(block.blocks) == 1 else block


def _in_flow(blocks: tuple[Block, ...]) -> list[Block]:
    """Blocks in the order in which gradients need them: gates before what they gate, streams before their MLP."""
    blocks = tuple(_apart(blocks))
    gates = [block for block in blocks if _is_gate(block)]
    streams = [block for block in blocks if isinstance(block, HyperConnection) and block.name == "mlp_streams"]
    rest = [block for block in blocks if block not in gates and block not in streams]
    first = next((at for at, block in enumerate(rest) if not isinstance(block, Norm | HyperConnection)), 0)
    rest[first:first] = gates
    last = next((at for at, block in enumerate(rest) if isinstance(block, Mlp | Moe)), len(rest))
    rest[last:last] = streams
    return rest


def _inner(block: Block) -> Iterator[Block]:
    """The blocks in a block that only says how they are run."""
    if isinstance(block, Around):
        for one in block.blocks:
            yield from _inner(one)
    elif isinstance(inner := getattr(block, "block", None), Block):
        yield from _inner(inner)
    else:
        yield block


class _BlockWalk:
    """The products of one block, and which of them have gradients."""

    def __init__(self, walk: _Walk, block: Block, place: Place, run: Pass, *, is_tied: bool, is_gated: bool) -> None:
        self.trained = walk.trained
        self.walk = walk
        self.shared = walk.shared
        self.block = block
        self.place = place
        emit: Emitter = walk.estimator.emitter()
        emit.enter("", () if place.layer is None else (place.layer,), place.stack)
        block.token_ops(emit, run)
        emit.context_of(block, run)
        self.ops = emit.ops
        self.roles = {op: role for role, op in emit.used}
        self.is_executed = walk.estimator.conventions.count == "executed"
        self.ranks = emit.tp
        #: Tokens that sequences have behind the pass, at most.
        self.longest = max((q + kv for q, kv in zip(run.step.q_tokens, run.step.kv_tokens, strict=True)), default=0)
        self.is_tied = is_tied
        self.is_feed_forward = bool({MLP, EXPERT, ROUTER} & set(self.roles.values()))
        self._outputs: dict[str, bool] = {"attention_gate": True} if is_gated else {}
        self.has_cached_gradients = run.step.gradients_of == "cache" and self._attention is not None
        if self.has_cached_gradients:
            self._outputs["cache"] = True

    def sums(self, *, has_gradient: bool, encoded: bool) -> _Sums:
        total = _Sums()
        for block in _inner(self.block):
            if isinstance(block, Embedding):
                is_held = self._holds(EMBEDDING, block.name)
                total.has_gradient = is_held or self._begins(EMBEDDING, block.name)
                total.params += block.params if is_held else 0
        products = [op for op in self.ops if op.kind in PRODUCTS]
        # What ends a mixer comes after everything that it is made of, in whatever order the estimate lists them.
        for op in sorted(products, key=lambda op: (op.name in _LAST) + 2 * (op.name == "o_b")):
            self._product(op, total, has_gradient=has_gradient, encoded=encoded)
        for op in self.ops:
            if op.kind == "norm" and (parts := self._norm_parts(op.name)):
                weights = 8 * op.weight_bytes // BITS[op.dtype] // self.ranks
                total.params += weights * sum(parts) // len(parts)
        total.has_gradient = total.has_gradient or has_gradient or any(self._outputs.values()) or self._norms()
        for op in self.ops:
            flops = self._flops(op)
            if flops and op.kind not in PRODUCTS:
                total.add(op.dtype, flops, self._other(op, flops, total, has_gradient=has_gradient, encoded=encoded))
        return total

    def _flops(self, op: Op) -> int:
        return op.flops_executed if self.is_executed else op.flops_model

    def _names(self, role: str, name: str) -> tuple[tuple[str, ...], ...]:
        return self.walk.names(role, name, self.place)

    def _begins(self, role: str, name: str) -> bool:
        return any(self.trained.begins(names, self.place) for names in self._names(role, name))

    def _holds(self, role: str, name: str) -> bool:
        return any(self._held_parts(role, name))

    def _held_parts(self, role: str, name: str) -> list[bool]:
        """Whether each part of an op's weights is updated."""
        if role == HEAD and self.is_tied:
            role, name = EMBEDDING, "embed"
        if role == EXPERT:
            # transformers keeps the experts of a layer in two tensors.
            usual = f"mlp.experts.{'down' if 'down' in name else 'gate_up'}_proj"
            others = [other for names in parts_of(role, name) for other in names if "{e}" not in other]
            return [self.trained.holds([usual, *others], self.place)]
        return [self.trained.holds(names, self.place) for names in self._names(role, name)]

    @property
    def _attention(self) -> Attention | None:
        return next((one for one in _inner(self.block) if isinstance(one, Attention)), None)

    def _rows(self, op: Op, parts: int) -> list[int]:
        """Outputs of each part of a product."""
        attention = self._attention
        outputs = () if attention is None else attention.outputs
        # A tower's weights are one part, whatever they are split into.
        if op.name == "qkv" and len(outputs) == parts and sum(outputs) == op.n:
            return list(outputs)
        return [op.n // parts] * (parts - 1) + [op.n - op.n // parts * (parts - 1)]

    def _input(self, name: str, *, has_gradient: bool) -> bool:
        """Whether the input of a product has a gradient."""
        if has_gradient:
            return True
        if name in _LAST:
            return any(value for other, value in self._outputs.items() if other not in _LAST) or self._norms()
        return any(self._outputs.get(other, False) or self._norm(other) for other in _FROM.get(name, ()))

    def _norm_parts(self, name: str) -> list[bool]:
        """Whether each part of the weights of a norm inside of the block is updated: Q's and K's of `qk_norm`."""
        if not name.endswith("_norm"):
            return [False]
        return [
            self.trained.holds(names, self.place) or self.trained.begins(names, self.place)
            for names in self._names(NORM, name)
        ]

    def _norm(self, name: str) -> bool:
        return any(self._norm_parts(name))

    def _norms(self) -> bool:
        return any(self._norm(op.name) for op in self.ops if op.kind == "norm")

    def _product(self, op: Op, total: _Sums, *, has_gradient: bool, encoded: bool) -> None:
        """Add a product, and remember whether its output has a gradient."""
        flops, role = self._flops(op), self.roles.get(op.name, ATTENTION)
        if op.name.startswith(CHOOSING):
            total.add(op.dtype, flops, 0)
            return
        if op.name in _MIXES:
            # Both factors are computed: the streams, and the matrix that mixes them.
            matrix = has_gradient or self._outputs[_MIXES[op.name]]
            total.add(op.dtype, flops, flops * (has_gradient + matrix))
            return
        flagged = encoded if op.name == "cross_kv" else self._input(op.name, has_gradient=has_gradient)
        held = self._held_parts(role, op.name)
        rows = self._rows(op, len(held))
        updated = sum(n for n, is_held in zip(rows, held, strict=True) if is_held)
        is_routed = op.kind == "grouped_gemm"
        params = updated * op.k * (self._experts() if is_routed else 1)
        total.params += params
        total.expert_params += params if is_routed else 0
        if self._is_unread(op):
            total.add(op.dtype, flops, 0)
            return
        total.add(op.dtype, flops, (flops if flagged else 0) + (flops * updated // op.n if op.n else 0))
        # Nobody adapts towers without saying so.
        may_be = role in _ADAPTED or (self.place.stack in TOWERS and self.trained.lora_on is not None)
        is_adapted = False
        if self.trained.lora_rank is not None and may_be and op.kind == "gemm":
            # Of towers, tokens that they are padded with have adapters, too.
            tokens = flops // (2 * op.n * op.k) if self.place.stack in TOWERS and op.n else op.m
            for n, names in self._modules(role, op.name, rows):
                if self.trained.adapts(names, self.place):
                    is_adapted, rank = True, self.trained.rank(names, self.place)
                    down, up = 2 * tokens * rank * op.k, 2 * tokens * rank * n
                    total.add(op.dtype, down + up, down + 2 * up + (down if flagged else 0))
                    total.params += rank * (op.k + n)
        self._outputs[op.name] = flagged or any(held) or is_adapted or self._begins(role, op.name)

    def _modules(self, role: str, name: str, rows: Sequence[int]) -> Iterator[tuple[int, Sequence[str]]]:
        """(Outputs, names) of each module that holds weights of a product: parts in one module have one adapter."""
        known = weights_of(self.walk.estimator.model.model_type).names
        found: list[tuple[int, Sequence[str]]] = []
        last: Sequence[str] = ()
        for n, names in zip(rows, self._names(role, name), strict=True):
            own = names if self.place.is_whole else [one for one in names if one in known]
            if own and own == last:
                found[-1] = found[-1][0] + n, names
            else:
                found.append((n, names))
            last = own
        yield from found

    def _is_unread(self, op: Op) -> bool:
        """Whether nothing reads what the product is for: entries of more tokens than any sequence has."""
        one = next((one for one in _inner(self.block) if isinstance(one, CompressedAttention)), None)
        return (
            op.name == "compressor"
            and one is not None
            and one.compressor is not None
            and (self.longest < one.compressor.rate)
        )

    def _experts(self) -> int:
        return next((one.experts for one in _inner(self.block) if isinstance(one, Moe)), 1)

    def _other(self, op: Op, flops: int, total: _Sums, *, has_gradient: bool, encoded: bool) -> int:
        """FLOPs of the backward of attention, whose inputs differ, or of a recurrence."""
        if op.name.startswith(CHOOSING) or op.name == "tile_mask":
            return 0
        if op.kind != "attention" or op.name not in ("attention", "cross_attention"):
            return 2 * flops if has_gradient or any(self._outputs.values()) else 0
        query, key, value = self._heads(op.name, has_gradient=has_gradient, encoded=encoded)
        if self.has_cached_gradients and op.name == "attention":
            key = value = True
        own = self._attention
        if own is not None and own.shared_kv:
            key, value = self.shared.get((own.window, own.head_dim), (True, True))
        elif own is not None:
            total.shared[own.window, own.head_dim] = key, value
        scores = self._scores(op, flops)
        return scores * (query + key) + (flops - scores) * ((query or key) + value)

    def _heads(self, name: str, *, has_gradient: bool, encoded: bool) -> tuple[bool, bool, bool]:
        """Whether Q, K and V have gradients."""
        out = self._outputs
        if name == "cross_attention":
            key, value = self._parts(ATTENTION, "cross_kv") if not encoded else (True, True)
            return out.get("cross_q", has_gradient), key, value
        if any(isinstance(one, LatentAttention) for one in _inner(self.block)):
            expanded = out.get("kv_b", has_gradient)
            return out.get("q_b", out.get("q", has_gradient)), expanded or out.get("kv_a", has_gradient), expanded
        if has_gradient or "qkv" not in out:
            flagged = has_gradient or any(out.values())
            return flagged, flagged, flagged
        query, key, value = self._parts(ATTENTION, "qkv")
        query_norm, key_norm = self._norm_parts("qk_norm")
        return query or query_norm, key or key_norm, value

    def _parts(self, role: str, name: str) -> list[bool]:
        """Whether each part of a product's output has a gradient, though its input has none."""
        is_adapted = self.trained.lora_rank is not None
        return [
            is_held or self.trained.begins(names, self.place) or (is_adapted and self.trained.adapts(names, self.place))
            for names, is_held in zip(self._names(role, name), self._held_parts(role, name), strict=True)
        ]

    def _scores(self, op: Op, flops: int) -> int:
        """FLOPs of the scores; the rest are those of the values."""
        for one in _inner(self.block):
            if isinstance(one, Attention):
                return flops * one.head_dim // (one.head_dim + one.value_width)
            if isinstance(one, LatentAttention):
                score, value = one.pair_dims(op.k)
                return flops * score // (score + value)
        return flops // 2
