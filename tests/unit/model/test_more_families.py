"""Families whose totals torch cannot count: checkpoints with code of their own, text decoders alone, zero experts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline.model import Conventions, Model
from tests.unit.model.configs import decode, llama, mixtral, op_flops, op_weight_bytes, prefill

SMALL = json.loads((Path(__file__).parent / "small_configs.json").read_text(encoding="utf-8"))
LLAMA_LIKE = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32}


@pytest.mark.parametrize(
    ("config", "params"),
    [
        (
            {**LLAMA_LIKE, "model_type": "internlm2", "intermediate_size": 14336, "num_key_value_heads": 8,
             "vocab_size": 92544, "bias": False, "tie_word_embeddings": False},
            7_737_708_544,
        ),
        (
            {**LLAMA_LIKE, "model_type": "qwen", "intermediate_size": 22016, "kv_channels": 128, "vocab_size": 151936,
             "no_bias": True, "tie_word_embeddings": False},
            7_721_324_544,
        ),
        (
            {**LLAMA_LIKE, "model_type": "baichuan", "intermediate_size": 11008, "vocab_size": 64000,
             "tie_word_embeddings": False},
            7_000_559_616,
        ),
        (
            {"model_type": "chatglm", "hidden_size": 4096, "ffn_hidden_size": 13696, "num_layers": 28,
             "num_attention_heads": 32, "kv_channels": 128, "multi_query_attention": True, "multi_query_group_num": 2,
             "padded_vocab_size": 65024, "add_qkv_bias": True, "add_bias_linear": False, "rmsnorm": True,
             "post_layer_norm": True},
            6_243_584_000,
        ),
        (
            {"model_type": "exaone", "hidden_size": 4096, "intermediate_size": 14336, "num_layers": 32,
             "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 102400, "tie_word_embeddings": False},
            7_818_448_896,
        ),
        (
            {"model_type": "minicpm", "hidden_size": 2304, "intermediate_size": 5760, "num_hidden_layers": 40,
             "num_attention_heads": 36, "num_key_value_heads": 36, "vocab_size": 122753, "tie_word_embeddings": True},
            2_724_880_896,
        ),
        (
            {"model_type": "bailing_moe_v2", "hidden_size": 2048, "intermediate_size": 5120, "num_hidden_layers": 20,
             "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 157184,
             "num_experts": 256, "num_experts_per_tok": 8, "num_shared_experts": 1, "moe_intermediate_size": 512,
             "first_k_dense_replace": 1, "use_qk_norm": True},
            16_255_643_392 - 19 * 256,  # without the corrections of 19 routers, which are buffers
        ),
    ],
    ids=["internlm2-7b", "qwen-7b", "baichuan-7b", "chatglm3-6b", "exaone-3.0-7.8b", "minicpm-2b", "ling-mini-2.0"],
)  # fmt: skip
def test_parameters_are_those_of_the_published_checkpoint(config: dict[str, Any], params: int) -> None:
    model = Model.from_config(config)
    assert model.params == params
    assert model.label == "exact"


def test_of_a_multimodal_model_the_text_decoder_is_read() -> None:
    outer = Model.from_config({"model_type": "llava_next_video", "text_config": llama(), "tie_word_embeddings": False})
    assert outer.params == Model.from_config(llama()).params
    assert outer.architecture.text_only
    assert outer.architecture.vision is None
    assert outer.label == "exact"


def test_an_omni_model_is_its_thinkers_text_decoder() -> None:
    text = {**llama(), "model_type": "qwen2_5_omni_text"}
    config = {"model_type": "qwen2_5_omni", "thinker_config": {"text_config": text, "tie_word_embeddings": False}}
    assert Model.from_config(config).params == Model.from_config({**llama(), "model_type": "qwen2"}).params


LONGCAT = {
    "model_type": "longcat_flash", "hidden_size": 64, "num_layers": 2, "num_attention_heads": 4, "vocab_size": 100,
    "ffn_hidden_size": 96, "expert_ffn_hidden_size": 32, "n_routed_experts": 8, "zero_expert_num": 4, "moe_topk": 3,
    "q_lora_rank": 24, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8,
}  # fmt: skip


def test_zero_experts_compute_nothing() -> None:
    # Of 3 experts picked among 12, 8 of which compute, 2 compute on average.
    result = prefill(LONGCAT, 10)
    assert op_flops(result, "experts_gate_up") == 2 * 2 * (10 * 2) * (2 * 32) * 64
    assert op_flops(result, "router") == 2 * 2 * 10 * 12 * 64
    # Two attentions and two dense MLPs in each layer.
    assert op_flops(result, "down") == 2 * 2 * (2 * 10 * 64 * 96)


SPARSE = {
    **{k: v for k, v in mixtral(num_hidden_layers=1).items() if k not in ("num_local_experts", "sliding_window")},
    "model_type": "deepseek_v32", "n_routed_experts": 8, "n_shared_experts": 1, "moe_intermediate_size": 32,
    "first_k_dense_replace": 1, "q_lora_rank": 24, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8,
    "v_head_dim": 8, "index_topk": 100, "index_n_heads": 4, "index_head_dim": 16,
}  # fmt: skip


def test_sparse_attention_reads_the_latents_it_picks_and_all_index_keys() -> None:
    result = decode(SPARSE, 1000)
    attention = next(op for op in result.ops if op.name == "attention")
    scores = next(op for op in result.ops if op.name == "index_scores")
    assert attention.flops_model == 8 * 100 * 2 * (16 + 8 + 16)  # absorbed: keys of 24 values, values of 16
    assert attention.kv_read_bytes == 2 * 100 * (16 + 8)
    assert scores.flops_model == 1001 * 4 * 2 * (16 + 1)
    assert scores.kv_read_bytes == 2 * 1000 * 16


def test_sparse_attention_below_its_limit_is_dense() -> None:
    short = prefill(SPARSE, 50)
    attention = next(op for op in short.ops if op.name == "attention")
    assert attention.flops_model == 8 * (50 * 51 // 2) * 2 * (8 + 8 + 8)  # expanded: keys of 16 values, values of 8
    full = prefill(SPARSE, 500, conventions=Conventions(attention="full", count="executed"))
    attention = next(op for op in full.ops if op.name == "attention")
    assert attention.flops_executed == 8 * 500 * 500 * 2 * (8 + 8 + 8)


ZAMBA2 = {
    "model_type": "zamba2", "hidden_size": 64, "num_hidden_layers": 6, "num_attention_heads": 4, "vocab_size": 100,
    "intermediate_size": 96, "n_mamba_heads": 4, "mamba_d_state": 8, "num_mem_blocks": 1, "adapter_rank": 8,
    "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid", "mamba", "hybrid"],
}  # fmt: skip


def test_shared_blocks_are_stored_and_read_once_but_run_each_time() -> None:
    result = decode(ZAMBA2, 10)
    assert op_flops(result, "down") == 3 * 2 * 64 * 96
    assert op_weight_bytes(result, "down") == 2 * 64 * 96
    assert op_weight_bytes(result, "adapter_gate_up_1") == 3 * 2 * 64 * 8


@pytest.mark.parametrize("name", ["kimi_linear", "bailing_hybrid", "nemotron_h"])
def test_families_that_never_tie_their_table_do_not_where_the_config_says_so(name: str) -> None:
    config = SMALL[name]
    tied, untied = ({**config, "tie_word_embeddings": value} for value in (True, False))
    assert Model.from_config(tied).params == Model.from_config(untied).params
