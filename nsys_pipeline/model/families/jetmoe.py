"""JetMoE: experts in the attention too, each with query and output projections of its own."""

from __future__ import annotations

import attrs

from nsys_pipeline.model.architecture import Architecture
from nsys_pipeline.model.blocks import Attention, Block, Linear, Moe, Norm
from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.families.common import plain_decoder
from nsys_pipeline.model.families.moe import experts_of
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import ATTENTION


@attrs.frozen(kw_only=True)
class _Scores(Attention):
    """Attention whose projections are blocks of their own."""

    @property
    def params(self) -> int:
        return 0

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        """None: see the projections."""


def jetmoe(f: Fields) -> Architecture:
    """Each token picks `num_experts_per_tok` sets of as many query heads as there are K and V heads."""
    width, depth, vocab = f.dim("hidden_size"), f.dim("num_hidden_layers"), f.dim("vocab_size")
    kv_heads, head_dim = f.dim("num_key_value_heads"), f.dim("kv_channels")
    experts, top_k = experts_of(f, "num_local_experts")
    inner = kv_heads * head_dim
    # A bias on what the experts of a block add.
    projections = Moe(width=width, hidden=inner, experts=experts, top_k=top_k, gated=False, router_bias=width)
    mlp = Moe(width=width, hidden=f.dim("intermediate_size"), experts=experts, top_k=top_k, router_bias=width)
    blocks: tuple[Block, ...] = (
        Norm("attention_norm", width, width),
        Norm("mlp_norm", width, width),
        Linear("kv", 2 * inner, width, role=ATTENTION),
        projections,
        _Scores(width=width, heads=kv_heads * top_k, kv_heads=kv_heads, head_dim=head_dim),
        mlp,
    )
    layers = [("", blocks)] * depth
    return plain_decoder(f, "jetmoe", layers, vocab=vocab, width=width, heads=kv_heads * top_k, kv_heads=kv_heads)
