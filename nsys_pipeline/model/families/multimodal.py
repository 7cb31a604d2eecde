"""Text decoders with a vision tower and a projector. The decoder's tokens include those that images turn into."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model.architecture import Architecture, Layers, Stack
from nsys_pipeline.model.blocks import Attention, Block, Constant, Linear, Mlp, Norm, OnTokens, PrefixAttention
from nsys_pipeline.model.families.common import Builder, Verified, refuse_overrides
from nsys_pipeline.model.families.encoders import EncoderSpec, clip_vision, grid, patch_embedding, siglip_vision
from nsys_pipeline.model.families.sam import SamSizes, sam_sizes
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
    return TEXT[default](f.named(default)) if flat else _text(f, default)


def _text(f: Fields, default: str, *names: str) -> Architecture:
    """The text decoder; its table is tied if the outer config says so, or the inner one where the outer says nothing.

    Of some model types (`_TEXT_TIES`) the inner config may say it too. If neither does, both classes' defaults must:
    one alone does not count, as checkpoints of Mistral 3 (outer class: tied) and Qwen3-VL-MoE (text class: tied) have a
    head of their own. An outer class without the field (BLIP-2) leaves it to the text model's.
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
    outer, inner = ("tie_word_embeddings" in config.data for config in (f, sub))
    if outer:
        tied = f.flag("tie_word_embeddings") or (
            inner and f.model_type in _TEXT_TIES and sub.flag("tie_word_embeddings")
        )
    else:
        known = bool(class_defaults(f.model_type))
        tied = sub.flag("tie_word_embeddings") and (inner or f.flag("tie_word_embeddings", default=known))
    return builder(sub.replaced(tie_word_embeddings=tied))


def _joined(f: Fields, text: Architecture, tower: Tower) -> Architecture:
    return attrs.evolve(
        text, family=f.model_type, vision=tower.stack, vision_tokens=tower.tokens, vision_extra=tower.extra
    )


def _clip(v: Fields) -> Tower:
    stack, tokens, extra = clip_vision(v)
    return Tower(stack, v.dim("hidden_size"), tokens, extra)


def _siglip(v: Fields) -> Tower:
    stack, tokens, extra = siglip_vision(v)
    return Tower(stack, v.dim("hidden_size"), tokens, extra)


def _pixtral(v: Fields) -> Tower:
    width = v.dim("hidden_size")
    spec = EncoderSpec(
        width=width,
        depth=v.dim("num_hidden_layers"),
        heads=v.dim("num_attention_heads"),
        hidden=v.dim("intermediate_size"),
        gated=True,
        qkv_bias=False,
        o_bias=False,
        mlp_bias=False,
        norm="rms",
        head_dim=v.opt_int("head_dim"),
        role=VISION,
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


def _tower(f: Fields, default: str) -> Tower:
    vision = f.sub("vision_config", model_type=default)
    if vision.model_type not in _TOWERS:
        raise ModelError(
            f"config of model type `{f.model_type}`: its vision model type `{vision.model_type}` is not known",
            hint=f"known: {', '.join(sorted(_TOWERS))}",
        )
    return _TOWERS[vision.model_type](vision)


def _text_width(text: Architecture) -> int:
    assert text.decoder is not None  # noqa: S101 - text models are decoders
    head = text.decoder.after[-1]
    return int(getattr(head, "width"))  # noqa: B009 - every decoder ends in a head, which has a width


def _mlp(inputs: int, width: int, *, bias: bool) -> tuple[Block, ...]:
    """The usual projector of two linear layers."""
    extra = width if bias else 0
    return (
        Linear("projector_1", width, inputs, extra, role=VISION),
        Linear("projector_2", width, width, extra, role=VISION),
    )


def llava(f: Fields) -> Architecture:
    """Llava, Llava-Next and Llava-OneVision: every patch goes through a projector of two layers."""
    text = _text(f, "qwen2" if f.model_type == "llava_onevision" else "llama")
    width = _text_width(text)
    tower = _tower(f, "siglip_vision_model" if f.model_type == "llava_onevision" else "clip_vision_model")
    layers = f.get("vision_feature_layer")
    features = tower.width * (len(layers) if isinstance(layers, list) else 1)
    keep = tower.extra if f.text("vision_feature_select_strategy", default="default") == "full" else 0
    projector: list[Block] = [
        OnTokens(
            blocks=_mlp(features, width, bias=f.flag("multimodal_projector_bias", default=True)),
            plus=keep - tower.extra,
        )
    ]
    if f.model_type != "llava":
        projector.append(Constant("image_newline", width))
    return _joined(f, text, tower.with_projector(*projector))


def gemma3(f: Fields) -> Architecture:
    """SigLIP, pooled to `mm_tokens_per_image` tokens, a norm and one matrix; an image's tokens see each other."""
    text, tower = _text(f, "gemma3_text"), _tower(f, "siglip_vision_model")
    blocks = (
        Norm("projector_norm", tower.width, tower.width),
        Linear("projector", _text_width(text), tower.width, role=VISION),
    )
    tokens = f.integer("mm_tokens_per_image", default=256)
    joined = _joined(f, text, tower.with_projector(OnTokens(blocks=blocks, fixed=tokens)))
    return attrs.evolve(joined, image_tokens=tokens)


def paligemma(f: Fields) -> Architecture:
    """SigLIP and one linear layer; the whole prompt sees the whole prompt."""
    text, tower = _bidirectional(_text(f, "gemma")), _tower(f, "siglip_vision_model")
    out = f.integer("projection_dim", default=_text_width(text))
    return _joined(f, text, tower.with_projector(Linear("projector", out, tower.width, out, role=VISION)))


def _bidirectional(text: Architecture) -> Architecture:
    """The same decoder without a causal mask among the new tokens of a pass."""
    stack = text.decoder
    assert stack is not None  # noqa: S101 - text models are decoders
    layers = tuple(
        attrs.evolve(
            group,
            blocks=tuple(
                attrs.evolve(block, causal=False) if isinstance(block, Attention) else block for block in group.blocks
            ),
        )
        for group in stack.layers
    )
    return attrs.evolve(text, decoder=attrs.evolve(stack, layers=layers))


def mistral3(f: Fields) -> Architecture:
    """Pixtral, merging squares of patches before a projector of two layers."""
    text, tower = _text(f, "mistral"), _tower(f, "pixtral")
    merge = f.integer("spatial_merge_size", default=2) ** 2
    merged = (
        Linear("merger", tower.width, merge * tower.width, role=VISION),
        *_mlp(tower.width, _text_width(text), bias=f.flag("multimodal_projector_bias")),
    )
    projector = (Norm("projector_norm", tower.width, tower.width), OnTokens(blocks=merged, over=merge))
    return _joined(f, text, tower.with_projector(*projector))


def _qwen_patches(v: Fields, width: int, *, bias: bool) -> Block:
    frames = v.integer("temporal_patch_size", default=2)
    channels = v.integer("in_channels", "in_chans", default=3)
    return patch_embedding(width, v.integer("patch_size", default=14), channels, bias=bias, extra=0, frames=frames)


def _qwen_merger(
    width: int, out: int, merge: int, norm: int, *, name: str = "merger", after_shuffle: bool = False
) -> OnTokens:
    inner = merge * width
    size = inner if after_shuffle else width
    blocks: tuple[Block, ...] = (
        Norm(f"{name}_norm", inner, norm * size),
        Linear(f"{name}_1", inner, inner, inner, role=VISION),
        Linear(f"{name}_2", out, inner, out, role=VISION),
    )
    return OnTokens(blocks=blocks, over=merge)


def _qwen_text(f: Fields, default: str) -> Architecture:
    """Older configs keep the text model's fields at the top level."""
    if f.has("text_config"):
        return _text(f, default)
    return TEXT[default](Fields(f.data, default))


def qwen2_vl(f: Fields) -> Architecture:
    """Patches of two frames, full attention within an image, four patches merged to one token."""
    text = _qwen_text(f, "qwen2_vl_text")
    v = f.sub("vision_config", model_type="qwen2_vl_vision").named("qwen2_vl_vision")
    width = v.dim("embed_dim")
    spec = EncoderSpec(
        width=width,
        depth=v.dim("depth"),
        heads=v.dim("num_heads"),
        hidden=int(width * v.ratio("mlp_ratio", default=4)),
        role=VISION,
    )
    merge = v.integer("spatial_merge_size", default=2) ** 2
    merger = _qwen_merger(width, v.integer("hidden_size", default=_text_width(text)), merge, 2)
    stack = Stack("vision", spec.layers("vision.layers"), (_qwen_patches(v, width, bias=False),), (merger,))
    return _joined(f, text, Tower(stack, width, None))


def qwen2_5_vl(f: Fields) -> Architecture:
    """Qwen2-VL with gated MLPs, RMS norms, and windows in all but a few layers."""
    text = _qwen_text(f, "qwen2_5_vl_text")
    v = f.sub("vision_config", model_type="qwen2_5_vl_vision").named("qwen2_5_vl_vision")
    width, depth = v.dim("hidden_size"), v.dim("depth")
    side = v.integer("spatial_merge_size", default=2)
    window = v.integer("window_size", default=112) // side // v.integer("patch_size", default=14) * side
    full = set(v.indices("fullatt_block_indexes") or [])
    spec = EncoderSpec(
        width=width,
        depth=depth,
        heads=v.dim("num_heads"),
        hidden=v.dim("intermediate_size"),
        gated=True,
        norm="rms",
        tiles=[None if index in full else window for index in range(depth)],
        role=VISION,
    )
    merger = _qwen_merger(width, v.integer("out_hidden_size", default=_text_width(text)), side * side, 1)
    stack = Stack("vision", spec.layers("vision.layers"), (_qwen_patches(v, width, bias=False),), (merger,))
    return _joined(f, text, Tower(stack, width, None))


def qwen3_vl(f: Fields) -> Architecture:
    """Learned positions resampled to the image; besides the merger, one per DeepStack level."""
    kind = f.model_type
    text = _text(f, f"{kind}_text")
    v = f.sub("vision_config", model_type=f"{kind}_vision").named(f"{kind}_vision")
    width = v.dim("hidden_size")
    spec = EncoderSpec(
        width=width, depth=v.dim("depth"), heads=v.dim("num_heads"), hidden=v.dim("intermediate_size"), role=VISION
    )
    merge = v.integer("spatial_merge_size", default=2) ** 2
    out = v.integer("out_hidden_size", default=_text_width(text))
    levels = v.indices("deepstack_visual_indexes") or []
    mergers = [_qwen_merger(width, out, merge, 2)] + [
        _qwen_merger(width, out, merge, 2, name=f"deepstack_{index}", after_shuffle=True)
        for index in range(len(levels))
    ]
    before = (_qwen_patches(v, width, bias=True), Constant("embed_positions", v.dim("num_position_embeddings") * width))
    return _joined(f, text, Tower(Stack("vision", spec.layers("vision.layers"), before, tuple(mergers)), width, None))


def glm4v(f: Fields) -> Architecture:
    """GLM-4.1V, 4.5V and 4.6V: gated MLPs as wide as the decoder, a strided convolution, then a gated merger."""
    text = _text(f, "glm4v_moe_text" if f.model_type == "glm4v_moe" else "glm4v_text")
    kind = "glm4v_moe_vision" if f.model_type == "glm4v_moe" else "glm4v_vision"
    v = f.sub("vision_config", model_type=kind).named(kind)
    width, out = v.dim("hidden_size"), v.integer("out_hidden_size", default=_text_width(text))
    side, _ = grid(v)
    spec = EncoderSpec(
        width=width,
        depth=v.dim("depth"),
        heads=v.dim("num_heads"),
        hidden=out,
        gated=True,
        qkv_bias=v.flag("attention_bias"),
        o_bias=False,
        mlp_bias=False,
        norm="rms",
        role=VISION,
    )
    merge = v.integer("spatial_merge_size", default=2) ** 2
    merger = (
        Linear("downsample", out, merge * width, out, role=VISION),
        Linear("merger_proj", out, out, role=VISION),
        Norm("merger_norm", out, 2 * out),
        Mlp(width=out, hidden=v.dim("intermediate_size"), label="merger_", role=VISION),
    )
    before = (
        _qwen_patches(v, width, bias=True),
        Norm("pre_norm", width, width),
        Constant("embed_positions", side * side * width),
    )
    after = (Norm("post_norm", width, width), OnTokens(blocks=merger, over=merge))
    return _joined(f, text, Tower(Stack("vision", spec.layers("vision.layers"), before, after), width, None))


def got_ocr2(f: Fields) -> Architecture:
    """GOT-OCR 2 (arXiv 2409.01704): SAM, strided convolutions that leave a sixteenth of the tokens, a linear layer."""
    text = _text(f, "qwen2")
    v = f.sub("vision_config", model_type="got_ocr2_vision").named("got_ocr2_vision")
    sam, width = sam_sizes(v), _text_width(text)
    first = Linear("projector_conv1", 2 * sam.out, 9 * sam.out, role=VISION)
    second = Linear("projector_conv2", width, 9 * 2 * sam.out, role=VISION)
    after = (
        *sam.after(),
        OnTokens(blocks=(first,), over=4),
        OnTokens(blocks=(second, Linear("projector", width, width, width, role=VISION)), over=16),
    )
    stack = Stack("vision", sam.layers("vision.sam"), sam.before(), after)
    return _joined(f, text, Tower(stack, sam.out, sam.side**2))


def internvl(f: Fields) -> Architecture:
    """InternViT with layer scales; four patches shuffled into one token before a projector of two layers."""
    text = _text(f, "qwen2")
    v = f.sub("vision_config", model_type="internvl_vision").named("internvl_vision")
    width = v.dim("hidden_size")
    side, patch = grid(v)
    tokens = side * side + 1
    norm = "rms" if v.text("norm_type", default="layer_norm") == "rms_norm" else "layer"
    spec = EncoderSpec(
        width=width,
        depth=v.dim("num_hidden_layers"),
        heads=v.dim("num_attention_heads"),
        hidden=v.dim("intermediate_size"),
        qkv_bias=v.flag("attention_bias"),
        norm=norm,
        qk_norm=2 * width if v.flag("use_qk_norm") else 0,
        layer_params=2 * width,
        role=VISION,
    )
    positions = tokens * width if v.flag("use_absolute_position_embeddings", default=True) else 0
    mask = width if v.flag("use_mask_token") else 0
    before = (
        patch_embedding(width, patch, v.integer("num_channels", default=3), bias=True, extra=1),
        Constant("embed_positions", positions + width + mask),
    )
    pooled: tuple[Block, ...] = (
        () if v.flag("use_mean_pooling", default=True) else (Norm("post_norm", width, 2 * width),)
    )
    shuffle = max(1, int(1 / f.ratio("downsample_ratio", default=0.5))) ** 2
    projector = (
        Norm("projector_norm", shuffle * width, 2 * shuffle * width),
        *_mlp(shuffle * width, _text_width(text), bias=True),
    )
    stack = Stack(
        "vision", spec.layers("vision.layers"), before, (*pooled, OnTokens(blocks=projector, plus=-1, over=shuffle))
    )
    return _joined(f, text, Tower(stack, width, tokens, 1))


def idefics3(f: Fields) -> Architecture:
    """Idefics3 and SmolVLM: SigLIP without a pooling head; squares of patches shuffled into one matrix."""
    text = _text(f, "llama")
    v = f.sub("vision_config", model_type=f"{f.model_type}_vision").named(f"{f.model_type}_vision")
    stack, tokens, _ = siglip_vision(v.replaced(vision_use_head=False))
    width, scale = v.dim("hidden_size"), f.integer("scale_factor", default=2) ** 2
    projector = OnTokens(blocks=(Linear("projector", _text_width(text), scale * width, role=VISION),), over=scale)
    return _joined(f, text, Tower(stack, width, tokens).with_projector(projector))


def llama4(f: Fields) -> Architecture:
    """Llama 4: an unfolded patch embedding, pixel shuffle, an adapter of two layers and a projector of one."""
    text = _text(f, "llama4_text")
    v = f.sub("vision_config", model_type="llama4_vision_model").named("llama4_vision_model")
    width = v.dim("hidden_size")
    side, patch = grid(v)
    tokens = side * side + 1
    spec = EncoderSpec(
        width=width,
        depth=v.dim("num_hidden_layers"),
        heads=v.dim("num_attention_heads"),
        hidden=v.dim("intermediate_size"),
        role=VISION,
    )
    shuffle = max(1, round(1 / v.ratio("pixel_shuffle_ratio", default=0.5) ** 2))
    inner, out = v.dim("projector_input_dim"), v.dim("projector_output_dim")
    adapter = (
        Linear("adapter_1", inner, v.dim("intermediate_size"), role=VISION),
        Linear("adapter_2", out, out, role=VISION),
        Linear("projector", _text_width(text), v.dim("vision_output_dim"), role=VISION),
    )
    before = (
        patch_embedding(width, patch, v.integer("num_channels", default=3), bias=False, extra=1),
        Constant("embed_positions", (tokens + 1) * width),
        Norm("pre_norm", width, 2 * width),
    )
    after = (Norm("post_norm", width, 2 * width), OnTokens(blocks=adapter, plus=-1, over=shuffle))
    return _joined(f, text, Tower(Stack("vision", spec.layers("vision.layers"), before, after), width, tokens, 1))


def deepseek_ocr2(f: Fields) -> Architecture:
    """DeepSeek-OCR 2: SAM with strided convolutions, then a Qwen2-like encoder over patches and as many queries."""
    text = _text(f, "deepseek_ocr2_text")
    v = f.sub("vision_config", model_type="deepseek_ocr2_vision")
    s = v.sub("sam_config", model_type="deepseek_ocr2_sam_vision_model")
    e = v.sub("encoder_config", model_type="deepseek_ocr2_encoder")
    sam = sam_sizes(s, downsample=s.indices("downsample_channels") or (512, 896))
    width, heads = e.dim("hidden_size"), e.dim("num_attention_heads")
    kv_heads = e.integer("num_key_value_heads", default=heads)
    encoder = _qwen2_encoder(e, width, heads, kv_heads)
    # One learned query per compressed patch: 144 at 768 pixels, 256 at 1024.
    queries = Constant("queries", (144 + 256) * width)
    features = OnTokens(
        blocks=(Linear("projector", _text_width(text), width, _text_width(text), role=VISION),), over=16
    )
    second = Layers(
        "vision.encoder", tuple(range(e.dim("num_hidden_layers"))), (OnTokens(blocks=encoder, times=2, over=16),)
    )
    first = sam.layers("vision.sam")
    convs = Layers("vision.neck", (0,), sam.after())
    final = OnTokens(blocks=(Norm("encoder_norm", width, width),), times=2, over=16)
    after: tuple[Block, ...] = (final, queries, features, Constant("view_separator", _text_width(text)))
    stack = Stack("vision", (*first, convs, second), sam.before(), after)
    return _joined(f, text, Tower(stack, width, sam.side**2))


def _qwen2_encoder(e: Fields, width: int, heads: int, kv_heads: int) -> tuple[Block, ...]:
    """A Qwen2 layer whose patches see all patches, and whose queries see all patches and the queries before them."""
    attention = PrefixAttention(
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=width // heads,
        q_bias=True,
        kv_bias=True,
        cached=False,
        role=VISION,
    )
    mlp = Mlp(width=width, hidden=e.dim("intermediate_size"), role=VISION)
    return Norm("attention_norm", width, width), attention, Norm("mlp_norm", width, width), mlp


def deepseek_ocr(f: Fields) -> Architecture:
    """DeepSeek-OCR (arXiv 2510.18234): SAM-B, a 16-fold convolutional compressor, CLIP-L, one linear layer on both."""
    text = _text(f, "deepseek_v2", "language_config", "text_config")
    v = f.sub("vision_config", model_type="vision")
    towers = v.get("width")
    if not isinstance(towers, Mapping) or "sam_vit_b" not in towers:
        raise ModelError(
            f"config of model type `{f.model_type}` describes no SAM and CLIP towers in `vision_config.width`",
            hint="only DeepSeek-OCR's vision config is known for this model type",
        )
    for name, tower in towers.items():
        if not isinstance(tower, Mapping):
            raise v.wrong(f"width.{name}", f"is {tower!r}, not an object")
    clip_name = next((name for name in towers if name.startswith("clip")), None)
    if clip_name is None:
        raise v.missing("width.clip-l-14-224")
    return _deepseek_ocr_towers(f, text, v, towers["sam_vit_b"], towers[clip_name])


def _deepseek_ocr_towers(
    f: Fields, text: Architecture, v: Fields, sam_data: Mapping[str, Any], clip_data: Mapping[str, Any]
) -> Architecture:
    s, c = (
        Fields(sam_data, f.model_type, "vision_config.width.sam_vit_b"),
        Fields(clip_data, f.model_type, "vision_config.width.clip"),
    )
    sam = SamSizes(
        width=s.dim("width"),
        depth=s.dim("layers"),
        heads=s.dim("heads"),
        hidden=4 * s.dim("width"),
        image=v.integer("image_size", default=1024),
        patch=16,
        window=14,
        global_layers=tuple(s.indices("global_attn_indexes") or (2, 5, 8, 11)),
        channels=3,
        out=256,
        downsample=tuple(s.indices("downsample_channels") or (512, 1024)),
    )
    width = c.dim("width")
    clip = EncoderSpec(width=width, depth=c.dim("layers"), heads=c.dim("heads"), hidden=4 * width, role=VISION)
    side = c.dim("image_size") // c.dim("patch_size")
    # CLIP's own patch embedding is stored but not run: SAM's output takes its place.
    unused = width * 3 * c.dim("patch_size") ** 2
    layers = tuple(
        Layers(group.label, group.ids, (OnTokens(blocks=group.blocks, over=16, then=1),))
        for group in clip.layers("vision.clip")
    )
    p = f.sub("projector_config", model_type="mlp_projector")
    out = p.integer("n_embed", default=_text_width(text))
    projector = Linear("projector", out, p.dim("input_dim"), out, role=VISION)
    after = (
        Constant("clip_positions", width + (side * side + 1) * width),
        OnTokens(blocks=(Norm("clip_pre_norm", width, 2 * width),), over=16, then=1),
        OnTokens(blocks=(projector,), over=16),
        Constant("image_newline", 2 * out),
    )
    stack = Stack(
        "vision", (*sam.layers("vision.sam"), Layers("vision.neck", (0,), sam.after()), *layers), sam.before(), after
    )
    joined = _joined(f, text, Tower(stack, width, sam.side**2))
    return attrs.evolve(joined, unused_params=unused)


MULTIMODAL: dict[str, Builder] = {
    "llava": Verified(llava),
    "llava_next": Verified(llava),
    "llava_onevision": Verified(llava),
    "gemma3": Verified(gemma3),
    "paligemma": paligemma,
    "mistral3": Verified(mistral3),
    "qwen2_vl": Verified(qwen2_vl),
    "qwen2_5_vl": Verified(qwen2_5_vl),
    "qwen3_vl": Verified(qwen3_vl),
    "qwen3_vl_moe": Verified(qwen3_vl),
    "qwen3_5": qwen3_vl,
    "qwen3_5_moe": qwen3_vl,
    "glm46v": Verified(glm4v),
    "glm4v": Verified(glm4v),
    "glm4v_moe": Verified(glm4v),
    "got_ocr2": Verified(got_ocr2),
    "internvl": Verified(internvl),
    "idefics3": Verified(idefics3),
    "smolvlm": Verified(idefics3),
    "llama4": Verified(llama4),
    "deepseek_ocr2": Verified(deepseek_ocr2),
    "deepseek_vl_v2": deepseek_ocr,
}
