"""Fields of a config that would change what is computed, and that its model type does not have, are said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline.model import Model, load_model
from nsys_pipeline.model.load import preset_names
from tests.cli.run import run

LLAMA: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16",
}  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, ()),
        ({"num_experts": 8, "num_experts_per_tok": 2}, ("num_experts",)),
        ({"sliding_window": 16}, ("sliding_window",)),
        # off, or of no effect
        ({"sliding_window": 4096, "num_experts": 0, "kv_lora_rank": None, "total_ut_steps": 1}, ()),
        ({"sliding_window": 16, "use_sliding_window": False}, ()),
        ({"layer_types": ["full_attention"] * 2}, ()),
        ({"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 16},
         ("layer_types", "sliding_window")),
        ({"kv_lora_rank": 16, "num_kv_shared_layers": 1}, ("kv_lora_rank", "num_kv_shared_layers")),
        # what a model type has is read
        ({"model_type": "mistral", "sliding_window": 16}, ()),
    ],
)  # fmt: skip
def test_fields_that_a_model_type_has_not(fields: dict[str, Any], said: tuple[str, ...]) -> None:
    assert Model.from_config(LLAMA | fields, name="model").architecture.unread == said


def test_the_text_config_of_a_larger_model_is_looked_at() -> None:
    config = {"model_type": "llava", "text_config": LLAMA | {"num_experts": 8}, "vision_config": {
        "model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 28, "patch_size": 14,
    }}  # fmt: skip
    assert Model.from_config(config, name="model").architecture.unread == ("text_config.num_experts",)


def test_presets_have_nothing_unread() -> None:
    assert {name: found for name in preset_names() if (found := load_model(name).architecture.unread)} == {}


def test_flops_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA | {"num_experts": 8}))

    code, out, _ = run(capsys, "flops", tmp_path / "config.json", "--prompt-tokens", 8, "--format", "json")

    assert code == 0
    assert json.loads(out)["convention"]["notes"][0].startswith(
        "the config has `num_experts`, which `llama` has no use for"
    )


def test_analyze_says_it(tmp_path: Path) -> None:
    from nsys_pipeline.inputs.run import RunDescription

    model = RunDescription({"model": LLAMA | {"num_experts": 8}}).model()
    assert model is not None  # `config_not_read` has its sentence
    assert model.unread[0].endswith("are those of another model")
