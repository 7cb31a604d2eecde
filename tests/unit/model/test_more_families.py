"""Families whose totals torch cannot count: checkpoints with code of their own, text decoders alone, zero experts."""

from __future__ import annotations

from typing import Any

import pytest

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model import Conventions, Model
from tests.unit.model.configs import decode, llama, mixtral, op_flops, op_weight_bytes, prefill, read_json

SMALL = read_json("small_configs.json")
LLAMA_LIKE = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32}


def searched(*layers: tuple[int | None, float | None]) -> list[dict[str, Any]]:
    """`block_configs` of layers: query heads for each K and V head, and the MLP's multiplier; None where absent."""
    return [
        {
            "attention": {"n_heads_in_group": group, "no_op": group is None, "replace_with_linear": False},
            "ffn": {"ffn_mult": multiplier, "no_op": multiplier is None, "replace_with_linear": False},
        }
        for group, multiplier in layers
    ]


#: Multipliers of the layers of Llama-3.3-Nemotron-Super-49B that have no attention.
_EARLY = (1.3125, 2.625, 2.625, 1.3125, 5.25, 1.3125, 2.625, 1.3125, 1.3125, 1.3125)
_LATE = (1.3125, 1.0, 1.0, 1.3125, 1.0, 1.0, 1.0, 1.3125, 1.3125, 0.5, 0.5, 1.0, 1.0, 0.5, 0.5, 1.0, 0.5, 0.5)
SUPER_49B = searched(
    (8, 2.625), *[(8, 5.25)] * 5, *[(None, 2.625)] * 2, *[(8, 5.25)] * 3, (None, 3.28125), *[(8, 5.25)] * 30,
    *((None, wide) for wide in _EARLY), (8, 5.25), *((None, wide) for wide in _LATE), *[(8, 5.25)] * 9,
)  # fmt: skip


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
        (
            {"model_type": "minimax_text_01", "attn_type_list": [0, 0, 0, 0, 0, 0, 0, 1] * 10, "hidden_size": 6144,
             "intermediate_size": 9216, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128,
             "num_local_experts": 32, "num_experts_per_tok": 2, "num_hidden_layers": 80, "vocab_size": 200064,
             "shared_intermediate_size": 0, "tie_word_embeddings": False},
            456_089_655_296,
        ),
        (
            {"model_type": "nemotron-nas", "hidden_size": 8192, "intermediate_size": None, "num_attention_heads": 64,
             "num_key_value_heads": None, "num_hidden_layers": 80, "vocab_size": 128256, "block_configs": SUPER_49B},
            49_867_145_216,
        ),
        (
            {"model_type": "openelm", "model_dim": 1280, "head_dim": 64, "num_transformer_layers": 16,
             "num_kv_heads": [3] * 5 + [4] * 7 + [5] * 4, "num_query_heads": [12] * 5 + [16] * 7 + [20] * 4,
             "ffn_multipliers": [0.5, 0.73, 0.97, 1.2, 1.43, 1.67, 1.9, 2.13, 2.37, 2.6, 2.83, 3.07, 3.3, 3.53, 3.77,
                                 4.0],
             "ffn_dim_divisor": 256, "share_input_output_layers": True, "vocab_size": 32000},
            271_527_168,
        ),
        (
            {"model_type": "jais", "n_embd": 5120, "n_layer": 40, "n_head": 40, "n_inner": 13653, "vocab_size": 84992,
             "activation_function": "swiglu", "position_embedding_type": "alibi"},
            13_020_811_920,
        ),
    ],
    ids=["internlm2-7b", "qwen-7b", "baichuan-7b", "chatglm3-6b", "exaone-3.0-7.8b", "minicpm-2b", "ling-mini-2.0",
         "minimax-text-01", "llama-nemotron-super-49b", "openelm-270m", "jais-13b"],
)  # fmt: skip
def test_parameters_are_those_of_the_published_checkpoint(config: dict[str, Any], params: int) -> None:
    model = Model.from_config(config)
    assert model.params == params
    assert model.label == "exact"


def test_of_a_multimodal_model_the_text_decoder_is_read() -> None:
    outer = Model.from_config(
        {"model_type": "step3_vl", "text_config": {**llama(), "model_type": "llama"}, "tie_word_embeddings": False}
    )
    assert outer.params == Model.from_config(llama()).params
    assert outer.architecture.text_only
    assert outer.architecture.vision is None
    assert outer.label == "exact"


def test_blip_2_and_instructblip_are_a_text_decoder_with_a_tower_beside() -> None:
    opt = SMALL["opt"]
    blip = Model.from_config({"model_type": "blip-2", "text_config": opt})
    assert blip.params - blip.architecture.vision.params == Model.from_config(opt).params  # type: ignore[union-attr]
    for text, name in ((llama(), "instructblip"), (opt, "instructblipvideo")):
        arch = Model.from_config({"model_type": name, "text_config": text}).architecture
        assert arch.decoder == Model.from_config(text).architecture.decoder
        assert arch.vision is not None
        assert not arch.text_only
    with pytest.raises(ModelError, match="its text model type `t5` is not known"):
        Model.from_config({"model_type": "blip-2", "text_config": {"model_type": "t5", "d_model": 64}})


def test_differential_attention_scores_once_where_transformers_scores_twice() -> None:
    config = {**llama(), "model_type": "diffllama"}
    plain, ours = op_flops(decode(llama(), 9), "attention"), decode(config, 9)
    assert 2 * op_flops(ours, "attention") == 3 * plain
    assert sum(op.layers * op.flops_executed for op in ours.ops if op.name == "attention") == 2 * plain
    assert ours.kv_read_bytes == decode(llama(), 9).kv_read_bytes


def test_doge_scores_a_key_once_and_attends_to_the_best() -> None:
    config = {**llama(), "model_type": "doge", "keep_window_size": 6}
    result = decode(config, 10)
    mask = next(op for op in result.ops if op.name == "dynamic_mask")
    assert (mask.flops_model, mask.flops_executed) == (2 * 2 * 16, 11 * 2 * 2 * 16)
    assert (mask.kv_read_bytes, mask.kv_write_bytes) == (2 * 2 * 10, 2 * 2)
    assert op_flops(result, "attention") == 3 * 4 * 8 * 8 * 6
    with pytest.raises(ModelError, match="Doge with experts is not supported"):
        Model.from_config({**config, "is_moe": True})
    with pytest.raises(ModelError, match="`sliding_window` is set"):
        Model.from_config({**config, "sliding_window": 9})


def test_hrm_stores_two_stacks_and_runs_them_in_turn() -> None:
    config = SMALL["hrm_text"]
    result = decode(config, 10)
    runs = 2 * (3 + 1) * 2
    assert op_flops(result, "down") == runs * 2 * 64 * 96
    assert op_weight_bytes(result, "down") == 2 * 2 * 2 * 64 * 96
    assert result.kv_read_bytes == runs * 2 * 2 * 10 * 4 * 12
    saved = {**config, "num_hidden_layers": runs, "num_layers_per_stack": 2}
    assert Model.from_config(saved).architecture == Model.from_config(config).architecture
    with pytest.raises(ModelError, match="`num_hidden_layers` is 9, but 2 layers run 8 times"):
        Model.from_config({**saved, "num_hidden_layers": 9})


def test_modernberts_transform_runs_where_there_are_logits() -> None:
    result = prefill(SMALL["modernbert-decoder"], 30, batch=2)
    assert op_flops(result, "transform") == 2 * 2 * 64 * 64
    # Three of five layers have a window of 5, in which a token sees itself and 4 before it.
    near, full = 30 * 5 - 10, 30 * 31 // 2
    assert op_flops(result, "attention") == 4 * 64 * 2 * (3 * near + 2 * full)


def test_molmo2s_table_has_more_rows_than_its_head() -> None:
    with pytest.raises(ModelError, match="`qk_norm_type` is 'foo'; known kinds are qwen3, olmo"):
        Model.from_config({**llama(), "model_type": "molmo2_text", "qk_norm_type": "foo"})
    more = [Model.from_config({**llama(), "model_type": "molmo2_text", "additional_vocab_size": n}) for n in (0, 7)]
    assert more[1].params - more[0].params == 7 * 64


def test_an_omni_model_is_its_thinkers_text_decoder_and_audio_encoder() -> None:
    text = {**llama(), "model_type": "qwen2_5_omni_text"}
    thinker = {"text_config": text, "vision_config": None, "tie_word_embeddings": False}
    config = {"model_type": "qwen2_5_omni", "thinker_config": thinker}
    model = Model.from_config(config)
    audio = model.architecture.audio
    assert audio is not None
    assert model.params - audio.stack.params == Model.from_config({**llama(), "model_type": "qwen2"}).params


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


NAS: dict[str, Any] = {
    "model_type": "nemotron-nas", "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 8,
    "vocab_size": 100, "block_configs": searched((4, 6.0), (None, 12.0), (None, None)),
}  # fmt: skip


def test_layers_without_attention_have_no_cache_and_no_norm() -> None:
    result = decode(NAS, 10)
    assert op_flops(result, "attention") == 4 * 8 * 8 * 11
    assert result.kv_read_bytes == 2 * 10 * 2 * 2 * 8
    assert op_flops(result, "gate_up") == 2 * 64 * 2 * (256 + 512)
    norms = sum(op.layers * op.weight_bytes for op in result.ops if op.kind == "norm")
    assert norms == 2 * 64 * (2 + 1 + 0 + 1)


def test_a_block_that_is_one_linear_layer() -> None:
    blocks = [{"attention": {"replace_with_linear": True}, "ffn": {"replace_with_linear": True}}]
    config = {**NAS, "num_hidden_layers": 1, "block_configs": blocks}
    result = decode(config, 10)
    assert op_flops(result, "attention_linear") == op_flops(result, "mlp_linear") == 2 * 64 * 64
    assert result.kv_read_bytes == 0
    assert Model.from_config(config).params == 2 * 64 * 64 + 2 * 100 * 64 + 3 * 64


def test_decilm_lists_the_heads_of_each_layer() -> None:
    listed = {**llama(), "model_type": "deci", "num_key_value_heads_per_layer": [2, 2, 2]}
    assert Model.from_config(listed).params == Model.from_config(llama()).params


@pytest.mark.parametrize("name", ["aquila", "xverse", "internlm", "internlm2"])
def test_clones_of_llama_count_as_llama(name: str) -> None:
    ours, theirs = decode({**llama(), "model_type": name, "bias": False}, 9), decode(llama(), 9)
    assert (ours.flops, ours.bytes) == (theirs.flops, theirs.bytes)


def test_orions_norms_have_a_shift_and_internlms_attention_biases() -> None:
    plain = Model.from_config(llama()).params
    assert Model.from_config({**llama(), "model_type": "orion"}).params == plain + 7 * 64
    assert Model.from_config({**llama(), "model_type": "internlm"}).params == plain + 3 * (64 + 16 + 16 + 64)


def test_grok_1_is_mixtral_with_four_norms_and_a_tied_table() -> None:
    config = {**{k: v for k, v in mixtral().items() if k != "num_local_experts"}, "num_experts": 8}
    grok = Model.from_config({**config, "model_type": "grok-1"})
    assert grok.params == Model.from_config(mixtral()).params + 3 * 2 * 64 - 100 * 64


ARCTIC = {
    **mixtral(), "model_type": "arctic", "moe_layer_frequency": 1, "use_residual": True, "parallel_attn_mlp_res": True
}  # fmt: skip


def test_arctics_experts_run_beside_an_mlp_as_wide_as_the_model() -> None:
    assert Model.from_config(ARCTIC).params == Model.from_config(mixtral()).params + 3 * (3 * 64 * 64 + 64)
    assert op_flops(decode(ARCTIC, 5), "residual_gate_up") == 3 * 2 * 64 * 2 * 64
    alternating = decode({**ARCTIC, "moe_layer_frequency": 2}, 5)
    assert op_flops(alternating, "residual_gate_up") == 2 * 64 * 2 * 64
    assert op_flops(alternating, "gate_up") == 2 * 2 * 64 * 2 * 96


STEP = {
    **llama(), "model_type": "step3_text", "num_attention_groups": 1, "share_q_dim": 24, "head_dim": 16,
    "moe_num_experts": 8, "moe_top_k": 2, "moe_intermediate_size": 32, "share_expert_dim": 40, "moe_layers_enum": "1,2",
}  # fmt: skip


def test_step_3_projects_queries_from_a_few_values() -> None:
    real = {
        "model_type": "step3_text", "hidden_size": 7168, "intermediate_size": 18432, "num_attention_heads": 64,
        "num_attention_groups": 1, "num_hidden_layers": 61, "vocab_size": 128815, "moe_intermediate_size": 5120,
        "moe_num_experts": 48, "moe_top_k": 3, "share_expert_dim": 5120, "share_q_dim": 2048, "head_dim": 256,
        "moe_layers_enum": ",".join(str(layer) for layer in range(4, 60)),
    }  # fmt: skip
    model = Model.from_config(real)
    # Published: 316 billion in the language model, 38 of which a token runs, as it does not the table.
    assert (model.params // 10**9, round((model.active_params - 128815 * 7168) / 1e9)) == (316, 38)
    result = decode(STEP, 10)
    assert op_flops(result, "q_b") == 3 * 2 * 24 * 8 * 16
    assert op_flops(result, "kv") == 3 * 2 * 64 * 2 * 16
    assert result.kv_read_bytes == 3 * 2 * 10 * 2 * 16
    outer = Model.from_config({"model_type": "step3_vl", "text_config": STEP})
    assert outer.params == Model.from_config(STEP).params
    assert outer.architecture.text_only


OPENELM = {
    "model_type": "openelm", "model_dim": 64, "head_dim": 8, "num_transformer_layers": 2, "vocab_size": 100,
    "num_kv_heads": [1, 2], "num_query_heads": [2, 4], "ffn_multipliers": [0.5, 1.15], "ffn_dim_divisor": 16,
}  # fmt: skip
JAIS = {
    "model_type": "jais", "n_embd": 64, "n_layer": 2, "n_head": 4, "n_inner": 96, "vocab_size": 100,
    "activation_function": "swiglu", "position_embedding_type": "alibi", "n_positions": 32,
}  # fmt: skip


def test_openelms_layers_widen() -> None:
    result = decode(OPENELM, 10)
    # Half of 64 is 32, a multiple of 16; 1.15 of it is 73.6, next to 80.
    assert op_flops(result, "down") == 2 * 64 * (32 + 80)
    assert op_flops(result, "attention") == 4 * 8 * 11 * (2 + 4)
    assert result.kv_read_bytes == 2 * 10 * 2 * 8 * (1 + 2)


def test_jais_learns_positions_unless_it_has_slopes() -> None:
    learned = Model.from_config({**JAIS, "position_embedding_type": "learned"})
    assert learned.params == Model.from_config(JAIS).params + 32 * 64
    plain = Model.from_config({**JAIS, "activation_function": "gelu"})
    assert plain.params == Model.from_config(JAIS).params - 2 * (64 * 96 + 96)


MIMO = {
    **llama(), "model_type": "mimo_v2", "head_dim": 12, "v_head_dim": 8, "n_routed_experts": 8,
    "num_experts_per_tok": 2, "moe_intermediate_size": 24, "hybrid_layer_pattern": [0, 1, 1],
    "moe_layer_freq": [0, 1, 1], "sliding_window": 4, "swa_num_attention_heads": 4, "swa_head_dim": 16,
    "add_swa_attention_sink_bias": True,
}  # fmt: skip


def test_mimo_v2_has_heads_of_their_own_in_sliding_layers() -> None:
    result = decode(MIMO, 100)
    # K of 12 and V of 8 values over 101 keys; K of 16 and V of 8 over the 4 keys of the window.
    assert op_flops(result, "attention") == 2 * 8 * (12 + 8) * 101 + 2 * 2 * 4 * (16 + 8) * 4
    assert not Model.from_config(MIMO).architecture.text_only
    assert Model.from_config({**MIMO, "vision_config": {"depth": 28}}).architecture.text_only


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**NAS, "block_configs": NAS["block_configs"][:2]}, "`block_configs` lists 2 layers, but there are 3"),
        ({**NAS, "block_configs": None}, "has no `block_configs`"),
        ({**NAS, "block_configs": [1, 2, 3]}, "`block_configs` is no list of objects"),
        ({**NAS, "block_configs": searched((3, 1.0), (4, 1.0), (4, 1.0))}, r"is not a multiple of .*n_heads_in_group"),
        ({**NAS, "block_configs": [{"attention": {"n_heads_in_group": 4}}] * 3}, r"has no `block_configs\[0\].ffn`"),
        (
            {**NAS, "block_configs": [{"attention": {"no_op": True, "replace_with_linear": True}, "ffn": {}}] * 3},
            r"`block_configs\[0\].attention.no_op` is true, and so is `replace_with_linear`",
        ),
        (
            {**NAS, "block_configs": [{"attention": {"n_heads_in_group": 4, "window_length": 9}, "ffn": {}}] * 3},
            "window_length` makes attention slide",
        ),
        ({**llama(), "model_type": "deci", "num_key_value_heads_per_layer": [2]}, "lists 1 layers, but there are 3"),
        ({**llama(), "model_type": "xverse", "num_experts": 8}, "`num_experts` is set"),
        ({**ARCTIC, "use_residual": False}, "`use_residual` is False, but `parallel_attn_mlp_res` is True"),
        ({**mixtral(), "model_type": "minimax_m1"}, "has no `attn_type_list`"),
        ({**mixtral(), "model_type": "minimax_m1", "attn_type_list": [0, 2, 1]}, "holds other numbers than 0 and 1"),
        (
            {**mixtral(), "model_type": "minimax_m1", "attn_type_list": [0, 1, 1], "shared_intermediate_size": 9},
            "`shared_intermediate_size` adds shared experts",
        ),
        ({**MIMO, "moe_layer_freq": None}, "has no `moe_layer_freq`"),
        ({**llama(num_key_value_heads=1), "model_type": "diffllama"}, "`num_key_value_heads` is 1; values are shared"),
        ({**MIMO, "sliding_window": None}, "has no `sliding_window`"),
        ({**MIMO, "hybrid_layer_pattern": [1]}, "`hybrid_layer_pattern` lists 1 layers, but there are 3"),
        ({**OPENELM, "num_kv_heads": [1]}, "`num_kv_heads` lists 1 layers, but there are 2"),
        ({**OPENELM, "ffn_multipliers": None}, "has no `ffn_multipliers`"),
        ({**OPENELM, "num_query_heads": [2, 3]}, "`num_query_heads` = 3 is not a multiple of `num_kv_heads` = 2"),
        ({**STEP, "moe_layers_enum": None}, "has no `moe_layers_enum`"),
        ({**STEP, "moe_top_k": 9}, "`moe_top_k` is 9, but there are 8 experts"),
    ],
)
def test_configs_of_remote_code_that_contradict_themselves_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Model.from_config(config)
