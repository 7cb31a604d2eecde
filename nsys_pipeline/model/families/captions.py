"""Models of images and text with BERT's layers: GIT's decoder, and InstructBLIP's queries that read the instruction."""

from __future__ import annotations

import attrs

from nsys_pipeline.model.architecture import Architecture, Layers, Stack, group_layers
from nsys_pipeline.model.blocks import Attention, Block, Constant, Embedding, Head, Linear, Mlp, Norm, OnTokens
from nsys_pipeline.model.families.common import Builder, Verified
from nsys_pipeline.model.families.encoders import blip_patches, clip_vision, grid, vision_encoder
from nsys_pipeline.model.families.resamplers import qformer_layers
from nsys_pipeline.model.families.towers import Tower, joined, read_text, text_width
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import VISION

_INSTRUCTION = "instruction in the query transformer"


def instructblip(f: Fields) -> Architecture:
    """InstructBLIP (arXiv 2305.06500): BLIP-2, whose queries see the instruction; its tokens there are not counted.

    A video is frames, each an image.
    """
    kind = f.model_type
    text = read_text(f, "opt")
    v = f.part("vision_config", f"{kind}_vision_model")
    q = f.part("qformer_config", f"{kind}_qformer")
    spec = attrs.evolve(vision_encoder(v), qkv_bias=v.flag("qkv_bias", default=True))
    side, _ = grid(v)
    tokens, queries, width = side * side + 1, f.integer("num_query_tokens", default=32), q.integer("hidden_size")
    hidden, out = q.integer("intermediate_size"), text_width(text)
    # What the tokens of the instruction run through: a table, positions, and an MLP in each layer.
    mlp = Mlp(width=width, hidden=hidden, gated=False, bias=True).params + 2 * width
    rows = q.integer("vocab_size") + q.integer("max_position_embeddings", default=512)
    depth = q.integer("num_hidden_layers")
    instruction = rows * width + depth * mlp
    # Of each of its tokens and each image: q, k, v, o, the MLP, and its pairs with queries in both directions.
    each = depth * (8 * width**2 + 4 * width * hidden + 8 * width * queries)
    norms = (
        Norm("post_norm", spec.width, 2 * spec.width),
        OnTokens(blocks=(Norm("projector_norm", width, 2 * width),), fixed=queries),
    )
    groups = (
        *spec.layers("vision.layers"),
        Layers("vision.norms", (0,), norms),
        # transformers' class takes the width that the queries see from the tower, whatever the config says of it.
        *qformer_layers(q, spec.width, queries),
    )
    after = (
        Constant("projector_queries", queries * width),
        OnTokens(blocks=(Linear("projector", out, width, out, role=VISION),), fixed=queries),
    )
    stack = Stack(VISION, groups, blip_patches(v), after)
    model = joined(f, text, Tower(stack, spec.width, tokens, 1))
    return attrs.evolve(
        model,
        unused_params=model.unused_params + instruction,
        uncounted=(*model.uncounted, f"{_INSTRUCTION} ({each / 1e6:.3g} MFLOP a token and image)"),
    )


def git(f: Fields) -> Architecture:
    """GIT (arXiv 2205.14100): CLIP, a linear layer, and a decoder of BERT's layers whose image sees itself whole."""
    v = f.part("vision_config", "git_vision_model")
    tower, tokens, extra = clip_vision(v)
    width, heads, vocab = f.dim("hidden_size"), f.dim("num_attention_heads"), f.dim("vocab_size")
    head_dim = f.divides("hidden_size", width, "num_attention_heads", heads)
    attention = Attention(
        width=width, heads=heads, kv_heads=heads, head_dim=head_dim, q_bias=True, kv_bias=True, o_bias=True
    )
    mlp = Mlp(width=width, hidden=f.dim("intermediate_size"), gated=False, bias=True)
    layer: tuple[Block, ...] = (
        attention, Norm("attention_norm", width, 2 * width), mlp, Norm("mlp_norm", width, 2 * width),
    )  # fmt: skip
    before = (
        Embedding("embed", vocab, width, tied=f.flag("tie_word_embeddings")),
        Embedding("embed_positions", f.integer("max_position_embeddings", default=1024), width),
        Norm("embed_norm", width, 2 * width),
    )
    layers = group_layers("layers", [("", layer)] * f.dim("num_hidden_layers"))
    decoder = Stack("decoder", layers, before, (Head(vocab, width, vocab),))
    seen = v.dim("hidden_size")
    # A video is frames, each with a place.
    frames = f.opt_int("num_image_with_embedding") or 0
    projector = (
        Norm("post_norm", seen, 2 * seen),
        Linear("projector", width, seen, width, role=VISION),
        Norm("projector_norm", width, 2 * width),
        Constant("embed_frames", frames * seen),
    )
    text = Architecture(family="git", decoder=decoder, heads=heads, kv_heads=heads, sees_whole_images=True)
    stack = attrs.evolve(tower, after=projector)
    return joined(f, text, Tower(stack, seen, tokens, extra))


CAPTIONS: dict[str, Builder] = {
    "git": Verified(git),
    "instructblip": instructblip,
    "instructblipvideo": instructblip,
}
