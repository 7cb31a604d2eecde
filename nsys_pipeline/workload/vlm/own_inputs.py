"""Inputs of models that take more than pixels and placeholders for them in one prompt, without their processors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nsys_pipeline.workload.grids import Grid

Random = Callable[..., Any]
"""A tensor of random numbers of a shape."""

_Builder = Callable[[Any, Sequence[Grid], Any, Random], dict[str, Any]]
"""Inputs of the config, the view of each sequence, its text and random numbers."""


def own_inputs(config: Any, views: Sequence[Grid], text: Any, random: Random) -> dict[str, Any] | None:
    """Inputs of a prefill with an image for each sequence; None for a model type that takes what others take.

    `text`: ids of each sequence. `random`: makes pixels.
    """
    builder = _BUILDERS.get(config.model_type)
    return None if builder is None else builder(config, views, text, random)


def _square(vision: Any, batch: int, random: Random) -> Any:
    return random(batch, getattr(vision, "num_channels", 3), vision.image_size, vision.image_size)


def _begin(text: Any) -> Any:
    """The first token of each sequence's decoder."""
    return text.new_zeros((text.shape[0], 1))


def _rows(views: Sequence[Grid], values: int, most: int, random: Random) -> Any:
    """Rows of `most` patches: place from 1, then values; zeros beyond those of the image."""
    import torch

    rows = torch.zeros(len(views), most, 2 + values)
    for row, (height, width) in zip(rows, views, strict=True):
        count = height * width
        row[:count, 0] = torch.arange(height).repeat_interleave(width) + 1
        row[:count, 1] = torch.arange(width).repeat(height) + 1
        row[:count, 2:] = random(count, values)
    return rows


def _idefics(config: Any, views: Sequence[Grid], text: Any, random: Random) -> dict[str, Any]:
    pixels = _square(config.vision_config, len(views), random)[:, None]
    return {"input_ids": text, "pixel_values": pixels, "image_attention_mask": text.new_ones((*text.shape, 1))}


def _pix2struct(config: Any, views: Sequence[Grid], text: Any, random: Random) -> dict[str, Any]:
    from nsys_pipeline.model.families.flattened_patches import PIX2STRUCT_PATCHES

    rows = _rows(views, config.vision_config.patch_embed_hidden_size, PIX2STRUCT_PATCHES, random)
    return {"flattened_patches": rows, "attention_mask": (rows[..., 0] > 0).float(), "decoder_input_ids": text}


def _kosmos2_5(config: Any, views: Sequence[Grid], text: Any, random: Random) -> dict[str, Any]:
    import torch

    from nsys_pipeline.model.families.flattened_patches import KOSMOS_PATCHES

    queries = config.latent_query_num
    ids = torch.cat([text[:, :1].expand(-1, queries), text], dim=1)
    places = torch.zeros_like(ids)
    places[:, :queries] = 1
    rows = _rows(views, config.vision_config.patch_embed_hidden_size, KOSMOS_PATCHES, random)
    return {"input_ids": ids, "flattened_patches": rows, "image_embeds_position_mask": places}


def _t5gemma2(config: Any, views: Sequence[Grid], text: Any, random: Random) -> dict[str, Any]:
    import torch

    encoder = config.encoder
    image = text.new_full((len(views), encoder.mm_tokens_per_image), config.image_token_index)
    return {
        "input_ids": torch.cat([image, text], dim=1),
        "pixel_values": _square(encoder.vision_config, len(views), random),
        "decoder_input_ids": _begin(text),
    }


def _udop(config: Any, views: Sequence[Grid], text: Any, random: Random) -> dict[str, Any]:
    boxes = random(*text.shape, 4).sigmoid()
    pixels = _square(config, len(views), random)
    return {"input_ids": text, "bbox": boxes, "pixel_values": pixels, "decoder_input_ids": _begin(text)}


def _pp_formulanet(config: Any, views: Sequence[Grid], text: Any, random: Random) -> dict[str, Any]:
    return {"pixel_values": _square(config.vision_config, len(views), random), "decoder_input_ids": text}


_BUILDERS: dict[str, _Builder] = {
    "idefics": _idefics,
    "kosmos-2.5": _kosmos2_5,
    "pix2struct": _pix2struct,
    "pp_formulanet": _pp_formulanet,
    "t5gemma2": _t5gemma2,
    "udop": _udop,
}
