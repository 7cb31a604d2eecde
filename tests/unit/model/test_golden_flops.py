"""Totals that torch's FlopCounterMode gives for real configs; `scripts/golden_flops.py` rewrites them."""

from __future__ import annotations

from typing import Any

import pytest

from nsys_pipeline.model import estimate, load_model
from nsys_pipeline.records import Step
from tests.unit.model.configs import FULL, read_json

GOLDEN = read_json("golden_flops.json")
MODELS = {entry["model"]: entry for entry in GOLDEN["models"]}


@pytest.mark.parametrize("name", MODELS)
def test_flops_equal_torchs_count_to_the_last_one(name: str) -> None:
    entry: dict[str, Any] = MODELS[name]
    model = load_model(name)
    counted, estimated = [], []
    for case in entry["cases"]:
        step = Step.uniform(batch=case["batch"], q_tokens=case["q"], kv_tokens=case["kv"], logits=case["logits"])
        ops = estimate(model, step, FULL).ops
        # Recurrences and their convolutions follow another convention: docs/flops.md, "Linear attention".
        estimated.append(sum(op.total_flops_executed for op in ops if op.kind not in ("scan", "conv")))
        counted.append(case["flops"])
    assert estimated == counted


@pytest.mark.parametrize("name", MODELS)
def test_parameters_equal_torchs_count(name: str) -> None:
    assert load_model(name).params == MODELS[name]["params"]


def test_goldens_cover_every_kind_of_attention_and_at_least_fifteen_models() -> None:
    families = {load_model(name).model_type for name in MODELS}
    assert len(MODELS) >= 15
    assert {"llama", "qwen2", "qwen3", "gpt2", "gemma3_text"} <= families  # dense, windows
    assert {"mixtral", "qwen3_moe", "qwen2_moe", "gpt_oss", "glm4_moe", "llama4_text"} <= families  # experts
    assert {"deepseek_v2", "deepseek_v3"} <= families  # latents
    assert "qwen3_next" in families
