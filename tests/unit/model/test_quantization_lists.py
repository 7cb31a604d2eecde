"""Lists of modules in quantization configs: which weights of which layer they mean, and what is said of the rest.

The expected bytes are added up here by hand, module by module, from the sizes of the model.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model import Conventions, Estimate, Model, estimate, load_model
from nsys_pipeline.model.modules import module_names
from nsys_pipeline.records import Step
from tests.unit.model.configs import decode, llama, model, read_json
from tests.unit.model.test_formats import deepseek

CASES = Path(__file__).parent / "quantized"
CHANNEL_FP8 = {
    "targets": ["Linear"],
    "weights": {"num_bits": 8, "type": "float", "strategy": "channel"},
    "input_activations": {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True},
}


def one_token(ref: object) -> Estimate:
    return estimate(load_model(str(ref)), Step.uniform(batch=1, q_tokens=1, kv_tokens=2048))


@pytest.mark.parametrize(
    ("case", "weight_bytes"),
    [
        ("ds_bf16.json", 73_251_221_504),
        ("ig_plain.json", 9_374_810_112),
        ("ig_lm.json", 9_374_810_112),  # the same list with the prefix of a multimodal model
        ("ds_list.json", 49_085_179_904),  # latent projections, one by one
        ("g_plain.json", 4_677_189_632),
        ("g_dyn_attn.json", 6_664_241_152),
        ("awq_ign.json", 6_664_241_152),
        ("mx_lin.json", 12_886_097_920),
    ],
)
def test_published_lists_are_read(case: str, weight_bytes: int) -> None:
    assert one_token(CASES / case).weight_bytes == weight_bytes


def test_the_file_beside_a_config_says_how_weights_and_cache_are_stored() -> None:
    result = one_token(CASES / "mo")
    assert result.weight_bytes == pytest.approx(8.03e9, rel=0.001)
    assert set(result.flops_by_dtype) == {"fp8", "bf16"}
    assert result.kv_read_bytes == 2048 * 32 * 2 * 8 * 128
    assert one_token(CASES / "mo" / "config.json").bytes == result.bytes


# Sizes of `llama()`: 3 layers, width 64, 8 heads of 8, 2 of them for K and V, MLP of 96.
MODULES = {
    "self_attn.q_proj": (64, 64), "self_attn.k_proj": (16, 64), "self_attn.v_proj": (16, 64),
    "self_attn.o_proj": (64, 64), "mlp.gate_proj": (96, 64), "mlp.up_proj": (96, 64), "mlp.down_proj": (64, 96),
}  # fmt: skip
REST = 2 * (100 * 64 + 64 + 7 * 64)  # the head, one row of the table, norms


def by_hand(bits: Callable[[int, str], float], *, scale_bits: int = 16) -> int:
    """Bytes of one token's weights: `bits` of a weight of a module of a layer, a scale for each output if below 16."""
    total = 0.0
    for layer in range(3):
        for name, (rows, columns) in MODULES.items():
            width = bits(layer, name)
            total += rows * columns * width / 8 + (rows * scale_bits / 8 if width < 16 else 0)
    return int(total) + REST


def stored(quantization: dict[str, Any], **changes: Any) -> int:
    return decode(llama(quantization_config=quantization, **changes), 5).weight_bytes


def compressed(ignore: list[str], **more: Any) -> dict[str, Any]:
    return {
        "quant_method": "compressed-tensors", "config_groups": {"group_0": CHANNEL_FP8}, "ignore": ["lm_head", *ignore],
        **more,
    }  # fmt: skip


ATTENTION_LEFT = by_hand(lambda _, name: 16 if "attn" in name else 8)


@pytest.mark.parametrize(
    "prefix",
    [
        "model", "language_model.model", "model.language_model", "language_model", "thinker.model", "llm.model",
        "some.unheard_of.wrapper.model", "",
    ],
)  # fmt: skip
def test_full_names_count_under_any_prefix(prefix: str) -> None:
    names = [f"{prefix}.layers.{i}.{name}".strip(".") for i in range(3) for name in MODULES if "attn" in name]
    assert stored(compressed(names)) == ATTENTION_LEFT


@pytest.mark.parametrize(
    "entry",
    [
        "self_attn", "*self_attn*", "*.self_attn.*", "model.layers.*.self_attn*", "re:.*self_attn.*",
        r"re:.*self_attn\.(q|k|v|o)_proj", r"re:model\.layers\.\d+\.self_attn\..*", "re:.*attn.*",
        r"re:.*language_model\.model\.layers\..*\.self_attn.*", r"re:^model\.language_model\.layers\.\d+\.self_attn",
    ],
)  # fmt: skip
def test_names_globs_and_expressions_mean_the_same(entry: str) -> None:
    assert stored(compressed([entry])) == ATTENTION_LEFT


@pytest.mark.parametrize(
    "entry",
    [
        "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj", "visual.blocks.1.attn.qkv",
        "model.visual.blocks.0.mlp.gate_proj", "re:visual.*", "re:.*vision_tower.*", "multi_modal_projector",
        "mtp.layers.0.self_attn.q_proj", "model.layers.3.self_attn.q_proj", "model.layers.0.input_layernorm",
        "model.layers.0.mlp.gate",
    ],
)  # fmt: skip
def test_names_of_other_parts_leave_the_decoder_alone(entry: str) -> None:
    quantized = Model.from_config(llama(quantization_config=compressed([entry])))
    assert stored(compressed([entry])) == by_hand(lambda *_: 8)
    assert quantized.notes == ()


def test_layers_that_are_left_out_count_as_they_are_stored() -> None:
    first_and_last = compressed(["model.layers.0", "model.layers.2.mlp"])
    assert stored(first_and_last) == by_hand(
        lambda layer, name: 16 if layer == 0 or (layer == 2 and "mlp" in name) else 8
    )
    result = decode(llama(quantization_config=first_and_last), 5)
    assert [op.layer for op in result.ops if op.name == "o"] == ["layers@0", "layers@1", "layers@2"]


def test_modules_of_one_product_may_be_stored_in_different_formats() -> None:
    result = decode(llama(quantization_config=compressed(["re:.*v_proj", "re:.*up_proj"])), 5)
    assert result.weight_bytes == by_hand(lambda _, name: 16 if name[-6:] in ("v_proj", "p_proj") else 8)
    plain = decode(llama(), 5)
    assert result.flops == plain.flops
    products = 3 * 2 * (64 * 64 + 16 * 64 + 64 * 64 + 2 * 96 * 64)  # q, k, o, gate, down
    assert result.flops_by_dtype == {"fp8": products, "bf16": plain.flops - products}


def test_a_group_may_target_single_modules() -> None:
    four = {"weights": {"num_bits": 4, "type": "int", "strategy": "channel"}, "targets": ["re:.*mlp.*", "lm_head"]}
    config = {"quant_method": "compressed-tensors", "config_groups": {"a": {**CHANNEL_FP8}, "b": four}}
    head = 100 * 64 // 2 + 100 * 2 - 2 * 100 * 64
    assert stored(config) == by_hand(lambda _, name: 4 if "mlp" in name else 8) + head


GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": -1, "lm_head": False}


def gptq(settings: dict[str, Any]) -> int:
    return stored({**GPTQ, **settings})


def grouped(bits: Callable[[int, str], float]) -> int:
    """`by_hand` with a scale of 16 bits and a zero point for each output, as GPTQ stores whole rows."""
    zeros = sum(
        rows * bits(layer, name) / 8 if bits(layer, name) < 16 else 0
        for layer in range(3) for name, (rows, _) in MODULES.items()
    )  # fmt: skip
    return by_hand(bits) + int(zeros)


@pytest.mark.parametrize(
    ("settings", "bits"),
    [
        ({}, lambda *_: 4),
        ({"dynamic": {"-:.*attn.*": {}, "lm_head": {}}}, lambda _, name: 16 if "attn" in name else 4),
        (
            {"dynamic": {r"+:.*\.1\..*gate.*": {"bits": 8}, r"-:.*\.1\..*": {}}},
            lambda layer, name: 4 if layer != 1 else 8 if "gate" in name else 16,
        ),
        ({"dynamic": {r".*down_proj": {"bits": 8}}}, lambda _, name: 8 if "down" in name else 4),
        (
            {"modules_in_block_to_quantize": [["self_attn.q_proj", "self_attn.k_proj"], ["mlp.down_proj"]]},
            lambda _, name: 4 if name[-6:] in ("q_proj", "k_proj", "n_proj") else 16,
        ),
    ],
)
def test_gptq_says_it_by_expression_and_by_block(settings: dict[str, Any], bits: Callable[[int, str], float]) -> None:
    assert gptq(settings) == grouped(bits)


def test_auto_round_says_it_module_by_module() -> None:
    extra = {
        "model.layers.0.self_attn.q_proj": {"bits": 16, "data_type": "float"},
        r".*mlp\.(gate|up)_proj": {"bits": 8},
        "lm_head": {"bits": 16},
    }
    config = {"quant_method": "auto-round", "bits": 4, "group_size": -1, "sym": True, "extra_config": extra}
    assert stored(config) == grouped(
        lambda layer, name: 16 if (layer, name) == (0, "self_attn.q_proj")
        else 8 if name in ("mlp.gate_proj", "mlp.up_proj") else 4
    )  # fmt: skip


INT8 = {"quant_method": "bitsandbytes", "load_in_8bit": True}


@pytest.mark.parametrize(
    ("config", "is_left"),
    [
        ({**INT8, "llm_int8_skip_modules": ["lm_head", "model.layers.1.mlp", "k_proj"]},
         lambda layer, name: (layer == 1 and "mlp" in name) or "k_proj" in name),
        ({"quant_method": "torchao", "quant_type": {"default": {"_type": "Float8DynamicActivationFloat8WeightConfig",
          "_data": {}}}, "modules_to_not_convert": ["model.layers.0.mlp"]},
         lambda layer, name: layer == 0 and "mlp" in name),
        ({"quant_method": "torchao", "quant_type": {"default": {"_type": "ModuleFqnToConfig", "_data": {
          "module_fqn_to_config": {"_default": {"_type": "Float8WeightOnlyConfig"},
                                   "model.layers.2.self_attn.o_proj": None}}}}},
         lambda layer, name: layer == 2 and "o_proj" in name),
        ({"quant_method": "quark", "exclude": ["lm_head", "re:.*down_proj"], "global_quant_config": {
          "weight": {"dtype": "fp8_e4m3", "qscheme": "per_channel"}, "input_tensors": {"dtype": "fp8_e4m3"}}},
         lambda _, name: "down_proj" in name),
        ({"quant_method": "fbgemm_fp8", "modules_to_not_convert": ["model.layers.0.mlp.up_proj", "self_attn.o_proj"]},
         lambda layer, name: (layer, name) == (0, "mlp.up_proj") or "o_proj" in name),
    ],
)  # fmt: skip
def test_every_method_has_its_list(config: dict[str, Any], is_left: Callable[[int, str], bool]) -> None:
    assert stored(config) == by_hand(lambda layer, name: 16 if is_left(layer, name) else 8, scale_bits=32)


def test_model_optimizer_names_the_algorithm_of_each_module() -> None:
    layers: dict[str, dict[str, object]] = {
        f"model.layers.{i}.mlp.{name}": {"quant_algo": "FP8"} for i in range(3) for name in ("gate_proj", "up_proj")
    }
    layers |= {"model.layers.0.self_attn.q_proj": {"quant_algo": "NVFP4", "group_size": 16}}
    config = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": layers}
    result = decode(llama(quantization_config=config), 5)
    saved = 3 * (2 * 96 * 64 - 4) + 64 * 64 * 2 - 64 * 64 * 9 // 16  # one scale for gate and up together
    assert result.weight_bytes == by_hand(lambda *_: 16) - saved
    assert set(result.flops_by_dtype) == {"fp4", "fp8", "bf16"}


# Sizes of `deepseek()`: experts of 3 * 32 * 64 weights, all eight expected to be touched by many tokens.
def experts_touched(config: dict[str, Any] | None) -> dict[str, int]:
    result = estimate(model(deepseek(quantization_config=config)), Step.uniform(batch=512, q_tokens=1, kv_tokens=8))
    totals: dict[str, int] = {}
    for op in result.ops:
        totals[op.name] = totals.get(op.name, 0) + op.layers * op.weight_bytes
    return totals


@pytest.mark.parametrize(
    ("ignore", "plain"),
    [
        ([f"model.layers.{i}.mlp.experts.{e}.{n}" for i in (1, 2) for e in range(8)
          for n in ("gate_proj", "up_proj", "down_proj")], {"experts_gate_up", "experts_down"}),
        (["re:.*mlp.experts.*"], {"experts_gate_up", "experts_down"}),
        (["*.mlp.experts.*"], {"experts_gate_up", "experts_down"}),
        (["model.layers.1.mlp.shared_experts", "model.layers.2.mlp.shared_experts"], {"shared_gate_up", "shared_down"}),
        (["re:.*shared_experts.*"], {"shared_gate_up", "shared_down"}),
        (["re:.*kv_b_proj", "re:.*kv_a_proj_with_mqa"], {"kv_a", "kv_b"}),
        (["self_attn.q_a_proj", "self_attn.q_b_proj"], {"q_a", "q_b"}),
        (["model.layers.0.mlp"], {"gate_up", "down"}),
        (["mlp.down_proj"], {"down"}),
    ],
)  # fmt: skip
def test_every_role_can_be_named(ignore: list[str], plain: set[str]) -> None:
    unquantized = experts_touched(None)
    quantized = experts_touched(compressed(ignore))
    linears = {"q_a", "q_b", "kv_a", "kv_b", "o", "gate_up", "down", "shared_gate_up", "shared_down",
               "experts_gate_up", "experts_down"}  # fmt: skip
    for name in linears:
        if name in plain:
            assert quantized[name] == unquantized[name], name
        else:
            assert quantized[name] < 0.6 * unquantized[name], name


def test_llama_4_calls_its_blocks_feed_forward() -> None:
    config = read_json("small_configs.json")["llama4_text"]
    plain = decode(config, 5)
    listed = compressed(["re:.*feed_forward.shared_expert.*", "re:.*feed_forward.router"])
    quantized = decode({**config, "quantization_config": listed}, 5)
    sizes = [{op.name: op.weight_bytes for op in one.ops} for one in (plain, quantized)]
    assert sizes[0]["shared_down"] == sizes[1]["shared_down"]
    assert sizes[0]["experts_down"] > sizes[1]["experts_down"]


def test_gpt_oss_may_leave_some_experts_alone() -> None:
    config = dict(load_model("gpt-oss-20b").config)
    all_experts = decode(config, 5).weight_bytes
    listed = {
        "quant_method": "mxfp4",
        "modules_to_not_convert": ["model.layers.0.mlp.experts", "model.layers.*.self_attn"],
    }
    one_left = decode({**config, "quantization_config": listed}, 5).weight_bytes
    per_layer = 4 * (5760 * 2880 + 2880 * 2880)  # four experts of a token
    assert one_left - all_experts == pytest.approx(per_layer * (2 - 4.25 / 8), rel=1e-6)


@pytest.mark.parametrize(
    ("fields", "dtype"),
    [
        ({"kv_cache_scheme": {"num_bits": 8, "type": "float", "dynamic": False}}, "fp8"),
        ({"kv_cache_scheme": None}, "bf16"),
        ({"kv_cache_scheme": {"num_bits": 8, "type": "int"}}, "int8"),
    ],
)
def test_the_cache_is_stored_as_the_checkpoint_says(fields: dict[str, Any], dtype: str) -> None:
    result = decode(llama(quantization_config=compressed([], **fields)), 100)
    assert result.kv_read_bytes == 3 * 100 * 2 * 2 * 8 * (2 if dtype == "bf16" else 1)
    given = decode(llama(quantization_config=compressed([], **fields)), 100, conventions=Conventions(kv_dtype="bf16"))
    assert given.kv_read_bytes == 3 * 100 * 2 * 2 * 8 * 2
    weights = decode(llama(quantization_config=compressed([], **fields)), 100, conventions=Conventions(weight="int4"))
    assert weights.kv_read_bytes == result.kv_read_bytes


def test_quark_says_the_dtype_of_the_cache_by_projection() -> None:
    config = {
        "quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp4", "qscheme": "per_group",
        "group_size": 32, "scale_format": "e8m0"}, "input_tensors": {"dtype": "fp4"}},
        "kv_cache_quant_config": {"*k_proj": {"output_tensors": {"dtype": "fp8_e4m3"}}},
    }  # fmt: skip
    result = decode(llama(quantization_config=config), 100)
    assert result.kv_read_bytes == 3 * 100 * 2 * 2 * 8
    assert set(result.flops_by_dtype) == {"fp4", "bf16"}


@pytest.mark.parametrize(
    ("quantization", "words"),
    [
        (compressed(["model.layers.0.self_attn.frobnicator"]), "frobnicator"),
        (compressed([], sparsity_config={"format": "sparse-24-bitmask"}), "sparsity"),
        ({**GPTQ, "magic_ratio": 0.5}, "`magic_ratio` not read"),
        (compressed([], kv_cache_scheme={"num_bits": 3, "type": "int"}), "format of the KV cache"),
    ],
)
def test_what_is_not_read_is_said(quantization: dict[str, Any], words: str) -> None:
    (note,) = model(llama(quantization_config=quantization)).notes
    assert words in note


def test_some_experts_of_a_layer_are_said() -> None:
    listed = compressed([f"model.layers.1.mlp.experts.{e}.down_proj" for e in range(3)])
    (note,) = model(deepseek(quantization_config=listed)).notes
    assert "some experts" in note


def test_lists_that_are_read_leave_nothing_to_say() -> None:
    for case in CASES.glob("*.json"):
        assert load_model(str(case)).notes == (), case.name


@pytest.mark.parametrize("name", ["hf_quant_config.json", "quantize_config.json", "quant_config.json"])
def test_files_beside_a_config(name: str, tmp_path: Path) -> None:
    beside = {
        "hf_quant_config.json": {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}},
        "quantize_config.json": {"bits": 4, "group_size": 32, "desc_act": False, "damp_percent": 0.01},
        "quant_config.json": {"zero_point": True, "q_group_size": 32, "w_bit": 4, "version": "GEMM"},
    }[name]
    (tmp_path / "config.json").write_text(json.dumps(llama()), encoding="utf-8")
    plain = one_token(tmp_path).weight_bytes
    (tmp_path / name).write_text(json.dumps(beside), encoding="utf-8")
    assert one_token(tmp_path).weight_bytes < 0.8 * plain
    own = llama(quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})
    (tmp_path / "config.json").write_text(json.dumps(own), encoding="utf-8")
    assert one_token(tmp_path).weight_bytes == decode(own, 2048).weight_bytes  # config.json says it itself


def test_layers_that_differ_have_a_file_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(llama()), encoding="utf-8")
    plain = one_token(tmp_path).weight_bytes
    mixed = {"quantization": {"quant_algo": "MIXED_PRECISION", "kv_cache_quant_algo": "FP8"}}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(mixed), encoding="utf-8")
    with pytest.raises(ModelError, match="quantized_layers"):
        one_token(tmp_path)
    layers = {"quantized_layers": {"model.layers.1.mlp.down_proj": {"quant_algo": "FP8"}}}
    (tmp_path / "quant_cfg.json").write_text(json.dumps(layers), encoding="utf-8")
    assert plain - one_token(tmp_path).weight_bytes == 64 * 96 - 4
    assert one_token(tmp_path).kv_read_bytes == 3 * 2048 * 2 * 2 * 8


def test_a_file_beside_a_config_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(llama()), encoding="utf-8")
    (tmp_path / "quant_config.json").write_text('{"what": "ever"}', encoding="utf-8")
    with pytest.raises(ModelError, match=r"quant_config\.json"):
        one_token(tmp_path)


def test_an_adapter_is_no_model_but_names_it(tmp_path: Path) -> None:
    adapter = {"peft_type": "LORA", "r": 16, "base_model_name_or_path": "meta-llama/Llama-3.1-8B"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(adapter), encoding="utf-8")
    for ref in (tmp_path, tmp_path / "adapter_config.json"):
        with pytest.raises(ModelError, match=r"adapter \(LORA, rank 16\) of `meta-llama/Llama-3.1-8B`") as caught:
            load_model(str(ref))
        assert caught.value.hint is not None
        assert "meta-llama/Llama-3.1-8B" in caught.value.hint
    (tmp_path / "config.json").write_text(json.dumps(llama()), encoding="utf-8")
    assert load_model(str(tmp_path)).not_counted == ("adapter beside the config (LORA, rank 16)",)


@pytest.mark.parametrize("seed", range(40))
def test_hostile_configs_are_refused_by_name(seed: int) -> None:
    random = Random(seed)
    samples: list[dict[str, Any]] = [
        compressed(["re:.*self_attn.*"], kv_cache_scheme={"num_bits": 8, "type": "float"}),
        {**GPTQ, "dynamic": {"+:.*down.*": {"bits": 8}}, "modules_in_block_to_quantize": [["self_attn.q_proj"]]},
        {"quant_method": "auto-round", "bits": 4, "extra_config": {"lm_head": {"bits": 16}}},
        {"quant_method": "torchao", "quant_type": {"default": {"_type": "ModuleFqnToConfig", "_data": {
            "module_fqn_to_config": {"_default": {"_type": "Int4WeightOnlyConfig", "_data": {"group_size": 64}}}}}}},
        {"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp4", "qscheme": "per_group"}},
         "layer_quant_config": {"*o_proj": {"weight": {"dtype": "int8"}}},
         "kv_cache_quant_config": {"*k_proj": {"output_tensors": {"dtype": "fp8_e4m3"}}}},
        {"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 4, "group_size": 64}}},
        {"quantization": {"quant_algo": "MIXED_PRECISION", "quantized_layers": {"lm_head": {"quant_algo": "FP8"}}}},
    ]  # fmt: skip
    for sample in samples:
        for _ in range(25):
            quantized = Model.from_config(llama(quantization_config=broken(sample, random)))
            with contextlib.suppress(ModelError):
                estimate(quantized, Step.uniform(batch=1, q_tokens=1, kv_tokens=5))
            assert all(isinstance(note, str) for note in quantized.notes)


def broken(value: Any, random: Random) -> Any:
    """`value` with one of the values in it replaced by something else."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = random.choice(sorted(value))
        return {**value, key: broken(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.8:
        index = random.randrange(len(value))
        return [broken(one, random) if i == index else one for i, one in enumerate(value)]
    return random.choice(
        [None, True, -1, 0, 3, 10**30, 2.5, float("nan"), "", "re:(", "*", "x" * 500, [], [[]], {}, {"a": 1}]
    )


def test_the_table_of_names_has_a_row_for_every_product_of_the_usual_blocks() -> None:
    names = module_names()
    assert all(parts and all(parts) for ops in names.values() for parts in ops.values())
    for ref in ("llama-3-8b", "mixtral-8x7b", "deepseek-v3", "qwen3-next-80b-a3b", "gpt-oss-20b", "gpt2"):
        for op in estimate(load_model(ref), Step.uniform(batch=1, q_tokens=1)).ops:
            if op.kind in ("gemm", "grouped_gemm"):
                assert any(op.name in ops for ops in names.values()), (ref, op.name)
