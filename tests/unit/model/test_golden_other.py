"""Encoders, encoder-decoders and vision towers against torch's count; `scripts/golden_flops.py other` rewrites them."""

from __future__ import annotations

import pytest

from nsys_pipeline.model import Model, estimate
from nsys_pipeline.records import Step
from tests.unit.model.configs import FULL, golden, read_json

CONFIGS = read_json("other_configs.json")
GOLDEN = golden("golden_other.json")


def estimated(model: Model, kind: str) -> list[int]:
    """Totals of the passes that the script counts: two sequences of 16 tokens, or two images."""
    fixed = model.architecture.encoder_tokens
    if kind in ("text", "image"):
        tokens = fixed or 16
        step = Step.uniform(batch=2, q_tokens=tokens, logits=2 * tokens if kind == "text" else 0)
        return [estimate(model, step, FULL).flops]
    lengths = (fixed or 16,) * 2
    first = Step.uniform(batch=2, q_tokens=3, logits=6)
    later = Step.uniform(batch=2, q_tokens=1, kv_tokens=3)
    return [estimate(model, step, FULL, encoder_tokens=lengths).flops for step in (first, later)]


@pytest.mark.parametrize("name", GOLDEN)
def test_flops_and_parameters_equal_torchs_count(name: str) -> None:
    entry = CONFIGS[name]
    model = Model.from_config(entry["config"])
    assert estimated(model, entry["kind"]) == GOLDEN[name]["flops"]
    assert model.params == GOLDEN[name]["params"]


def test_every_config_has_a_golden() -> None:
    assert set(GOLDEN) == set(CONFIGS)
