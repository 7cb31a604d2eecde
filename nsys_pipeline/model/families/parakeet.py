"""Parakeet's encoder, a Conformer behind strided convolutions that are separable (FastConformer, arXiv 2305.05084)."""

from __future__ import annotations

import attrs

from nsys_pipeline.model.architecture import AudioEncoder, Layers, Stack
from nsys_pipeline.model.blocks import Block, Constant, Linear, Mlp, Norm, OnTokens, step_shapes
from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.families.conformers import Reduced, on_part, separable_convolutions
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import AUDIO, VISION


@attrs.frozen
class _DistanceAttention(Block):
    """Attention of all tokens to all; every query also scores a key of the distance to each (arXiv 1901.02860).

    The implementation scores all distances that there may be, which counts as executed.
    """

    width: int

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        shapes = [(tokens, count) for (tokens, _), count in step_shapes(run.step)]
        pairs = sum(count * tokens**2 for tokens, count in shapes)
        scored = sum(count * tokens * (2 * tokens - 1) for tokens, count in shapes)
        emit.add(
            "attention",
            "attention",
            m=run.tokens,
            n=pairs // max(1, run.tokens),
            k=self.width,
            flops=6 * pairs * self.width,
            executed=(4 * pairs + 2 * scored) * self.width,
        )


@attrs.frozen(kw_only=True)
class _OneMore(Reduced):
    """The processor makes one frame more of a clip than its mask says, and it is encoded, too."""

    def lengths(self, frames: int) -> tuple[int, ...]:
        return (frames + 1,)

    def tokens(self, frames: int) -> int:
        return super().tokens(frames + 1)


def parakeet(a: Fields, projector: tuple[Block, ...]) -> AudioEncoder:
    """The encoder and `projector`. Raises ModelError for convolutions of another kind."""
    width, hidden, heads = a.integer("hidden_size"), a.integer("intermediate_size"), a.integer("num_attention_heads")
    a.divides("hidden_size", width, "num_attention_heads", heads)
    if a.integer("num_key_value_heads", default=heads) != heads:
        raise a.wrong("num_key_value_heads", f"must be `num_attention_heads` = {heads}")
    bias, conv_bias = a.flag("attention_bias"), a.flag("convolution_bias", default=True)
    over, channels, kernel = (
        a.integer(name) for name in ("subsampling_factor", "subsampling_conv_channels", "conv_kernel_size")
    )
    if over < 2 or over & (over - 1):
        raise a.wrong("subsampling_factor", f"is {over}; only powers of 2 are supported")
    if not kernel % 2:
        raise a.wrong("conv_kernel_size", f"is {kernel}; only odd ones are supported")
    for name, only in (("subsampling_conv_kernel_size", 3), ("subsampling_conv_stride", 2)):
        if a.integer(name, default=only) != only:
            raise a.wrong(name, f"must be {only}")
    mels = a.integer("num_mel_bins")
    if mels % over:
        raise a.wrong("num_mel_bins", f"is {mels}, of which `subsampling_factor` = {over} leaves a rest")
    before = separable_convolutions(over, channels, bands=mels, width=width)

    def linear(name: str, n: int, k: int, *, has_bias: bool) -> Linear:
        return Linear(name, n, k, n if has_bias else 0, role=VISION)

    layer: list[Block] = []
    for name in ("first_", "last_"):
        norm = Norm(f"{name}norm", width, 2 * width)
        layer += [norm, Mlp(width=width, hidden=hidden, gated=False, bias=bias, label=name, role=VISION)]
    layer += [
        Norm("attention_norm", width, 2 * width),
        linear("qkv", 3 * width, width, has_bias=bias),
        OnTokens(blocks=(Linear("relative_k", width, width, role=VISION),), times=2, then=-1),
        Constant("distance_biases", 2 * width),
        _DistanceAttention(width),
        linear("o", width, width, has_bias=bias),
        Norm("conv_norm", width, 2 * width),
        linear("conv_in", 2 * width, width, has_bias=conv_bias),
        linear("conv", width, kernel, has_bias=conv_bias),
        Norm("conv_batch_norm", width, 2 * width),
        linear("conv_out", width, width, has_bias=conv_bias),
        Norm("out_norm", width, 2 * width),
    ]
    layers = Layers("audio.layers", tuple(range(a.integer("num_hidden_layers"))), (on_part(over, *layer),))
    return _OneMore(stack=Stack(AUDIO, (layers,), before, (on_part(over, *projector),)), over=over)
