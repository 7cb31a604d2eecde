"""Rewrite tests/unit/model/golden_towers.json: what torch counts when the vision side of a model runs on odd sizes.

Each model of tower_configs.json is built by transformers with random weights on the CPU, where eager attention is
products that FlopCounterMode counts, and is given pixels of the listed grids. Never llmperf's estimate. Needs the extra
`verify`.
"""

from __future__ import annotations

import inspect
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

TESTS = Path(__file__).parent.parent / "tests" / "unit" / "model"


def inputs(config: Any, module: Any, grids: list[list[int]]) -> dict[str, Any]:
    """Pixels of images, or views, of so many patches."""
    vision = config.vision_config
    taken = inspect.signature(module.get_image_features).parameters
    patch = getattr(vision, "patch_size", None) or vision.sam_config.patch_size
    patch = patch[0] if isinstance(patch, (list, tuple)) else patch
    if "image_grid_thw" in taken:
        channels = getattr(vision, "in_channels", None) or getattr(vision, "in_chans", None) or 3
        size = channels * getattr(vision, "temporal_patch_size", 1) * patch**2
        rows = sum(height * width for height, width in grids)
        return {
            "pixel_values": torch.zeros(rows, size),
            "image_grid_thw": torch.tensor([[1, height, width] for height, width in grids]),
        }
    sides = {(height * patch, width * patch) for height, width in grids}
    if "num_local_patches" in taken:
        whole = [grid for grid in grids if grid == [64, 64]]
        tiles = [grid for grid in grids if grid == [48, 48]]
        found: dict[str, Any] = {"pixel_values": torch.zeros(len(whole), 3, 1024, 1024)}
        if tiles:
            found |= {"pixel_values_local": torch.zeros(len(tiles), 3, 768, 768), "num_local_patches": [len(tiles)]}
        return found
    if "image_sizes" in taken and getattr(vision, "model_type", "") == "pixtral":
        height, width = (max(side) for side in zip(*sides, strict=True))
        sizes = torch.tensor([[h * patch, w * patch] for h, w in grids])
        return {"pixel_values": torch.zeros(len(grids), 3, height, width), "image_sizes": sizes}
    ((height, width),) = sides
    pixels = torch.zeros(len(grids), 3, height, width)
    if config.model_type in ("idefics3", "smolvlm"):
        return {"pixel_values": pixels[None] + 1}
    if config.model_type in ("llava_next", "llava_onevision"):
        # Of one image: the whole, and its tiles.
        return {"pixel_values": pixels[None], "image_sizes": torch.tensor([[height, (len(grids) - 1) * width]])}
    return {"pixel_values": pixels}


def main() -> None:
    """Count every model; those that transformers cannot run are named on stderr."""
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    entries = []
    for name, entry in json.loads((TESTS / "tower_configs.json").read_text(encoding="utf-8")).items():
        config = transformers.AutoConfig.for_model(**entry["config"])
        module = transformers.AutoModelForImageTextToText.from_config(config, attn_implementation="eager").eval()
        counts: list[int | str] = []
        for grids in entry["grids"]:
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                features = module.get_image_features(**inputs(config, module, grids))
                if config.model_type == "llama4":
                    # Its forward pass projects them.
                    module.multi_modal_projector(features.last_hidden_state)
            counts.append(counter.get_total_flops())
        params = sum(parameter.numel() for parameter in module.parameters())
        entries.append({"model": name, "params": params, "flops": counts})
        print(f"{name}: {counts}", file=sys.stderr)
    source = f"torch {torch.__version__.split('+')[0]} FlopCounterMode, transformers {transformers.__version__}"
    rows = ",\n  ".join(json.dumps(entry) for entry in entries)
    target = TESTS / "golden_towers.json"
    target.write_text(f'{{"source": {json.dumps(source)}, "models": [\n  {rows}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
