"""Further models of images and text, most of them a tower of other families behind a projector of their own."""

from __future__ import annotations

from math import isqrt

import attrs

from nsys_pipeline.model.architecture import Architecture, Layers, Stack
from nsys_pipeline.model.blocks import Block, Constant, Linear, Norm, OnTokens
from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.families import mobilenet_v5
from nsys_pipeline.model.families.audio_text import qwen_omni_audio
from nsys_pipeline.model.families.common import Builder, Verified
from nsys_pipeline.model.families.conformers import gemma3n_audio, gemma4_audio, gemma4_unified_audio
from nsys_pipeline.model.families.encoders import (
    EncoderSpec,
    grid,
    patch_embedding,
    placed_patches,
    pooling_head,
    vision_encoder,
)
from nsys_pipeline.model.families.multimodal import gemma3, internvl, llava_projector, qwen2_5_tower, qwen3_tower
from nsys_pipeline.model.families.sam import sam_sizes
from nsys_pipeline.model.families.towers import (
    Tower,
    joined,
    qwen_patches,
    read_text,
    read_tower,
    text_decoder,
    text_width,
    two_layers,
)
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import VISION


def _merge(f: Fields, name: str = "spatial_merge_size") -> int:
    """Patches that are merged to one token, of the sides of their square or rectangle."""
    sides = f.get(name, default=2)
    if isinstance(sides, list | tuple) and len(sides) == 2:
        return f.checked(name, sides[0]) * f.checked(name, sides[1])
    return f.integer(name, default=2) ** 2


def vipllava(f: Fields) -> Architecture:
    """VipLlava (arXiv 2312.00784): CLIP's patches from several layers side by side, a norm, two linear layers."""
    text, tower = read_text(f, "llama"), read_tower(f, "clip_vision_model")
    layers = f.get("vision_feature_layers", "vision_feature_layer", default=(-2, -5, -8, -11, 6))
    inputs, width = tower.width * (len(layers) if isinstance(layers, list | tuple) else 1), text_width(text)
    projector = (Norm("projector_norm", inputs, 2 * inputs), *two_layers(inputs, width, bias=True))
    return joined(f, text, tower.with_projector(OnTokens(blocks=projector, plus=-tower.extra)))


def video_llava(f: Fields) -> Architecture:
    """Video-LLaVA (arXiv 2311.10122): towers alike for images and videos; only images are counted."""
    text, tower = read_text(f, "llama"), read_tower(f, "clip_vision_model")
    model = joined(f, text, tower.with_projector(llava_projector(f, text, tower)))
    return attrs.evolve(model, unused_params=text.unused_params + tower.stack.params)


def cohere_vision(f: Fields) -> Architecture:
    """Aya Vision and Command A Vision: SigLIP, squares of patches shuffled into one, two layers with a gate."""
    text, tower = read_text(f, "cohere2"), read_tower(f, "siglip_vision_model")
    width, over = text_width(text), f.integer("downsample_factor", default=2) ** 2
    hidden, inputs = f.integer("alignment_intermediate_size", default=width), over * tower.width
    norm = (Norm("projector_norm", inputs, 2 * inputs),) if f.model_type == "aya_vision" else ()
    projector: tuple[Block, ...] = (
        *norm,
        Linear("projector_1", hidden, inputs, hidden, role=VISION),
        Linear("projector_2", width, hidden // 2, width, role=VISION),
    )
    return joined(f, text, tower.with_projector(OnTokens(blocks=projector, over=over)))


def deepseek_vl(f: Fields) -> Architecture:
    """DeepSeek-VL (arXiv 2403.05525) with one tower: SigLIP and two linear layers."""
    text, tower = read_text(f, "llama"), read_tower(f, "siglip_vision_model")
    return joined(f, text, tower.with_projector(*two_layers(tower.width, text_width(text), bias=True)))


def deepseek_vl_hybrid(f: Fields) -> Architecture:
    """DeepSeek-VL with two towers: SAM on a large view, SigLIP on a small one.

    Patches are SAM's. What its last and its first global layer give is scaled to four times SigLIP's sides, then halved
    twice by convolutions.
    """
    text, small = read_text(f, "llama"), read_tower(f, "siglip_vision_model")
    sam = sam_sizes(f.sub("high_res_vision_config", model_type="sam_vision_model"))
    assert small.tokens is not None  # noqa: S101 - SigLIP's images are of one size
    tokens, width = small.tokens, text_width(text)
    first = Linear("projector_conv1", 2 * sam.out, 9 * sam.out, role=VISION)
    second = Linear("projector_conv2", 4 * sam.out, 9 * 2 * sam.out, role=VISION)
    # The two outputs go through the same convolutions: twice the tokens, the weights once.
    convolutions = (OnTokens(blocks=(first,), fixed=2 * 4 * tokens), OnTokens(blocks=(second,), fixed=2 * tokens))
    projector = (
        Linear("projector_small", width // 2, small.width, width // 2, role=VISION),
        Linear("projector_large", width // 2, 4 * sam.out, width // 2, role=VISION),
        Linear("projector", width, width, width, role=VISION),
    )
    necks = Layers("vision.neck", (0, 1), sam.after())
    before = Layers("vision.small", (0,), (OnTokens(blocks=small.stack.before, fixed=tokens),))
    layers = tuple(
        attrs.evolve(group, blocks=(OnTokens(blocks=group.blocks, fixed=tokens),)) for group in small.stack.layers
    )
    after = (
        OnTokens(blocks=small.stack.after, fixed=tokens),
        *convolutions,
        Constant("projector_alpha", 1),
        OnTokens(blocks=projector, fixed=tokens),
    )
    stack = Stack("vision", (*sam.layers("vision.sam"), necks, before, *layers), sam.before(), after)
    return joined(f, text, Tower(stack, width, sam.side**2))


def kimi(f: Fields) -> Architecture:
    """Kimi-VL and Kimi K2.5: MoonViT (arXiv 2504.07491), rectangles of patches merged before two linear layers.

    Configs of K2.5 as first published call the tower's sizes `vt_…`.
    """
    text = read_text(f, "deepseek_v3")
    v = f.part("vision_config", "kimi_k25_vision")
    width = v.dim("vt_hidden_size" if v.has("vt_hidden_size") else "hidden_size")
    names = {name: f"vt_{name}" if v.has(f"vt_{name}") else name for name in _MOONVIT}
    spec = EncoderSpec(
        width=width,
        depth=v.dim(names["num_hidden_layers"]),
        heads=v.dim(names["num_attention_heads"]),
        hidden=v.dim(names["intermediate_size"]),
        role=VISION,
    )
    rows, columns = (
        v.integer(f"init_{name}" if v.has(f"init_{name}") else name, default=64)
        for name in ("pos_emb_height", "pos_emb_width")
    )
    merge = _merge(v, "merge_kernel_size")
    projector = two_layers(merge * width, text_width(text), hidden=merge * width, bias=True)
    before = (
        patch_embedding(width, v.integer("patch_size", default=14), 3, bias=True, extra=0),
        Constant("embed_positions", rows * columns * width),
    )
    after = (
        Norm("post_norm", width, 2 * width),
        Norm("projector_norm", width, 2 * width),
        OnTokens(blocks=projector, over=merge),
    )
    return joined(f, text, Tower(Stack("vision", spec.layers("vision.layers"), before, after), width, None))


_MOONVIT = ("num_hidden_layers", "num_attention_heads", "intermediate_size")


def minimax_m3_vl(f: Fields) -> Architecture:
    """MiniMax-M3: patches of two frames, CLIP's layers, two linear layers on a patch and two on each square."""
    text = read_text(f, "minimax_m3_vl_text")
    v = f.part("vision_config", "minimax_m3_vl_vision")
    spec, out = vision_encoder(v), text_width(text)
    hidden, merge = f.integer("projector_hidden_size", default=out), _merge(v)
    merged = (
        Linear("projector_3", hidden, merge * out, hidden, role=VISION),
        Linear("projector_4", out, hidden, out, role=VISION),
    )
    after = (
        *two_layers(spec.width, out, hidden=hidden, bias=True),
        OnTokens(blocks=merged, over=merge),
    )
    before = (qwen_patches(v, spec.width, bias=False), Norm("pre_norm", spec.width, 2 * spec.width))
    return joined(f, text, Tower(Stack("vision", spec.layers("vision.layers"), before, after), spec.width, None))


def exaone4_5(f: Fields) -> Architecture:
    """EXAONE 4.5: the tower of Qwen2.5-VL with fewer heads of keys and values."""
    text = read_text(f, "exaone4")
    v = f.part("vision_config", "exaone4_5_vision")
    out = v.integer("out_hidden_size", default=text_width(text))
    return joined(f, text, qwen2_5_tower(v, out, kv_heads=v.integer("num_key_value_heads", default=8)))


def hyperclovax_vision(f: Fields) -> Architecture:
    """HyperCLOVA X SEED Vision: the tower of Qwen2.5-VL, and one linear layer after its merger."""
    text = read_text(f, "hyperclovax")
    v = f.part("vision_config", "qwen2_5_vl_vision")
    width = text_width(text)
    inner = v.integer("out_hidden_size", default=width)
    projector = OnTokens(blocks=(Linear("projector", width, inner, width, role=VISION),), over=_merge(v))
    return joined(f, text, qwen2_5_tower(v, inner).with_projector(projector))


@attrs.frozen
class _ResampledPositions(Block):
    """A square table of positions, scaled to each image: transformers runs that as a product, no model requires it."""

    side: int
    unused: int
    width: int

    @property
    def params(self) -> int:
        return (self.side**2 + self.unused) * self.width

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        table = self.side**2
        emit.add(
            "constant",
            "embed_positions",
            m=run.tokens,
            n=self.width,
            k=table,
            executed=2 * run.tokens * table * self.width,
            weight=emit.plain_bytes(table * self.width) if run.tokens else 0,
        )


def _navit(v: Fields, *positions: Block) -> Tower:
    """SigLIP's layers over patches of images of any size."""
    spec = vision_encoder(v)
    patch, channels = v.integer("patch_size", default=16), v.integer("num_channels", default=3)
    before = (patch_embedding(spec.width, patch, channels, bias=True, extra=0), *positions)
    after = (Norm("post_norm", spec.width, 2 * spec.width),)
    return Tower(Stack("vision", spec.layers("vision.layers"), before, after), spec.width, None)


def video_llama_3(f: Fields) -> Architecture:
    """VideoLLaMA 3 (arXiv 2501.13106): SigLIP on any size, two linear layers on each patch; images are not merged."""
    text = read_text(f, "qwen2")
    v = f.part("vision_config", "video_llama_3_vision")
    tower = _navit(v)
    return joined(f, text, tower.with_projector(*two_layers(tower.width, text_width(text), bias=True)))


def paddleocr_vl(f: Fields) -> Architecture:
    """PaddleOCR-VL (arXiv 2510.14528): SigLIP on any size, squares of patches merged before two linear layers."""
    text = read_text(f, "paddleocr_vl_text")
    v = f.part("vision_config", "paddleocr_vl_vision")
    side, _ = grid(v)
    tower = _navit(v, Constant("embed_positions", side * side * v.dim("hidden_size")))
    merge, width = _merge(v), text_width(text)
    inner = merge * tower.width
    projector = two_layers(inner, width, hidden=inner, bias=True)
    norm = Norm("projector_norm", tower.width, 2 * tower.width)
    return joined(f, text, tower.with_projector(norm, OnTokens(blocks=projector, over=merge)))


def lfm2_vl(f: Fields) -> Architecture:
    """LFM2-VL: SigLIP 2 on any size, squares of patches shuffled into one before two linear layers."""
    text = read_text(f, "lfm2")
    v = f.part("vision_config", "siglip2_vision_model")
    table = v.integer("num_patches", default=256)
    tower = _navit(v, _ResampledPositions(isqrt(table), table - isqrt(table) ** 2, v.dim("hidden_size")))
    if v.flag("vision_use_head", default=True):
        tower = tower.with_projector(*pooling_head(tower.width, v.dim("intermediate_size")))
    over, width = f.integer("downsample_factor", default=2) ** 2, text_width(text)
    inputs, hidden = over * tower.width, f.integer("projector_hidden_size", default=2560)
    projector = two_layers(inputs, width, hidden=hidden, bias=f.flag("projector_bias", default=True))
    if f.flag("projector_use_layernorm", default=True):
        projector = (Norm("projector_norm", inputs, 2 * inputs), *projector)
    return joined(f, text, tower.with_projector(OnTokens(blocks=projector, over=over)))


def cosmos3_edge(f: Fields) -> Architecture:
    """Cosmos 3 Edge: SigLIP 2 on any size, squares of patches merged before two linear layers."""
    text = read_text(f, "cosmos3_edge_text")
    v = f.part("vision_config", "cosmos3_edge_vision")
    tower = _navit(v, Constant("embed_positions", v.integer("num_patches", default=256) * v.dim("hidden_size")))
    inputs = _merge(v) * tower.width
    projector = two_layers(inputs, text_width(text), hidden=f.integer("projector_hidden_size"), bias=True)
    norm = Norm("projector_norm", tower.width, 2 * tower.width)
    return joined(f, text, tower.with_projector(norm, OnTokens(blocks=projector, over=_merge(v))))


def ovis2(f: Fields) -> Architecture:
    """Ovis 2 (arXiv 2405.20797): squares of patches become weights of visual words, whose table is one more product."""
    text = read_text(f, "qwen2")
    v = f.part("vision_config", "ovis2_vision_model")
    width, out = v.dim("hidden_size"), text_width(text)
    side, _ = grid(v)
    bias = v.flag("qkv_bias")
    spec = attrs.evolve(
        vision_encoder(v), gated=True, qkv_bias=bias, o_bias=bias, mlp_bias=v.flag("mlp_bias"), norm="rms"
    )
    words, stride = v.integer("vocab_size", default=16384), v.integer("hidden_stride", default=1)
    real = words - v.integer("num_visual_indicator_tokens", default=5)
    # Sides that the stride does not divide are padded.
    tokens = (-(-side // stride)) ** 2
    projector = (
        Linear("projector_words", real, stride * stride * width, role=VISION),
        Norm("projector_norm", real, 2 * real),
        Linear("projector_table", out, words, role=VISION),
    )
    before = (*placed_patches(v), Norm("pre_norm", width, width))
    after = (Norm("post_norm", width, width), OnTokens(blocks=projector, fixed=tokens))
    return joined(f, text, Tower(Stack("vision", spec.layers("vision.layers"), before, after), width, side * side))


def ernie4_5_vl(f: Fields) -> Architecture:
    """ERNIE 4.5 VL: the decoder has experts for tokens of images; squares of patches go through three small networks.

    Checkpoints with code of their own have the decoder's fields at the top, and call the tower's MLP by its ratio.
    """
    text = text_decoder(f, "ernie4_5_vl_moe_text", flat=f.model_type == "ernie4_5_moe_vl")
    v = f.part("vision_config", "ernie4_5_vl_moe_vision")
    if "mlp_ratio" in v.data and "intermediate_size" not in v.data:
        v = v.replaced(intermediate_size=int(v.dim("hidden_size") * v.ratio("mlp_ratio")))
    width, out, merge = v.dim("hidden_size"), text_width(text), _merge(v)
    inner = merge * width
    # The network for videos sees an image twice.
    twice = inner * v.integer("temporal_merge_size", default=2)
    resampler = (
        Linear("projector_1", inner, inner, inner, role=VISION),
        Linear("projector_2", inner, inner, inner, role=VISION),
        Norm("projector_norm", inner, 2 * inner),
        Linear("projector_time_1", inner, twice, inner, role=VISION),
        Linear("projector_time_2", inner, inner, inner, role=VISION),
        Norm("projector_time_norm", inner, 2 * inner),
        Linear("projector", out, inner, out, role=VISION),
        Norm("projector_last_norm", out, out),
    )
    channels, patch = v.integer("in_channels", default=3), v.integer("patch_size", default=14)
    before = (patch_embedding(width, patch, channels, bias=False, extra=0),)
    after = (Norm("post_norm", width, 2 * width), OnTokens(blocks=resampler, over=merge))
    stack = Stack("vision", vision_encoder(v).layers("vision.layers"), before, after)
    return attrs.evolve(joined(f, text, Tower(stack, width, None)), has_experts_for_images=True)


def fuyu(f: Fields) -> Architecture:
    """Fuyu: no tower, one linear layer from the pixels of a patch to the decoder's width."""
    text = read_text(f, "persimmon")
    width, patch = text_width(text), f.integer("patch_size", default=30)
    embed = patch_embedding(width, patch, f.integer("num_channels", default=3), bias=True, extra=0)
    return joined(f, text, Tower(Stack("vision", (), (embed,)), width, None))


def janus(f: Fields) -> Architecture:
    """Janus (arXiv 2410.13848): SigLIP and linear layers; what draws images is not described."""
    text = read_text(f, "llama")
    v = f.part("vision_config", "janus_vision_model")
    width, out = v.dim("hidden_size"), v.integer("projection_dim", default=text_width(text))
    side, _ = grid(v)
    spec = EncoderSpec(
        width=width,
        depth=v.dim("num_hidden_layers"),
        heads=v.dim("num_attention_heads"),
        hidden=int(width * v.ratio("mlp_ratio", default=4)),
        qkv_bias=v.flag("attention_bias", default=True),
        qk_norm=4 * width if v.flag("use_qk_norm") else 0,
        role=VISION,
    )
    further = v.integer("depth", default=2) - 1
    projector = (
        Linear("projector_1", out, width, out, role=VISION),
        *(Linear(f"projector_{number + 2}", out, out, out, role=VISION) for number in range(further)),
    )
    after = (Norm("post_norm", width, 2 * width), *projector)
    stack = Stack("vision", spec.layers("vision.layers"), placed_patches(v), after)
    return attrs.evolve(joined(f, text, Tower(stack, width, side * side)), uncounted=("image generator",))


@attrs.frozen
class _Pooled(Block):
    """Means over squares of patches: transformers runs them as a product with a matrix, no model requires it."""

    width: int
    over: int

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        pairs = sum(tokens // self.over * tokens for tokens in run.step.q_tokens) if self.over > 1 else 0
        emit.add(
            "constant", "pooled", m=run.tokens // self.over, n=self.width, k=self.over, executed=2 * pairs * self.width
        )


def gemma4(f: Fields) -> Architecture:
    """Gemma 4: gated layers with rotary positions on images of any size, means of squares of patches, one matrix."""
    text = read_text(f, "gemma4_text")
    v = f.part("vision_config", "gemma4_vision")
    spec, head_dim = vision_encoder(v), v.integer("head_dim", default=64)
    spec = attrs.evolve(
        spec,
        kv_heads=v.integer("num_key_value_heads", default=spec.heads),
        head_dim=head_dim,
        gated=True,
        qkv_bias=False,
        o_bias=False,
        mlp_bias=False,
        norm="rms",
        norms=4,
        qk_norm=2 * head_dim,
    )
    over = v.integer("pooling_kernel_size", default=3) ** 2
    before = (
        patch_embedding(spec.width, v.integer("patch_size", default=16), 3, bias=False, extra=0),
        Constant("embed_positions", 2 * v.integer("position_embedding_size", default=10240) * spec.width),
    )
    projector = Linear("projector", text_width(text), spec.width, role=VISION)
    after = (_Pooled(spec.width, over), OnTokens(blocks=(Norm("projector_norm", spec.width, 0), projector), over=over))
    tower = Tower(Stack("vision", spec.layers("vision.layers"), before, after), spec.width, None)
    audio = gemma4_audio(f.part("audio_config", "gemma4_audio"), text_width(text)) if f.has("audio_config") else None
    return attrs.evolve(joined(f, text, tower), audio=audio)


def gemma3n(f: Fields) -> Architecture:
    """Gemma 3n: MobileNet-V5 and a Conformer, each with a matrix behind it, and a table of its own for placeholders."""
    text, v = read_text(f, "gemma3n_text"), f.part("vision_config", "gemma3n_vision")
    name, out = v.text("architecture", default=mobilenet_v5.NAME), text_width(text)
    if name != mobilenet_v5.NAME:
        why = f"its config names the tower `{name}` of the package timm, not its sizes"
        return attrs.evolve(text, family=f.model_type, text_only=True, why=why)

    def embedder(part: Fields, width: int) -> tuple[tuple[Block, ...], int]:
        """What turns its tokens into the decoder's, and the parameters that only placeholders run through."""
        projector = Linear("projector", out, width, role=VISION)
        return (Norm("projector_norm", width, width), projector), (part.integer("vocab_size") + 1) * width

    width = v.integer("hidden_size")
    if width != mobilenet_v5.WIDTH:
        raise v.wrong("hidden_size", f"is {width}, but `{name}` has {mobilenet_v5.WIDTH}")
    stack, (projector, unused) = mobilenet_v5.mobilenet_v5(), embedder(v, width)
    tokens = mobilenet_v5.SIDE**2
    projected = OnTokens(blocks=projector, over=tokens // mobilenet_v5.OUT_SIDE**2)
    model = joined(f, text, Tower(stack, width, tokens).with_projector(projected))
    audio = None
    if f.get("audio_config", default={}) is not None:
        a = f.part("audio_config", "gemma3n_audio")
        heard, more = embedder(a, a.integer("hidden_size"))
        audio, unused = gemma3n_audio(a, heard, f.integer("audio_soft_tokens_per_image", default=188)), unused + more
    return attrs.evolve(model, audio=audio, unused_params=model.unused_params + unused)


def gemma4_unified(f: Fields) -> Architecture:
    """Gemma 4 without a tower: patches of several squares, as the processor makes them, through two matrices."""
    if not f.has("vision_config"):
        # transformers' class makes up a decoder of text, and no other part.
        f = f.replaced(vision_config=None)
    text = read_text(f, "gemma4_unified_text")
    v = f.part("vision_config", "gemma4_unified_vision")
    edge = v.integer("patch_size", default=16) * v.integer("pooling_kernel_size", default=3)
    width, inputs = v.integer("mm_embed_dim"), 3 * edge * edge
    if v.integer("output_proj_dims", default=width) != width:
        raise v.wrong("output_proj_dims", f"is not `mm_embed_dim` = {width}, which the projection gets")
    before = (
        Norm("patch_norm", inputs, 2 * inputs),
        patch_embedding(width, edge, 3, bias=True, extra=0),
        Norm("embed_norm", width, 2 * width),
        Constant("embed_positions", 2 * v.integer("mm_posemb_size") * width),
        Norm("positions_norm", width, 2 * width),
    )
    projector = (Norm("projector_norm", width, 0), Linear("projector", text_width(text), width, role=VISION))
    tower = Tower(Stack("vision", (), before, projector), width, None)
    audio = None
    if f.has("audio_config"):
        audio = gemma4_unified_audio(f.part("audio_config", "gemma4_unified_audio"), text_width(text))
    return attrs.evolve(joined(f, text, tower), audio=audio)


def qwen_omni(f: Fields) -> Architecture:
    """The thinkers of Qwen2.5-Omni and Qwen3-Omni: text, images and sound; what speaks is not described."""
    if not f.model_type.endswith("_thinker"):
        if not f.has("thinker_config"):
            raise f.missing("thinker_config")
        thinker = qwen_omni(f.sub("thinker_config", model_type=f"{f.model_type}_thinker"))
        return attrs.evolve(thinker, family=f.model_type, uncounted=("talker", "speech decoder"))
    family = f.model_type.removesuffix("_thinker")
    text = read_text(f, f"{family}_text")
    v = f.part("vision_config", f"{family}_vision_encoder")
    out = v.integer("out_hidden_size", default=text_width(text))
    tower = qwen2_5_tower(v, out) if family == "qwen2_5_omni" else qwen3_tower(v, out)
    return attrs.evolve(joined(f, text, tower), audio=qwen_omni_audio(f, family))


IMAGE_TEXT: dict[str, Builder] = {
    "ernie4_5_vl_moe": Verified(ernie4_5_vl),
    "ernie4_5_moe_vl": ernie4_5_vl,
    "vipllava": Verified(vipllava),
    "video_llava": Verified(video_llava),
    "aya_vision": Verified(cohere_vision),
    "cohere2_vision": Verified(cohere_vision),
    "deepseek_vl": Verified(deepseek_vl),
    "deepseek_vl_hybrid": Verified(deepseek_vl_hybrid),
    "kimi_k25": Verified(kimi),
    "kimi_vl": kimi,
    "minimax_m3_vl": Verified(minimax_m3_vl),
    "exaone4_5": Verified(exaone4_5),
    "hyperclovax_vision_v2": Verified(hyperclovax_vision),
    "video_llama_3": Verified(video_llama_3),
    "paddleocr_vl": Verified(paddleocr_vl),
    "lfm2_vl": Verified(lfm2_vl),
    "cosmos3_edge": Verified(cosmos3_edge),
    "ovis2": Verified(ovis2),
    "fuyu": Verified(fuyu),
    "shieldgemma2": Verified(gemma3),
    "qianfan_ocr": Verified(internvl),
    "janus": Verified(janus),
    "gemma3n": gemma3n,
    "gemma4": gemma4,
    "gemma4_unified": gemma4_unified,
    "qwen2_5_omni": Verified(qwen_omni),
    "qwen2_5_omni_thinker": Verified(qwen_omni),
    "qwen3_omni_moe": Verified(qwen_omni),
    "qwen3_omni_moe_thinker": Verified(qwen_omni),
}
