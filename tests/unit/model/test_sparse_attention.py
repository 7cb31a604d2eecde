"""What a query of a sparse attention sees, counted key by key, and the bytes of caches that hold more than keys."""

from __future__ import annotations

from typing import Any

import pytest

from nsys_pipeline.model import Conventions, Estimator, Model
from nsys_pipeline.model.masks import pooled_pairs
from tests.unit.model.configs import decode, llama, mixtral, op_flops, op_weight_bytes, prefill

#: New and cached tokens: prompts, decode steps and chunks, at and around the edges of pools and windows.
SHAPES = [(q, cached) for q in (1, 2, 3, 7, 20) for cached in (0, 1, 3, 4, 5, 11, 12, 33)]


def ops_of(config: dict[str, Any], q: int, cached: int) -> dict[str, Any]:
    result = prefill(config, q, kv_tokens=cached) if cached else prefill(config, q)
    return {op.name: op for op in result.ops}


@pytest.mark.parametrize("most", [None, 1, 2, 5])
@pytest.mark.parametrize("rate", [1, 3, 4])
def test_pooled_pairs_are_those_of_each_position(rate: int, most: int | None) -> None:
    for tokens in range(30):
        seen = [(position + 1) // rate for position in range(tokens)]
        assert pooled_pairs(tokens, rate, most) == sum(seen if most is None else (min(n, most) for n in seen))


V4 = {
    "model_type": "deepseek_v4", "hidden_size": 64, "moe_intermediate_size": 24, "num_hidden_layers": 1,
    "num_attention_heads": 4, "head_dim": 16, "q_lora_rank": 20, "num_experts_per_tok": 2, "n_routed_experts": 4,
    "vocab_size": 101, "hc_mult": 3, "sliding_window": 7, "o_groups": 2, "o_lora_rank": 12, "index_n_heads": 2,
    "index_head_dim": 8, "index_topk": 3, "torch_dtype": "bfloat16",
    "compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 6},
}  # fmt: skip


@pytest.mark.parametrize(("q", "cached"), SHAPES)
def test_deepseek_v4_sees_a_window_and_the_entries_that_are_closed(q: int, cached: int) -> None:
    positions = range(cached, cached + q)
    window = sum(min(p + 1, 7) for p in positions)
    sparse = ops_of({**V4, "layer_types": ["compressed_sparse_attention"]}, q, cached)
    heavy = ops_of({**V4, "layer_types": ["heavily_compressed_attention"]}, q, cached)
    plain = ops_of({**V4, "layer_types": ["sliding_attention"]}, q, cached)
    assert plain["attention"].flops_model == 4 * 4 * 16 * window
    assert heavy["attention"].flops_model == 4 * 4 * 16 * (window + sum((p + 1) // 6 for p in positions))
    picked = sum(min((p + 1) // 4, 3) for p in positions)
    assert sparse["attention"].flops_model == 4 * 4 * 16 * (window + picked)
    assert sparse["index_scores"].flops_model == 2 * 2 * 8 * sum((p + 1) // 4 for p in positions)


def test_deepseek_v4_reads_its_window_and_entries_of_one_key_that_is_its_own_value() -> None:
    heavy = ops_of({**V4, "layer_types": ["heavily_compressed_attention"]}, 1, 100)["attention"]
    # 100 = 16 entries of 6 and 4 tokens of an open one, which is not closed by the new token.
    assert heavy.kv_read_bytes == 2 * 16 * (6 + 16)
    assert heavy.kv_write_bytes == 2 * 16 * (1 + 2)
    closing = ops_of({**V4, "layer_types": ["heavily_compressed_attention"]}, 1, 101)["attention"]
    assert closing.kv_read_bytes == 2 * 16 * (6 + 16 + 2 * 5)
    assert closing.kv_write_bytes == 2 * 16 * (1 + 1)
    sparse = ops_of({**V4, "layer_types": ["compressed_sparse_attention"]}, 1, 100)
    assert sparse["attention"].kv_read_bytes == 2 * 16 * (6 + 3)
    # The keys of all 25 entries are scored; what the open window collects is two series of keys and gates.
    assert sparse["index_scores"].kv_read_bytes == 2 * 8 * 25
    assert sparse["index_scores"].kv_write_bytes == 2 * 8 * 4


def test_deepseek_v4_quantizes_its_experts_to_four_bits() -> None:
    quantized = {
        **V4, "layer_types": ["compressed_sparse_attention"], "expert_dtype": "fp4",
        "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
    }  # fmt: skip
    formats = Estimator(Model.from_config(quantized)).formats()
    assert {role: [fmt.name for fmt in found] for role, found in formats.items()} == {
        "attention": ["fp8"],
        "mlp": ["fp8"],
        "expert": ["mxfp4"],
    }
    experts = next(op for op in decode(quantized, 10).ops if op.name == "experts_down")
    assert (experts.dtype, experts.weight_bytes) == ("fp8", 2 * 64 * (24 // 2 + 1))
    # Compressors stay in the model's dtype.
    assert op_weight_bytes(decode(quantized, 10), "compressor") == 2 * 64 * 64


def test_streams_are_read_in_fp32() -> None:
    result = decode({**V4, "layer_types": ["sliding_attention"]}, 5)
    assert op_weight_bytes(result, "mlp_streams") == 4 * (15 * (3 * 64 + 1) + 3)
    assert op_flops(result, "mlp_streams_mix") == 2 * 3 * 3 * 64


M3 = {
    **llama(num_hidden_layers=1), "model_type": "minimax_m3_vl_text", "layer_types": ["minimax_m3_sparse"],
    "num_local_experts": 4, "num_experts_per_tok": 2, "shared_intermediate_size": 32, "index_n_heads": 2,
    "index_head_dim": 8, "index_block_size": 4, "index_topk_blocks": 3,
}  # fmt: skip


@pytest.mark.parametrize(("q", "cached"), SHAPES)
def test_block_sparse_attention_sees_its_own_block_and_others_up_to_a_limit(q: int, cached: int) -> None:
    ops = ops_of({**M3, "head_dim": 8}, q, cached)
    positions = range(cached, cached + q)
    assert ops["attention"].flops_model == 4 * 8 * 8 * sum(p % 4 + 1 + 4 * min(p // 4, 2) for p in positions)
    assert ops["index_scores"].flops_model == 2 * 2 * 8 * sum(p + 1 for p in positions)


def test_block_sparse_attention_reads_the_blocks_it_picks_and_all_index_keys() -> None:
    ops = ops_of({**M3, "head_dim": 8}, 1, 101)
    assert ops["attention"].kv_read_bytes == 2 * 2 * (2 * 8) * (2 * 4 + 1)
    assert ops["index_scores"].kv_read_bytes == 2 * 8 * 101


LATENTS = {
    **{k: v for k, v in mixtral(num_hidden_layers=1).items() if k not in ("num_local_experts", "sliding_window")},
    "n_routed_experts": 8, "n_shared_experts": 1, "moe_intermediate_size": 32, "q_lora_rank": 24, "kv_lora_rank": 16,
    "qk_nope_head_dim": 8, "qk_rope_head_dim": 0, "v_head_dim": 8, "index_topk": 8, "index_n_heads": 4,
    "index_head_dim": 16,
}  # fmt: skip
GLM5 = {
    **LATENTS, "model_type": "glm5_next_text", "layer_types": ["indexed_attention"], "index_kpool": 4, "hc_mult": 2,
    "linear_num_heads": 2, "linear_head_dim": 8,
}  # fmt: skip


@pytest.mark.parametrize("tail", [True, False])
@pytest.mark.parametrize(("q", "cached"), SHAPES)
def test_pools_of_keys_are_picked_and_the_open_one_is_seen(q: int, cached: int, tail: bool) -> None:
    config = {**GLM5, "index_kpool_always_select_tail": tail}
    result = prefill(config, q, kv_tokens=cached, conventions=Conventions(mla="cached"))
    ops = {op.name: op for op in result.ops}
    positions = range(cached, cached + q)
    seen = sum(4 * min((p + 1) // 4, 2) + tail * ((p + 1) % 4) for p in positions)
    assert ops["attention"].flops_model == 2 * 8 * (8 + 8) * seen
    assert ops["index_scores"].flops_model == 2 * 4 * (16 + 1) * sum((p + 1) // 4 for p in positions)


def test_shared_latents_are_read_but_not_written() -> None:
    config = {
        **LATENTS, "model_type": "mistral_large4_text", "num_hidden_layers": 2, "qk_rope_head_dim": 8,
        "kv_source_layers": [0, 0], "no_rope_layers": [1, 1], "mlp_layer_types": ["sparse", "sparse"],
        "indexer_types": ["full", "shared"],
    }  # fmt: skip
    own, shared = (op for op in decode(config, 100).ops if op.name == "attention")
    assert (own.kv_read_bytes, own.kv_write_bytes) == (2 * 8 * 24, 2 * 24)
    assert (shared.kv_read_bytes, shared.kv_write_bytes) == (2 * 8 * 24, 0)


QWEN4 = {
    **llama(num_hidden_layers=1), "model_type": "qwen4_exp_text", "layer_types": ["indexed_attention"], "head_dim": 8,
    "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "shared_expert_intermediate_size": 40,
    "hc_count": 2, "hc_lowrank": 12, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8,
    "linear_value_head_dim": 8, "indexer_n_heads": 2, "indexer_head_dim": 16, "indexer_budget": 8,
    "indexer_compress_ratio": 4,
}  # fmt: skip


@pytest.mark.parametrize(("q", "cached"), SHAPES)
def test_qwen4_scores_closed_pools_only(q: int, cached: int) -> None:
    ops = ops_of(QWEN4, q, cached)
    positions = range(cached, cached + q)
    seen = sum(4 * min((p + 1) // 4, 2) + (p + 1) % 4 for p in positions)
    assert ops["attention"].flops_model == 4 * 8 * 8 * seen
    assert ops["index_scores"].flops_model == 2 * 2 * 16 * sum((p + 1) // 4 for p in positions)


def test_qwen4_reads_a_mean_per_pool() -> None:
    ops = ops_of(QWEN4, 1, 101)
    assert ops["attention"].kv_read_bytes == 2 * 2 * (2 * 8) * (8 + 1)
    assert ops["index_scores"].kv_read_bytes == 2 * 16 * 26
    assert ops["index_scores"].kv_write_bytes == 2 * 16


def test_layers_that_only_images_go_through_are_stored_and_idle() -> None:
    config = {**llama(), "model_type": "mllama_text_model", "cross_attention_layers": [1]}
    model = Model.from_config(config)
    without = Model.from_config({**config, "num_hidden_layers": 2, "cross_attention_layers": []})
    assert model.params > without.params
    assert model.active_params == without.active_params
    assert prefill(config, 9).flops == prefill(dict(without.config), 9).flops
