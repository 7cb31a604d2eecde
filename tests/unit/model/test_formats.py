"""Bytes under quantization, KV dtypes and parallel degrees; what the dtype of a config is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model import Conventions, Estimator, Model, estimate, load_model
from nsys_pipeline.model.dtypes import normalize_dtype
from nsys_pipeline.model.quantization import named_format
from nsys_pipeline.records import Step
from tests.unit.model.configs import decode, llama, mixtral, model, op_weight_bytes, prefill

LINEARS = 3 * 64 * (8 * 8 + 2 * 2 * 8 + 64 + 3 * 96)


@pytest.mark.parametrize(
    ("name", "bits"),
    [("fp8", 8 + 32 / 128**2), ("int8", 8 + 32 / 4096), ("int4", 4 + 20 / 128), ("mxfp4", 4.25), ("nvfp4", 4.5)],
)
def test_formats_count_their_scales(name: str, bits: float) -> None:
    assert named_format(name).bytes(4096, 4096) * 8 / 4096**2 == pytest.approx(bits)


def test_weight_only_formats_compute_in_the_activations_dtype() -> None:
    assert set(decode(llama(), 5, conventions=Conventions(weight="int4")).flops_by_dtype) == {"bf16"}
    assert set(decode(llama(), 5, conventions=Conventions(weight="mxfp4")).flops_by_dtype) == {"bf16"}


@pytest.mark.parametrize(("weight", "product"), [("fp8", "fp8"), ("int8", "int8"), ("nvfp4", "fp4")])
def test_other_formats_decide_the_dtype_of_the_product(weight: str, product: str) -> None:
    assert set(decode(llama(), 5, conventions=Conventions(weight=weight)).flops_by_dtype) == {"bf16", product}


def test_a_flag_and_a_config_of_the_same_format_count_alike() -> None:
    nvfp4 = decode(llama(quantization_config={"quant_method": "modelopt", "quant_algo": "NVFP4"}), 5)
    given = decode(llama(), 5, conventions=Conventions(weight="nvfp4"))
    assert (given.flops_by_dtype, given.bytes) == (nvfp4.flops_by_dtype, nvfp4.bytes)


def test_quantization_leaves_tables_head_router_and_norms_alone() -> None:
    plain, quantized = decode(mixtral(), 5), decode(mixtral(), 5, conventions=Conventions(weight="int4"))
    for name in ("embed", "lm_head", "router", "attention_norm", "final_norm"):
        assert op_weight_bytes(plain, name) == op_weight_bytes(quantized, name)
    assert op_weight_bytes(quantized, "qkv") < 0.3 * op_weight_bytes(plain, "qkv")


def test_deepseek_v3_is_fp8_by_its_own_config() -> None:
    m = load_model("deepseek-v3")
    result = estimate(m, Step.uniform(batch=1, q_tokens=1, kv_tokens=1))
    assert result.weight_bytes < 1.05 * m.active_params
    assert set(result.flops_by_dtype) == {"fp8", "bf16"}


def test_gpt_oss_has_mxfp4_experts_only() -> None:
    m = load_model("gpt-oss-20b")
    result = estimate(m, Step.uniform(batch=1, q_tokens=1, kv_tokens=1))
    gate_up = 4 * (5760 * 2880 * 4.25 / 8 + 5760 * 2)
    assert op_weight_bytes(result, "experts_gate_up") == 24 * round(gate_up)
    assert op_weight_bytes(result, "o") == 24 * 2 * (4096 * 2880 + 2880)


@pytest.mark.parametrize(
    ("config", "bits"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 32}, 4 + 20 / 32),
        ({"quant_method": "awq", "bits": 4, "group_size": 32}, 4 + 20 / 32),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, 4 + 32 / 64),
    ],
)
def test_published_quantization_configs(config: dict[str, object], bits: float) -> None:
    result = decode(llama(quantization_config=config), 5)
    assert op_weight_bytes(result, "gate_up") == pytest.approx(3 * 2 * 96 * 64 * bits / 8, rel=0.01)


def deepseek(**changes: Any) -> dict[str, Any]:
    """Three layers: a dense one, and two with eight experts and a shared one."""
    sizes = {
        "model_type": "deepseek_v3", "hidden_size": 64, "intermediate_size": 96, "moe_intermediate_size": 32,
        "num_hidden_layers": 3, "num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": 100,
        "n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2, "first_k_dense_replace": 1,
        "q_lora_rank": 16, "kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16,
        "n_group": 1, "topk_group": 1, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    }  # fmt: skip
    return {**sizes, **changes}


def roles(config: dict[str, object]) -> dict[str, str]:
    formats = Estimator(model(deepseek(quantization_config=config))).formats()
    return {role: " + ".join(fmt.name for fmt in found) for role, found in formats.items()}


COMPRESSED = {"weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32}, "targets": ["Linear"]}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        # Kimi-K2-Thinking: int4 experts, everything else ignored by pattern.
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": COMPRESSED},
                "ignore": ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*", "re:.*mlp\\.(gate|up|down)_proj.*"],
            },
            {"expert": "int4"},
        ),
        # Groups with targets of their own.
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {
                    "a": {**COMPRESSED, "targets": ["re:.*mlp.experts.*"]},
                    "b": {"weights": {"num_bits": 8, "type": "float", "strategy": "channel"}, "targets": ["Linear"]},
                },
            },
            {"attention": "fp8", "mlp": "fp8", "expert": "int4"},
        ),
        # A list that spells out every layer; and one that leaves out a single layer.
        (
            {"quant_method": "fp8", "modules_to_not_convert": [f"model.layers.{i}.self_attn" for i in range(3)]},
            {"mlp": "fp8", "expert": "fp8"},
        ),
        (
            {"quant_method": "fp8", "ignored_layers": ["lm_head", "model.layers.2.self_attn", "model.layers.2.mlp"]},
            {"attention": "fp8 + bf16", "mlp": "fp8 + bf16", "expert": "fp8 + bf16"},
        ),
        (
            {"quant_method": "modelopt", "quant_algo": "NVFP4", "exclude_modules": ["lm_head", "*self_attn*"]},
            {"mlp": "nvfp4", "expert": "nvfp4"},
        ),
        (
            {"quant_method": "bitnet", "modules_to_not_convert": None},
            {"attention": "ternary", "mlp": "ternary", "expert": "ternary"},
        ),
        (
            {"quant_method": "gptq", "bits": 8, "group_size": -1, "lm_head": True},
            {"attention": "int8", "mlp": "int8", "expert": "int8", "lm_head": "int8"},
        ),
    ],
)
def test_roles_follow_targets_and_lists_of_ignored_modules(config: dict[str, object], expected: dict[str, str]) -> None:
    assert roles(config) == expected


@pytest.mark.parametrize(
    ("told", "strategy"),
    [({"group_size": 32}, "group"), ({}, "tensor"), ({"group_size": -1}, "channel"), ({"group_size": None}, "tensor")],
)
def test_scales_that_compressed_tensors_leaves_out_are_as_it_fills_them_in(told: dict[str, Any], strategy: str) -> None:
    def stored(weights: dict[str, Any]) -> int:
        groups = {"g": {"weights": {"num_bits": 4, "type": "int"} | weights, "targets": ["Linear"]}}
        config = {"quant_method": "compressed-tensors", "config_groups": groups}
        return decode(llama(quantization_config=config), 5).weight_bytes

    assert stored(told) == stored(told | {"strategy": strategy})


def test_products_run_in_the_format_of_both_operands() -> None:
    nvfp4 = {"quant_method": "modelopt", "quant_algo": "NVFP4"}
    assert set(decode(llama(quantization_config=nvfp4), 5).flops_by_dtype) == {"bf16", "fp4"}
    w4a8 = {**COMPRESSED, "input_activations": {"num_bits": 8, "type": "float"}}
    config = {"quant_method": "compressed-tensors", "config_groups": {"g": w4a8}}
    assert set(decode(llama(quantization_config=config), 5).flops_by_dtype) == {"bf16", "fp8"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"quant_method": "awq", "bits": "x"}, "`quantization_config.bits` is 'x', not an integer"),
        ({"quant_method": "awq", "bits": 0}, "`quantization_config.bits` is 0"),
        (
            {"quant_method": "gptq", "bits": 5},
            "`quantization_config.bits` is 5; GPTQ, AWQ and AutoRound store 2, 3, 4, 8",
        ),
        ({"quant_method": "gptq", "group_size": 0}, "`quantization_config.group_size` is 0"),
        ({"quant_method": "fp8", "weight_block_size": [128]}, "`quantization_config.weight_block_size`"),
        ({"quant_method": "fp8", "weight_block_size": "128"}, "`quantization_config.weight_block_size`"),
        ({"quant_method": "fp8", "ignored_layers": ["re:("]}, "which is no regular expression"),
        ({"quant_method": "fp8", "ignored_layers": [3]}, "`quantization_config.ignored_layers`"),
        ({"quant_method": "bitsandbytes"}, "`quantization_config.load_in_8bit`"),
        ({"quant_method": "modelopt"}, "has no `quantization_config.quant_algo`"),
        ({"quant_method": "compressed-tensors"}, "`quantization_config.config_groups`"),
        (
            {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": "4"}}}},
            "`quantization_config.config_groups.g.weights.num_bits`",
        ),
        ("fp8", "`quantization_config` is 'fp8', not an object"),
    ],
)
def test_a_broken_quantization_names_the_field_and_the_model_type(config: object, message: str) -> None:
    with pytest.raises(ModelError, match="model type `llama`") as caught:
        decode(llama(quantization_config=config), 5)
    assert message in caught.value.message


def test_an_unknown_quantization_is_refused_with_a_way_out() -> None:
    with pytest.raises(ModelError, match="`magic` is not known") as caught:
        decode(llama(quantization_config={"quant_method": "magic"}), 5)
    assert caught.value.hint is not None
    assert "--weight-dtype" in caught.value.hint
    assert decode(llama(quantization_config={"quant_method": "magic"}), 5, conventions=Conventions(weight="int4")).bytes


def test_kv_dtype_scales_the_cache_alone() -> None:
    plain, small = decode(llama(), 100), decode(llama(), 100, conventions=Conventions(kv_dtype="fp8"))
    assert small.kv_read_bytes * 2 == plain.kv_read_bytes == 3 * 100 * 2 * 2 * 8 * 2
    assert small.kv_write_bytes * 2 == plain.kv_write_bytes
    assert small.weight_bytes == plain.weight_bytes


@pytest.mark.parametrize(("kv_dtype", "scaled"), [("nvfp4", 16), ("mxfp4", 32), ("fp4", None)])
def test_caches_in_fp4_carry_scales(kv_dtype: str, scaled: int | None) -> None:
    values = 3 * 100 * 2 * 2 * 8
    found = decode(llama(), 100, conventions=Conventions(kv_dtype=kv_dtype))
    assert found.kv_read_bytes == values // 2 + (values // scaled if scaled else 0)


@pytest.mark.parametrize(("told", "expected"), [("NVFP4", 2 * 9), ("FP8", 2 * 16), (None, 2 * 32)])
def test_caches_of_model_optimizer(told: str | None, expected: int) -> None:
    config = {"quant_method": "modelopt", "quant_algo": "NVFP4", "kv_cache_quant_algo": told}
    found = decode(llama(quantization_config=config), 100)
    assert found.kv_read_bytes * 32 == 3 * 100 * 2 * 2 * 8 * expected


def test_minimum_bytes_are_weights_and_kv_without_activations() -> None:
    result = prefill(llama(), 50)
    assert result.bytes == result.weight_bytes + result.kv_read_bytes + result.kv_write_bytes
    assert result.kv_read_bytes == 0  # nothing was cached before the prompt
    assert result.kv_write_bytes == 3 * 50 * 2 * 2 * 8 * 2
    assert result.activation_bytes > 0


def test_tensor_parallel_ranks_repeat_what_they_do_not_split() -> None:
    one, four = decode(llama(), 100), decode(llama(), 100, conventions=Conventions(tp=4))
    assert four.flops == one.flops  # the model requires no more
    assert four.kv_read_bytes == 2 * one.kv_read_bytes  # two K/V heads on four ranks
    executed = decode(llama(), 100, conventions=Conventions(tp=4, count="executed"))
    assert executed.flops > one.flops
    assert four.comm_bytes == 3 * 2 * 2 * 3 * 64 * 2  # two ring all-reduces per layer of one token
    assert (four.gpus, one.comm_bytes) == (4, 0)


def test_latents_are_held_by_every_tensor_parallel_rank() -> None:
    m, step = load_model("deepseek-v3"), Step.uniform(batch=1, q_tokens=1, kv_tokens=100)
    assert estimate(m, step, Conventions(tp=8)).kv_read_bytes == 8 * estimate(m, step).kv_read_bytes


def test_pipeline_stages_send_activations() -> None:
    assert decode(llama(), 5, conventions=Conventions(pp=3)).comm_bytes == 2 * 64 * 2


def test_expert_parallel_sends_tokens_to_their_experts_and_back() -> None:
    assert decode(mixtral(), 5, conventions=Conventions(ep=2)).comm_bytes == 3 * (2 * 2 * 64 * 2) // 2


@pytest.mark.parametrize(
    ("name", "short"), [("torch.bfloat16", "bf16"), ("float16", "fp16"), ("FP32", "fp32"), ("e4m3", "fp8")]
)
def test_dtypes_have_one_short_name(name: str, short: str) -> None:
    assert normalize_dtype(name) == short


def test_the_dtype_is_the_configs_or_an_assumption_that_says_so() -> None:
    assert (model(llama()).dtype, model(llama()).dtype_assumed) == ("bf16", False)
    assert model(llama(torch_dtype="float16")).dtype == "fp16"
    assert model(llama(torch_dtype=None, dtype="float32")).dtype == "fp32"
    unsaid = Model.from_config(llama(torch_dtype=None))
    assert (unsaid.dtype, unsaid.dtype_assumed) == ("bf16", True)


def test_packed_latents_of_flashmla() -> None:
    # given DeepSeek-V3.2: 61 layers, latents of 512 with a rotary key of 64, index keys of 128
    sparse = {"model_type": "deepseek_v32", "index_topk": 2048, "index_n_heads": 64, "index_head_dim": 128}
    published = json.loads((Path(load_model.__code__.co_filename).parent / "presets" / "deepseek-v3.json").read_text())
    described = Model.from_config(published | sparse, name="deepseek-v3.2")
    step = Step.uniform(batch=2, q_tokens=1, kv_tokens=1000)

    found = estimate(described, step, Conventions(kv_dtype="fp8_ds_mla", tp=2))

    token = (512 + 4 * 4 + 64 * 2) + (128 + 4)
    assert 512 + 4 * 4 + 64 * 2 == 656
    # every tensor-parallel rank has all of it
    assert (found.kv_read_bytes, found.kv_write_bytes) == (2 * 61 * 2 * 1000 * token, 2 * 61 * 2 * token)


def test_packed_latents_are_no_format_of_keys_and_values() -> None:
    with pytest.raises(ModelError, match="a format of latents"):
        decode(llama(), 100, conventions=Conventions(kv_dtype="fp8_ds_mla"))
