"""What towers of images share: the decoder behind them, patches, projectors, and towers that several families have."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model.architecture import Architecture, Stack
from nsys_pipeline.model.blocks import Block, Linear, Norm, OnTokens
from nsys_pipeline.model.families.common import refuse_overrides
from nsys_pipeline.model.families.encoders import clip_vision, patch_embedding, siglip_vision, vision_encoder
from nsys_pipeline.model.families.text import TEXT
from nsys_pipeline.model.fields import Fields, class_defaults
from nsys_pipeline.model.quantization import VISION

#: Model types whose older checkpoints say in the text config alone that the table is tied; their classes look there.
_TEXT_TIES = frozenset(
    {
        "fast_vlm", "glm4v", "glm4v_moe", "glm_ocr", "hunyuan_vl", "llava", "llava_next_video",
        "llava_onevision", "minimax_m3_vl", "paddleocr_vl", "perception_lm", "qwen2_5_vl", "qwen2_vl", "shieldgemma2",
        "vibevoice", "video_llama_3",
    }
)  # fmt: skip
_OWN_HEADS = frozenset({"blip-2", "instructblip", "instructblipvideo", "llama4"})
#: Types that came with transformers 5, whose outer class has the head.
_OUTER_TIES = frozenset(
    {"dots3_note", "gemma4_unified", "granite_docling", "hy_v4_vl", "muse_glimmer", "unlimited_ocr"}
)
_NEVER_TIED = frozenset({"cosmos3_edge", "muse_spark"})


@attrs.frozen
class Tower:
    """A vision tower without its projector: its stack, tokens per image (None: any), and those that are no patches."""

    stack: Stack
    width: int
    tokens: int | None
    extra: int = 0

    def with_projector(self, *blocks: Block) -> Tower:
        """The tower followed by `blocks`."""
        return attrs.evolve(self, stack=attrs.evolve(self.stack, after=(*self.stack.after, *blocks)))


def text_decoder(f: Fields, default: str, *, flat: bool = False) -> Architecture:
    """The text decoder of a multimodal config, of the type `default` where it names none.

    `flat`: its fields are at the top level. Raises ModelError where its type is not known.
    """
    return TEXT[default](f.named(default)) if flat else read_text(f, default)


def read_text(f: Fields, default: str, *names: str) -> Architecture:
    """The text decoder; its table is tied if the outer config says so, or the inner one where the outer says nothing.

    Of some model types (`_TEXT_TIES`) the inner config may say it too. If neither does, both classes' defaults must:
    one alone does not count, as checkpoints of Mistral 3 (outer class: tied) and Qwen3-VL-MoE (text class: tied) have a
    head of their own. An outer class without the field leaves it to the text model's. Of `_OWN_HEADS` the text model
    is a whole one, whose config alone counts; of `_OUTER_TIES` the outer one alone does; those of `_NEVER_TIED` have a
    head of their own, whatever the config says.
    """
    keys = names or ("text_config", "llm_config", "language_config")
    sub = f.sub(*keys, model_type=default)
    builder = TEXT.get(sub.model_type)
    if builder is None:
        raise ModelError(
            f"config of model type `{f.model_type}`: its text model type `{sub.model_type}` is not known",
            hint=f"known: {', '.join(sorted(TEXT))}",
        )
    refuse_overrides(sub)
    if f.model_type in _OWN_HEADS:
        return builder(sub)
    if f.model_type in _OUTER_TIES | _NEVER_TIED:
        tied = f.model_type not in _NEVER_TIED and f.flag("tie_word_embeddings")
        return builder(sub.replaced(tie_word_embeddings=tied))
    outer, inner = ("tie_word_embeddings" in config.data for config in (f, sub))
    if outer:
        tied = f.flag("tie_word_embeddings") or (
            inner and f.model_type in _TEXT_TIES and sub.flag("tie_word_embeddings")
        )
    else:
        known = bool(class_defaults(f.model_type))
        tied = sub.flag("tie_word_embeddings") and (inner or f.flag("tie_word_embeddings", default=known))
    return builder(sub.replaced(tie_word_embeddings=tied))


def joined(f: Fields, text: Architecture, tower: Tower) -> Architecture:
    """The model of a text decoder and a tower; the decoder alone if the config denies that there is a tower."""
    if "vision_config" in f.data and f.data["vision_config"] is None:
        return attrs.evolve(text, family=f.model_type)
    return attrs.evolve(
        text,
        family=f.model_type,
        vision=tower.stack,
        vision_tokens=tower.tokens,
        vision_extra=tower.extra,
        vision_depth=_read_depth(f, tower.stack.depth),
    )


def _read_depth(f: Fields, depth: int) -> int | None:
    """Layers of the tower that something comes of; None for all, or if the config does not say which are read."""
    told = f.get("vision_feature_layers", "vision_feature_layer")
    layers = told if isinstance(told, list | tuple) else [told]
    if not layers or not all(type(layer) is int and -depth - 1 <= layer <= depth for layer in layers):
        return None
    return max(int(layer) if layer >= 0 else depth + 1 + layer for layer in layers)


def _clip(v: Fields) -> Tower:
    stack, tokens, extra = clip_vision(v)
    return Tower(stack, v.dim("hidden_size"), tokens, extra)


def _siglip(v: Fields) -> Tower:
    stack, tokens, extra = siglip_vision(v)
    return Tower(stack, v.dim("hidden_size"), tokens, extra)


def _pixtral(v: Fields) -> Tower:
    width = v.dim("hidden_size")
    spec = attrs.evolve(
        vision_encoder(v),
        gated=True,
        qkv_bias=False,
        o_bias=False,
        mlp_bias=False,
        norm="rms",
        head_dim=v.opt_int("head_dim"),
    )
    embed = patch_embedding(
        width, v.integer("patch_size", default=16), v.integer("num_channels", default=3), bias=False, extra=0
    )
    return Tower(Stack("vision", spec.layers("vision.layers"), (embed, Norm("pre_norm", width, width))), width, None)


_TOWERS: dict[str, Callable[[Fields], Tower]] = {
    "clip_vision_model": _clip,
    "siglip_vision_model": _siglip,
    "pixtral": _pixtral,
}


def read_tower(f: Fields, default: str) -> Tower:
    """The tower of `vision_config`, of the type `default` where it names none. Raises ModelError for other types."""
    vision = f.sub("vision_config", model_type=default)
    if vision.model_type not in _TOWERS:
        raise ModelError(
            f"config of model type `{f.model_type}`: its vision model type `{vision.model_type}` is not known",
            hint=f"known: {', '.join(sorted(_TOWERS))}",
        )
    return _TOWERS[vision.model_type](vision)


def text_width(text: Architecture) -> int:
    """Values of a token in a text decoder."""
    assert text.decoder is not None  # noqa: S101 - text models are decoders
    head = text.decoder.after[-1]
    return int(getattr(head, "width"))  # noqa: B009 - every decoder ends in a head, which has a width


def two_layers(inputs: int, width: int, *, hidden: int | None = None, bias: bool) -> tuple[Block, ...]:
    """The usual projector of two linear layers; `hidden` values between them, default `width`."""
    inner = width if hidden is None else hidden
    return (
        Linear("projector_1", inner, inputs, inner if bias else 0, role=VISION),
        Linear("projector_2", width, inner, width if bias else 0, role=VISION),
    )


def qwen_patches(v: Fields, width: int, *, bias: bool) -> Block:
    """The embedding of patches of several frames."""
    frames = v.integer("temporal_patch_size", default=2)
    channels = v.integer("in_channels", "in_chans", default=3)
    return patch_embedding(width, v.integer("patch_size", default=14), channels, bias=bias, extra=0, frames=frames)


def qwen_merger(
    width: int, out: int, merge: int, norm: int, *, name: str = "merger", after_shuffle: bool = False
) -> OnTokens:
    """Norm and two linear layers that make one token of `merge` patches; `norm` weights per value in the norm."""
    inner = merge * width
    size = inner if after_shuffle else width
    blocks: tuple[Block, ...] = (
        Norm(f"{name}_norm", inner, norm * size),
        Linear(f"{name}_1", inner, inner, inner, role=VISION),
        Linear(f"{name}_2", out, inner, out, role=VISION),
    )
    return OnTokens(blocks=blocks, over=merge)
