"""Rewrite tests/unit/model/golden_towers.json: what torch counts when the vision side of a model runs on odd sizes.

Each model of tower_configs.json is built by transformers with random weights on the CPU, where eager attention is
products that FlopCounterMode counts, and is given pixels of the listed grids. Never llmperf's estimate. Needs the extra
`verify`. Usage: python scripts/golden_towers.py [MODEL …]: those alone are counted again.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nsys_pipeline.model.families.flattened_patches import KOSMOS_PATCHES, PIX2STRUCT_PATCHES
from nsys_pipeline.model.verify import multimodal_class
from scripts.golden_totals import (
    TESTS,
    counted,
    flattened_patches,
    place_for,
    quieten,
    read_configs,
    write_totals,
)


def features_of(module: Any) -> Any:
    """What runs tower and projector; the class around the model may only forward to it."""
    inner, kind = getattr(module, "model", module), module.config.model_type
    if kind.startswith("instructblip"):
        return lambda pixel_values: without_instruction(module, pixel_values)
    parts: dict[str, Any] = {
        "emu3": lambda **pixels: inner.vqmodel.encode(**pixels).image_tokens,
        "mllama": lambda **pixels: inner.multi_modal_projector(inner.vision_model(**pixels).last_hidden_state),
        "git": lambda **pixels: inner.git.visual_projection(inner.git.image_encoder(**pixels).last_hidden_state),
        "blip": lambda **pixels: inner.vision_model(**pixels).last_hidden_state,
        "pp_formulanet": lambda pixel_values: inner.encoder(pixel_values=pixel_values),
        "pix2struct": lambda flattened_patches: module.encoder(flattened_patches=flattened_patches),
        "idefics": lambda **pixels: inner.perceiver_resampler(inner.vision_model(**pixels).last_hidden_state),
        # What is added in one of several layers is as many tokens as in the others.
        "granite4_vision": lambda pixel_values, image_sizes: module.get_image_features(
            pixel_values, image_sizes
        ).deepstack_features[0][1],
        "phi4_multimodal": lambda grids: [of_crops(inner.embed_tokens_extend.image_embed, *sides) for sides in grids],
    }
    if kind in parts:
        return parts[kind]
    return (inner if hasattr(inner, "get_image_features") else module).get_image_features


def of_crops(embed: Any, height: int, width: int) -> Any:
    """What Phi-4-multimodal makes of an image of so many patches: crops, the last ones cut off at the image, and it."""
    side = embed.config.vision_config.image_size // embed.config.vision_config.patch_size
    rows, columns = -(-height // side), -(-width // side)
    mask = torch.zeros(rows * side, columns * side)
    mask[:height, :width] = 1
    mask = mask.view(rows, side, columns, side).transpose(1, 2).reshape(-1, side, side)
    mask = torch.cat([torch.ones(1, side, side), mask])[None]
    pixels = torch.zeros(1, mask.shape[1], 3, embed.crop_size, embed.crop_size)
    sizes = torch.tensor([[rows * embed.crop_size, columns * embed.crop_size]])
    tokens: list[Any] = []
    hook = embed.img_projection_down.register_forward_hook(lambda _module, _inputs, output: tokens.append(output))
    nowhere = torch.zeros(1, 1, dtype=torch.long)
    # Then it would copy them to their places in a prompt, which has none.
    with contextlib.suppress(IndexError, RuntimeError):
        embed(nowhere, torch.zeros(1, 1, embed.config.hidden_size), pixels, sizes, mask)
    hook.remove()
    return tokens[0]


def without_instruction(module: Any, pixels: Any) -> Any:
    """What queries make of images, or of frames of a video, without an instruction, which is not counted."""
    video = module.config.model_type == "instructblipvideo"
    text = torch.zeros(1 if video else len(pixels), 0, dtype=torch.long)
    if video:
        return module.get_video_features(pixels[None], qformer_input_ids=text)
    return module.get_image_features(pixels, qformer_input_ids=text)


def squares(vision: Any, grids: list[list[int]]) -> dict[str, Any]:
    """Pixels of squares of patches, and how many of them images have on their sides (Inkling 2)."""
    merge, edge = vision.spatial_merge_size, vision.spatial_merge_size * vision.patch_size
    sides = [[1, height // merge, width // merge] for height, width in grids]
    pixels = torch.zeros(sum(height * width for _, height, width in sides), edge, edge, vision.num_channels)
    return {"pixel_values": pixels, "image_grid_thw": torch.tensor(sides)}


def crops_or_rows(config: Any, taken: Any, grids: list[list[int]]) -> dict[str, Any] | None:
    """Inputs of towers that get crops, or rows of patches that are filled up; None for other towers."""
    kind = config.model_type
    if kind == "phi4_multimodal":
        return {"grids": grids}
    if kind == "molmo2":
        return crops(config, grids)
    if kind.startswith("inkling2"):
        return squares(config.vision_config, grids)
    if "flattened_patches" in taken:
        row = KOSMOS_PATCHES if kind == "kosmos-2.5" else PIX2STRUCT_PATCHES
        return {"flattened_patches": flattened_patches(grids, config.vision_config.patch_embed_hidden_size, row)}
    return None


def any_size(config: Any, taken: Any, patch: int, grids: list[list[int]]) -> dict[str, Any] | None:
    """Pixels of a tower that gets patches of images of any size in a row; None for other towers."""
    vision = getattr(getattr(config, "encoder", config), "vision_config", config)
    rows, kind = sum(height * width for height, width in grids), config.model_type
    # Images of as many patches each: what others are padded with would be counted.
    each = (len(grids), rows // len(grids))
    more: dict[str, Any] = {}
    made = crops_or_rows(config, taken, grids)
    if made is not None:
        return made
    if "image_position_ids" in taken:
        edge = patch * (vision.pooling_kernel_size if kind == "gemma4_unified" else 1)
        shape: tuple[int, ...] = (*each, 3 * edge**2)
        places = [[[x, y] for y in range(height) for x in range(width)] for height, width in grids]
        more = {"image_position_ids": torch.tensor(places)}
    elif "target_sizes" in taken:
        shape, more = (1, 3, patch, rows * patch), {"target_sizes": torch.tensor(grids)}
    elif "image_grid_thw" in taken or "image_merge_sizes" in taken:
        channels = getattr(vision, "in_channels", None) or getattr(vision, "in_chans", None) or 3
        frames: int = getattr(vision, "temporal_patch_size", None) or getattr(vision, "patch_temporal", None) or 1
        shape = (rows, channels * frames * patch**2)
        if kind in ("kimi_k25", "paddleocr_vl"):
            shape = (rows, 3, patch, patch)
        more = {"image_grid_thw": torch.tensor([[1, *grid] for grid in grids])}
        if "image_merge_sizes" in taken:
            more["image_merge_sizes"] = torch.ones(len(grids), dtype=torch.long)
    elif "image_grid_hw" in taken:
        shape, more = (rows, 3 * patch**2), {"image_grid_hw": torch.tensor(grids)}
    elif "spatial_shapes" in taken or kind == "fuyu":
        shape = (*each, 3 * patch**2)
        if kind != "fuyu":
            mask = torch.ones(shape[:2], dtype=torch.long)
            more = {"spatial_shapes": torch.tensor(grids), "pixel_attention_mask": mask}
    elif kind == "mllama":
        # As many tiles as an image may have: others are padded to that.
        tiles, size = vision.max_num_tiles, vision.image_size
        shape = (1, len(grids), tiles, 3, size, size)
        told = {"aspect_ratio_ids": shape[1:2], "aspect_ratio_mask": shape[1:3]}
        more = {name: torch.ones(1, *sides, dtype=torch.long) for name, sides in told.items()}
    else:
        return None
    return {"pixel_values": torch.zeros(shape), **more}


def crops(config: Any, grids: list[list[int]]) -> dict[str, Any]:
    """Pixels of canvases of crops that overlap, and of the whole of each, and what each token pools (Molmo 2)."""
    vision, shared = config.vision_config, 8
    side = vision.image_size[0] // vision.patch_size
    views = sum(
        1 + (height - shared) // (side - shared) * ((width - shared) // (side - shared)) for height, width in grids
    )
    whole = -(-side // 2)
    halves = [[whole, whole, -(-height // 2), -(-width // 2)] for height, width in grids]
    tokens = sum(a * b + c * d for a, b, c, d in halves)
    return {
        "pixel_values": torch.zeros(views, side * side, 3 * vision.patch_size**2),
        "image_token_pooling": torch.zeros(tokens, 4, dtype=torch.long),
        "image_grids": torch.tensor(halves),
    }


def without_a_tower(config: Any, grids: list[list[int]]) -> dict[str, Any]:
    """Pixels of images that become tokens of a codebook: as many on a side as halvings make of a token."""
    ((height, width),) = {tuple(grid) for grid in grids}
    edge = 2 ** (len(config.vq_config.channel_multiplier) - 1)
    sides = [height * edge, width * edge]
    pixels = {"pixel_values": torch.zeros(len(grids), 3, *sides)}
    return pixels if config.model_type == "chameleon" else pixels | {"image_sizes": torch.tensor([sides] * len(grids))}


def inputs(config: Any, module: Any, grids: list[list[int]]) -> dict[str, Any]:
    """Pixels of images, or views, of so many patches."""
    vision = getattr(getattr(config, "encoder", config), "vision_config", config)
    taken = inspect.signature(features_of(module)).parameters
    # Towers of the package timm name none.
    patch = {"fast_vlm": 64, "gemma3n": 16, "perception_lm": 14}.get(config.model_type) or getattr(
        vision, "patch_size", None
    )
    # Of Pix2Struct and KOSMOS-2.5 the processor alone knows.
    patch = patch or getattr(vision, "spatial_scale_factor", None)
    patch = patch or (vision.sam_config.patch_size if hasattr(vision, "sam_config") else 0)
    patch = patch[0] if isinstance(patch, (list, tuple)) else patch
    rows = any_size(config, taken, patch, grids)
    if rows is not None:
        return rows
    sides = {(height * patch, width * patch) for height, width in grids}
    if "num_local_patches" in taken and config.model_type != "step3p7":
        edge = 640 if config.model_type == "unlimited_ocr" else 768
        whole, tiles = ([grid for grid in grids if grid == [side // 16] * 2] for side in (1024, edge))
        local = {"pixel_values_local": torch.zeros(len(tiles), 3, edge, edge), "num_local_patches": [len(tiles)]}
        local |= {"patches_grid": [[1, len(tiles)]]} if edge == 640 else {}
        return {"pixel_values": torch.zeros(len(whole), 3, 1024, 1024), **(local if tiles else {})}
    if "image_sizes" in taken and getattr(vision, "model_type", "") in ("pixtral", "apertus1p5_vision_tokenizer"):
        height, width = (max(side) for side in zip(*sides, strict=True))
        sizes = torch.tensor([[h * patch, w * patch] for h, w in grids])
        return {"pixel_values": torch.zeros(len(grids), 3, height, width), "image_sizes": sizes}
    if "high_res_pixel_values" in taken:
        small, large = vision.image_size, config.high_res_vision_config.image_size
        views = {"pixel_values": small, "high_res_pixel_values": large}
        return {name: torch.zeros(len(grids), 3, side, side) for name, side in views.items()}
    ((height, width),) = sides
    pixels = torch.zeros(len(grids), 3, height, width)
    if config.model_type in ("granite4_vision", "llava_next", "llava_next_video", "llava_onevision"):
        # Of one image: the whole, and its tiles.
        return {"pixel_values": pixels[None], "image_sizes": torch.tensor([[height, (len(grids) - 1) * width]])}
    # Images of idefics that are nothing but zeros are dropped.
    several = config.model_type in ("idefics2", "idefics3", "smolvlm", "perception_lm", "granite_docling")
    told = {"pixel_attention_mask": torch.ones(1, len(grids), dtype=torch.bool)}
    return {
        "pixel_values": pixels[None] + 1 if several else pixels,
        **(told if config.model_type == "granite_docling" else {}),
    }


def tokens_of(features: Any) -> int:
    """Tokens of the decoder that the images became, of all of them."""
    if not isinstance(features, torch.Tensor | list | tuple):
        pooled = getattr(features, "pooler_output", None)
        features = features.last_hidden_state if pooled is None else pooled
    found = features
    parts = [found] if isinstance(found, torch.Tensor) else list(found)
    # Of a codebook, tokens are numbers.
    return sum(part.numel() // (part.shape[-1] if part.is_floating_point() else 1) for part in parts)


def encode(module: Any, grids: list[list[int]]) -> int:
    """Run tower and projector on images of these grids; tokens of the decoder that they become."""
    has_tower = hasattr(module.config, "vision_config") or not hasattr(module.config, "vq_config")
    pixels = inputs(module.config, module, grids) if has_tower else without_a_tower(module.config, grids)
    features = features_of(module)(**pixels)
    if module.config.model_type == "llama4":
        # Its forward pass projects them.
        features = module.multi_modal_projector(features.last_hidden_state)
    return tokens_of(features)


def main() -> None:
    """Count every model; those that transformers cannot run are named on stderr."""
    quieten()
    entries = []
    target = TESTS / "golden_towers.json"
    only = sys.argv[1:]
    kept = {entry["model"]: entry for entry in json.loads(target.read_text(encoding="utf-8"))["models"]}
    for name, entry in read_configs("tower_configs.json").items():
        if only and name not in only:
            entries.append(kept[name])
            continue
        config = transformers.AutoConfig.for_model(**entry["config"])
        # Of a model that also speaks, what sees and reads.
        config = getattr(config, "thinker_config", config)
        auto = multimodal_class(transformers, type(config))
        with place_for(name):
            module = auto.from_config(config, attn_implementation="eager").eval().requires_grad_(False)
            counts, tokens = zip(*(counted(encode, module, grids) for grids in entry["grids"]), strict=True)
        # Parts that llmperf names as not counted.
        apart = tuple(entry.get("without", ()))
        params = sum(value.numel() for name, value in module.named_parameters() if not name.startswith(apart))
        entries.append({"model": name, "params": params, "flops": counts, "tokens": tokens})
        print(f"{name}: {counts}", file=sys.stderr)
    write_totals(target, entries)


if __name__ == "__main__":
    main()
