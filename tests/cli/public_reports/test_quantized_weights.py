"""Quantized weights: which are, in how many bits with their scales, and the peak of their products."""

from __future__ import annotations

from typing import Any

import pytest

from nsys_pipeline.hardware import find_gpu
from tests.cli.public_reports.common import (
    DEEPSEEK,
    LARGE,
    LLAMA,
    MIXTURE,
    codes,
    lm_head,
    marked,
    pairs,
    phase,
    projections,
)
from tests.cli.run import MS, Cli, run
from tests.support.trace_builder import TraceBuilder

LAYERS = 4 * (512 * (512 + 2 * 128) + 512 * 512 + 3 * 512 * 1024)
"""Weights of the products of LLAMA's layers."""


@pytest.mark.parametrize(
    ("kind", "bits", "strategy"), [("int", 4, "group"), ("int", 8, "channel"), ("float", 8, "channel")]
)
def test_the_dtype_of_a_config_is_not_that_of_quantized_weights(kind: str, bits: int, strategy: str, cli: Cli) -> None:
    """Llama 3.3 with 70 billion parameters: w4a16 in groups of 128, w8a8, FP8; `torch_dtype` is bfloat16 in all."""
    weights = {"num_bits": bits, "type": kind, "strategy": strategy, "symmetric": True, "dynamic": False}
    inputs = {"num_bits": 8, "type": kind, "strategy": "token", "dynamic": True, "symmetric": True}
    group = {
        "targets": ["Linear"], "weights": weights | ({"group_size": 128} if bits == 4 else {}),
        "input_activations": inputs if bits == 8 else None,
    }  # fmt: skip
    large = LARGE | {
        "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64,
        "quantization_config": {
            "quant_method": "compressed-tensors", "config_groups": {"group_0": group}, "ignore": ["lm_head"],
            "format": {("int", 4): "pack-quantized", ("int", 8): "int-quantized"}.get((kind, bits), "float-quantized"),
        },
    }  # fmt: skip

    decode = [one for one in cli.flops(large, "--prompt-tokens", 1)["ops"] if one["phase"] == "decode"]

    # Inputs of 8192 or 28672 weights have a scale of 16 bits for 128, or one for all.
    scales = 8192 // 128 if bits == 4 else 1
    (gate_up,) = [one for one in decode if one["name"] == "gate_up"]
    assert gate_up["weight_bytes"] == 80 * 2 * 28672 * (8192 * bits / 8 + 2 * scales)
    assert gate_up["dtype"] == ("bf16" if bits == 4 else {"int": "int8", "float": "fp8"}[kind])
    assert [one["weight_bytes"] for one in decode if one["name"] == "lm_head"] == [2 * 8192 * 128256]


@pytest.mark.parametrize("repeated", [False, True])
def test_what_mlx_quantizes(repeated: bool, cli: Cli) -> None:
    own = {"group_size": 64, "bits": 4, "model.layers.0.self_attn.q_proj": {"group_size": 64, "bits": 8}}
    config = LLAMA | {"quantization": own} | ({"quantization_config": own} if repeated else {})

    printed = cli.flops(config, "--prompt-tokens", 64)

    # A 16-bit scale and bias for each 64 values; norms stay in 16 bits, tables do not: a row of one, all of the other.
    bits = 4.5 * (LAYERS + 512 + 1000 * 512) + 4 * 512 * 512 + 16 * 9 * 512
    assert printed["decode"]["weight_bytes"] == bits / 8
    assert printed["convention"]["notes"] == []


def test_the_older_name_of_a_quantization(cli: Cli) -> None:
    weights = {"num_bits": 8, "type": "float", "strategy": "channel"}
    stated = {
        "quant_method": "compressed-tensors", "format": "float-quantized", "ignore": ["lm_head"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
    }  # fmt: skip

    older, newer = (
        cli.flops(LLAMA | {name: stated}, "--prompt-tokens", 64)["decode"]["weight_bytes"]
        for name in ("compression_config", "quantization_config")
    )

    assert older == newer < 0.6 * cli.flops(LLAMA, "--prompt-tokens", 64)["decode"]["weight_bytes"]


@pytest.mark.parametrize("group", [16, 32])
def test_groups_of_nvfp4_have_the_length_that_the_config_says(group: int, cli: Cli) -> None:
    quantized = {"quant_method": "modelopt", "quant_algo": "W4A16_NVFP4", "group_size": group, "ignore": ["lm_head"]}

    printed = cli.flops(LLAMA | {"quantization_config": quantized}, "--prompt-tokens", 1)

    (down,) = [op for op in printed["ops"] if (op["phase"], op["name"]) == ("decode", "down")]
    assert down["weight_bytes"] == 4 * 512 * 1024 * (4 + 8 / group) / 8


def layers_of(config: dict[str, Any]) -> int:
    """Weights of the matrices of the layers."""
    return projections(config, 1) // 2


def test_weights_in_fp4_carry_scales(cli: Cli) -> None:
    def weight_bytes(*options: object) -> int:
        return int(cli.flops(LLAMA, "--prompt-tokens", 64, *options)["prefill"]["weight_bytes"])

    assert weight_bytes() - weight_bytes("--weight-dtype", "nvfp4") == layers_of(LLAMA) * (32 - 9) // 16


def test_layers_that_quantization_skips_by_number_are_16_bits(cli: Cli) -> None:
    quantized = {"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": {r"-:.*\.(?:[1-3])\..*": {}}}

    printed = cli.flops(LLAMA | {"quantization_config": quantized}, "--prompt-tokens", 1)

    of_down = [op["weight_bytes"] for op in printed["ops"] if (op["phase"], op["name"]) == ("decode", "down")]
    assert sum(of_down) == 512 * 1024 * (3 * 2 + (4 + (16 + 4) / 128) / 8)


def test_weights_that_are_packed_in_pairs_are_two_parameters(cli: Cli) -> None:
    quantized = {
        "quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
    }  # fmt: skip

    printed = cli.flops(LLAMA | {"quantization_config": quantized}, "--prompt-tokens", 1)

    assert printed["params"] == cli.flops(LLAMA, "--prompt-tokens", 1)["params"]
    (down,) = [op for op in printed["ops"] if (op["phase"], op["name"]) == ("decode", "down")]
    assert down["weight_bytes"] == pytest.approx(4 * 512 * 1024 * (4 + 8 / 64 + 32 / (64 * 256)) / 8, rel=1e-3)


@pytest.mark.parametrize(("ignored", "tied"), [([], True), (["lm_head"], True), (["lm_head"], False)])
def test_a_quantized_table_that_is_the_head_too(ignored: list[str], tied: bool, cli: Cli) -> None:
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 128}
    quantization = {
        "quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ignored,
        "config_groups": {"group_0": {"targets": ["Linear", "Embedding"], "weights": weights}},
    }  # fmt: skip
    config = LLAMA | {"tie_word_embeddings": tied, "quantization_config": quantization}

    printed = cli.flops(config, "--prompt-tokens", 16)

    (head,) = [one for one in printed["ops"] if one["phase"] == "decode" and one["name"] == "lm_head"]
    # 1,000 rows of 512 values in 4 bits, with a 16-bit scale for each 128 of them; or in 16 bits.
    assert head["weight_bytes"] == (1_000 * (512 // 2 + 4 * 2) if tied else 1_000 * 512 * 2)
    assert head["dtype"] == "bf16"


def weights_of(printed: dict[str, Any], name: str, phase_name: str = "decode") -> list[tuple[float, str]]:
    """Bytes of the weights of an operation in each kind of layer, for one layer of it, and the dtype of its product."""
    return [
        (one["weight_bytes"] / one["layers"], one["dtype"])
        for one in printed["ops"]
        if (one["phase"], one["name"]) == (phase_name, name)
    ]


@pytest.mark.parametrize(
    ("prefix", "pinned"), [("model", ("gate_proj", "up_proj", "down_proj")), ("model.language_model", ("up_proj",))]
)
def test_layers_that_are_pinned_to_another_format(prefix: str, pinned: tuple[str, ...], cli: Cli) -> None:
    """MXFP4 in groups of 32, but for a projection and matrices of experts of the last layer: fp8 in blocks of 128."""
    group = {"dtype": "fp4", "qscheme": "per_group", "group_size": 32, "scale_format": "e8m0"}
    block = {"dtype": "fp8_e4m3", "qscheme": "per_block", "block_size": [128, 128]}
    names = [f"mlp.experts.{expert}.{part}" for expert in range(8) for part in pinned]
    quantization = {
        "quant_method": "quark", "global_quant_config": {"weight": group, "input_tensors": group},
        "exclude": ["lm_head"], "layer_quant_config": {
            f"{prefix}.layers.2.{name}": {"weight": block, "input_tensors": {"dtype": "fp8_e4m3"}}
            for name in ("self_attn.q_a_proj", *names)
        },
    }  # fmt: skip

    printed = cli.flops(DEEPSEEK | {"quantization_config": quantization}, "--prompt-tokens", 64)

    four, eight = 256 * 128 * (4 + 8 / 32) / 8, 256 * 128 + 2 * 4
    assert weights_of(printed, "q_a") == [(four, "fp4"), (four, "fp4"), (eight, "fp8")]
    # A token runs two experts, of two matrices each here and one there.
    last = [(4 * eight, "fp8")] if "gate_proj" in pinned else [(2 * four, "fp4"), (2 * eight, "fp8")]
    assert weights_of(printed, "experts_gate_up") == [(4 * four, "fp4"), *last]
    down = (2 * eight, "fp8") if "down_proj" in pinned else (2 * four, "fp4")
    assert weights_of(printed, "experts_down") == [(2 * four, "fp4"), down]
    assert printed["convention"]["notes"] == []


def test_experts_in_four_bits_that_multiply_in_sixteen(cli: Cli) -> None:
    """NVIDIA's mixed checkpoints: attention in FP8, experts in NVFP4 for their weights alone."""
    layers = {f"model.layers.{layer}.mlp.experts": "W4A16_NVFP4" for layer in range(4)}
    layers |= {f"model.layers.{layer}.self_attn.o_proj": "FP8" for layer in range(4)}
    quantization = {
        "quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "exclude_modules": ["lm_head"],
        "quantized_layers": {name: {"quant_algo": algorithm} for name, algorithm in layers.items()},
    }  # fmt: skip

    printed = cli.flops(MIXTURE | {"quantization_config": quantization}, "--prompt-tokens", 64)

    # A scale of 8 bits for 16 weights; one of 32 bits for a matrix in FP8.
    assert weights_of(printed, "experts_down") == [(4 * 256 * 128 * 4.5 / 8, "bf16")]
    assert weights_of(printed, "o") == [(256 * 256 + 4, "fp8")]


@pytest.mark.parametrize("skipped", [["gate", "lm_head"], ["gate", "experts", "lm_head"]])
def test_a_router_that_stays_as_it_is_does_not_keep_its_experts(skipped: list[str], cli: Cli) -> None:
    """`gate` is no part of `gate_up_proj`; but transformers 5 leaves all experts, which are no linear layers, alone."""
    quantization = {
        "quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4",
        "llm_int8_skip_modules": skipped,
    }  # fmt: skip

    printed = cli.flops(MIXTURE | {"quantization_config": quantization}, "--prompt-tokens", 64)

    bits = 16 if "experts" in skipped else 4 + 32 / 64
    assert weights_of(printed, "router") == [(256 * 16 * 2, "bf16")]
    assert weights_of(printed, "experts_down") == [(4 * 256 * 128 * bits / 8, "bf16")]
    told = [note for note in printed["convention"]["notes"] if "transformers 5 has all experts" in note]
    assert len(told) == ("experts" not in skipped)


def test_bits_that_are_no_whole_number_are_refused(cli: Cli) -> None:
    """EXL2 with 2.65 bits a weight and 6 in the head; GPTQ in groups of 32 has 4.625."""
    exl2 = {"quant_method": "exl2", "bits": 2.65, "head_bits": 6}
    gptq = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": True, "sym": True}

    code, _, err = run(cli.capsys, "flops", cli.config(LLAMA | {"quantization_config": exl2}), "--prompt-tokens", 64)
    printed = cli.flops(LLAMA | {"quantization_config": gptq}, "--prompt-tokens", 64)

    assert code != 0
    assert "quantization method `exl2` is not known" in err
    assert weights_of(printed, "o")[0][0] == 512 * 512 * 4.625 / 8


def test_products_in_fp8_beside_those_in_16_bits(cli: Cli) -> None:
    quantization = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    gpu = find_gpu("NVIDIA H100 80GB HBM3")
    assert gpu
    fp8, bf16 = gpu.peaks_flops_per_s["fp8"], gpu.peaks_flops_per_s["bf16"]

    found = cli.flops(LLAMA | {"quantization_config": quantization}, "--prompt-tokens", 4096, "--gpu", "H100 SXM")

    attention = 4 * 4 * 8 * 64 * pairs(4096)
    seconds = projections(LLAMA, 4096) / fp8 + (attention + lm_head(LLAMA)) / bf16
    # The table of embeddings and the head are bound by memory. All in one dtype would be a quarter more, or less.
    assert found["prefill"]["sol_ns"] == pytest.approx(seconds * 1e9, rel=0.02)


def test_mixed_precision_is_of_another_peak(cli: Cli) -> None:
    def trace(dtype: str) -> TraceBuilder:
        made = TraceBuilder().gpu()
        main = made.process().thread().push(0, 200 * MS, "forward")
        main.mark(1, 'llmperf.step {"b":1,"q":512,"kv":0,"logits":512}', domain="llmperf")
        for number in range(28):
            at = MS * (number + 1)
            main.launch(at, gpu=(5 * at, 5 * at + 4 * MS), name=f"ampere_{dtype}_s16816gemm_{dtype}_128x64_ldg8_f2f_tn")
        marked(made, LLAMA | {"torch_dtype": "float32"})
        return made

    report = cli.analyze(trace("bf16"))

    # Below 100 %, so that nothing but the names of the kernels gives it away.
    assert 0 < phase(report, "forward")["mfu_busy"] < 1
    (found,) = [one for one in report["findings"] if one["code"] == "products_of_another_dtype"]
    assert (found["severity"], found["phase"], found["at_stake_ns"]) == ("error", "forward", 28 * 4 * MS)
    assert "16-bit kernels, but the estimate assumes fp32" in found["message"]
    _, err = cli.sql(trace("bf16"), "SELECT mfu_busy FROM phase_summary")
    assert "16-bit kernels" in err
    assert "products_of_another_dtype" not in codes(cli.analyze(trace("bf16"), "--dtype", "bf16"))
