"""How many patches of which images a vision tower gets, from the shapes of its inputs. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Grid = tuple[int, int]
"""Height and width in patches of an image, or of a view of one."""

#: Inputs of towers that have pixels of whole views, in the order in which the towers run.
_VIEWS = ("pixel_values", "pixel_values_local")
#: Model types that fill up the views of each sequence to the most that one has, and leave those out again.
_PADDED_VIEWS = ("granite_docling",)


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
    "image_position_ids": _of_places,
    ROWS: _of_sizes,
}
#: Inputs of a pass that say how large its images are.
SMALL_INPUTS = (*(name for name in _TOLD if name != ROWS), "image_sizes")


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
    if patch and getattr(getattr(config, "vision_config", None), "model_type", None) == "pixtral":
        # Padded to the largest, of which the tower drops the rest.
        sizes = values.get("image_sizes")
        return None if sizes is None else [(height // patch, width // patch) for height, width in sizes]
    if patch is None or getattr(pixels, "ndim", 0) < 4:
        return None
    grids: list[Grid] = []
    for name in _VIEWS:
        views = inputs.get(name)
        if views is not None:
            *many, _channels, height, width = (int(side) for side in views.shape)
            if many[0] > 1 and getattr(config, "model_type", None) in _PADDED_VIEWS:
                return None
            count = 1
            for side in many:
                count *= side
            grids += [(height // patch, width // patch)] * count
    return grids


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
