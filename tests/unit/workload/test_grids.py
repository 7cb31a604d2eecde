"""Sizes of images from the inputs of towers that say them in a way of their own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from nsys_pipeline.model.families.page_tiles import MOLMO_MARGIN
from nsys_pipeline.workload.grids import MOLMO2_SHARED, grids_of


def tensor(*shape: int) -> Any:
    return SimpleNamespace(shape=shape, ndim=len(shape))


def config(model_type: str, **vision: Any) -> Any:
    return SimpleNamespace(model_type=model_type, vision_config=SimpleNamespace(**vision))


SMALL = {"patch_size": 14, "image_size": 56}


def codebook(model_type: str) -> Any:
    # Three halvings: a token is 8 pixels on a side.
    return SimpleNamespace(model_type=model_type, vq_config=SimpleNamespace(channel_multiplier=[1, 1, 2, 4]))


def masked(*shape: int) -> dict[str, Any]:
    return {"pixel_values": tensor(*shape), "pixel_attention_mask": object()}


def tiled(model_type: str) -> Any:
    vision = SimpleNamespace(patch_size=14, image_size=28)
    # Of one by two tiles, and of two by two.
    return SimpleNamespace(model_type=model_type, vision_config=vision, image_grid_pinpoints=[[28, 56], [56, 56]])


TILED = {"pixel_values": tensor(2, 5, 3, 28, 28), "image_sizes": object()}
PHI = {"image_pixel_values": tensor(2, 5, 3, 56, 56), "image_sizes": object(), "image_attention_mask": object()}
# The first picture fills two crops of 4 patches on a side, one above the other, the lower one by 3 rows; both 2 wide.
FILLED = [[[4, 4], [4, 2], [3, 2], [0, 0], [0, 0]], [[4, 4], [4, 4], [4, 3], [1, 4], [1, 3]]]

CASES: dict[str, tuple[Any, dict[str, Any], dict[str, Any], list[tuple[int, int]] | None]] = {
    "rows and columns of each image": (
        config("nemotron_h_omni", **SMALL), {"pixel_values": tensor(31, 588), "image_grid_hw": object()},
        {"image_grid_hw": [[5, 5], [2, 3]]}, [(5, 5), (2, 3)],
    ),
    "rows of patches, padded": (
        config("lfm2_vl", **SMALL), {"pixel_values": tensor(2, 25, 588), "spatial_shapes": object()},
        {"spatial_shapes": [[5, 5], [2, 3]], "pixel_attention_mask": [[1] * 25, [1] * 6 + [0] * 19]}, [(5, 5), (2, 3)],
    ),
    "arrangements of tiles": (
        # 2 is one above the other, 0 no image; a sequence has an image more than the other.
        config("mllama", **SMALL, supported_aspect_ratios=[[1, 1], [2, 1], [1, 2]]),
        {"pixel_values": tensor(2, 2, 4, 3, 56, 56), "aspect_ratio_ids": object()},
        {"aspect_ratio_ids": [[2, 3], [1, 0]]}, [(8, 4), (4, 8), (4, 4)],
    ),
    "tokens of a canvas of crops": (
        # Crops of 27 patches share 8: canvases of 27, 46 and 65 patches make 14, 23 and 33 tokens on a side.
        config("molmo2", patch_size=14, image_size=[378, 378]),
        {"pixel_values": tensor(9, 729, 588), "image_grids": object()},
        {"image_grids": [[14, 14, 14, 23], [14, 14, 33, 14]]}, [(27, 46), (65, 27)],
    ),
    "pixels on a side": (
        config("apertus1p5", spatial_scale_factor=16), {"pixel_values": tensor(2, 3, 64, 64), "image_sizes": object()},
        {"image_sizes": [[64, 48], [16, 64]]}, [(4, 3), (1, 4)],
    ),
    "tokens of a codebook": (codebook("chameleon"), {"pixel_values": tensor(2, 3, 32, 24)}, {}, [(4, 3), (4, 3)]),
    "tokens of a codebook, padded": (
        codebook("emu3"), {"pixel_values": tensor(2, 3, 32, 32), "image_sizes": object()},
        {"image_sizes": [[32, 16], [8, 32]]}, [(4, 2), (1, 4)],
    ),
    "two towers": (
        SimpleNamespace(
            model_type="deepseek_vl_hybrid",
            vision_config=SimpleNamespace(patch_size=14),
            high_res_vision_config=SimpleNamespace(patch_size=16),
        ),
        {"pixel_values": tensor(1, 3, 42, 42), "high_res_pixel_values": tensor(1, 3, 256, 256)}, {}, [(16, 16)],
    ),
    "views that are masked": (
        config("granite_docling", **SMALL), masked(2, 3, 3, 28, 28),
        {"pixel_attention_mask": [[1, 1, 1], [1, 0, 0]]}, [(2, 2)] * 4,
    ),
    "sides that are masked": (
        config("idefics2", **SMALL), masked(2, 2, 3, 56, 56),
        {"pixel_attention_mask": [[[56, 28], [14, 56]], [[56, 56], [0, 0]]]}, [(4, 2), (1, 4), (4, 4)],
    ),
    "a mask on the GPU": (config("idefics3", **SMALL), masked(2, 2, 3, 56, 56), {}, None),
    "one sequence without a mask": (
        config("idefics3", **SMALL), {"pixel_values": tensor(1, 2, 3, 56, 56)}, {}, [(4, 4), (4, 4)],
    ),
    "several without a mask": (config("smolvlm", **SMALL), {"pixel_values": tensor(2, 2, 3, 56, 56)}, {}, None),
    "tiles of equal images": (
        tiled("llava_next"), TILED, {"image_sizes": [[28, 56], [20, 40]]}, [(2, 2)] * 6,
    ),
    # The tiles of the smaller one are filled up to five, and left out again.
    "tiles of images of two sizes": (
        tiled("llava_next"), TILED, {"image_sizes": [[70, 80], [20, 80]]}, [(2, 2)] * (5 + 3),
    ),
    "tiles of images whose sizes are on the GPU": (tiled("llava_next"), TILED, {}, None),
    "tiles of images in prompts of one and of two": (
        tiled("llava_onevision"), TILED,
        {"image_sizes": [[70, 80], [70, 80], [20, 80]], "batch_num_images": [1, 2]}, [(2, 2)] * (5 + 1 + 1),
    ),
    "what images fill of their crops": (
        config("phi4_multimodal", **SMALL), PHI,
        {"image_sizes": [[112, 56], [112, 112]], "image_attention_mask": FILLED}, [(7, 2), (5, 7)],
    ),
    "whole crops": (
        config("phi4_multimodal", **SMALL), {**PHI, "image_attention_mask": None},
        {"image_sizes": [[112, 56], [56, 56]]}, [(8, 4), (4, 4)],
    ),
    "crops whose mask is on the GPU": (config("phi4_multimodal", **SMALL), PHI, {"image_sizes": [[56, 56]]}, None),
    "a tower whose config names no patch": (
        config("fast_vlm"), {"pixel_values": tensor(1, 3, 1024, 1024)}, {}, [(16, 16)],
    ),
    "images under another name": (
        config("video_llava", **SMALL), {"pixel_values_images": tensor(2, 3, 56, 56)}, {}, [(4, 4)] * 2,
    ),
    "squares of patches": (
        config("inkling2_loop", spatial_merge_size=2), {"pixel_values": object(), "image_grid_thw": object()},
        {"image_grid_thw": [[1, 3, 5]]}, [(6, 10)],
    ),
    "rows of patches without a size": (config("fuyu", **SMALL), {"image_patches": tensor(1, 9, 588)}, {}, None),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_patches_of_each_image(name: str) -> None:
    known, inputs, values, grids = CASES[name]
    assert grids_of(known, inputs, values) == grids
    # What the host does not know is not guessed from shapes.
    if values:
        assert grids_of(known, inputs) is None


def test_crops_of_molmo_2_share_what_the_estimate_says() -> None:
    assert MOLMO2_SHARED == MOLMO_MARGIN
