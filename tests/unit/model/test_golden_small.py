"""One small config per family and variant, counted by torch: totals, parameters, and what `verified` means."""

from __future__ import annotations

import attrs
import pytest

from nsys_pipeline.model import Model, estimate, load_model
from nsys_pipeline.model.families import VERIFIED
from nsys_pipeline.records import Step
from tests.unit.model.configs import FULL, golden, read_json

CONFIGS = read_json("small_configs.json")
GOLDEN = golden("golden_small.json")
REAL = [e["model"] for e in read_json("golden_flops.json")["models"]]


@pytest.mark.parametrize("name", GOLDEN)
def test_flops_and_parameters_equal_torchs_count(name: str) -> None:
    model, entry = Model.from_config(CONFIGS[name]), GOLDEN[name]
    estimated = []
    for case in entry["cases"]:
        step = Step.uniform(batch=case["batch"], q_tokens=case["q"], kv_tokens=case["kv"], logits=case["logits"])
        # Cached tokens were run as a prompt, which the window of Unlimited-OCR keeps.
        step = attrs.evolve(step, prompts=step.kv_tokens if case["kv"] else ())
        # transformers applies these outside modules, so that the goldens leave them out with the recurrence.
        outside = ("dt_proj", "x_proj_heads")
        ops = [
            op for op in estimate(model, step, FULL).ops if op.kind not in ("scan", "conv") and op.name not in outside
        ]
        estimated.append(sum(op.total_flops_executed for op in ops))
    assert estimated == [case["flops"] for case in entry["cases"]]
    assert model.params == entry["params"]


def test_every_small_config_has_a_golden() -> None:
    assert set(GOLDEN) == set(CONFIGS)


def test_verified_is_said_only_of_what_the_goldens_cover() -> None:
    configs = [*CONFIGS.values(), *(load_model(name).config for name in REAL)]
    covered = {config["model_type"] for config in configs}
    others = read_json("other_configs.json")
    covered |= {entry["config"]["model_type"] for entry in others.values()}
    towers = read_json("tower_configs.json")
    covered |= {entry["config"]["model_type"] for entry in towers.values()}
    passes = read_json("image_pass_configs.json")
    covered |= {entry["config"]["model_type"] for entry in passes.values()}
    covered |= {config.get("text_config", {}).get("model_type") for config in configs}
    covered |= {"qwen2_vl_text"}  # the flat config of qwen2_vl
    assert covered >= VERIFIED
