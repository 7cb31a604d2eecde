"""How many patches of which images a vision tower gets, from the shapes of its inputs. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Grid = tuple[int, int]
"""Height and width in patches of an image, or of a view of one."""

#: Inputs of towers that have pixels of whole views, in the order in which the towers run.
_VIEWS = ("pixel_values", "pixel_values_local")
#: Model types that fill up the views of each sequence to the most that one has, and leave those out again. Which views
#: are pixels is in the mask.
_PADDED_VIEWS = ("granite_docling", "idefics2", "idefics3", "smolvlm")
_VIEW_MASK = "pixel_attention_mask"


def _of_frames(told: list[Any]) -> list[Grid]:
    return [(height, width) for frames, height, width in told for _ in range(frames)]


def _of_sizes(told: list[Any]) -> list[Grid]:
    return [(height, width) for height, width in told]


def _of_places(told: list[Any]) -> list[Grid]:
    """Of the column and the row of each patch; those of the padding are negative."""
    return [(max(row for _, row in one) + 1, max(column for column, _ in one) + 1) for one in told]


#: Rows of patches, each with its row and its column before its values; the largest are the sides of the image.
ROWS = "flattened_patches"
#: Small inputs that say the patches of each image.
_TOLD = {
    "image_grid_thw": _of_frames,
    "target_sizes": _of_sizes,
    "spatial_shapes": _of_sizes,
    "image_position_ids": _of_places,
    ROWS: _of_sizes,
}
#: Inputs of a pass that say how large its images are, or which views are none.
SMALL_INPUTS = (
    *(name for name in _TOLD if name != ROWS),
    "image_sizes",
    "batch_num_images",
    "aspect_ratio_ids",
    _VIEW_MASK,
)


def told_by(name: str, tensor: Any) -> list[Any]:
    """What the small input `name` says: all of it, and of a mask of pixels the first pixel of each view."""
    if name == _VIEW_MASK:
        # With fewer dimensions it is a mask of patches.
        tensor = tensor[..., 0, 0] if tensor.ndim == 4 else tensor[:0]
    held: list[Any] = tensor.tolist()
    return held


def grids_of(config: Any, inputs: Mapping[str, Any], values: Mapping[str, Any] | None = None) -> list[Grid] | None:
    """Patches of each view among the inputs of a pass, by name; none without pixels, None if nobody can say.

    `config`: the model's. `values`: lists of what `SMALL_INPUTS` hold, by name, if the host has them. No tensor is
    asked, which a GPU would have to be waited for.
    """
    values = values or {}
    pixels = inputs.get("pixel_values")
    if pixels is None and inputs.get(ROWS) is None:
        return []
    name = next((name for name in _TOLD if inputs.get(name) is not None), None)
    if name is not None:
        told = values.get(name)
        merge = _squares(config) if name == "image_grid_thw" else 1
        return None if told is None else [(merge * height, merge * width) for height, width in _TOLD[name](told)]
    patch = patch_size(config)
    if patch is not None and inputs.get("aspect_ratio_ids") is not None:
        return _of_tiles(config, patch, values.get("aspect_ratio_ids"))
    if patch is not None and getattr(getattr(config, "vision_config", None), "model_type", None) == "pixtral":
        # Padded to the largest, of which the tower drops the rest.
        sizes = values.get("image_sizes")
        return None if sizes is None else [(height // patch, width // patch) for height, width in sizes]
    return None if patch is None or getattr(pixels, "ndim", 0) < 4 else _of_views(config, patch, inputs, values)


def _of_views(config: Any, patch: int, inputs: Mapping[str, Any], values: Mapping[str, Any]) -> list[Grid] | None:
    """Of pixels of whole views."""
    grids: list[Grid] = []
    for name in _VIEWS:
        views = inputs.get(name)
        if views is not None:
            *many, _channels, height, width = (int(side) for side in views.shape)
            count = _views_of(config, many, values)
            if count is None:
                return None
            grids += [(height // patch, width // patch)] * count
    return grids


def _views_of(config: Any, many: Sequence[int], values: Mapping[str, Any]) -> int | None:
    """How many views the tower runs of a tensor of so many: without those that fill a batch up; None if nobody can say.

    `many`: sequences or images, and the views of each.
    """
    if len(many) < 2 or many[0] == 1:
        return math.prod(many)
    if getattr(config, "model_type", None) in _PADDED_VIEWS:
        are_pixels = values.get(_VIEW_MASK)
        return sum(map(sum, are_pixels)) if are_pixels else None
    canvases = getattr(config, "image_grid_pinpoints", None)
    if not canvases:
        return math.prod(many)
    sizes, edge = values.get("image_sizes"), config.vision_config.image_size
    if sizes is None:
        return None
    # Of several images in a prompt each is whole alone.
    alone = [count == 1 for count in values.get("batch_num_images") or [1] * len(sizes) for _ in range(count)]
    cut = (best_canvas(canvases, height, width) for height, width in sizes)
    return sum(
        1 + -(-rows // edge) * -(-columns // edge) if is_alone else 1
        for (rows, columns), is_alone in zip(cut, alone, strict=True)
    )


def best_canvas(canvases: Sequence[Sequence[int]], height: int, width: int) -> Sequence[int]:
    """Height and width of the canvas that keeps most of a picture's pixels, else wastes fewest of its own."""

    def kept(canvas: Sequence[int]) -> tuple[int, int]:
        scale = min(canvas[1] / width, canvas[0] / height)
        pixels = min(int(width * scale) * int(height * scale), width * height)
        return pixels, pixels - canvas[0] * canvas[1]

    return max(canvases, key=kept)


def _of_tiles(config: Any, patch: int, told: Sequence[Sequence[int]] | None) -> list[Grid] | None:
    """Of arrangements of tiles, by their places from 1 in the list of all; 0 fills a batch up.

    Tiles of zeros that fill an image up to the most there may be are left out.
    """
    if told is None:
        return None
    vision = config.vision_config
    side, most = vision.image_size // patch, vision.max_num_tiles
    arranged = [
        (rows, columns) for rows in range(1, most + 1) for columns in range(1, most + 1) if rows * columns <= most
    ]
    places = [arranged[place - 1] for sequence in told for place in sequence if place]
    return [(rows * side, columns * side) for rows, columns in places]


def _squares(config: Any) -> int:
    """Patches on a side of what `image_grid_thw` counts: those of a token, of model types that count tokens."""
    merge = getattr(getattr(config, "vision_config", None), "spatial_merge_size", None)
    counts_tokens = str(getattr(config, "model_type", "")).startswith("inkling2")
    return merge if counts_tokens and isinstance(merge, int) else 1


def patch_size(config: Any) -> int | None:
    """Pixels of a side of a patch; None if the config does not say."""
    # Encoders of two stacks have a tower, and what is nothing but a tower has no part for it.
    vision = next(
        (one for part in (config, getattr(config, "encoder", None)) if (one := getattr(part, "vision_config", None))),
        config,
    )
    for part in (vision, getattr(vision, "sam_config", None), getattr(vision, "encoder_config", None)):
        size = getattr(part, "patch_size", None)
        size = size[0] if isinstance(size, (list, tuple)) and size else size
        if isinstance(size, int) and size > 0:
            return size
    return None
