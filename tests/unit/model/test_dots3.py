"""dots3.note: latents in a window, and the two ways in which configs say the sizes of layers."""

from __future__ import annotations

from typing import Any

import pytest

from nsys_pipeline.model import Conventions, Estimate, Estimator, Model
from nsys_pipeline.records import Step
from tests.unit.model.configs import read_json

CONFIG: dict[str, Any] = read_json("small_configs.json")["dots3_note"]
MODEL = Model.from_config(CONFIG)


def sliding(estimate: Estimate, name: str = "attention") -> list[Any]:
    return [op for op in estimate.ops if op.name == name and ".sliding." in op.layer]


def test_the_latents_of_a_sliding_layer_are_those_of_its_window() -> None:
    step = Step.uniform(batch=1, q_tokens=1, kv_tokens=100)
    (op,) = sliding(Estimator(MODEL).estimate(step))
    # Layers 2, 3 and 4; a window of 5 keeps 4 tokens, of 22 values of latent and 10 rotary ones in bf16.
    assert op.layer_ids == (2, 3, 4)
    assert (op.kv_read_bytes, op.kv_write_bytes) == (4 * (22 + 10) * 2, (22 + 10) * 2)


@pytest.mark.parametrize(("q", "cached", "pairs"), [(1, 100, 5), (7, 0, 1 + 2 + 3 + 4 + 5 + 5 + 5), (3, 3, 4 + 5 + 5)])
def test_a_token_sees_its_window(q: int, cached: int, pairs: int) -> None:
    step = Step.uniform(batch=1, q_tokens=q, kv_tokens=cached)
    (op,) = sliding(Estimator(MODEL, Conventions(attention="exact", mla="cached")).estimate(step))
    # 6 heads of 14 + 10 values of a score and 12 of a value.
    assert op.flops_model == 2 * pairs * 6 * (14 + 10 + 12)


def test_latents_that_left_the_window_are_not_expanded_again() -> None:
    step = Step.uniform(batch=1, q_tokens=1, kv_tokens=100)
    (op,) = sliding(Estimator(MODEL, Conventions(attention="exact", mla="reexpand")).estimate(step), "kv_b")
    assert op.flops_model == 2 * (4 + 1) * 22 * 6 * (14 + 12)


def test_sizes_for_each_layer_as_transformers_saves_them() -> None:
    text = {key: value for key, value in CONFIG["text_config"].items() if not key.startswith("swa_")}
    own = {
        "num_attention_heads": 6, "num_key_value_heads": 6, "q_lora_rank": 18, "kv_lora_rank": 22, "head_dim": 24,
        "qk_nope_head_dim": 14, "v_head_dim": 12, "qk_rope_head_dim": 10,
    }  # fmt: skip
    kinds = ["indexed_attention"] * 2 + ["sliding_attention"] * 3 + ["indexed_attention"]
    text |= {"layer_types": kinds, "per_layer_config": {str(layer): own for layer in (2, 3, 4)}}
    vision = {key: value for key, value in CONFIG["vision_config"].items() if key != "pyramid_num_routed"}
    vision |= {"mlp_layer_types": ["dense", "sparse", "sparse", "sparse"], "num_experts_per_tok": 2}
    vision["per_layer_config"] = {
        str(layer): {"num_local_experts": experts, "num_experts_per_tok": 2}
        for layer, experts in ((1, 4), (2, 6), (3, 6))
    }
    saved = Model.from_config({**CONFIG, "text_config": text, "vision_config": vision})
    assert saved.architecture == MODEL.architecture


def test_published_configs_have_the_decoder_at_the_top() -> None:
    text = {**CONFIG["text_config"], "use_dsa": True, "moe_shared_expert_intermediate_size": 28}
    del text["model_type"], text["shared_experts_intermediate_size"]
    outer = {key: value for key, value in CONFIG.items() if key != "text_config"}
    published = Model.from_config({**text, **outer})
    assert published.architecture.decoder == MODEL.architecture.decoder
    assert published.not_counted == ("audio encoder",)
    bare = Model.from_config({**text, **outer, "use_dsa": False})
    assert not bare.has_latent_indexer
