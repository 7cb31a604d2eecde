"""Models of images and text behind a plain ViT of another library: C-RADIO, and the Perception Encoder of timm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from nsys_pipeline.model.architecture import Architecture, Stack
from nsys_pipeline.model.blocks import Block, Constant, Norm, OnTokens
from nsys_pipeline.model.families.common import Builder
from nsys_pipeline.model.families.encoders import EncoderSpec, patch_embedding, vision_encoder
from nsys_pipeline.model.families.parakeet import parakeet
from nsys_pipeline.model.families.towers import Tower, joined, read_text, text_width, two_layers
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import VISION


def nemotron_h_omni(f: Fields) -> Architecture:
    """Nemotron-H Omni: C-RADIO (arXiv 2412.07679) on any size, squares of patches shuffled into one, two layers.

    It hears with Parakeet's encoder, and two layers, too. Older configs have other names for some fields.
    """
    text = read_text(f, "nemotron_h")
    v = f.part("vision_config", "radio")
    width, patch = v.integer("hidden_size"), v.integer("patch_size")
    hidden = int(width * v.ratio("mlp_ratio", default=4))
    gated = v.flag("use_swiglu_ffn")
    spec = attrs.evolve(
        vision_encoder(v.replaced(intermediate_size=(int(hidden * 2 / 3) + 7) // 8 * 8 if gated else hidden)),
        gated=gated,
        qkv_bias=v.flag("qkv_bias", default=True),
        layer_params=2 * width,
    )
    extra = v.integer("num_cls_tokens", default=3) + v.integer("num_registers", default=7, minimum=0)
    channels, positions = v.integer("num_channels", default=3), v.integer("max_img_size", default=2048) // patch
    # Patches of videos have a matrix of their own.
    frames = v.opt_int("video_temporal_patch_size") or f.integer("video_temporal_patch_size", default=2)
    unused = frames * channels * patch * patch * width
    before = (
        patch_embedding(width, patch, channels, bias=False, extra=extra),
        Constant("embed_positions", (positions**2 + extra) * width),
    )
    seen = f.integer("vit_hidden_size" if f.has("vit_hidden_size") else "vision_hidden_size", default=1280)
    merge, out = 4, text_width(text)
    if seen != width or f.ratio("downsample_ratio", default=0.5) != 0.5:
        raise f.wrong("vision_hidden_size", f"is {seen}, or `downsample_ratio` is not 0.5, for a tower of {width}")
    inner = f.integer("projector_hidden_size", default=4096)
    projector = (Norm("projector_norm", merge * width, merge * width),)
    layers = (*projector, *two_layers(merge * width, out, hidden=inner, bias=False))
    last = f.sub("text_config", "llm_config", model_type="nemotron_h").opt_int("num_nextn_predict_layers") or 0
    norm = (OnTokens(blocks=(Norm("post_norm", width, 2 * width),), plus=-extra),) if last else ()
    after = (*norm, OnTokens(blocks=layers, plus=-extra, over=merge))
    tower = Tower(Stack(VISION, spec.layers("vision.layers"), before, after), width, None, extra)
    model = joined(f, text, tower)
    audio = None
    if f.has("audio_config", "sound_config"):
        a = f.sub("audio_config", "sound_config", model_type="parakeet_encoder").named("parakeet_encoder")
        # Released checkpoints leave it out, and have none.
        a = a if a.has("attention_bias") else a.replaced(attention_bias=False)
        heard = a.integer("hidden_size")
        audio = parakeet(
            a,
            (
                Norm("projector_norm", heard, heard),
                *two_layers(heard, out, hidden=a.integer("projection_hidden_size"), bias=a.flag("projection_bias")),
            ),
        )
    return attrs.evolve(model, audio=audio, unused_params=model.unused_params + unused)


#: Sizes of timm's Perception Encoders (arXiv 2504.13181): patch, width, depth, heads, MLP, class token, image.
_PERCEPTION: Mapping[str, tuple[int, int, int, int, int, int, int]] = {
    "vit_pe_core_large_patch14_336": (14, 1024, 24, 16, 4096, 1, 336),
    "vit_pe_core_gigantic_patch14_448": (14, 1536, 50, 16, 8960, 0, 448),
}
#: What `model_args` may change, or repeat.
_TOLD = {"depth", "embed_dim", "global_pool", "img_size", "init_values", "ref_feat_shape", "use_post_transformer_norm"}


def perception_lm(f: Fields) -> Architecture:
    """Perception LM (arXiv 2504.13180): a Perception Encoder of the package timm, two layers, means of squares."""
    text, v = read_text(f, "llama"), f.part("vision_config", "timm_wrapper")
    name, args = v.text("architecture", default=""), v.get("model_args", default={}) or {}
    sizes = _PERCEPTION.get(name)
    if sizes is None or not isinstance(args, Mapping) or not set(args) <= _TOLD or args.get("global_pool") != "":
        why = f"its config names the tower `{name}` of the package timm, not the tower's sizes"
        return attrs.evolve(text, family=f.model_type, text_only=True, why=why)
    a = v.sub("model_args", model_type="timm_wrapper")
    patch, width, depth, heads, hidden, extra, edge = sizes
    if a.integer("embed_dim", default=width) != width:
        raise a.wrong("embed_dim", f"is not {width}, which `{name}` has")
    scaled = a.get("init_values", default=None) is not None
    spec = EncoderSpec(
        width=width,
        depth=a.integer("depth", default=depth),
        heads=heads,
        hidden=hidden,
        layer_params=2 * width if scaled else 0,
        role=VISION,
    )
    side = _edge(a, edge) // patch
    before = (
        patch_embedding(width, patch, 3, bias=False, extra=extra),
        Constant("embed_positions", (side * side + 2 * extra) * width),
        Norm("pre_norm", width, 2 * width),
    )
    after: list[Block] = []
    if a.flag("use_post_transformer_norm", default=True):
        after.append(Norm("post_norm", width, 2 * width))
    if f.flag("vision_use_cls_token", default=True) != bool(extra):
        raise f.wrong("vision_use_cls_token", f"must be {bool(extra)} for `{name}`")
    ratio = f.integer("projector_pooling_ratio", default=1)
    after.append(OnTokens(blocks=two_layers(width, text_width(text), bias=True), plus=-extra))
    after.append(OnTokens(blocks=(Norm("projector_pooled", 0, 0),), fixed=(side // ratio) ** 2))
    stack = Stack(VISION, spec.layers("vision.layers"), before, tuple(after))
    return joined(f, text, Tower(stack, width, side * side + extra, extra))


def _edge(a: Fields, default: int) -> int:
    told: Any = a.get("img_size", default=default)
    if isinstance(told, list | tuple) and len(set(map(str, told))) == 1:
        told = told[0]
    return a.checked("img_size", told)


VITS: dict[str, Builder] = {"nemotron_h_omni": nemotron_h_omni, "perception_lm": perception_lm}
