"""Towers with projectors against torch's count, several odd sizes at once; `scripts/golden_towers.py` rewrites them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline.model import Estimator, Model
from nsys_pipeline.model.vision_parts import is_vision
from nsys_pipeline.records import Step
from tests.unit.model.configs import FULL

HERE = Path(__file__).parent
CONFIGS: dict[str, Any] = json.loads((HERE / "tower_configs.json").read_text(encoding="utf-8"))
GOLDEN = {e["model"]: e for e in json.loads((HERE / "golden_towers.json").read_text(encoding="utf-8"))["models"]}


@pytest.mark.parametrize("name", CONFIGS)
def test_flops_of_towers_equal_torchs_count(name: str) -> None:
    entry, golden = CONFIGS[name], GOLDEN[name]
    model = Model.from_config(entry["config"], name)
    estimator = Estimator(model, FULL)
    for grids, counted in zip(entry["grids"], golden["flops"], strict=True):
        ops = estimator.estimate(Step((), (), 0, images=grids)).ops
        assert all(is_vision(op) for op in ops if op.flops_executed)
        assert sum(op.layers * op.flops_executed for op in ops) == counted, grids
    assert model.params == golden["params"]
