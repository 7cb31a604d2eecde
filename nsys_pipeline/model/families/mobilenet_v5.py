"""MobileNet-V5 (300m), the tower of Gemma 3n: convolutions, most of them by channel, and attention with one key head.

No config has its sizes: they are those of `mobilenetv5_300m_enc` in the package timm (1.0, models/mobilenetv5.py).
A token of the tower is a patch of 16 pixels, of which the fixed image has 48 on a side.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from nsys_pipeline.model.architecture import Layers, Stack, group_layers
from nsys_pipeline.model.blocks import Around, Block, Constant, Linear, Norm, OnTokens
from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.families.encoders import attend
from nsys_pipeline.model.quantization import VISION

NAME = "mobilenetv5_300m_enc"
#: Patches on a side of an image, and tokens on a side of what leaves the tower.
SIDE, OUT_SIDE = 48, 16
#: Values of what leaves the tower.
WIDTH = 2048

_STEM = 64
#: Kernels before and between the two matrices of an inverted bottleneck (0: none), and how much wider it is inside.
_Bottleneck = tuple[int, int, int]
#: Output width of stages 1 to 3, their first bottleneck, which halves the sides, and the others before attention.
_STAGES: tuple[tuple[int, _Bottleneck, tuple[_Bottleneck, ...]], ...] = (
    (256, (3, 5, 6), ((5, 0, 4), (3, 0, 4), (5, 0, 4), (3, 0, 4))),
    (640, (5, 5, 6), ((5, 0, 4),) * 7 + ((0, 0, 1),)),
    (1280, (5, 5, 6), ()),
)
#: Heads, their width, the stride of keys, and number of attentions with a bottleneck behind them, in stages 2 and 3.
_ATTENTION = {640: (12, 64, 2, 14), 1280: (16, 96, 1, 19)}


def _by_channel(name: str, width: int, kernel: int) -> tuple[Block, ...]:
    # One filter for each channel: as many products as a matrix of that shape has.
    return Linear(name, width, kernel * kernel, role=VISION), Norm(f"{name}_norm", width, width)


def _pointwise(name: str, out: int, inputs: int) -> tuple[Block, ...]:
    return Linear(name, out, inputs, role=VISION), Norm(f"{name}_norm", out, out)


def _bottleneck(width: int, kernels: _Bottleneck) -> tuple[Block, ...]:
    """A bottleneck that leaves width and sides as they are."""
    start, _, wider = kernels
    return (
        *(_by_channel("conv_start", width, start) if start else ()),
        *_pointwise("expand", wider * width, width),
        *_pointwise("reduce", width, wider * width),
        Constant("layer_scale", width),
    )


@attrs.frozen
class _OneKeyHead(Block):
    """The products of attention in which a square of `over` patches has one key and one value, for all heads."""

    width: int
    over: int

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        pairs = sum(tokens * (tokens // self.over) for tokens in run.step.q_tokens)
        attend(emit, "attention", self.width, run.tokens, pairs)


def _attention(width: int) -> tuple[Block, ...]:
    heads, head_dim, stride, _ = _ATTENTION[width]
    projected = tuple(
        block
        for name in ("k", "v")
        for block in (
            *(_by_channel(f"{name}_conv", width, 3) if stride > 1 else ()),
            Linear(name, head_dim, width, role=VISION),
        )
    )
    return (
        Norm("attention_norm", width, width),
        Linear("q", heads * head_dim, width, role=VISION),
        OnTokens(blocks=projected, over=stride * stride) if stride > 1 else Around(blocks=projected),
        _OneKeyHead(heads * head_dim, stride * stride),
        Linear("o", width, heads * head_dim, role=VISION),
        Constant("layer_scale", width),
    )


def _at(blocks: Sequence[Block], halvings: int) -> OnTokens:
    """Blocks on the grid of an image whose sides were halved so often; that of patches was halved four times."""
    return OnTokens(blocks=tuple(blocks), times=4 ** max(0, 4 - halvings), over=4 ** max(0, halvings - 4))


def mobilenet_v5() -> Stack:
    """The tower, with what fuses its last two stages to a grid of 16 × 16."""
    stem = (Linear("patch_embed", _STEM, 27, _STEM, role=VISION), Norm("patch_norm", _STEM, _STEM))
    described: list[tuple[str, tuple[Block, ...]]] = []
    width, out = _STEM, 128
    for _ in range(3):
        blocks = (
            Linear("expand", 4 * width, 9 * width, role=VISION),
            Norm("expand_norm", 4 * width, 4 * width),
            *_pointwise("reduce", out, 4 * width),
        )
        described.append(("stage0", (_at(blocks, 2),)))
        width = out
    for number, (out, first, others) in enumerate(_STAGES, 1):
        start, mid, wider = first
        halved = 2 + number
        before = (*_by_channel("conv_start", width, start), *_pointwise("expand", wider * width, width))
        after = (
            *_by_channel("conv_mid", wider * width, mid),
            *_pointwise("reduce", out, wider * width),
            Constant("layer_scale", out),
        )
        label, width = f"stage{number}", out
        described.append((label, (_at(before, halved - 1), _at(after, halved))))
        described += [(label, (_at(_bottleneck(width, kernels), halved),)) for kernels in others]
        if width in _ATTENTION:
            pair = [(label, (_at(blocks, halved),)) for blocks in (_attention(width), _bottleneck(width, (0, 0, 2)))]
            described += pair * _ATTENTION[width][3]
    both = sum(width for width in _ATTENTION)
    fused = (*_pointwise("fuse_expand", 2 * both, both), *_pointwise("fuse_reduce", WIDTH, 2 * both))
    over = (SIDE // OUT_SIDE) ** 2
    after_all = (*fused, OnTokens(blocks=(Norm("post_norm", WIDTH, WIDTH),), over=over))
    groups: tuple[Layers, ...] = group_layers("vision.layers", described)
    return Stack(VISION, groups, (_at(stem, 1),), after_all)
