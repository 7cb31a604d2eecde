"""Gemma 3n: four streams of hidden states, of which one goes through each layer (AltUp), and low-rank side paths."""

from __future__ import annotations

import attrs

from nsys_pipeline.model.architecture import Architecture, Stack, group_layers
from nsys_pipeline.model.blocks import Attention, Block, Embedding, Head, Linear, Mlp, Norm
from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.families.common import layer_kinds, read_dims, read_window
from nsys_pipeline.model.fields import Fields


@attrs.frozen
class AltUp(Block):
    """Alternating updates (arXiv 2301.13310): predict all `streams` from one, run the layer on it, correct all.

    The router runs for the prediction and again for the correction; mixing the streams is a product of its own.
    """

    width: int
    streams: int

    @property
    def params(self) -> int:
        n = self.streams
        return n * self.width + n**3 + n**2 + 2 * self.width

    def correction(self, tokens: int) -> int:
        """FLOPs of the part that corrects: the router once more, and a coefficient for each stream."""
        return 2 * tokens * self.streams * (self.width + self.streams)

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        tokens, n = run.tokens, self.streams
        router = 2 * 2 * tokens * n * self.width
        weights = emit.plain_bytes(self.params) if tokens else 0
        emit.add("gemm", "altup_router", m=2 * tokens, n=n, k=self.width, flops=router, weight=weights)
        emit.add("gemm", "altup_coefficients", m=tokens, n=n * n + n, k=n, flops=2 * tokens * (n**3 + n**2))
        mixed = emit.plain_bytes(2 * tokens * n * self.width)
        emit.add(
            "gemm", "altup_mix", m=self.width, n=n, k=n, batch=tokens, flops=2 * tokens * self.width * n * n,
            activation=mixed,
        )  # fmt: skip


def gemma3n_text(f: Fields) -> Architecture:
    """Four sliding layers to a full one; the last layers have no K and V of their own."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    width, depth = dims.width, dims.depth
    kinds = layer_kinds(f, depth, lambda i: "sliding_attention" if (i + 1) % 5 else "full_attention")
    first_shared = depth - f.integer("num_kv_shared_layers", default=0, minimum=0)
    if first_shared < 1:
        raise f.wrong("num_kv_shared_layers", f"leaves no layer of {depth} with keys of its own")
    window = read_window(f) if "sliding_attention" in kinds else None
    rank, streams = f.integer("laurel_rank"), f.integer("altup_num_inputs")
    per_layer = f.integer("hidden_size_per_layer_input")
    layers = []
    for index, (kind, hidden) in enumerate(zip(kinds, _hidden_sizes(f, depth), strict=True)):
        sliding, shared = kind == "sliding_attention", index >= first_shared
        attention = Attention(
            width=width,
            heads=dims.heads,
            kv_heads=dims.kv_heads,
            head_dim=dims.head_dim,
            q_bias=bias,
            kv_bias=bias,
            o_bias=bias,
            extra_params=dims.head_dim if shared else 2 * dims.head_dim,
            window=window if sliding else None,
            shared_kv=shared,
        )
        norms = tuple(Norm(f"norm_{number}", width, width) for number in range(6))
        laurel = (Linear("laurel_left", rank, width), Linear("laurel_right", width, rank))
        inputs = (Linear("layer_input_gate", per_layer, width), Linear("layer_input", width, per_layer))
        blocks = (*norms, AltUp(width, streams), *laurel, attention, Mlp(width=width, hidden=hidden), *inputs)
        layers.append((("sliding" if sliding else "full") + (".shared_kv" if shared else ""), blocks))
    others = streams - 1
    before: tuple[Block, ...] = (
        Embedding("embed", dims.vocab, width, tied=f.flag("tie_word_embeddings")),
        Embedding("embed_per_layer", f.integer("vocab_size_per_layer_input"), depth * per_layer),
        Linear("per_layer_projection", depth * per_layer, width),
        Norm("per_layer_norm", depth * per_layer, per_layer),
        *(Linear(f"altup_projection_{number}", width, width) for number in range(others)),
    )
    after: tuple[Block, ...] = (
        *(Linear(f"altup_unembed_projection_{number}", width, width) for number in range(others)),
        Norm("final_norm", width, width),
        Head(dims.vocab, width),
    )
    stack = Stack("decoder", group_layers("layers", layers), before, after)
    return Architecture(family="gemma3n_text", decoder=stack, heads=dims.heads, kv_heads=dims.kv_heads)


def _hidden_sizes(f: Fields, depth: int) -> list[int]:
    """`intermediate_size`, one for all layers or one for each."""
    value = f.get("intermediate_size")
    if not isinstance(value, list):
        return [f.dim("intermediate_size")] * depth
    if len(value) != depth:
        raise f.wrong("intermediate_size", f"lists {len(value)} layers, but there are {depth}")
    return [f.checked("intermediate_size", size) for size in value]
