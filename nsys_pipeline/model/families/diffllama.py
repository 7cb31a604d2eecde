"""Differential attention (arXiv 2410.05258): the difference of two softmaxes, each over half of the heads."""

from __future__ import annotations

from typing import Any

import attrs

from nsys_pipeline.model.architecture import Architecture
from nsys_pipeline.model.blocks import Attention, Mlp, Norm
from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.families.common import plain_decoder, read_dims
from nsys_pipeline.model.fields import Fields


@attrs.frozen(kw_only=True)
class DifferentialAttention(Attention):
    """Each head multiplies its scores with the values of two heads.

    transformers runs attention once for either half of the values, the scores both times.
    """

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        super().context_ops(emit, run)
        op = emit.ops[-1]
        emit.ops[-1] = attrs.evolve(op, flops_model=op.flops_model * 3 // 2, flops_executed=2 * op.flops_executed)


def diffllama(f: Fields) -> Architecture:
    """Llama with differential attention."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    if dims.kv_heads % 2:
        raise f.wrong("num_key_value_heads", f"is {dims.kv_heads}; values are shared by two halves of the heads")
    options: dict[str, Any] = {"q_bias": bias, "kv_bias": bias, "o_bias": bias}
    attention = DifferentialAttention(
        width=dims.width, heads=dims.heads, kv_heads=dims.kv_heads, head_dim=dims.head_dim,
        extra_params=4 * dims.head_dim, **options,
    )  # fmt: skip
    norms = (Norm("attention_norm", dims.width, dims.width), Norm("mlp_norm", dims.width, dims.width))
    blocks = (*norms, attention, Mlp(width=dims.width, hidden=f.dim("intermediate_size")))
    return plain_decoder(
        f, "diffllama", [("", blocks)] * dims.depth, vocab=dims.vocab, width=dims.width, heads=dims.heads,
        kv_heads=dims.kv_heads,
    )  # fmt: skip
