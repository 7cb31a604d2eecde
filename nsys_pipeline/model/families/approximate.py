"""A reading for model types that are not known: 2 · active parameters FLOPs per token, and nothing finer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from nsys_pipeline.model.architecture import Architecture, Layers, Stack
from nsys_pipeline.model.blocks import Attention, Block, Embedding, Head, Mlp, Moe, Norm
from nsys_pipeline.model.families.common import read_dims
from nsys_pipeline.model.fields import Fields

_TEXT_CONFIGS = ("text_config", "llm_config", "language_config", "thinker_config")


@attrs.frozen
class WeightsOnly(Block):
    """A block whose context work is left out: what remains is 2 · parameters FLOPs per token."""

    block: Block

    @property
    def params(self) -> int:
        return self.block.params

    @property
    def idle_params(self) -> int:
        return self.block.idle_params

    def token_ops(self, emit: Any, run: Any) -> None:
        self.block.token_ops(emit, run)


def approximate_architecture(config: Mapping[str, Any], model_type: str) -> Architecture:
    """Read a config as if it were a plain gated decoder, with experts where it names some.

    Raises ModelError where even the sizes are missing.
    """
    f = Fields(config, model_type)
    for name in _TEXT_CONFIGS:
        if f.has(name):
            f = f.sub(name, model_type=model_type)
            break
    dims = read_dims(f)
    attention = Attention(width=dims.width, heads=dims.heads, kv_heads=dims.kv_heads, head_dim=dims.head_dim)
    experts = f.opt_int("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts")
    hidden = f.opt_int("moe_intermediate_size") or f.opt_int("intermediate_size", "ffn_dim") or 4 * dims.width
    ffn: Block
    if experts:
        top_k = f.integer("num_experts_per_tok", "moe_k", "moe_topk", default=1)
        shared = hidden * (f.opt_int("n_shared_experts") or 0) or f.opt_int("shared_expert_intermediate_size") or 0
        ffn = Moe(width=dims.width, hidden=hidden, experts=experts, top_k=top_k, shared=shared)
    else:
        ffn = Mlp(width=dims.width, hidden=hidden)
    norm = Norm("norm", dims.width, 2 * dims.width)
    layers = Layers("layers", tuple(range(dims.depth)), (norm, WeightsOnly(attention), ffn))
    tied = f.flag("tie_word_embeddings")
    stack = Stack(
        "decoder",
        (layers,),
        (Embedding("embed", dims.vocab, dims.width, tied=tied),),
        (Norm("final_norm", dims.width, dims.width), Head(dims.vocab, dims.width)),
    )
    return Architecture(family=model_type, decoder=stack, heads=dims.heads, kv_heads=dims.kv_heads, label="approximate")
