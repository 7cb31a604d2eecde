"""Inkling 2: learned queries choose among what blocks of layers gave; short convolutions; layers that run in a loop."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from nsys_pipeline.model.architecture import Architecture, Stack, group_layers
from nsys_pipeline.model.blocks import Attention, Block, Embedding, Head, InFloat32, Linear, Moe, Norm
from nsys_pipeline.model.dtypes import bytes_of
from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.families.common import layer_kinds
from nsys_pipeline.model.families.inkling import RelativeBias, head_sizes
from nsys_pipeline.model.families.moe import experts_of
from nsys_pipeline.model.families.shared_blocks import Reused
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.ops import Op
from nsys_pipeline.model.quantization import ATTENTION
from nsys_pipeline.model.recurrent import ResidualConvolution
from nsys_pipeline.records import Step


@attrs.frozen
class _BlockQueries(Block):
    """Learned queries of each token that look at `states`: what blocks of layers gave, and the block that is open.

    In float32.
    """

    name: str
    width: int
    queries: int
    states: int

    @property
    def params(self) -> int:
        return self.queries * self.width

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        rows = run.tokens * self.queries
        emit.add(
            "attention", self.name, m=rows, n=self.states, k=self.width, dtype="fp32",
            flops=4 * rows * self.states * self.width,
            weight=bytes_of(self.params, "fp32") if rows else 0,
        )  # fmt: skip


@attrs.frozen
class _ExpertsAgain(Block):
    """Experts whose layer has already run `before` times in a pass: read are those that no token met until now."""

    moe: Moe
    before: int

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        read = [self._weights(emit, run, times) for times in (self.before, self.before + 1)]
        start = len(emit.ops)
        self.moe.token_ops(emit, run)
        emit.ops[start:] = [
            attrs.evolve(op, weight_bytes=later.weight_bytes - earlier.weight_bytes)
            for op, earlier, later in zip(emit.ops[start:], *read, strict=True)
        ]

    def _weights(self, emit: Emitter, run: Pass, times: int) -> list[Op]:
        """Ops of as many tokens as met the experts in so many runs."""
        start = len(emit.ops)
        tokens = [times * count for count in run.step.q_tokens]
        # If someone has counted the experts, those of all runs are among them.
        step = attrs.evolve(Step.ragged(tokens, [0] * len(tokens), run.logits), experts=run.step.experts)
        self.moe.token_ops(emit, attrs.evolve(run, step=step))
        ops = emit.ops[start:]
        del emit.ops[start:]
        return ops


@attrs.frozen(kw_only=True)
class _Loop:
    """Layers `start` to `end` (which is not among them) run `passes` times over; gates of `rank` let messages in."""

    start: int
    end: int
    passes: int
    rank: int


def _loop(f: Fields, depth: int, block: int) -> _Loop | None:
    if f.model_type != "inkling2_loop_text":
        return None
    old = f.sub("loop_config", model_type=f.model_type)
    names = {"start": "core_start", "end": "core_end", "passes": "num_passes", "rank": "gate_rank"}
    new = {
        "start": "loop_layer_index_start", "end": "loop_layer_index_end", "passes": "loop_num_passes",
        "rank": "loop_gate_rank",
    }  # fmt: skip
    found = {key: f.integer(new[key]) if not old.has(name) else old.integer(name) for key, name in names.items()}
    loop = _Loop(**found)
    if not loop.start <= loop.end <= depth or loop.start % block or loop.end % block:
        raise f.wrong("loop_layer_index_start", f"and the end, {loop.start} and {loop.end}, are no blocks of {block}")
    return loop


def inkling2_text(f: Fields) -> Architecture:
    """Five sliding layers to a full one, with gates, and sinks from a product; full layers choose their filters.

    The head has fewer rows than the table. Layers of Inkling 2 Mini run in a loop, each time with a cache of their own.
    """
    width, depth, vocab = f.dim("hidden_size"), f.dim("num_hidden_layers"), f.dim("vocab_size")
    block = f.integer("n_layers_per_attn_res_block", default=6)
    kinds = layer_kinds(
        f, depth, lambda index: "hybrid" if (index + 1) % 6 == 0 else "hybrid_sliding", ("hybrid", "hybrid_sliding")
    )
    experts, top_k = experts_of(f, "n_routed_experts", "num_local_experts")
    moe = Moe(width=width, hidden=f.dim("moe_intermediate_size", "intermediate_size"), experts=experts, top_k=top_k)
    first = [_layer(f, index, kind == "hybrid_sliding", block, width) for index, kind in enumerate(kinds)]
    labels = ["sliding" if kind == "hybrid_sliding" else "full" for kind in kinds]
    layers: list[tuple[str, tuple[Block, ...]]] = [
        (label, (*blocks, moe)) for label, blocks in zip(labels, first, strict=True)
    ]
    loop = _loop(f, depth, block)
    if loop is not None:
        again = [
            (f"{label}.again", (*_again(blocks, width, loop, block, times), _ExpertsAgain(moe, times)))
            for times in range(1, loop.passes)
            for label, blocks in zip(labels[loop.start : loop.end], first[loop.start : loop.end], strict=True)
        ]
        layers[loop.end : loop.end] = again
    rows = f.integer("unpadded_vocab_size", default=vocab)
    stack = Stack(
        "decoder",
        group_layers("layers", layers),
        (Embedding("embed", vocab, width), Norm("embed_norm", width, width)),
        (
            _BlockQueries("final_input", width, 1, -(-depth // block) + 1),
            Norm("final_norm", width, width),
            Head(rows, width),
        ),
    )
    heads, kv_heads = f.integer("num_attention_heads"), f.integer("num_key_value_heads")
    # Gates and queries of messages are stored, and run from the second time on.
    unused = 0 if loop is None or loop.passes > 1 else sum(_stored(width, loop, block))
    return Architecture(family=f.model_type, decoder=stack, heads=heads, kv_heads=kv_heads, unused_params=unused)


def _layer(f: Fields, index: int, slides: bool, block: int, width: int) -> tuple[Block, ...]:
    """What a layer has beside its experts."""
    heads, kv_heads, head_dim = head_sizes(f, slides=slides)
    window, rank = f.integer("sliding_window_size", "sliding_window"), f.integer("d_rel")
    kernel = f.integer("conv_kernel_size", "sconv_kernel_size")
    channels = 2 * kv_heads * head_dim
    attention = Attention(
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        extra_params=heads * head_dim,
        window=window if slides else None,
    )
    filters: tuple[Block, ...] = (ResidualConvolution("kv_conv", channels, kernel),)
    if not slides:
        filters = (
            Linear("kv_conv_weights", 2 * kv_heads * kernel, width, role=ATTENTION),
            ResidualConvolution("kv_conv", channels, kernel, in_float32=False),
        )
    # The first layer sees the embedding alone.
    chooses = (_BlockQueries("attention_input", width, 1 if slides else 3, -(-index // block) + 1),) if index else ()
    norms = ("attention_norm",) if slides else ("q_norm", "k_norm", "v_norm")
    return (
        *chooses,
        *(Norm(name, width, width) for name in norms),
        attention,
        Linear("attention_gate", heads * head_dim, width, role=ATTENTION),
        Linear("sinks", heads, width, role=ATTENTION),
        Linear("relative_states", heads * rank, width, role=ATTENTION),
        Norm("relative_norm", heads * rank, heads * rank),
        RelativeBias(heads, rank, window if slides else f.integer("rel_extent")),
        *filters,
        ResidualConvolution("attention_conv", width, kernel),
        _BlockQueries("mlp_input", width, 1, index // block + 2),
        Norm("mlp_norm", width, width),
        ResidualConvolution("mlp_conv", width, kernel),
    )


def _messages(width: int, loop: _Loop, block: int) -> tuple[Block, ...]:
    """What a layer of the loop adds from its second run on: messages for its Q, K, V and MLP, and a gate for each."""
    gates = InFloat32(blocks=(Linear("message_gates", 2 * width, loop.rank),))
    gate = (Linear("message_gate_down", loop.rank, 2 * width), gates)
    return (_BlockQueries("messages", width, 4, (loop.end - loop.start) // block), *gate * 4)


def _stored(width: int, loop: _Loop, block: int) -> list[int]:
    return [part.params for part in _messages(width, loop, block)] * (loop.end - loop.start)


def _again(blocks: Sequence[Block], width: int, loop: _Loop, block: int, times: int) -> tuple[Block, ...]:
    """A layer that has run `times` times: its weights are read, those for messages if it has had one."""
    messages = _messages(width, loop, block)
    own = messages if times == 1 else tuple(Reused(one) for one in messages)
    return (*own, *(Reused(one) for one in blocks))
