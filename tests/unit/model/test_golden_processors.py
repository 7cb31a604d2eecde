"""Views of pictures against transformers' image processors, several a request; `golden_processors.py` asks them."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest

from nsys_pipeline.errors import UsageError
from nsys_pipeline.model import Model, load_model
from nsys_pipeline.model.images import tokens_in_prompt, views
from tests.unit.model.configs import golden, read_json

GOLDEN = golden("golden_processors.json")
TOWERS = read_json("tower_configs.json")
FIXED, OF_ANY_SIZE = load_model("llava-1.5-7b"), Model.from_config(TOWERS["qwen2_5_vl"]["config"])


def processed(name: str) -> Model:
    """A model whose config says what a processor goes by; the cost of its tower is not looked at."""
    vision = GOLDEN[name]["vision"]
    if name == "phi4_multimodal":
        # The number of its tokens is compared, too.
        small = TOWERS[name]["config"]
        return Model.from_config(
            {**small, "vision_config": {**small["vision_config"], "image_size": 448, "patch_size": 14}}
        )
    is_counted = any("count" in request for request in GOLDEN[name]["requests"])
    base = FIXED if is_counted and name != "deepseek_ocr2" else OF_ANY_SIZE
    return attrs.evolve(base, config={"model_type": name, "vision_config": vision})


def said(model: Model, request: dict[str, Any]) -> Any:
    """llmperf's answer in the words of the processor."""
    several = len(request["sizes"]) > 1
    made = [views(model, *size, several=several) for size in request["sizes"]]
    grids = [grid for each in made for grid in each]
    if "count" in request:
        return {"count": len(grids)}
    if "patches" in request:
        return {"patches": [math.prod(grid) for grid in grids]}
    if "tokens" in request:
        return {"tokens": [tokens_in_prompt(model, each) for each in made]}
    if "pooled" in request:
        return {"pooled": [[(side + 1) // 2 for side in grid] for grid in grids]}
    return {"views": [list(grid) for grid in grids]}


@pytest.mark.parametrize("name", GOLDEN)
def test_views_of_odd_sizes_and_of_several_pictures_are_the_processors(name: str) -> None:
    model = processed(name)
    for request in GOLDEN[name]["requests"]:
        if request.get("refused"):
            with pytest.raises(UsageError, match="is longer than"):
                said(model, request)
            continue
        assert {"sizes": request["sizes"], **said(model, request)} == request
