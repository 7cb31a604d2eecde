"""CLIP and SigLIP: a tower for texts and one for images, which meet in one product of a vector each."""

from __future__ import annotations

import attrs

from nsys_pipeline.model.architecture import Architecture, Stack
from nsys_pipeline.model.blocks import Constant, Linear, OnTokens
from nsys_pipeline.model.families.common import Builder
from nsys_pipeline.model.families.encoders import clip_vision, siglip_vision
from nsys_pipeline.model.families.text_encoders import clip_text, siglip_text
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import VISION


def _towers(f: Fields, texts: Fields, text: Stack, vision: tuple[Stack, int, int], *, scales: int) -> Architecture:
    text = attrs.evolve(text, after=(*text.after, Constant("logit_scales", scales)))
    stack, tokens, extra = vision
    return Architecture(
        family=f.model_type,
        encoder=text,
        vision=stack,
        vision_tokens=tokens,
        vision_extra=extra,
        heads=texts.dim("num_attention_heads"),
    )


def clip(f: Fields) -> Architecture:
    """Both towers end in a projection of one token to the same width; a trained scale."""
    texts, images = (
        f.sub("text_config", model_type="clip_text_model"),
        f.sub("vision_config", model_type="clip_vision_model"),
    )
    width = f.integer("projection_dim")
    head = OnTokens(blocks=(Linear("projection", width, images.dim("hidden_size"), role=VISION),), fixed=1)
    return _towers(f, texts, clip_text(texts, width), clip_vision(images, head=(head,)), scales=1)


def siglip(f: Fields) -> Architecture:
    """Texts are projected, images pooled; a trained scale and a bias."""
    texts, images = (f.sub(f"{name}_config", model_type=f"siglip_{name}_model") for name in ("text", "vision"))
    return _towers(f, texts, siglip_text(texts), siglip_vision(images), scales=2)


TWO_TOWERS: dict[str, Builder] = {"clip": clip, "siglip": siglip}
