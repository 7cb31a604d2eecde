"""How many patches of which images a vision tower gets, from the shapes of its inputs. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nsys_pipeline.model.canvases import best_canvas

Grid = tuple[int, int]
"""Height and width in patches of an image, or of a view of one."""

#: Inputs of towers that have pixels of whole views, in the order in which the towers run.
_VIEWS = ("pixel_values", "pixel_values_images", "pixel_values_local")
#: Rows of patches, each with its row and its column before its values; the largest are the sides of the image.
ROWS = "flattened_patches"
#: Inputs that hold images, under whatever name.
PIXELS = ("pixel_values", "pixel_values_images", "image_pixel_values", "image_patches", ROWS)
#: Frames of videos, whose sizes are not read.
VIDEOS = "pixel_values_videos"
#: Pixels of a side of a patch, of towers whose config does not say (see `scripts/golden_towers.py`).
_PATCH = {"fast_vlm": 64, "gemma3n": 16, "perception_lm": 14}
#: Model types that fill up the tiles of each image to the most that one has, and leave those out again.
_PADDED_TILES = ("llava_next", "llava_next_video", "llava_onevision", "granite4_vision")
#: Patches that neighbouring crops of Molmo 2 share on a side.
MOLMO2_SHARED = 8


def of_frames(config: Any, told: list[Any]) -> list[Grid]:
    """Patches of each frame from rows of `image_grid_thw`: frames, height and width.

    Inkling 2 counts squares of patches, of which each is a token; all others count patches.
    """
    merge = 1
    if str(getattr(config, "model_type", "")).startswith("inkling2"):
        merge = getattr(getattr(config, "vision_config", None), "spatial_merge_size", 1)
    return [(merge * height, merge * width) for frames, height, width in told for _ in range(frames)]


def _of_sizes(_config: Any, told: list[Any]) -> list[Grid]:
    return [(height, width) for height, width in told]


def _of_places(_config: Any, told: list[Any]) -> list[Grid]:
    """Of the column and the row of each patch; those of the padding are negative."""
    return [(max(row for _, row in one) + 1, max(column for column, _ in one) + 1) for one in told]


def _of_halves(config: Any, told: list[Any]) -> list[Grid]:
    """Of the tokens of a whole and of its canvas, each of which is a patch or two on a side (Molmo 2).

    Canvases have whole crops on a side, which share patches: tokens say how many, and those the patches.
    """
    side: int = config.vision_config.image_size[0] // config.vision_config.patch_size - MOLMO2_SHARED

    def patches(tokens: int) -> int:
        return MOLMO2_SHARED + (2 * tokens - MOLMO2_SHARED) // side * side

    return [(patches(height), patches(width)) for _, _, height, width in told]


def _of_ratios(config: Any, told: list[Any]) -> list[Grid]:
    """Of numbers of arrangements of tiles, 0 where a sequence has fewer images than another (Llama 3.2 Vision)."""
    vision = config.vision_config
    side = vision.image_size // vision.patch_size
    tiles = [vision.supported_aspect_ratios[number - 1] for row in told for number in row if number]
    return [(rows * side, columns * side) for rows, columns in tiles]


#: Small inputs that say the patches of each image.
_TOLD: dict[str, Callable[[Any, list[Any]], list[Grid]]] = {
    "image_grid_thw": of_frames,
    "target_sizes": _of_sizes,
    "spatial_shapes": _of_sizes,
    "image_grid_hw": _of_sizes,
    "image_position_ids": _of_places,
    "image_grids": _of_halves,
    "aspect_ratio_ids": _of_ratios,
    ROWS: _of_sizes,
}
_FILLED = ("pixel_attention_mask", "image_attention_mask")
#: Inputs of a pass that say how large its images are.
SMALL_INPUTS = (*(name for name in _TOLD if name != ROWS), "image_sizes", "batch_num_images", *_FILLED)


def filled_sides(mask: Any) -> list[Any] | None:
    """Height and width that each view of a mask on the host fills from its corner on; what says more is None.

    A mask of whole views is given back as it is.
    """
    if mask.ndim == 2:
        told: list[Any] = mask.tolist()
        return told
    if mask.ndim != 4:
        return None
    heights, widths = mask[..., :, 0].sum(-1).tolist(), mask[..., 0, :].sum(-1).tolist()
    return [
        [[int(height), int(width)] for height, width in zip(*row, strict=True)]
        for row in zip(heights, widths, strict=True)
    ]


#: How inputs are read of which not everything is wanted.
READERS: dict[str, Callable[[Any], list[Any] | None]] = dict.fromkeys(_FILLED, filled_sides)


def grids_of(config: Any, inputs: Mapping[str, Any], values: Mapping[str, Any] | None = None) -> list[Grid] | None:
    """Patches of each view among the inputs of a pass, by name; none without pixels, None if nobody can say.

    `config`: the model's. `values`: lists of what `SMALL_INPUTS` hold, by name, if the host has them. No tensor is
    asked, which a GPU would have to be waited for.
    """
    values = values or {}
    if all(inputs.get(name) is None for name in PIXELS):
        return []
    name = next((name for name in _TOLD if inputs.get(name) is not None), None)
    if name is not None:
        told = values.get(name)
        return None if told is None else _TOLD[name](config, told)
    rule = _BY_TYPE.get(str(getattr(config, "model_type", None)))
    if rule is not None:
        return rule(config, inputs, values)
    patch = patch_size(config)
    if getattr(getattr(config, "vision_config", None), "model_type", None) == "pixtral":
        # Padded to the largest, of which the tower drops the rest.
        return _of_pixels(patch, values.get("image_sizes"))
    return _of_views(patch, inputs)


def _of_views(patch: int | None, inputs: Mapping[str, Any]) -> list[Grid] | None:
    if patch is None or all(getattr(inputs.get(name), "ndim", 0) < 4 for name in _VIEWS):
        return None
    grids: list[Grid] = []
    for name in _VIEWS:
        views = inputs.get(name)
        if views is not None:
            *many, _channels, height, width = (int(side) for side in views.shape)
            count = 1
            for side in many:
                count *= side
            grids += [(height // patch, width // patch)] * count
    return grids


def _of_pixels(edge: int | None, sizes: list[Any] | None) -> list[Grid] | None:
    if sizes is None or not edge:
        return None
    return [(height // edge, width // edge) for height, width in sizes]


def _codebook(config: Any, inputs: Mapping[str, Any], values: Mapping[str, Any]) -> list[Grid] | None:
    """Of what makes tokens of an image: a patch is what is left of it after all halvings (Chameleon, Emu3)."""
    edge = 2 ** (len(config.vq_config.channel_multiplier) - 1)
    if inputs.get("image_sizes") is not None:
        return _of_pixels(edge, values.get("image_sizes"))
    return _of_views(edge, inputs)


def _tokenizer(config: Any, _inputs: Mapping[str, Any], values: Mapping[str, Any]) -> list[Grid] | None:
    return _of_pixels(getattr(config.vision_config, "spatial_scale_factor", None), values.get("image_sizes"))


def _hybrid(config: Any, inputs: Mapping[str, Any], _values: Mapping[str, Any]) -> list[Grid] | None:
    """Two towers see each image, and its patches are those of the tower for high resolution."""
    large = inputs.get("high_res_pixel_values")
    return _of_views(patch_size(config.high_res_vision_config), {} if large is None else {"pixel_values": large})


def _is_alone(pixels: Any) -> bool:
    """Whether nothing is filled up to the most views of another: views of one sequence, or a batch of views."""
    return int(pixels.shape[0]) == 1 or pixels.ndim == 4


def _masked(config: Any, inputs: Mapping[str, Any], values: Mapping[str, Any]) -> list[Grid] | None:
    """Views of a sequence that has fewer than another, and what is beside a smaller one, are masked."""
    views = _of_views(patch_size(config), inputs)
    if views is None:
        return None
    if inputs.get("pixel_attention_mask") is None:
        return views if _is_alone(inputs["pixel_values"]) else None
    told = values.get("pixel_attention_mask")
    patch = patch_size(config)
    if told is None or not patch:
        return None
    if isinstance(told[0][0], list):
        return [(-(-height // patch), -(-width // patch)) for row in told for height, width in row if height]
    return [view for view, is_real in zip(views, (real for row in told for real in row), strict=True) if is_real]


def _tiles(config: Any, inputs: Mapping[str, Any], values: Mapping[str, Any]) -> list[Grid] | None:
    """Tiles of images, without those that fill up images with fewer: each has the whole, and the tiles of a canvas."""
    views, sizes = _of_views(patch_size(config), inputs), values.get("image_sizes")
    if views is None or _is_alone(inputs["pixel_values"]):
        return views
    if sizes is None:
        return None
    canvases, edge = config.image_grid_pinpoints, config.vision_config.image_size
    # Of several images in a prompt each is whole alone.
    cut = [count == 1 for count in values.get("batch_num_images") or [1] * len(sizes) for _ in range(count)]
    chosen = (best_canvas(canvases, height, width) for height, width in sizes)
    return views[:1] * sum(
        1 + -(-rows // edge) * -(-columns // edge) if is_cut else 1
        for (rows, columns), is_cut in zip(chosen, cut, strict=True)
    )


def _phi4(config: Any, inputs: Mapping[str, Any], values: Mapping[str, Any]) -> list[Grid] | None:
    """What an image fills of its crops: after the whole, each crop is masked where it is beside the image."""
    vision = config.vision_config
    crop, sizes = int(inputs["image_pixel_values"].shape[-1]), values.get("image_sizes")
    if sizes is None:
        return None
    if inputs.get("image_attention_mask") is None:
        return _of_pixels(vision.patch_size, sizes)
    filled = values.get("image_attention_mask")
    if filled is None:
        return None
    grids = []
    for (height, width), (_whole, *crops) in zip(sizes, filled, strict=True):
        rows, columns = height // crop, width // crop
        down = sum(crops[row * columns][0] for row in range(rows))
        grids.append((down, sum(across for _, across in crops[:columns])))
    return grids


#: Model types whose inputs say it in a way of their own.
_BY_TYPE: dict[str, Callable[[Any, Mapping[str, Any], Mapping[str, Any]], list[Grid] | None]] = {
    "apertus1p5": _tokenizer,
    "chameleon": _codebook,
    "deepseek_vl_hybrid": _hybrid,
    "emu3": _codebook,
    "phi4_multimodal": _phi4,
    **dict.fromkeys(("granite_docling", "idefics2", "idefics3", "smolvlm"), _masked),
    **dict.fromkeys(_PADDED_TILES, _tiles),
}


def patch_size(config: Any) -> int | None:
    """Pixels of a side of a patch; None if the config does not say."""
    known = _PATCH.get(str(getattr(config, "model_type", None)))
    if known is not None:
        return known
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
