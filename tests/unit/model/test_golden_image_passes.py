"""Whole passes with images against torch's count; `scripts/golden_image_passes.py` rewrites them."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from nsys_pipeline.model import Estimator, Model
from nsys_pipeline.records import Step
from tests.unit.model.configs import FULL, golden, read_json

CONFIGS = read_json("image_pass_configs.json")
GOLDEN = golden("golden_image_passes.json")


def passes(case: dict[str, Any]) -> tuple[Step, Step]:
    """The prefill of a case, logits of all positions, and the decode step after it."""
    batch, prompt = case["batch"], case["prompt"]
    first = Step.uniform(batch=batch, q_tokens=prompt, logits=batch * prompt)
    later = Step.uniform(batch=batch, q_tokens=1, kv_tokens=prompt)
    return attrs.evolve(first, images=case["images"]), attrs.evolve(later, seen_images=case["images"])


@pytest.mark.parametrize("name", CONFIGS)
def test_passes_with_images_equal_torchs_count(name: str) -> None:
    model = Model.from_config(CONFIGS[name]["config"], name)
    for case, counted in zip(CONFIGS[name]["cases"], GOLDEN[name]["flops"], strict=True):
        steps = passes(case)
        assert [Estimator(model, FULL).estimate(step).flops for step in steps] == counted, case
        assert [totals.flops for totals in Estimator(model, FULL).totals(steps)] == counted, case
    assert model.params == GOLDEN[name]["params"]
