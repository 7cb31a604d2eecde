"""Experts that a request chooses, counted in the built-in workload and again from the router's own logits."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from nsys_pipeline.workload.caches import cache_keyword, find_cache
from nsys_pipeline.workload.experts import counted_experts, expert_blocks

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SIZES = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 128, "max_position_embeddings": 64,
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "mixtral": {"num_local_experts": 16, "num_experts_per_tok": 2, "sliding_window": None},
    "qwen3_moe": {
        "head_dim": 8, "num_experts": 16, "num_experts_per_tok": 3, "moe_intermediate_size": 16,
        "decoder_sparse_step": 1, "mlp_only_layers": [],
    },
}  # fmt: skip


def build(name: str, **fields: Any) -> Any:
    torch.manual_seed(1)
    config = transformers.AutoConfig.for_model(name, **SIZES, **fields)
    return transformers.AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("name", MODELS)
def test_experts_are_those_that_the_router_prefers(name: str) -> None:
    model, top_k = build(name, **MODELS[name]), MODELS[name]["num_experts_per_tok"]
    prompt = torch.randint(0, 128, (2, 5))
    with torch.no_grad(), counted_experts(model) as counts:
        first = model(input_ids=prompt, use_cache=True, output_router_logits=True)
        kept = {cache_keyword(model): find_cache(first)}
        second = model(input_ids=prompt[:, :1], output_router_logits=True, **kept)

    expected = [
        statistics.fmean(logits.topk(top_k).indices.unique().numel() for logits in output.router_logits)
        for output in (first, second)
    ]
    assert len(first.router_logits) == 3
    assert counts == expected
    assert top_k <= expected[1] <= 2 * top_k < expected[0] < 16

    # afterwards nothing is counted any more
    with torch.no_grad():
        model(input_ids=prompt)
    assert len(counts) == 2


def test_a_model_without_experts_has_no_counts() -> None:
    model = build("llama")
    assert expert_blocks(model) == []
    with torch.no_grad(), counted_experts(model) as counts:
        model(input_ids=torch.tensor([[1, 2]]))
    assert counts == [None]
