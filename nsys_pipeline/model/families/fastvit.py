"""FastVLM: FastViT, a tower of convolutions by channel that halve the sides six times, with attention at the end.

No config has its sizes: they are those of the package timm (1.0, models/fastvit.py), with the branches of training
folded into one convolution each (`inference_mode`). A token of the tower is a patch of 64 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from nsys_pipeline.model.architecture import Architecture, Stack, group_layers
from nsys_pipeline.model.blocks import Attention, Block, Constant, Linear, Norm, OnTokens
from nsys_pipeline.model.families.common import Builder, Verified
from nsys_pipeline.model.families.towers import Tower, joined, read_text, text_width, two_layers
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import VISION

#: Depth and width of each stage; the last two have attention, and MLPs of the others are four times as wide, too.
_SIZES: Mapping[str, tuple[tuple[int, int], ...]] = {
    "fastvit_mci3": ((2, 96), (12, 192), (24, 384), (4, 768), (2, 1536)),
    "fastvit_mci4": ((2, 128), (12, 256), (24, 512), (4, 1024), (4, 2048)),
}
_HEAD, _WIDER, _SQUEEZED = 32, 4, 16
#: What the class has instead of a `vision_config` or a `text_config` (transformers, configuration_fast_vlm.py).
_USUAL_TOWER = {
    "architecture": "fastvit_mci3", "do_pooling": True, "global_pool": "avg", "hidden_size": 3072,
    "model_args": {"inference_mode": True}, "model_type": "timm_wrapper",
}  # fmt: skip
_USUAL_TEXT = {
    "hidden_size": 3584, "vocab_size": 152128, "intermediate_size": 18944, "num_attention_heads": 28,
    "num_key_value_heads": 4, "num_hidden_layers": 28, "model_type": "qwen2",
}  # fmt: skip


def _at(halvings: int, *blocks: Block) -> OnTokens:
    """Blocks on the grid of an image whose sides were halved so often; those of patches were halved six times."""
    return OnTokens(blocks=blocks, times=4 ** (6 - halvings))


def _by_channel(name: str, out: int, kernel: int, *, bias: bool = True) -> Linear:
    # One filter for each value: as many products as a matrix of that shape has.
    return Linear(name, out, kernel * kernel, out * bias, role=VISION)


def _pointwise(name: str, out: int, inputs: int) -> Linear:
    return Linear(name, out, inputs, out, role=VISION)


def _mlp(width: int) -> tuple[Block, ...]:
    return (
        _by_channel("mlp_conv", width, 7, bias=False),
        Norm("mlp_conv_norm", width, 2 * width),
        _pointwise("up", _WIDER * width, width),
        _pointwise("down", width, _WIDER * width),
        Constant("layer_scale", width),
    )


def _mixing(width: int) -> tuple[Block, ...]:
    """A layer that mixes neighbours."""
    return _by_channel("mixer", width, 3), *_mlp(width)


def _attending(width: int) -> tuple[Block, ...]:
    """A layer in which every place sees every other."""
    heads = width // _HEAD
    attention = Attention(
        width=width, heads=heads, kv_heads=heads, head_dim=_HEAD, o_bias=True, causal=False, cached=False, role=VISION
    )
    return Norm("attention_norm", width, 2 * width), attention, Constant("attention_scale", width), *_mlp(width)


def _fastvit(stages: Sequence[tuple[int, int]]) -> Stack:
    first = stages[0][1]
    stem = (
        _at(1, _pointwise("patch_embed", first, 27)),
        _at(2, _by_channel("patch_conv", first, 3), _pointwise("patch_out", first, first)),
    )
    described: list[tuple[str, tuple[Block, ...]]] = []
    for number, (depth, width) in enumerate(stages):
        halvings, attends = 2 + number, number >= len(stages) - 2
        before: list[Block] = []
        if number:
            # Two filters for each value that comes in.
            before += [_by_channel("downsample", width, 7), _pointwise("downsample_out", width, width)]
        if attends:
            before.append(_by_channel("embed_positions", width, 7))
        layer = _at(halvings, *(_attending(width) if attends else _mixing(width)))
        if before:
            described.append((f"stage{number}.before", (_at(halvings, *before),)))
        described += [(f"stage{number}", (layer,))] * depth
    out = 2 * stages[-1][1]
    squeezed = (_pointwise("squeeze", out // _SQUEEZED, out), _pointwise("excite", out, out // _SQUEEZED))
    after = (_by_channel("final_conv", out, 3), OnTokens(blocks=squeezed, fixed=1))
    return Stack(VISION, group_layers("vision.layers", described), stem, after)


def fast_vlm(f: Fields) -> Architecture:
    """FastVLM (arXiv 2412.13303): FastViT by its name in timm, and two layers on each of its tokens."""
    f = f if f.has("text_config") else f.replaced(text_config=_USUAL_TEXT)
    f = f if "vision_config" in f.data else f.replaced(vision_config=_USUAL_TOWER)
    text, v = read_text(f, "qwen2"), f.part("vision_config", "timm_wrapper")
    name, args = v.text("architecture", default=""), v.get("model_args", default={}) or {}
    if "vision_config" in f.data and f.data["vision_config"] is None:
        return attrs.evolve(text, family=f.model_type)
    if name not in _SIZES or args != {"inference_mode": True}:
        why = f"its config names the tower `{name}` of the package timm with `model_args` {args!r}, not its sizes"
        return attrs.evolve(text, family=f.model_type, text_only=True, why=why)
    stages = _SIZES[name]
    width = 2 * stages[-1][1]
    if v.integer("hidden_size", default=width) != width:
        raise v.wrong("hidden_size", f"is not {width}, which `{name}` has")
    projector = two_layers(width, text_width(text), bias=f.flag("multimodal_projector_bias", default=True))
    return joined(f, text, Tower(_fastvit(stages), width, None).with_projector(*projector))


FASTVIT: dict[str, Builder] = {"fast_vlm": Verified(fast_vlm)}
