"""A reading for model types that are not known: 2 · active parameters FLOPs per token, and nothing finer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from nsys_pipeline.model.architecture import Architecture, Layers, Stack
from nsys_pipeline.model.blocks import Attention, Block, Mlp, Moe, distinct_experts
from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.families.common import read_dims
from nsys_pipeline.model.fields import TEXT_CONFIGS, Fields


@attrs.frozen(kw_only=True)
class Everything(Block):
    """All parameters of a decoder at once, with the experts that are touched, and its keys and values."""

    total: int
    expert_params: int
    experts: int
    top_k: int
    kv_per_token: int

    @property
    def params(self) -> int:
        return self.total

    @property
    def idle_params(self) -> int:
        return self.expert_params * (self.experts - self.top_k) // self.experts if self.experts else 0

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        touched = float(self.total if run.tokens else 0)
        if self.experts and run.tokens:
            share = distinct_experts(self.experts, self.top_k, run.tokens) / self.experts
            touched = self.total - self.expert_params * (1 - share)
        emit.add(
            "approximate",
            "2 x active parameters",
            m=run.tokens,
            flops=2 * (self.params - self.idle_params) * run.tokens,
            weight=emit.plain_bytes(round(touched)),
        )

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        emit.add(
            "approximate",
            "kv",
            kv_read=emit.kv_bytes(self.kv_per_token * sum(run.step.kv_tokens)),
            kv_write=emit.kv_bytes(self.kv_per_token * run.tokens),
        )


def approximate_architecture(config: Mapping[str, Any], model_type: str) -> Architecture:
    """Read a config as if it were a plain gated decoder, with experts where it names some.

    Raises ModelError where even the sizes are missing.
    """
    f = Fields(config, model_type)
    for name in TEXT_CONFIGS:
        if f.has(name):
            f = f.sub(name, model_type=model_type)
            break
    dims = read_dims(f)
    attention = Attention(width=dims.width, heads=dims.heads, kv_heads=dims.kv_heads, head_dim=dims.head_dim)
    experts = f.opt_int("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts") or 0
    hidden = f.opt_int("moe_intermediate_size") or f.opt_int("intermediate_size", "ffn_dim") or 4 * dims.width
    ffn: Block = Mlp(width=dims.width, hidden=hidden)
    expert_params, top_k = 0, 0
    if experts:
        top_k = f.integer("num_experts_per_tok", "moe_k", "moe_topk", default=1)
        if top_k > experts:
            raise f.wrong("num_experts_per_tok", f"is {top_k}, but there are {experts} experts")
        shared = hidden * (f.opt_int("n_shared_experts") or 0) or f.opt_int("shared_expert_intermediate_size") or 0
        expert_params = dims.depth * experts * ffn.params
        ffn = Moe(width=dims.width, hidden=hidden, experts=experts, top_k=top_k, shared=shared)
    tables = dims.vocab * dims.width * (1 if f.flag("tie_word_embeddings") else 2)
    total = dims.depth * (attention.params + ffn.params + 2 * dims.width) + tables + dims.width
    everything = Everything(
        total=total,
        expert_params=expert_params,
        experts=experts,
        top_k=top_k,
        kv_per_token=2 * dims.depth * dims.kv_heads * dims.head_dim,
    )
    stack = Stack("decoder", (Layers("all", (0,), (everything,)),))
    return Architecture(family=model_type, decoder=stack, heads=dims.heads, kv_heads=dims.kv_heads)
