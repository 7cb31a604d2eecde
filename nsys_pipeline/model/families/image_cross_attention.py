"""Text decoders with cross-attention to images in layers of their own: images are no tokens of the prompt."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model.architecture import Architecture, Layers, Stack
from nsys_pipeline.model.blocks import (
    Attention,
    Block,
    Constant,
    CrossAttention,
    Embedding,
    Head,
    LastTokens,
    Linear,
    Mlp,
    Norm,
    OnTokens,
    Padded,
    WithImages,
)
from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.families.common import Builder, Verified
from nsys_pipeline.model.families.encoders import blip_patches, grid, patch_embedding, vision_encoder
from nsys_pipeline.model.families.towers import Tower, joined, read_text, text_width
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import VISION


@attrs.frozen(kw_only=True)
class _OnTiles(Padded):
    """Blocks that run on an image of whole tiles of `over` patches, each with a token that is no patch (`times`).

    `padded`: tokens of a tile that the implementation runs them on, which counts as executed.
    """

    padded: int

    def length(self, tokens: int) -> int:
        """Tokens of an image of so many patches. Raises ModelError if its tiles are not whole."""
        # A pass of one token asks which weights there are.
        if tokens > 1 and tokens % self.over:
            raise ModelError(f"an image of {tokens} patches is no number of tiles of {self.over} patches")
        return super().length(tokens)

    def _ran(self, lengths: Sequence[int]) -> Sequence[int]:
        return [tokens // self.over * self.padded for tokens in lengths]


@attrs.frozen
class _TileMask(Block):
    """Which tokens of an image's tiles are no padding: transformers runs that as a product, no model requires it."""

    patches: int
    padded: int

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        lengths = [tokens // self.patches * self.padded for tokens in run.step.q_tokens]
        emit.add("constant", "tile_mask", m=sum(lengths), k=1, executed=2 * sum(length**2 for length in lengths))


def mllama(f: Fields) -> Architecture:
    """Mllama (Llama 3.2 Vision): tiles of an image see each other; the outputs of several layers are projected."""
    text = read_text(f, "mllama_text_model")
    v = f.part("vision_config", "mllama_vision_model")
    spec = attrs.evolve(vision_encoder(v), qkv_bias=False, o_bias=False)
    width = spec.width
    side, patch = grid(v)
    patches, tiles = side * side, v.integer("max_num_tiles", default=4)
    shapes = v.items("supported_aspect_ratios")
    ratios = 8 if shapes is None else len(shapes)
    levels = v.indices("intermediate_layers_indices")
    outputs = 1 + (5 if levels is None else len(levels))
    # A tile's tokens are padded to a multiple of eight.
    tokens = patches + 1
    padded = tokens + -tokens % 8
    deeper = attrs.evolve(spec, depth=v.integer("num_global_layers", default=8), layer_params=2)
    layers = tuple(
        attrs.evolve(group, blocks=(_OnTiles(blocks=group.blocks, times=tokens, over=patches, padded=padded),))
        for group in (*spec.layers("vision.layers"), *deeper.layers("vision.layers_global"))
    )
    before: tuple[Block, ...] = (
        patch_embedding(width, patch, v.integer("num_channels", default=3), bias=False, extra=0),
        Constant("embed_positions", width + tokens * width + (ratios + 1) * tiles * tokens * width),
        # Each of the three tables has a gate.
        Constant("tile_embeddings", 2 * (ratios + 1) * tiles * width + 3),
        _TileMask(patches, padded),
        OnTokens(blocks=(Norm("pre_norm", width, 2 * width),), times=tokens, over=patches),
    )
    out = text_width(text)
    projector = (
        Norm("post_norm", width, 2 * width),
        Linear("projector", out, v.integer("vision_output_dim", default=outputs * width), out, role=VISION),
    )
    after = (_OnTiles(blocks=projector, times=tokens, over=patches, padded=tokens),)
    tower = Tower(Stack("vision", layers, before, after), width, None)
    return attrs.evolve(joined(f, text, tower), cross_attends_to_images=True)


def blip(f: Fields) -> Architecture:
    """BLIP's captions (arXiv 2201.12086): a ViT, and BERT's layers with attention to its tokens in each of them."""
    t, v = (f.sub(f"{side}_config", model_type=f"blip_{side}_model") for side in ("text", "vision"))
    tower, (side, _) = vision_encoder(v), grid(v)
    width, heads, vocab = t.dim("hidden_size"), t.dim("num_attention_heads"), t.dim("vocab_size")
    head_dim = t.divides("hidden_size", width, "num_attention_heads", heads)
    attention = Attention(
        width=width, heads=heads, kv_heads=heads, head_dim=head_dim, q_bias=True, kv_bias=True, o_bias=True
    )
    cross = CrossAttention(
        width=width, encoder_width=tower.width, heads=heads, kv_heads=heads, head_dim=head_dim,
        q_bias=True, k_bias=True, v_bias=True, o_bias=True,
    )  # fmt: skip
    mlp = Mlp(width=width, hidden=t.dim("intermediate_size"), gated=False, bias=True)
    norms = tuple(Norm(name, width, 2 * width) for name in ("attention_norm", "cross_norm", "mlp_norm"))
    layer = (attention, norms[0], WithImages(blocks=(cross, norms[1])), mlp, norms[2])
    tied = f.flag("tie_word_embeddings", default=True)
    before = (
        Embedding("embed", vocab, width, tied=tied),
        Embedding("embed_positions", t.integer("max_position_embeddings", default=512), width),
        Norm("embed_norm", width, 2 * width),
    )
    head = (Linear("transform", width, width, width), Norm("transform_norm", width, 2 * width))
    decoder = Stack(
        "decoder",
        (Layers("layers", tuple(range(t.dim("num_hidden_layers"))), layer),),
        before,
        (LastTokens(blocks=head), Head(vocab, width, vocab)),
    )
    after = (Norm("post_norm", tower.width, 2 * tower.width),)
    vision = Stack("vision", tower.layers("vision.layers"), blip_patches(v), after)
    text = Architecture(family="blip", decoder=decoder, heads=heads, kv_heads=heads, cross_attends_to_images=True)
    return joined(f, text, Tower(vision, tower.width, side * side + 1, 1))


IMAGE_CROSS_ATTENTION: dict[str, Builder] = {"mllama": Verified(mllama), "blip": Verified(blip)}
