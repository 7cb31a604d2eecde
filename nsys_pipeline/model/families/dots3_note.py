"""dots3.note: a tower whose last layers have ever more experts, before a decoder of latent attention."""

from __future__ import annotations

import attrs

from nsys_pipeline.model.architecture import Architecture, Stack, group_layers
from nsys_pipeline.model.blocks import Block, Moe, Norm
from nsys_pipeline.model.families.common import Builder, Verified, layer_overrides
from nsys_pipeline.model.families.encoders import EncoderSpec, patch_embedding
from nsys_pipeline.model.families.moe import named_kinds
from nsys_pipeline.model.families.towers import Tower, joined, qwen_merger, text_decoder, text_width
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import VISION


def dots3_note(f: Fields) -> Architecture:
    """dots3.note; published configs have the decoder's fields at the top. Its sound has no reading."""
    text = text_decoder(f, "dots3_note_text", flat=not f.has("text_config"))
    v = f.part("vision_config", "dots3_note_vision_encoder")
    model = joined(f, text, dots3_tower(v, v.integer("adapter_out_dim", default=text_width(text))))
    hears = f.get("audio_config", default={}) is not None
    return attrs.evolve(model, uncounted=("audio encoder",) if hears else ())


def dots3_tower(v: Fields, out: int) -> Tower:
    """A ViT with norms of queries and keys whose last layers have ever more experts; squares of patches are merged."""
    old = {"hidden_size": "embed_dim", "num_attention_heads": "num_heads", "attention_bias": "use_bias"}
    v = v.replaced(**{new: v.get(name) for new, name in old.items() if v.has(name)})
    width, depth, heads = v.dim("hidden_size"), v.dim("num_hidden_layers"), v.dim("num_attention_heads")
    bias = v.flag("attention_bias")
    spec = EncoderSpec(
        width=width,
        depth=1,
        heads=heads,
        hidden=v.dim("intermediate_size"),
        gated=True,
        qkv_bias=bias,
        o_bias=bias,
        mlp_bias=v.flag("mlp_bias"),
        norm="rms",
        qk_norm=2 * v.divides("hidden_size", width, "num_attention_heads", heads),
        role=VISION,
    )
    ((*blocks, dense),) = (group.blocks for group in spec.layers("vision.layers"))
    layers: list[tuple[str, tuple[Block, ...]]] = []
    for experts, top_k in _experts(v, depth):
        moe = (
            Moe(width=width, hidden=v.dim("moe_intermediate_size"), experts=experts, top_k=top_k) if experts else dense
        )
        layers.append(("moe" if experts else "dense", (*blocks, moe)))
    patch, channels = v.integer("patch_size", default=14), v.integer("num_channels", default=3)
    before = (patch_embedding(width, patch, channels, bias=True, extra=0), Norm("embed_norm", width, width))
    merge = v.integer("spatial_merge_size", default=2) ** 2
    after = (Norm("post_norm", width, width), qwen_merger(width, out, merge, 2))
    return Tower(Stack(VISION, group_layers("vision.layers", layers), before, after), width, None)


def _experts(v: Fields, depth: int) -> list[tuple[int, int]]:
    """Experts of each layer and how many a patch goes through; none where the MLP is dense."""
    picked = v.integer("num_experts_per_tok" if v.has("num_experts_per_tok") else "capacity_factor", default=2)
    listed = v.items("pyramid_num_routed")
    told = None if listed is None else [v.checked("pyramid_num_routed", count, -1) for count in listed]
    if told is None and not v.has("mlp_layer_types"):
        told = [-1] * 25 + [*range(4, 65, 4), 64]
    if told is not None:
        if len(told) != depth:
            raise v.wrong("pyramid_num_routed", f"lists {len(told)} layers, but there are {depth}")
        return [(max(0, count), min(picked, count)) for count in told]
    kinds = named_kinds(v, "mlp_layer_types", depth, ["dense"] * depth)
    own = layer_overrides(v, depth, "num_local_experts", "num_experts_per_tok") or [v] * depth
    return [
        (one.integer("num_local_experts"), one.integer("num_experts_per_tok", default=picked))
        if kind == "sparse"
        else (0, 0)
        for kind, one in zip(kinds, own, strict=True)
    ]


DOTS3: dict[str, Builder] = {"dots3_note": Verified(dots3_note)}
