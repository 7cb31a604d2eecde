"""Sizes of images and lengths of clips in a program that nobody marked, without a question to the GPU.

Towers of any size get their sizes as a small tensor, `image_grid_thw`, and encoders of sound a mask of their frames.
What they hold is looked at when a program moves them to a device (moved.py).
Standard library only until torch is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from nsys_pipeline.workload.clips import LENGTHS, clips_of, lengths_of
from nsys_pipeline.workload.grids import PIXELS, READERS, ROWS, SMALL_INPUTS, VIDEOS, Grid, grids_of
from nsys_pipeline.workload.moved import Reading, recall


def images_of(config: Any, arguments: Mapping[str, Any]) -> tuple[Grid, ...] | None:
    """Patches of each image among the arguments of a pass; None if the host cannot know."""
    if all(arguments.get(name) is None for name in (*PIXELS, VIDEOS)):
        return ()
    grids = None if arguments.get(VIDEOS) is not None else grids_of(config, arguments, sizes_in(arguments))
    return None if grids is None else tuple(grids)


def sound_of(config: Any, arguments: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Frames of each clip among the arguments of a pass; None if the host cannot know."""
    return clips_of(config, arguments, lengths_in(arguments))


def lengths_in(inputs: Mapping[str, Any]) -> dict[str, list[int]]:
    """Frames that the masks of sound among `inputs` leave of each clip, by name, as far as the host knows it."""
    held = {name: _values(inputs.get(name), lengths_of) for name in LENGTHS}
    return {name: values for name, values in held.items() if values is not None}


def sizes_in(inputs: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What the small inputs among `inputs` hold, by name, as far as the host knows it."""
    held = {name: _values(inputs.get(name), READERS.get(name, _all)) for name in SMALL_INPUTS}
    held |= {ROWS: _sides(inputs.get(ROWS))}
    return {name: values for name, values in held.items() if values is not None}


def _all(tensor: Any) -> list[Any]:
    held: list[Any] = tensor.tolist()
    return held


def _values(tensor: Any, read: Callable[[Any], list[Any] | None] = _all) -> list[Any] | None:
    """What `read` says of a tensor, if it is on the host or was moved from there."""
    if tensor is None or not hasattr(tensor, "tolist"):
        return tensor if isinstance(tensor, list) else None
    if getattr(tensor, "device", None) is None or tensor.device.type == "cpu":
        return read(tensor)
    told: list[Any] | None = recall(tensor, READING)
    return told


def _sides(rows: Any) -> list[Any] | None:
    """Height and width of each image in rows of patches that know their place, if the host has them exactly."""
    if getattr(rows, "device", None) is None or rows.device.type != "cpu":
        told: list[Any] | None = None if rows is None else recall(rows, READING)
        return told
    largest = rows[..., :2].amax(dim=-2)
    # Whole numbers above these are rounded.
    exact = {"torch.bfloat16": 256, "torch.float16": 2048}.get(str(rows.dtype), 1 << 24)
    if float(largest.max()) > exact:
        return None
    held: list[Any] = largest.long().tolist()
    return held


READING: Final = Reading(
    frozenset((*SMALL_INPUTS, *LENGTHS, ROWS)), lambda inputs: sizes_in(inputs) | lengths_in(inputs)
)
"""What is remembered of a batch that is moved to a device."""
