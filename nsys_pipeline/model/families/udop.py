"""UDOP: T5 whose encoder reads the patches of a page behind the text on it."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from nsys_pipeline.model.architecture import Architecture, Stack
from nsys_pipeline.model.blocks import Constant
from nsys_pipeline.model.families.common import Builder, Verified
from nsys_pipeline.model.families.encoders import grid, patch_embedding
from nsys_pipeline.model.families.seq2seq import t5
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import VISION


def udop(f: Fields) -> Architecture:
    """UDOP (arXiv 2212.02623): T5's stacks; patches are embedded by one convolution, and placed as the text is.

    transformers' decoder has an embedding of patches and biases of places, too, which nothing reads.
    """
    text = t5(f.replaced(tie_word_embeddings=True))
    encoder = text.encoder
    assert encoder is not None  # noqa: S101 - T5 has two stacks
    (side, patch), width = grid(f), f.dim("d_model")
    embed = patch_embedding(width, patch, f.integer("num_channels", default=3), bias=True, extra=0)
    places = 2 * f.integer("max_2d_position_embeddings", default=1024) * width
    biases = sum(_biases(f))
    more = (Constant("embed_places", places), Constant("place_bias", biases))
    return attrs.evolve(
        text,
        encoder=attrs.evolve(encoder, before=(*encoder.before, *more)),
        vision=Stack(VISION, (), (embed,)),
        vision_tokens=side * side,
        appends_images=True,
        unused_params=embed.params + biases,
        caveat="patches under a box of text are merged into its tokens, and padding takes their place: the encoder is"
        " charged for the whole row, as transformers runs it, which is more than the model requires",
    )


def _biases(f: Fields) -> list[int]:
    """Parameters of each table of biases of the encoder but the first one, which is that of its first layer."""
    told = f.items("relative_bias_args")
    tables = [{"type": kind} for kind in ("1d", "horizontal", "vertical")] if told is None else told
    if not tables or not all(isinstance(table, Mapping) for table in tables):
        raise f.wrong("relative_bias_args", f"is {told!r}, no list of objects")
    buckets, heads = "relative_attention_num_buckets", f.dim("num_heads")
    rows = [f.checked(f"relative_bias_args.{buckets}", table.get(buckets, 32)) for table in tables]
    prefixes = [2 if table.get("prefix_bucket") and not table.get("expand") else 0 for table in tables]
    return [heads * (count + more) for count, more in zip(rows, prefixes, strict=True)][1:]


UDOP: dict[str, Builder] = {"udop": Verified(udop)}
