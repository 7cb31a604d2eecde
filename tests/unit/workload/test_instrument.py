"""Which modules of a model are its attention and MLP blocks."""

from __future__ import annotations

import pytest

from nsys_pipeline.workload.instrument import block_names

transformers = pytest.importorskip("transformers")
pytest.importorskip("torch")

SIZES = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 64,
    "max_position_embeddings": 64, "n_layer": 2, "n_head": 4, "n_embd": 32, "num_local_experts": 4,
}  # fmt: skip


@pytest.mark.parametrize("name", ["llama", "gpt2", "falcon", "bloom", "gpt_neox", "mixtral", "qwen3_moe", "phi3"])
def test_every_layer_has_one_of_each(name: str) -> None:
    extra = {"pad_token_id": 0} if name == "phi3" else {}
    config = transformers.AutoConfig.for_model(name, **SIZES, **extra)
    model = transformers.AutoModelForCausalLM.from_config(config)
    assert sorted(block_names(model)) == ["layer.0.attn", "layer.0.mlp", "layer.1.attn", "layer.1.mlp"]
