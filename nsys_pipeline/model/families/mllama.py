"""Mllama (Llama 3.2 Vision): Llama with layers that look at images instead of at the text."""

from __future__ import annotations

from nsys_pipeline.model.architecture import Architecture, Stack, group_layers
from nsys_pipeline.model.blocks import Attention, Block, CrossAttention, Embedding, Head, Mlp, Norm, WithImages
from nsys_pipeline.model.families.common import read_dims
from nsys_pipeline.model.fields import Fields

#: Rows that the embedding has beyond the head, for the image token.
_IMAGE_ROWS = 8


def mllama_text(f: Fields) -> Architecture:
    """A pass without images skips the cross-attention layers whole, their MLPs too: they are stored and not run.

    With images they run in all passes of a request: keys and values of the images are cached.
    """
    dims = read_dims(f)
    width = dims.width
    cross_layers = f.indices("cross_attention_layers")
    if cross_layers is None:
        cross_layers = [3, 8, 13, 18, 23, 28, 33, 38]
    norms = (Norm("attention_norm", width, width), Norm("mlp_norm", width, width))
    attention = Attention(width=width, heads=dims.heads, kv_heads=dims.kv_heads, head_dim=dims.head_dim)
    mlp = Mlp(width=width, hidden=f.dim("intermediate_size"))
    cross = CrossAttention(
        width=width,
        encoder_width=width,
        heads=dims.heads,
        kv_heads=dims.kv_heads,
        head_dim=dims.head_dim,
        # Norms on each head of Q and K, and two gates on what the layer adds.
        extra_params=dims.qk_norm_per_head + 2,
    )
    skipped = (WithImages(blocks=(*norms, cross, mlp)),)
    layers: list[tuple[str, tuple[Block, ...]]] = [
        ("cross", skipped) if index in cross_layers else ("", (*norms, attention, mlp)) for index in range(dims.depth)
    ]
    stack = Stack(
        "decoder",
        group_layers("layers", layers),
        (Embedding("embed", dims.vocab + _IMAGE_ROWS, width),),
        (Norm("final_norm", width, width), Head(dims.vocab, width)),
    )
    return Architecture(family="mllama_text_model", decoder=stack, heads=dims.heads, kv_heads=dims.kv_heads)
