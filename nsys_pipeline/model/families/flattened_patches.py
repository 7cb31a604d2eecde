"""Pix2Struct and KOSMOS-2.5: a ViT on as many patches of a picture as a row of fixed length holds."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from nsys_pipeline.model.architecture import Architecture, Layers, Stack
from nsys_pipeline.model.blocks import (
    Attention,
    Block,
    Constant,
    CrossAttention,
    Embedding,
    Head,
    Linear,
    Mlp,
    Norm,
    OnTokens,
    Padded,
)
from nsys_pipeline.model.families.common import Builder, Verified
from nsys_pipeline.model.families.encoders import QueryAttention
from nsys_pipeline.model.families.towers import Tower, joined
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import VISION

#: Patches that the processors of the published checkpoints fill a row up to (transformers,
#: image_processing_pix2struct.py and image_processing_kosmos2_5.py).
PIX2STRUCT_PATCHES, KOSMOS_PATCHES = 2048, 4096


@attrs.frozen(kw_only=True)
class _InRow(Padded):
    """Blocks that the implementation runs on a row of `most` patches, however few an image has."""

    most: int

    def _ran(self, lengths: Sequence[int]) -> Sequence[int]:
        return [max(tokens, self.most) for tokens in lengths]


def _tower(v: Fields, most: int, *, hidden: str, head_dim: str, rows: str, after: tuple[Block, ...] = ()) -> Tower:
    """The ViT, whose patches have learned rows and columns; `after` it runs on the whole row, too."""
    width, heads = v.integer("hidden_size"), v.integer("num_attention_heads")
    attention = Attention(
        width=width, heads=heads, kv_heads=heads, head_dim=v.integer(head_dim), causal=False, cached=False, role=VISION
    )
    layer = (
        Norm("attention_norm", width, width),
        attention,
        Norm("mlp_norm", width, width),
        Mlp(width=width, hidden=v.integer(hidden), role=VISION),
    )
    embed = Linear("patch_embed", width, v.integer("patch_embed_hidden_size"), width, role=VISION)
    before = (_InRow(blocks=(embed,), most=most), Constant("embed_positions", 2 * v.integer(rows) * width))
    ids = tuple(range(v.integer("num_hidden_layers")))
    layers = (Layers("vision.layers", ids, (_InRow(blocks=layer, most=most),)),)
    last = _InRow(blocks=(Norm("post_norm", width, width), *after), most=most)
    return Tower(Stack(VISION, layers, before, (last,)), width, None)


def pix2struct(f: Fields) -> Architecture:
    """Pix2Struct (arXiv 2210.03347): the ViT is the encoder, one image for each sequence; the decoder is T5's."""
    t, v = f.part("text_config", "pix2struct_text_model"), f.part("vision_config", "pix2struct_vision_model")
    tower = _tower(v, PIX2STRUCT_PATCHES, hidden="d_ff", head_dim="d_kv", rows="seq_len")
    width, heads, head_dim = t.integer("hidden_size"), t.integer("num_heads"), t.integer("d_kv")
    if heads * head_dim != width:
        raise t.wrong("hidden_size", f"is {width}, not `num_heads` = {heads} times `d_kv` = {head_dim}")
    attention = Attention(width=width, heads=heads, kv_heads=heads, head_dim=head_dim)
    cross = CrossAttention(
        width=width, encoder_width=tower.width, heads=heads, kv_heads=heads, head_dim=head_dim,
        padded=PIX2STRUCT_PATCHES,
    )  # fmt: skip
    if tower.width != width:
        # Keys and values are projected by matrices for the decoder's own width.
        raise v.wrong("hidden_size", f"is {tower.width}, but the decoder's is {width}")
    layer = (
        Norm("attention_norm", width, width),
        attention,
        Norm("cross_norm", width, width),
        cross,
        Norm("mlp_norm", width, width),
        Mlp(width=width, hidden=t.integer("d_ff")),
    )
    vocab, tied = t.integer("vocab_size"), f.flag("tie_word_embeddings")
    before = (
        Embedding("embed", vocab, width, tied=tied),
        Constant("position_bias", t.integer("relative_attention_num_buckets") * heads),
    )
    decoder = Stack(
        "decoder",
        (Layers("layers", tuple(range(t.integer("num_layers"))), layer),),
        before,
        (Norm("final_norm", width, width), Head(vocab, width)),
    )
    text = Architecture(
        family="pix2struct", decoder=decoder, heads=heads, kv_heads=heads, cross_attends_to_images=True,
        needs_image=True,
    )  # fmt: skip
    return joined(f, text, tower)


def kosmos2_5(f: Fields) -> Architecture:
    """KOSMOS-2.5 (arXiv 2309.11419): Pix2Struct's ViT, one matrix, and learned queries that look at the patches.

    The decoder has sinusoidal positions, a norm inside the MLP and a table of segments. It is a whole model, whose own
    config says whether table and head are one.
    """
    t, v = f.part("text_config", "kosmos_2_5_text_model"), f.part("vision_config", "kosmos_2_5_vision_model")
    width, heads, hidden = t.integer("embed_dim"), t.integer("attention_heads"), t.integer("ffn_dim")
    head_dim, seen = t.divides("embed_dim", width, "attention_heads", heads), v.integer("hidden_size")
    queries = f.integer("latent_query_num", default=2048)
    asked = (
        Linear("projector_q", width, width, width, role=VISION),
        Linear("projector_o", width, width, width, role=VISION),
    )
    after = (
        Linear("projector", width, seen, width, role=VISION),
        OnTokens(blocks=(Linear("projector_kv", 2 * width, width, 2 * width, role=VISION),), plus=queries),
        QueryAttention(width, queries, own=True, name="projector_attention"),
    )
    tower = _tower(
        v, KOSMOS_PATCHES, hidden="intermediate_size", head_dim="head_dim", rows="max_num_patches", after=after
    )
    tower = tower.with_projector(Constant("projector_queries", queries * width), OnTokens(blocks=asked, fixed=queries))
    layer = (
        Norm("attention_norm", width, 2 * width),
        Attention(width=width, heads=heads, kv_heads=heads, head_dim=head_dim, q_bias=True, kv_bias=True, o_bias=True),
        Norm("mlp_norm", width, 2 * width),
        Mlp(width=width, hidden=hidden, gated=False, bias=True),
        Norm("ffn_norm", hidden, 2 * hidden),
    )
    vocab = t.integer("vocab_size")
    decoder = Stack(
        "decoder",
        (Layers("layers", tuple(range(t.integer("layers"))), layer),),
        (
            Embedding("embed", vocab, width, tied=t.flag("tie_word_embeddings", default=True)),
            Embedding("embed_segments", 2, width),
        ),
        (Norm("final_norm", width, 2 * width), Head(vocab, width)),
    )
    return joined(f, Architecture(family="kosmos-2.5", decoder=decoder, heads=heads, kv_heads=heads), tower)


FLATTENED_PATCHES: dict[str, Builder] = {"pix2struct": Verified(pix2struct), "kosmos-2.5": Verified(kosmos2_5)}
