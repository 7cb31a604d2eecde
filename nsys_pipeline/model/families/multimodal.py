"""Text decoders with a vision tower and a projector. The decoder's tokens include those that images turn into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model.architecture import Architecture, Layers, Stack
from nsys_pipeline.model.blocks import Attention, Block, Constant, Linear, Mlp, Norm, OnTokens, PrefixAttention
from nsys_pipeline.model.families.common import Builder, Verified
from nsys_pipeline.model.families.encoders import EncoderSpec, grid, patch_embedding, siglip_vision, vision_encoder
from nsys_pipeline.model.families.sam import SamSizes, sam_sizes
from nsys_pipeline.model.families.text import TEXT
from nsys_pipeline.model.families.towers import (
    Tower,
    joined,
    qwen_merger,
    qwen_patches,
    read_text,
    read_tower,
    text_width,
    two_layers,
)
from nsys_pipeline.model.families.unlimited_ocr import text_config
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import VISION


def llava(f: Fields) -> Architecture:
    """Llava, Llava-Next (also for video) and Llava-OneVision: every patch goes through a projector of two layers."""
    text = read_text(f, "qwen2" if f.model_type == "llava_onevision" else "llama")
    tower = read_tower(f, "siglip_vision_model" if f.model_type == "llava_onevision" else "clip_vision_model")
    tower = tower.with_projector(llava_projector(f, text, tower))
    if f.model_type != "llava":
        tower = tower.with_projector(Constant("image_newline", text_width(text)))
    return joined(f, text, tower)


def llava_projector(f: Fields, text: Architecture, tower: Tower) -> OnTokens:
    """Two linear layers on every patch, of one layer of the tower or of several side by side."""
    layers = f.get("vision_feature_layer")
    features = tower.width * (len(layers) if isinstance(layers, list | tuple) else 1)
    keep = tower.extra if f.text("vision_feature_select_strategy", default="default") == "full" else 0
    projector = two_layers(features, text_width(text), bias=f.flag("multimodal_projector_bias", default=True))
    return OnTokens(blocks=projector, plus=keep - tower.extra)


def gemma3(f: Fields) -> Architecture:
    """SigLIP, pooled to `mm_tokens_per_image` tokens, a norm and one matrix; an image's tokens see each other."""
    text, tower = read_text(f, "gemma3_text"), read_tower(f, "siglip_vision_model")
    blocks = (
        Norm("projector_norm", tower.width, tower.width),
        Linear("projector", text_width(text), tower.width, role=VISION),
    )
    tokens = f.integer("mm_tokens_per_image", default=256)
    model = joined(f, text, tower.with_projector(OnTokens(blocks=blocks, fixed=tokens)))
    return attrs.evolve(model, sees_whole_images=True)


def paligemma(f: Fields) -> Architecture:
    """SigLIP and one linear layer; the whole prompt sees the whole prompt."""
    text, tower = _bidirectional(read_text(f, "gemma")), read_tower(f, "siglip_vision_model")
    out = f.integer("projection_dim", default=text_width(text))
    return joined(f, text, tower.with_projector(Linear("projector", out, tower.width, out, role=VISION)))


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
    """Mistral 3, Mistral Large 4 and LightOnOCR: Pixtral, squares of patches merged before two linear layers."""
    usual, usual_tower = _PIXTRAL_MODELS[f.model_type]
    if usual_tower and not f.has("vision_config"):
        # The class's own tower, which differs from Pixtral's default in what it names.
        f = f.replaced(vision_config={"model_type": "pixtral", **usual_tower})
    text, tower = read_text(f, usual), read_tower(f, "pixtral")
    merge = f.integer("spatial_merge_size", default=2) ** 2
    merged = (
        Linear("merger", tower.width, merge * tower.width, role=VISION),
        *two_layers(tower.width, text_width(text), bias=f.flag("multimodal_projector_bias")),
    )
    projector = (Norm("projector_norm", tower.width, tower.width), OnTokens(blocks=merged, over=merge))
    return joined(f, text, tower.with_projector(*projector))


_PIXTRAL_MODELS: Mapping[str, tuple[str, Mapping[str, int]]] = {
    "mistral3": ("mistral", {}),
    "lighton_ocr": ("qwen3", {"patch_size": 14}),
    "mistral_large4": (
        "mistral_large4_text",
        {
            "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 30, "num_attention_heads": 16,
            "patch_size": 14, "image_size": 1540,
        },
    ),
}  # fmt: skip


def _qwen_text(f: Fields, default: str) -> Architecture:
    """Older configs keep the text model's fields at the top level."""
    if f.has("text_config"):
        return read_text(f, default)
    return TEXT[default](Fields(f.data, default, read=f.read))


def qwen2_vl(f: Fields) -> Architecture:
    """Patches of two frames, full attention within an image, four patches merged to one token."""
    text = _qwen_text(f, "qwen2_vl_text")
    v = f.part("vision_config", "qwen2_vl_vision")
    width = v.dim("embed_dim")
    spec = EncoderSpec(
        width=width,
        depth=v.dim("depth"),
        heads=v.dim("num_heads"),
        hidden=int(width * v.ratio("mlp_ratio", default=4)),
        role=VISION,
    )
    merge = v.integer("spatial_merge_size", default=2) ** 2
    merger = qwen_merger(width, v.integer("hidden_size", default=text_width(text)), merge, 2)
    stack = Stack("vision", spec.layers("vision.layers"), (qwen_patches(v, width, bias=False),), (merger,))
    return joined(f, text, Tower(stack, width, None))


def qwen2_5_vl(f: Fields) -> Architecture:
    """Qwen2-VL with gated MLPs, RMS norms, and windows in all but a few layers."""
    text = _qwen_text(f, "qwen2_5_vl_text")
    v = f.part("vision_config", "qwen2_5_vl_vision")
    return joined(f, text, qwen2_5_tower(v, v.integer("out_hidden_size", default=text_width(text))))


def qwen2_5_tower(v: Fields, out: int, *, kv_heads: int | None = None) -> Tower:
    """The tower of Qwen2.5-VL with its merger to `out` values per token; `kv_heads` if they are fewer."""
    width, depth = v.dim("hidden_size"), v.dim("depth")
    side = v.integer("spatial_merge_size", default=2)
    window = v.integer("window_size", default=112) // side // v.integer("patch_size", default=14) * side
    full = set(v.indices("fullatt_block_indexes") or [])
    spec = EncoderSpec(
        width=width,
        depth=depth,
        heads=v.dim("num_heads"),
        kv_heads=kv_heads,
        hidden=v.dim("intermediate_size"),
        gated=True,
        norm="rms",
        tiles=[None if index in full else window for index in range(depth)],
        role=VISION,
    )
    merger = qwen_merger(width, out, side * side, 1)
    return Tower(
        Stack("vision", spec.layers("vision.layers"), (qwen_patches(v, width, bias=False),), (merger,)), width, None
    )


def qwen3_vl(f: Fields) -> Architecture:
    """Learned positions resampled to the image; besides the merger, one per DeepStack level."""
    kind = "qwen3_vl" if f.model_type == "cosmos3_omni" else f.model_type
    text = read_text(f, f"{kind}_text")
    v = f.part("vision_config", f"{kind}_vision")
    return joined(f, text, qwen3_tower(v, v.integer("out_hidden_size", default=text_width(text))))


def qwen3_tower(v: Fields, out: int) -> Tower:
    """The tower of Qwen3-VL with its mergers to `out` values per token."""
    width = v.dim("hidden_size")
    spec = EncoderSpec(
        width=width, depth=v.dim("depth"), heads=v.dim("num_heads"), hidden=v.dim("intermediate_size"), role=VISION
    )
    merge = v.integer("spatial_merge_size", default=2) ** 2
    levels = v.indices("deepstack_visual_indexes") or []
    mergers = [qwen_merger(width, out, merge, 2)] + [
        qwen_merger(width, out, merge, 2, name=f"deepstack_{index}", after_shuffle=True) for index in range(len(levels))
    ]
    before = (qwen_patches(v, width, bias=True), Constant("embed_positions", v.dim("num_position_embeddings") * width))
    return Tower(Stack("vision", spec.layers("vision.layers"), before, tuple(mergers)), width, None)


def glm4v(f: Fields) -> Architecture:
    """GLM-4.1V, 4.5V, 4.6V and GLMGA: gated MLPs as wide as the decoder, a strided convolution, then a gated merger.

    GLM-OCR and GLM-5.3 have norms of queries and keys, no positions, no first norm, and MLPs of a width of their own.
    """
    family = f.model_type if f.model_type in ("glm4v_moe", "glm_ocr", "glm5_next") else "glm4v"
    text, kind, ocr = read_text(f, f"{family}_text"), f"{family}_vision", family in ("glm_ocr", "glm5_next")
    v = f.part("vision_config", kind)
    width, out = v.dim("hidden_size"), v.integer("out_hidden_size", default=text_width(text))
    side, _ = grid(v)
    spec = EncoderSpec(
        width=width,
        depth=v.dim("depth"),
        heads=v.dim("num_heads"),
        hidden=v.dim("intermediate_size") if ocr else out,
        gated=True,
        qkv_bias=v.flag("attention_bias"),
        o_bias=ocr and v.flag("attention_bias"),
        mlp_bias=ocr and v.flag("attention_bias"),
        norm="rms",
        qk_norm=2 * (width // v.dim("num_heads")) if ocr else 0,
        role=VISION,
    )
    inner = out * v.integer("in_channels", default=3) if ocr else v.dim("intermediate_size")
    if family == "glm5_next":
        inner = v.integer("projection_intermediate_size")
    merge = v.integer("spatial_merge_size", default=2) ** 2
    merger = (
        Linear("downsample", out, merge * width, out, role=VISION),
        Linear("merger_proj", out, out, role=VISION),
        Norm("merger_norm", out, 2 * out),
        Mlp(width=out, hidden=inner, label="merger_", role=VISION),
    )
    positions = () if ocr else (Norm("pre_norm", width, width), Constant("embed_positions", side * side * width))
    before = (qwen_patches(v, width, bias=True), *positions)
    after = (Norm("post_norm", width, width), OnTokens(blocks=merger, over=merge))
    return joined(f, text, Tower(Stack("vision", spec.layers("vision.layers"), before, after), width, None))


def got_ocr2(f: Fields) -> Architecture:
    """GOT-OCR 2 (arXiv 2409.01704): SAM, strided convolutions that leave a sixteenth of the tokens, a linear layer."""
    text = read_text(f, "qwen2")
    v = f.part("vision_config", "got_ocr2_vision")
    sam, width = sam_sizes(v), text_width(text)
    first = Linear("projector_conv1", 2 * sam.out, 9 * sam.out, role=VISION)
    second = Linear("projector_conv2", width, 9 * 2 * sam.out, role=VISION)
    after = (
        *sam.after(),
        OnTokens(blocks=(first,), over=4),
        OnTokens(blocks=(second, Linear("projector", width, width, width, role=VISION)), over=16),
    )
    stack = Stack("vision", sam.layers("vision.sam"), sam.before(), after)
    return joined(f, text, Tower(stack, sam.out, sam.side**2))


def internvl(f: Fields) -> Architecture:
    """InternViT with layer scales; four patches shuffled into one token before a projector of two layers."""
    kind = f"{f.model_type}_vision"
    text = read_text(f, "qwen3" if f.model_type == "qianfan_ocr" else "qwen2")
    v = f.part("vision_config", kind)
    width = v.dim("hidden_size")
    side, patch = grid(v)
    tokens = side * side + 1
    norm = "rms" if v.text("norm_type", default="layer_norm") == "rms_norm" else "layer"
    spec = attrs.evolve(
        vision_encoder(v),
        qkv_bias=v.flag("attention_bias"),
        norm=norm,
        qk_norm=2 * width if v.flag("use_qk_norm") else 0,
        layer_params=2 * width,
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
        *two_layers(shuffle * width, text_width(text), bias=True),
    )
    stack = Stack(
        "vision", spec.layers("vision.layers"), before, (*pooled, OnTokens(blocks=projector, plus=-1, over=shuffle))
    )
    return joined(f, text, Tower(stack, width, tokens, 1))


def idefics3(f: Fields) -> Architecture:
    """Idefics3 and SmolVLM: SigLIP without a pooling head; squares of patches shuffled into one matrix."""
    text = read_text(f, "llama")
    v = f.part("vision_config", f"{f.model_type}_vision")
    stack, tokens, _ = siglip_vision(v.replaced(vision_use_head=False))
    width, scale = v.dim("hidden_size"), f.integer("scale_factor", default=2) ** 2
    projector = OnTokens(blocks=(Linear("projector", text_width(text), scale * width, role=VISION),), over=scale)
    return joined(f, text, Tower(stack, width, tokens).with_projector(projector))


def llama4(f: Fields) -> Architecture:
    """Llama 4: an unfolded patch embedding, pixel shuffle, an adapter of two layers and a projector of one."""
    text = read_text(f, "llama4_text")
    v = f.part("vision_config", "llama4_vision_model")
    width = v.dim("hidden_size")
    side, patch = grid(v)
    tokens = side * side + 1
    spec = vision_encoder(v)
    shuffle = max(1, round(1 / v.ratio("pixel_shuffle_ratio", default=0.5) ** 2))
    inner, out = v.dim("projector_input_dim"), v.dim("projector_output_dim")
    adapter = (
        Linear("adapter_1", inner, v.dim("intermediate_size"), role=VISION),
        Linear("adapter_2", out, out, role=VISION),
        Linear("projector", text_width(text), v.dim("vision_output_dim"), role=VISION),
    )
    before = (
        patch_embedding(width, patch, v.integer("num_channels", default=3), bias=False, extra=1),
        Constant("embed_positions", (tokens + 1) * width),
        Norm("pre_norm", width, 2 * width),
    )
    after = (Norm("post_norm", width, 2 * width), OnTokens(blocks=adapter, plus=-1, over=shuffle))
    return joined(f, text, Tower(Stack("vision", spec.layers("vision.layers"), before, after), width, tokens, 1))


def deepseek_ocr2(f: Fields) -> Architecture:
    """DeepSeek-OCR 2: SAM with strided convolutions, then a Qwen2-like encoder over patches and as many queries."""
    text = read_text(f, "deepseek_ocr2_text")
    v = f.sub("vision_config", model_type="deepseek_ocr2_vision")
    s = v.sub("sam_config", model_type="deepseek_ocr2_sam_vision_model")
    e = v.sub("encoder_config", model_type="deepseek_ocr2_encoder")
    sam = sam_sizes(s, downsample=s.indices("downsample_channels") or (512, 896))
    width, heads = e.dim("hidden_size"), e.dim("num_attention_heads")
    kv_heads = e.integer("num_key_value_heads", default=heads)
    encoder = _qwen2_encoder(e, width, heads, kv_heads)
    # One learned query per compressed patch: 144 at 768 pixels, 256 at 1024.
    queries = Constant("queries", (144 + 256) * width)
    features = OnTokens(blocks=(Linear("projector", text_width(text), width, text_width(text), role=VISION),), over=16)
    second = Layers(
        "vision.encoder", tuple(range(e.dim("num_hidden_layers"))), (OnTokens(blocks=encoder, times=2, over=16),)
    )
    first = sam.layers("vision.sam")
    convs = Layers("vision.neck", (0,), sam.after())
    final = OnTokens(blocks=(Norm("encoder_norm", width, width),), times=2, over=16)
    after: tuple[Block, ...] = (final, queries, features, Constant("view_separator", text_width(text)))
    stack = Stack("vision", (*first, convs, second), sam.before(), after)
    return joined(f, text, Tower(stack, width, sam.side**2))


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
    text = read_text(f, "deepseek_v2", "language_config", "text_config")
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
    p = f.sub("projector_config", model_type="mlp_projector")
    out = p.integer("n_embed", default=text_width(text))
    model = joined(f, text, _sam_and_clip(sam, clip, side, inputs=p.dim("input_dim"), out=out))
    return attrs.evolve(model, unused_params=unused)


def _sam_and_clip(sam: SamSizes, clip: EncoderSpec, side: int, *, inputs: int, out: int) -> Tower:
    """SAM with strided convolutions that leave a sixteenth of the patches, CLIP's layers on these, and one matrix.

    CLIP has positions for an image of `side` patches on a side.
    """
    width = clip.width
    layers = tuple(
        Layers(group.label, group.ids, (OnTokens(blocks=group.blocks, over=16, then=1),))
        for group in clip.layers("vision.clip")
    )
    after = (
        Constant("clip_positions", width + (side * side + 1) * width),
        OnTokens(blocks=(Norm("clip_pre_norm", width, 2 * width),), over=16, then=1),
        OnTokens(blocks=(Linear("projector", out, inputs, out, role=VISION),), over=16),
        Constant("image_newline", 2 * out),
    )
    stack = Stack(
        "vision", (*sam.layers("vision.sam"), Layers("vision.neck", (0,), sam.after()), *layers), sam.before(), after
    )
    return Tower(stack, width, sam.side**2)


def unlimited_ocr(f: Fields) -> Architecture:
    """Unlimited-OCR: the towers of DeepSeek-OCR, each with a config of its own."""
    name, f = text_config(f)
    text = read_text(f, "unlimited_ocr_text", name)
    v = f.part("vision_config", "unlimited_ocr_vision")
    s = v.part("sam_config", "unlimited_ocr_sam_vision_model")
    e = v.part("encoder_config", "unlimited_ocr_vision_encoder")
    sam = sam_sizes(s, downsample=s.indices("downsample_channels") or (512, 1024))
    clip, (side, _) = vision_encoder(e), grid(e)
    inputs = sam.downsample[-1] + clip.width
    return joined(f, text, _sam_and_clip(sam, clip, side, inputs=inputs, out=text_width(text)))


MULTIMODAL: dict[str, Builder] = {
    "llava": Verified(llava),
    "llava_next": Verified(llava),
    "llava_next_video": Verified(llava),
    "llava_onevision": Verified(llava),
    "gemma3": Verified(gemma3),
    "paligemma": Verified(paligemma),
    "mistral3": Verified(mistral3),
    "qwen2_vl": Verified(qwen2_vl),
    "qwen2_5_vl": Verified(qwen2_5_vl),
    "qwen3_vl": Verified(qwen3_vl),
    "qwen3_vl_moe": Verified(qwen3_vl),
    "qwen3_5": Verified(qwen3_vl),
    "qwen3_5_moe": Verified(qwen3_vl),
    "cosmos3_omni": Verified(qwen3_vl),
    "cohere_compass": Verified(qwen3_vl),
    "qwen4_exp": qwen3_vl,
    "lighton_ocr": Verified(mistral3),
    "mistral_large4": Verified(mistral3),
    "glm46v": Verified(glm4v),
    "glmga": Verified(glm4v),
    "glm_ocr": Verified(glm4v),
    "glm5_next": glm4v,
    "glm4v": Verified(glm4v),
    "glm4v_moe": Verified(glm4v),
    "got_ocr2": Verified(got_ocr2),
    "pp_chart2table": Verified(got_ocr2),
    "internvl": Verified(internvl),
    "idefics3": Verified(idefics3),
    "smolvlm": Verified(idefics3),
    "llama4": Verified(llama4),
    "deepseek_ocr2": Verified(deepseek_ocr2),
    "deepseek_vl_v2": deepseek_ocr,
    "unlimited_ocr": Verified(unlimited_ocr),
}
