"""Models of images and text whose towers merge or mix neighbouring patches in ways of their own."""

from __future__ import annotations

import attrs

from nsys_pipeline.model.architecture import Architecture, Layers, Stack, group_layers
from nsys_pipeline.model.blocks import Attention, Block, Constant, Linear, Mlp, Norm, OnSides, OnTokens
from nsys_pipeline.model.families.common import Builder, Verified, layer_kinds
from nsys_pipeline.model.families.encoders import EncoderSpec, grid, patch_embedding, placed_patches, vision_encoder
from nsys_pipeline.model.families.muse_spark import muse_spark_audio
from nsys_pipeline.model.families.towers import Tower, joined, qwen_patches, read_text, text_width, two_layers
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import VISION


@attrs.frozen(kw_only=True)
class _OnGrid(OnSides):
    """Blocks on a grid of patches whose sides were halved, and rounded up; `row_ends`: tokens more for each row."""

    halvings: int
    row_ends: int = 0

    def of_image(self, _tokens: int, sides: tuple[int, int]) -> int:
        height, width = (-(-side // (1 << self.halvings)) for side in sides)
        return height * (width + self.row_ends)


def step3p7(f: Fields) -> Architecture:
    """Step 3.7: layers with scales, two strided convolutions that leave a sixteenth of the tokens, one matrix."""
    text = read_text(f, "step3p5")
    v = f.part("vision_config", "step3p5_vision")
    # Names of the config as first published come first.
    width, depth, heads = (
        v.dim(old if v.has(old) else new)
        for old, new in (("width", "hidden_size"), ("layers", "num_hidden_layers"), ("heads", "num_attention_heads"))
    )
    hidden, out = int(width * v.ratio("mlp_ratio", default=8960 / 1536)), text_width(text)
    spec = EncoderSpec(width=width, depth=depth, heads=heads, hidden=hidden, layer_params=2 * width, role=VISION)
    side, patch = grid(v)
    before = (
        patch_embedding(width, patch, v.integer("num_channels", default=3), bias=False, extra=0),
        Constant("embed_positions", side * side * width),
        Norm("pre_norm", width, 2 * width),
    )
    first = Linear("merger_conv1", 2 * width, 9 * width, 2 * width, role=VISION)
    second = Linear("merger_conv2", 4 * width, 9 * 2 * width, 4 * width, role=VISION)
    projector = Linear("projector", out, 4 * width, out if f.flag("projector_bias") else 0, role=VISION)
    after = (
        _OnGrid(blocks=(first,), over=4, halvings=1),
        _OnGrid(blocks=(second, projector), over=16, halvings=2),
    )
    return joined(f, text, Tower(Stack("vision", spec.layers("vision.layers"), before, after), width, None))


def _before_merging(v: Fields, width: int) -> tuple[Block, ...]:
    """Patches and their positions, of Hunyuan's towers, which merge squares of two patches a side."""
    patch, merge = v.integer("patch_size"), v.integer("spatial_merge_size", default=2)
    if merge != 2:
        raise v.wrong("spatial_merge_size", f"is {merge}; only 2 is supported")
    positions = (v.integer("max_image_size") // patch) ** 2 + 1
    return (
        patch_embedding(width, patch, v.integer("num_channels", default=3), bias=True, extra=0),
        Constant("embed_positions", positions * width),
    )


def hunyuan_vl(f: Fields) -> Architecture:
    """HunyuanOCR (arXiv 2511.19575): a convolution merges squares of patches; rows end in a token that is projected."""
    text = read_text(f, "hunyuan_vl_text")
    v = f.part("vision_config", "hunyuan_vl_vision")
    spec = vision_encoder(v)
    width, out = spec.width, text_width(text)
    before = _before_merging(v, width)
    merged = (
        Linear("merger_conv", 2 * width, 4 * width, 2 * width, role=VISION),
        Linear("merger_out", 4 * width, 2 * width, 4 * width, role=VISION),
    )
    projector = (Linear("projector", out, 4 * width, out, role=VISION), Norm("projector_norm", out, out))
    after = (
        Norm("post_norm", width, width),
        _OnGrid(blocks=merged, over=4, halvings=1),
        Constant("image_newline", 4 * width + 3 * out),
        _OnGrid(blocks=projector, over=4, halvings=1, row_ends=1),
    )
    return joined(f, text, Tower(Stack("vision", spec.layers("vision.layers"), before, after), width, None))


def hy_v4_vl(f: Fields) -> Architecture:
    """Hunyuan 4 VL: a convolution merges squares of patches, a matrix projects them; rows end in one more token."""
    text = read_text(f, "hy_v4_vl_text")
    v = f.part("vision_config", "hy_v4_vl_vision")
    spec = vision_encoder(v)
    width, out = spec.width, v.integer("out_hidden_size", default=text_width(text))
    before = _before_merging(v, width)
    merged = (
        Linear("merger_conv", 4 * width, 4 * width, 4 * width, role=VISION),
        Linear("projector", out, 4 * width, out, role=VISION),
    )
    after = (
        Norm("post_norm", width, width),
        _OnGrid(blocks=merged, over=4, halvings=1),
        Constant("image_newline", out),
        _OnGrid(blocks=(Norm("projected_rows", 0, 0),), over=4, halvings=1, row_ends=1),
    )
    return joined(f, text, Tower(Stack("vision", spec.layers("vision.layers"), before, after), width, None))


def lfm3_vl(f: Fields) -> Architecture:
    """LFM3-VL: gated layers, most with a convolution over neighbouring patches instead of attention."""
    text = read_text(f, "lfm3")
    v = f.part("vision_config", "lfm3_vl_vision")
    spec = vision_encoder(v)
    width, heads, out = spec.width, spec.heads, text_width(text)
    kernel, head_dim = v.integer("conv_kernel_size", default=3) ** 2, width // heads
    attention = Attention(
        width=width,
        heads=heads,
        kv_heads=v.integer("num_key_value_heads", default=heads),
        head_dim=head_dim,
        extra_params=2 * head_dim,
        causal=False,
        cached=False,
        role=VISION,
    )
    convolution = (
        Linear("conv_in", 3 * width, width, role=VISION),
        # One filter for each value: as many products as a matrix of that shape has.
        Linear("conv", width, kernel, role=VISION),
        Linear("conv_out", width, width, role=VISION),
    )
    rest = (
        Norm("attention_norm", width, width),
        Norm("mlp_norm", width, width),
        Mlp(width=width, hidden=spec.hidden, role=VISION),
    )
    kinds = v.items("layer_types") or ["conv" if i < 2 or i % 2 else "full_attention" for i in range(spec.depth)]
    if len(kinds) != spec.depth or not {str(kind) for kind in kinds} <= {"conv", "full_attention"}:
        raise v.wrong("layer_types", f"does not name `conv` or `full_attention` for each of {spec.depth} layers")
    mixers = {"conv": convolution, "full_attention": (attention,)}
    layers = group_layers("vision.layers", [(kind, (*mixers[kind], *rest)) for kind in kinds])
    merge = v.integer("spatial_merge_size", default=2) ** 2
    hidden, bias = f.integer("projector_hidden_size", default=4096), f.flag("projector_bias", default=True)
    projector = two_layers(merge * width, out, hidden=hidden, bias=bias)
    after = (Norm("projector_norm", width, 2 * width), OnTokens(blocks=projector, over=merge))
    before = (qwen_patches(v, width, bias=False), Norm("embed_norm", width, width))
    return joined(f, text, Tower(Stack("vision", layers, before, after), width, None))


def minicpm_v(f: Fields) -> Architecture:
    """MiniCPM-V 4.6 and 4.7, MiniCPM-OCR: squares of patches are merged after some layers, and again at the end."""
    # The outer class alone says whether the table is tied.
    text = read_text(f.replaced(tie_word_embeddings=f.flag("tie_word_embeddings")), "qwen3_5_text")
    kind = f"{f.model_type}_vision"
    v = f.part("vision_config", kind)
    spec = vision_encoder(v)
    width, out = spec.width, text_width(text)
    if f.integer("merger_times", default=1) != 1:
        raise f.wrong("merger_times", "is more than 1, which is not supported")
    kernels = (f.get("merge_kernel_size", default=[2, 2]), v.get("window_kernel_size", default=[2, 2]))
    if any(not isinstance(kernel, list | tuple) or list(kernel) != [2, 2] for kernel in kernels):
        raise f.wrong("merge_kernel_size", "or `window_kernel_size` is no square of two patches")
    merges = f.text("downsample_mode", default="16x") != "4x"
    last = f.integer("insert_layer_id", default=6, minimum=0)
    (layers,) = spec.layers("vision.layers")
    inserted = (
        Norm("merger_norm", width, 2 * width),
        Attention(
            width=width, heads=spec.heads, kv_heads=spec.heads, head_dim=width // spec.heads, q_bias=True, kv_bias=True,
            o_bias=True, causal=False, cached=False, tile=2, role=VISION,
        ),
        OnTokens(
            blocks=(
                Norm("merger_square_norm", 4 * width, 8 * width),
                Linear("merger_1", 4 * spec.hidden, 4 * width, 4 * spec.hidden, role=VISION),
                Linear("merger_2", width, 4 * spec.hidden, width, role=VISION),
            ),
            over=4,
        ),
    )  # fmt: skip
    groups: tuple[Layers, ...] = (layers,)
    over, unused = 1, sum(block.params for block in inserted)
    if merges and last < spec.depth:
        over, unused = 4, 0
        rest = attrs.evolve(layers, ids=layers.ids[last + 1 :], blocks=(OnTokens(blocks=layers.blocks, over=4),))
        merger = Layers("vision.merger", (0,), inserted)
        groups = (attrs.evolve(layers, ids=layers.ids[: last + 1]), merger, *((rest,) if rest.ids else ()))
    projector = (
        Norm("projector_norm", 4 * width, 8 * width),
        *two_layers(4 * width, out, hidden=4 * width, bias=True),
    )
    after: tuple[Block, ...] = (
        OnTokens(blocks=(Norm("post_norm", width, 2 * width),), over=over),
        OnTokens(blocks=projector, over=4 * over),
    )
    model = joined(f, text, Tower(Stack("vision", groups, placed_patches(v), after), width, None))
    return attrs.evolve(model, unused_params=text.unused_params + unused)


def muse_glimmer(f: Fields) -> Architecture:
    """Muse Glimmer: windows in most layers, squares of patches shuffled into one before an adapter and a projection."""
    text = read_text(f, f"{f.model_type}_text")
    v = f.part("vision_config", f"{f.model_type}_vision")
    spec = vision_encoder(v)
    width, depth = spec.width, spec.depth
    v.divides("hidden_size", width, "num_attention_heads", spec.heads)
    last = depth - 1
    kinds = layer_kinds(
        v,
        depth,
        lambda i: "full_attention" if (i + 1) % 4 == 0 or i == last else "window_attention",
        ("full_attention", "window_attention"),
    )
    rows, columns = v.integer("pos_emb_height", default=32), v.integer("pos_emb_width", default=32)
    spec = attrs.evolve(spec, tiles=[rows if kind == "window_attention" else None for kind in kinds])
    merge, hidden = v.integer("merge_size", default=2) ** 2, f.integer("projector_hidden_size")
    frames = v.integer("patch_temporal", default=2)
    before = (
        patch_embedding(width, v.integer("patch_size", default=14), 3, bias=False, extra=0, frames=frames),
        Constant("embed_positions", rows * columns * width),
        Norm("pre_norm", width, 2 * width),
    )
    projector = (
        Linear("adapter_1", hidden, f.integer("out_hidden_size", default=merge * width), role=VISION),
        Linear("adapter_2", hidden, hidden, role=VISION),
        Linear("projector", text_width(text), hidden, role=VISION),
        Norm("projector_norm", text_width(text), 0),
    )
    after = (Norm("post_norm", width, 2 * width), OnTokens(blocks=projector, over=merge))
    return joined(f, text, Tower(Stack("vision", spec.layers("vision.layers"), before, after), width, None))


def muse_spark(f: Fields) -> Architecture:
    """Muse Spark: the tower of Muse Glimmer before another decoder, which hears, too."""
    model = muse_glimmer(f)
    if f.get("audio_config", default={}) is None:
        return model
    return attrs.evolve(model, audio=muse_spark_audio(f.part("audio_config", "muse_spark_audio")))


def inkling2(f: Fields) -> Architecture:
    """Inkling 2: layers with scales over patches and a token that is none; squares of patches through two matrices."""
    text = read_text(f, f"{f.model_type}_text")
    v = f.part("vision_config", "inkling2_vision")
    if not v.has("intermediate_size"):
        v = v.replaced(intermediate_size=int(v.integer("hidden_size") * v.ratio("mlp_ratio", default=4)))
    spec = vision_encoder(v)
    width, out = spec.width, text_width(text)
    merge = v.integer("spatial_merge_size", default=2) ** 2
    patch, channels = v.integer("patch_size"), v.integer("num_channels", default=3)
    before = (
        patch_embedding(width, patch, channels, bias=False, extra=1),
        Constant("embed_positions", (v.integer("posemb_grid_size") ** 2 + 2) * width),
        Norm("pre_norm", width, 2 * width),
    )
    projector = two_layers(merge * width, out, hidden=v.integer("projection_hidden_dim"), bias=v.flag("projector_bias"))
    layers = attrs.evolve(spec, layer_params=2 * width).layers("vision.layers")
    stack = Stack("vision", layers, before, (OnTokens(blocks=projector, plus=-1, over=merge),))
    return joined(f, text, Tower(stack, width, None, 1))


MERGING: dict[str, Builder] = {
    "step3p7": Verified(step3p7),
    "hunyuan_vl": Verified(hunyuan_vl),
    "hy_v4_vl": Verified(hy_v4_vl),
    "inkling2": inkling2,
    "inkling2_loop": inkling2,
    "lfm3_vl": lfm3_vl,
    "muse_glimmer": Verified(muse_glimmer),
    "muse_spark": Verified(muse_spark),
    "minicpmv4_6": minicpm_v,
    "minicpmv4_7": minicpm_v,
    "minicpm_ocr": minicpm_v,
}
