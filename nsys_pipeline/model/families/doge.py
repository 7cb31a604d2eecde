"""Doge: attention to the keys that a mask made from the values lets through (arXiv 2412.11834)."""

from __future__ import annotations

import attrs

from nsys_pipeline.model.architecture import Architecture
from nsys_pipeline.model.blocks import Attention, Block, Constant, Mlp, Norm, step_shapes
from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.families.common import plain_decoder, read_dims, read_window
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import ATTENTION


@attrs.frozen(kw_only=True)
class DynamicMask(Block):
    """A score per K and V head for every key, from its values; the best ones are kept.

    A token's scores never change, so that the model requires them once and reads them from a cache; transformers
    computes those of all keys at every step.
    """

    kv_heads: int
    head_dim: int
    bias: bool

    @property
    def _inputs(self) -> int:
        return self.kv_heads * self.head_dim

    @property
    def params(self) -> int:
        # The projection, and a trained factor per head.
        return self.kv_heads * (self._inputs + self.bias + 1)

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        held = sum(count * (q + cached) for (q, cached), count in step_shapes(run.step) if q)
        fmt = emit.format(ATTENTION, "dynamic_mask")
        emit.add(
            "gemm",
            "dynamic_mask",
            m=run.tokens,
            n=self.kv_heads,
            k=self._inputs,
            dtype=fmt.compute,
            flops=2 * run.tokens * self.kv_heads * self._inputs,
            executed=2 * held * self.kv_heads * self._inputs,
            weight=fmt.bytes(self.kv_heads, self._inputs) + emit.plain_bytes(self.kv_heads * (self.bias + 1))
            if held
            else 0,
            kv_read=emit.kv_bytes((held - run.tokens) * self.kv_heads),
            kv_write=emit.kv_bytes(run.tokens * self.kv_heads),
            activation=emit.plain_bytes(run.tokens * (self._inputs + self.kv_heads)),
        )


def doge(f: Fields) -> Architecture:
    """Llama whose queries attend to at most `keep_window_size` keys; norms on heads, scaled residuals."""
    if f.flag("is_moe"):
        raise f.wrong("is_moe", "is true; Doge with experts is not supported")
    if read_window(f) is not None:
        raise f.wrong("sliding_window", "is set, which is not supported for this model type")
    dims, bias = read_dims(f), f.flag("attention_bias")
    width = dims.width
    attention = Attention(
        width=width, heads=dims.heads, kv_heads=dims.kv_heads, head_dim=dims.head_dim, q_bias=bias, kv_bias=bias,
        o_bias=bias, extra_params=dims.qk_norm_per_head, window=f.integer("keep_window_size"), rolling=False,
    )  # fmt: skip
    blocks = (
        Norm("attention_norm", width, width),
        Norm("mlp_norm", width, width),
        Constant("residual_scales", 2 * width),
        DynamicMask(kv_heads=dims.kv_heads, head_dim=dims.head_dim, bias=bias),
        attention,
        Mlp(width=width, hidden=f.dim("intermediate_size"), bias=f.flag("mlp_bias")),
    )
    return plain_decoder(
        f, "doge", [("", blocks)] * dims.depth, vocab=dims.vocab, width=width, heads=dims.heads, kv_heads=dims.kv_heads
    )
