"""What encoders share, and those of images. An image encoder's step counts patches per image."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from nsys_pipeline.model.architecture import Architecture, Layers, Stack, group_layers
from nsys_pipeline.model.blocks import Attention, Block, Constant, Linear, Mlp, Norm, OnTokens
from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.families.common import Builder, Verified, class_names, label_count, norm_weights
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import ATTENTION, MLP, VISION


@attrs.frozen(kw_only=True)
class EncoderSpec:
    """An encoder stack with one attention and one MLP per layer.

    `down_bias`: the MLP's last matrix has a bias even without `mlp_bias`; `more` are further blocks of each layer.
    `norms_behind`: attention and MLP each have their norm behind them.
    """

    width: int
    depth: int
    heads: int
    hidden: int
    kv_heads: int | None = None
    gated: bool = False
    qkv_bias: bool = True
    k_bias: bool = True
    o_bias: bool = True
    mlp_bias: bool = True
    down_bias: bool = False
    norm: str = "layer"
    norms: int = 2
    norms_behind: bool = False
    qk_norm: int = 0
    layer_params: int = 0
    windows: Sequence[int | None] | None = None
    tiles: Sequence[int | None] | None = None
    chunk: int | None = None
    head_dim: int | None = None
    role: str | None = None
    causal: bool = False
    cached: bool = False
    more: tuple[Block, ...] = ()

    def layers(self, label: str) -> tuple[Layers, ...]:
        """The layers, grouped by kind."""
        return group_layers(label, [self._layer(index) for index in range(self.depth)])

    def _layer(self, index: int) -> tuple[str, tuple[Block, ...]]:
        window = self.windows[index] if self.windows else None
        tile = self.tiles[index] if self.tiles else None
        attention = Attention(
            width=self.width,
            heads=self.heads,
            kv_heads=self.kv_heads or self.heads,
            head_dim=self.head_dim or self.width // self.heads,
            q_bias=self.qkv_bias,
            kv_bias=self.qkv_bias and self.k_bias,
            v_bias=self.qkv_bias,
            o_bias=self.o_bias,
            extra_params=self.qk_norm,
            window=window,
            tile=tile,
            chunk=self.chunk,
            causal=self.causal,
            cached=self.cached,
            role=self.role or ATTENTION,
        )
        mlp = Mlp(width=self.width, hidden=self.hidden, gated=self.gated, bias=self.mlp_bias, role=self.role or MLP)
        weights = norm_weights(self.norm, self.width)
        names = ("attention_norm", "mlp_norm", "post_attention_norm", "post_mlp_norm")
        own = names[2:] if self.norms_behind else names[: self.norms]
        blocks: list[Block] = [Norm(name, self.width, weights) for name in own]
        if self.down_bias:
            blocks.append(Constant("mlp_down_bias", self.width))
        if self.layer_params:
            blocks.append(Constant("layer_scale", self.layer_params))
        label = "window" if window or tile else ""
        return label, (*blocks, attention, *self.more, mlp)


def heads_of(f: Fields, width: int, *names: str) -> int:
    """Attention heads. Raises ModelError where they do not divide the width."""
    heads = f.dim(*(names or ("num_attention_heads",)))
    f.divides("hidden_size", width, "num_attention_heads", heads)
    return heads


def grid(f: Fields, size: str = "image_size", patch: str = "patch_size") -> tuple[int, int]:
    """(patches per side, patch edge) of square images. Raises ModelError where patches do not tile the image."""
    image, edge = _edge(f, size), _edge(f, patch)
    return image // edge, edge


def _edge(f: Fields, name: str) -> int:
    value = f.get(name)
    if isinstance(value, list | tuple):
        if any(item != value[0] for item in value) or not value:
            raise f.wrong(name, f"is {value!r}; only squares are supported")
        return f.checked(name, value[0])
    return f.dim(name) if value is None else f.integer(name)


def patch_embedding(width: int, patch: int, channels: int, *, bias: bool, extra: int, frames: int = 1) -> Block:
    """The strided convolution that turns a patch into a token; the `extra` tokens of the stack are not patches."""
    inputs = channels * patch * patch * frames
    return OnTokens(blocks=(Linear("patch_embed", width, inputs, width if bias else 0, role=VISION),), plus=-extra)


def placed_patches(v: Fields, *, extra: int = 0) -> tuple[Block, ...]:
    """The embedding of the patches of a square image, learned tokens that are no patches, a position for each."""
    side, patch = grid(v)
    width = v.dim("hidden_size")
    return (
        patch_embedding(width, patch, v.integer("num_channels", default=3), bias=True, extra=extra),
        Constant("embed_positions", (side * side + 2 * extra) * width),
    )


def blip_patches(v: Fields) -> tuple[Block, ...]:
    """The embedding of patches, class token and positions of BLIP's ViTs: of three channels, whatever is configured."""
    return placed_patches(v.replaced(num_channels=3), extra=1)


def vision_encoder(v: Fields) -> EncoderSpec:
    """An encoder of patches, of the sizes that a config of a tower states under their usual names."""
    return EncoderSpec(
        width=v.dim("hidden_size"),
        depth=v.dim("num_hidden_layers"),
        heads=v.dim("num_attention_heads"),
        hidden=v.dim("intermediate_size"),
        role=VISION,
    )


def clip_vision(f: Fields, *, head: Sequence[Block] = ()) -> tuple[Stack, int, int]:
    """CLIP's image tower: (stack, tokens of an image, of which class tokens)."""
    width = f.dim("hidden_size")
    side, patch = grid(f)
    spec = EncoderSpec(
        width=width,
        depth=f.dim("num_hidden_layers"),
        heads=heads_of(f, width),
        hidden=f.dim("intermediate_size"),
        role=VISION,
    )
    tokens = side * side + 1
    before = (
        patch_embedding(width, patch, f.integer("num_channels", default=3), bias=False, extra=1),
        Constant("embed_positions", width + tokens * width),
        Norm("pre_norm", width, 2 * width),
    )
    pooled = OnTokens(blocks=(Norm("post_norm", width, 2 * width),), fixed=1)
    stack = Stack("vision", spec.layers("vision.layers"), before, (pooled, *head))
    return stack, tokens, 1


def siglip_vision(f: Fields, *, head: Sequence[Block] = ()) -> tuple[Stack, int, int]:
    """SigLIP's image tower, with its attention pooling where `vision_use_head`."""
    width = f.dim("hidden_size")
    side, _ = grid(f)
    hidden = f.dim("intermediate_size")
    spec = EncoderSpec(
        width=width, depth=f.dim("num_hidden_layers"), heads=heads_of(f, width), hidden=hidden, role=VISION
    )
    after: list[Block] = [Norm("post_norm", width, 2 * width)]
    if f.flag("vision_use_head", default=True):
        after += pooling_head(width, hidden)
    return Stack("vision", spec.layers("vision.layers"), placed_patches(f), (*after, *head)), side * side, 0


def pooling_head(width: int, hidden: int) -> list[Block]:
    """One learned query attends to all patches, then an MLP."""
    single = (
        Linear("pool_q", width, width, width, role=VISION),
        Linear("pool_o", width, width, width, role=VISION),
        Mlp(width=width, hidden=hidden, gated=False, bias=True, label="pool_", role=VISION),
        Norm("pool_norm", width, 2 * width),
        Constant("pool_query", width),
    )
    return [
        Linear("pool_kv", 2 * width, width, 2 * width, role=VISION),
        QueryAttention(width),
        OnTokens(blocks=single, fixed=1),
    ]


@attrs.frozen
class QueryAttention(Block):
    """The products of learned queries with all patches of an image, and with each other if `own`.

    `width`: the values of all heads of a query.
    """

    width: int
    queries: int = 1
    own: bool = False
    name: str = "pool_attention"

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        keys = run.tokens + (self.queries * run.step.batch if self.own else 0)
        attend(emit, self.name, self.width, run.step.batch * self.queries, keys * self.queries)


def attend(emit: Emitter, name: str, width: int, queries: int, pairs: int) -> None:
    """The products of learned queries with what they look at, `pairs` in all; `width`: values of all heads of one."""
    emit.add("attention", name, m=queries, n=pairs // max(1, queries), k=width, flops=4 * pairs * width)


def _vision_only(family: str, built: tuple[Stack, int, int], heads: int) -> Architecture:
    stack, tokens, _ = built
    return Architecture(family=family, encoder=attrs.evolve(stack, name="encoder"), heads=heads, encoder_tokens=tokens)


def clip_vision_model(f: Fields) -> Architecture:
    """CLIP's image tower alone."""
    return _vision_only("clip_vision_model", clip_vision(f), f.dim("num_attention_heads"))


def siglip_vision_model(f: Fields) -> Architecture:
    """SigLIP's image tower alone."""
    return _vision_only("siglip_vision_model", siglip_vision(f), f.dim("num_attention_heads"))


def vit(f: Fields) -> Architecture:
    """ViT: class token, learned positions, pooler unless an image classifier's linear layer takes its place.

    DeiT has one token more, to distil.
    """
    width = f.dim("hidden_size")
    side, _ = grid(f)
    extra = 2 if f.model_type == "deit" else 1
    tokens = side * side + extra
    bias = f.flag("qkv_bias", default=True)
    spec = EncoderSpec(
        width=width,
        depth=f.dim("num_hidden_layers"),
        heads=heads_of(f, width),
        hidden=f.dim("intermediate_size"),
        qkv_bias=bias,
        role=VISION,
    )
    if "ImageClassification" in class_names(f):
        labels = label_count(f)
        head: Block = Linear("classifier", labels, width, labels)
    else:
        pooled = f.integer("pooler_output_size", default=width)
        head = Linear("pooler", pooled, width, pooled)
    after = (Norm("final_norm", width, 2 * width), OnTokens(blocks=(head,), fixed=1))
    stack = Stack("encoder", spec.layers("layers"), placed_patches(f, extra=extra), after)
    return Architecture(
        family=f.model_type, encoder=stack, heads=spec.heads, encoder_tokens=tokens, encoder_grid=(side, side)
    )


def dinov2(f: Fields) -> Architecture:
    """DINOv2: ViT with a scale per channel after each block; maybe with registers, tokens that are no patches."""
    width = f.dim("hidden_size")
    side, patch = grid(f)
    with_registers = f.model_type == "dinov2_with_registers"
    extra = 1 + (f.integer("num_register_tokens", minimum=0) if with_registers else 0)
    tokens = side * side + extra
    swiglu = f.flag("use_swiglu_ffn")
    hidden = int(width * f.ratio("mlp_ratio", default=4))
    if swiglu:
        hidden = (int(hidden * 2 / 3) + 7) // 8 * 8
    spec = EncoderSpec(
        width=width,
        depth=f.dim("num_hidden_layers"),
        heads=heads_of(f, width),
        hidden=hidden,
        gated=swiglu,
        qkv_bias=f.flag("qkv_bias", default=True),
        layer_params=2 * width,
        role=VISION,
    )
    mask = 1 if with_registers or f.flag("use_mask_token", default=True) else 0
    before = (
        patch_embedding(width, patch, f.integer("num_channels", default=3), bias=True, extra=extra),
        Constant("embed_positions", (tokens + 1 + mask) * width),
    )
    stack = Stack("encoder", spec.layers("layers"), before, (Norm("final_norm", width, 2 * width),))
    return Architecture(
        family=f.model_type, encoder=stack, heads=spec.heads, encoder_tokens=tokens, encoder_grid=(side, side)
    )


def dinov3(f: Fields) -> Architecture:
    """DINOv3: rotary positions, registers, no bias on K."""
    width = f.dim("hidden_size")
    side, patch = grid(f)
    extra = 1 + f.integer("num_register_tokens", minimum=0)
    bias = f.flag("query_bias")
    if bias != f.flag("value_bias"):
        raise f.wrong("query_bias", f"is {bias}, but `value_bias` is not, which is not supported")
    spec = EncoderSpec(
        width=width,
        depth=f.dim("num_hidden_layers"),
        heads=heads_of(f, width),
        hidden=f.dim("intermediate_size"),
        gated=f.flag("use_gated_mlp"),
        qkv_bias=bias,
        k_bias=f.flag("key_bias"),
        o_bias=f.flag("proj_bias"),
        mlp_bias=f.flag("mlp_bias"),
        layer_params=2 * width,
        role=VISION,
    )
    # The class token, the registers, and a mask token that no pass reads.
    before = (
        patch_embedding(width, patch, f.integer("num_channels", default=3), bias=True, extra=extra),
        Constant("embed_tokens", extra * width),
    )
    stack = Stack("encoder", spec.layers("layers"), before, (Norm("final_norm", width, 2 * width),))
    return Architecture(
        family="dinov3_vit", encoder=stack, heads=spec.heads, encoder_tokens=side * side + extra, unused_params=width
    )


ENCODERS: dict[str, Builder] = {
    "clip_vision_model": Verified(clip_vision_model),
    "siglip_vision_model": Verified(siglip_vision_model),
    "vit": Verified(vit),
    "deit": Verified(vit),
    "dinov2": Verified(dinov2),
    "dinov2_with_registers": Verified(dinov2),
    "dinov3_vit": Verified(dinov3),
}
