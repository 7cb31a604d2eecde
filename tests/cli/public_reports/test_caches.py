"""What the KV cache holds: its size by model and rank, its format, what layers share or leave out."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.public_reports.common import (
    CACHE_KERNEL,
    DEEPSEEK,
    LARGE,
    LATENT,
    LLAMA,
    QWEN_3_5,
    codes,
    decoding,
    kernels_of_a_pass,
    marked,
)
from tests.cli.run import MS, Cli
from tests.support.trace_builder import TraceBuilder


def test_keys_and_values_of_heads_that_the_config_widens(cli: Cli) -> None:
    printed = cli.flops("qwen3-4b", "--prompt-tokens", 1000)

    assert printed["prefill"]["kv_write_bytes"] == 1000 * 2 * 36 * 8 * 128 * 2


def test_the_cache_of_an_indexer_is_counted(cli: Cli) -> None:
    indexer = {"q_lora_rank": 96, "index_n_heads": 4, "index_head_dim": 32, "index_topk": 16}

    printed = cli.flops(LATENT | indexer | {"model_type": "deepseek_v32"}, "--prompt-tokens", 64)

    assert printed["prefill"]["kv_write_bytes"] == 64 * 2 * 2 * (64 + 16 + 32)


def test_layers_with_a_window_cache_each_token_until_it_is_full(cli: Cli) -> None:
    """gpt-oss-120b: a token has 73,728 bytes in all 36 layers, of which 18 keep 128 tokens."""
    gpt_oss = {
        "model_type": "gpt_oss", "hidden_size": 2880, "intermediate_size": 2880, "num_hidden_layers": 36,
        "num_local_experts": 128, "num_experts_per_tok": 4, "num_attention_heads": 64, "num_key_value_heads": 8,
        "head_dim": 64, "sliding_window": 128, "layer_types": ["sliding_attention", "full_attention"] * 18,
        "vocab_size": 201088, "torch_dtype": "bfloat16",
    }  # fmt: skip
    layer = 2 * 8 * 64 * 2

    first, later = (cli.flops(gpt_oss, "--prompt-tokens", tokens) for tokens in (1, 8192))

    assert first["prefill"]["kv_write_bytes"] == first["decode"]["kv_read_bytes"] == 36 * layer == 73_728
    # The new token is one of the 128.
    assert later["decode"]["kv_read_bytes"] == 18 * layer * (127 + 8192)


@pytest.mark.parametrize(
    ("config", "context", "kv_bytes"),
    [
        # Gemma 3 27B: 10 layers keep all keys, 52 the last 1024.
        (
            {
                "model_type": "gemma3_text", "head_dim": 128, "hidden_size": 5376, "intermediate_size": 21504,
                "num_attention_heads": 32, "num_hidden_layers": 62, "num_key_value_heads": 16, "sliding_window": 1024,
                "vocab_size": 262208, "dtype": "bfloat16",
            },
            131_072,
            2 * 2 * 16 * 128 * (10 * 131_072 + 52 * 1023),
        ),
        # Qwen3.5 27B: 16 layers keep keys; 48 a float32 state, and three columns of their convolution.
        (
            QWEN_3_5,
            262_144,
            2 * 2 * 4 * 256 * 16 * 262_144 + 48 * (4 * 48 * 128 * 128 + 2 * 3 * (2 * 16 + 48) * 128),
        ),
    ],
)  # fmt: skip
def test_the_cache_is_that_of_the_layers_that_keep_one(
    config: dict[str, Any], context: int, kv_bytes: int, cli: Cli
) -> None:
    assert cli.flops(config, "--prompt-tokens", context)["decode"]["kv_read_bytes"] == kv_bytes


@pytest.mark.parametrize(
    ("config", "kv_bytes"),
    [
        ({"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257}, 301_989_888),
        (
            {
                "model_type": "gpt_bigcode", "n_layer": 24, "n_embd": 2048, "n_head": 16, "n_inner": 8192,
                "vocab_size": 49280, "multi_query": True,
            },
            100_663_296,
        ),
    ],
)  # fmt: skip
def test_older_names_of_fields_size_the_cache(config: dict[str, Any], kv_bytes: int, cli: Cli) -> None:
    found = cli.flops(config | {"n_positions": 8192, "dtype": "float16"}, "--prompt-tokens", 8192)

    assert found["prefill"]["kv_write_bytes"] == kv_bytes


def test_layers_that_read_the_cache_of_another_have_none(cli: Cli) -> None:
    config = {
        "model_type": "gemma3n_text", "hidden_size": 256, "intermediate_size": [512] * 5, "num_hidden_layers": 5,
        "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 64, "vocab_size": 1000,
        "vocab_size_per_layer_input": 1000, "hidden_size_per_layer_input": 16, "num_kv_shared_layers": 2,
        "layer_types": [f"{kind}_attention" for kind in ("sliding", "full", "sliding", "sliding", "full")],
        "sliding_window": 16, "altup_num_inputs": 2, "laurel_rank": 8, "activation_sparsity_pattern": [0] * 5,
        "torch_dtype": "bfloat16",
    }  # fmt: skip

    printed = cli.flops(config, "--prompt-tokens", 64)

    token = 2 * 64 * 2
    assert printed["prefill"]["kv_write_bytes"] == 3 * 64 * token
    # All five read: three of them the 15 tokens that a window of 16 has beside the new one.
    assert printed["decode"]["kv_read_bytes"] == (3 * 15 + 2 * 64) * token


def test_short_convolutions_cache_their_window_alone(cli: Cli) -> None:
    """LFM2: one of four layers has keys and values; the others keep the last two inputs of a convolution of three."""
    config = {
        "model_type": "lfm2", "hidden_size": 256, "block_dim": 256, "block_ff_dim": 640, "block_multiple_of": 256,
        "block_auto_adjust_ff_dim": True, "block_ffn_dim_multiplier": 1.0, "conv_L_cache": 3, "num_hidden_layers": 4,
        "num_attention_heads": 8, "num_key_value_heads": 2, "full_attn_idxs": [2], "vocab_size": 1000,
        "torch_dtype": "bfloat16",
    }  # fmt: skip

    printed = cli.flops(config, "--prompt-tokens", 100)

    assert printed["prefill"]["kv_write_bytes"] == 100 * 2 * 2 * 32 * 2 + 3 * 256 * 2 * 2


def test_layers_with_a_delta_state_have_no_latents(cli: Cli) -> None:
    """Kimi Linear: `linear_attn_config` counts layers from 1; the fourth of four has latents, the others a state."""
    config = {
        "model_type": "kimi_linear", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 72, "kv_lora_rank": 64, "q_lora_rank": None,
        "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32, "first_k_dense_replace": 1,
        "moe_layer_freq": 1, "num_experts": 8, "num_experts_per_token": 2, "num_shared_experts": 1,
        "moe_intermediate_size": 64, "vocab_size": 1000, "torch_dtype": "bfloat16",
        "linear_attn_config": {
            "full_attn_layers": [4], "kda_layers": [1, 2, 3], "head_dim": 32, "num_heads": 4,
            "short_conv_kernel_size": 4,
        },
    }  # fmt: skip

    printed = cli.flops(config, "--prompt-tokens", 100)

    state = 4 * 32 * 32 * 4 + 3 * 4 * 32 * 3 * 2
    assert printed["prefill"]["kv_write_bytes"] == 100 * (64 + 16) * 2 + 3 * state


@pytest.mark.parametrize(
    ("width", "depth", "attention_heads", "groups", "heads", "cache_mib"),
    [(5120, 64, 24, 4, 48, 16_384), (2048, 40, 16, 2, 32, 5120)],
)
def test_layers_with_a_state_have_no_cache_that_grows(
    width: int, depth: int, attention_heads: int, groups: int, heads: int, cache_mib: int, cli: Cli
) -> None:
    """Qwen3.6-27B, and the attention of 35B-A3B: 16 of 64 layers, and 10 of 40, cache 262,144 tokens."""
    config = {
        "model_type": "qwen3_5_text", "hidden_size": width, "num_hidden_layers": depth, "intermediate_size": 17_408,
        "num_attention_heads": attention_heads, "num_key_value_heads": groups, "head_dim": 256,
        "full_attention_interval": 4,
        "linear_num_key_heads": 16, "linear_num_value_heads": heads, "linear_key_head_dim": 128,
        "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "vocab_size": 248_320, "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }  # fmt: skip
    decode = cli.flops(config, "--prompt-tokens", 262_144)["decode"]

    # A state is float32; what a convolution keeps of three tokens is in the model's 16 bits.
    state = depth * 3 // 4 * (heads * 128 * 128 * 4 + 3 * (2 * 16 + heads) * 128 * 2)
    assert decode["kv_read_bytes"] == cache_mib * 2**20 + state


@pytest.mark.parametrize(
    ("kernel", "fields", "code"),
    [
        ("void flash_attn_ext_f16<(int)192, (int)128, (int)4>", {}, "whole_keys_cached"),
        ("void flash_attn_ext_f16<(int)576, (int)512, (int)4>", {}, None),
        ("flash_fwd_kernel", {"framework": "transformers", "framework_version": "4.57.1"}, "latents_not_cached"),
        ("flash_fwd_kernel", {"framework": "transformers", "framework_version": "5.24.0"}, None),
    ],
)
def test_caches_of_whole_keys_where_latents_are_counted_are_told(
    kernel: str, fields: dict[str, str], code: str | None, cli: Cli
) -> None:
    trace = TraceBuilder().gpu()
    marked(trace, DEEPSEEK, **fields)
    main = trace.process().thread()
    for at in range(0, 400 * MS, 100 * MS):
        main.push(at, at + 100 * MS, "decode", domain="llmperf")
        main.mark(at + 1, 'llmperf.step {"b":1,"q":1,"kv":10000,"logits":1}', domain="llmperf")
        for number, name in enumerate([*["gemm"] * 8, kernel] * 3):
            main.launch(at + MS + number, gpu=(at + (2 + number) * MS, at + (3 + number) * MS), name=name)

    found = codes(cli.analyze(trace)) & {"whole_keys_cached", "latents_not_cached"}
    latents, whole = (
        cli.flops(DEEPSEEK, "--prompt-tokens", 1000, *more)["decode"]["kv_read_bytes"]
        for more in ([], ["--mla", "cached"])
    )

    assert found == ({code} if code else set())
    # Three layers: a latent of 64 with 16 rotary values, or four heads with keys of 48 and values of 32, in 16 bits.
    assert (latents, whole) == (1000 * 3 * (64 + 16) * 2, 1000 * 3 * 4 * (48 + 32) * 2)


def test_latents_are_whole_on_each_rank(cli: Cli) -> None:
    latents = 64 * 2 * (64 + 16) * 2

    for ranks in (1, 2, 4):
        printed = cli.flops(LATENT, "--prompt-tokens", 64, "--tp", ranks)
        assert printed["decode"]["kv_read_bytes"] == ranks * latents

    heads = cli.flops(LLAMA, "--prompt-tokens", 64, "--tp", 2)["decode"]["kv_read_bytes"]
    assert heads == cli.flops(LLAMA, "--prompt-tokens", 64)["decode"]["kv_read_bytes"]


@pytest.mark.parametrize(("ranks", "copies"), [(1, 1), (4, 1), (16, 2)])
def test_each_rank_has_its_heads_in_the_cache(ranks: int, copies: int, cli: Cli) -> None:
    """8 heads of keys and values are split over at most 8 ranks; 16 have each head twice."""
    decode = cli.flops(LARGE, "--prompt-tokens", 1000, "--tp", ranks)["decode"]

    assert decode["kv_read_bytes"] == copies * 1000 * 32 * 2 * 8 * 128 * 2
    if ranks > 1:
        assert decode["gpu_bytes"] == pytest.approx(decode["bytes"] / ranks, rel=1e-6)


def test_heads_of_keys_that_are_fewer_than_ranks_are_held_by_several(cli: Cli) -> None:
    one, eight = (cli.flops(LLAMA, "--prompt-tokens", 64, "--tp", ranks)["decode"] for ranks in (1, 8))

    # Two heads of 64, of which each of eight ranks holds one.
    assert one["kv_read_bytes"] == 4 * 2 * 64 * 64 * 2 * 2
    assert eight["kv_read_bytes"] == 8 / 2 * one["kv_read_bytes"]


def decode_steps(model: dict[str, Any], cached: int, name: str) -> TraceBuilder:
    """Four steps of 100 ms, one sequence each, of one process on one GPU."""
    trace = TraceBuilder().gpu()
    marked(trace, model)
    main = trace.process().thread()
    for at in range(0, 400 * MS, 100 * MS):
        main.push(at, at + 100 * MS, "decode", domain="llmperf")
        main.mark(at + 1, f'llmperf.step {{"b":1,"q":1,"kv":{cached},"logits":1}}', domain="llmperf")
        main.launch(at + MS, gpu=(at + 2 * MS, at + 98 * MS), name=name)
    return trace


def test_the_format_of_a_cache_decides_how_much_fits(cli: Cli) -> None:
    """600,000 tokens are 79 GB in 16 bits, and with 16 GB of weights do not fit a GPU of 85 GB; in fp8 they do."""
    trace = decode_steps(LARGE, 600_000, CACHE_KERNEL)

    (whole, told), (half, nothing) = (
        cli.sql(trace, "SELECT bytes::BIGINT AS bytes FROM phase_summary", "--kv-dtype", dtype)
        for dtype in ("bf16", "fp8")
    )

    assert whole[0]["bytes"] - half[0]["bytes"] == 4 * 600_001 * 32 * 2 * 8 * 128
    # `more_than_memory` and `cache_of_another_dtype`
    assert "a pass of decode would read 94 GB of weights and KV cache, and the memory of its GPUs holds 85 GB" in told
    assert "the KV cache of decode is fp8, but its bytes are counted in bf16" in told
    assert nothing == ""


@pytest.mark.parametrize(
    ("kv_dtype", "bytes_"),
    [("q8_0", 34 / 32), ("q5_1", 24 / 32), ("q4_0", 18 / 32), ("iq4_nl", 18 / 32), ("int8", 1), ("int4", 1 / 2)],
)
def test_scales_of_a_quantized_cache_are_counted_or_told(kv_dtype: str, bytes_: float, cli: Cli) -> None:
    """Four layers with two heads of 64 keys and 64 values; LMDeploy's `quant_policy=4` has 4.5 bits there."""
    printed = cli.flops(LLAMA, "--prompt-tokens", 64, "--kv-dtype", kv_dtype)

    assert printed["prefill"]["kv_write_bytes"] == 64 * 4 * 2 * 2 * 64 * bytes_
    is_bare = kv_dtype.startswith("int")
    assert any("without scales" in note for note in printed["convention"]["notes"]) == is_bare
    if kv_dtype in ("int4", "q8_0"):
        report = cli.analyze(decode_steps(LLAMA, 100, "gemm"), "--kv-dtype", kv_dtype)
        assert ("cache_format_not_read" in codes(report)) == is_bare


@pytest.mark.parametrize(("kv_dtype", "bytes_"), [("bf16", 2), ("fp8", 1), ("nvfp4", 9 / 16), ("mxfp4", 17 / 32)])
def test_caches_in_fp4_carry_scales(kv_dtype: str, bytes_: float, cli: Cli) -> None:
    printed = cli.flops(LLAMA, "--prompt-tokens", 64, "--kv-dtype", kv_dtype)

    assert printed["prefill"]["kv_write_bytes"] == 64 * 4 * 2 * 2 * 64 * bytes_


@pytest.mark.parametrize(("told", "bytes_"), [(None, 2), ("FP8", 1), ("NVFP4", 9 / 16)])
def test_weights_in_fp4_say_nothing_of_the_cache(told: str | None, bytes_: float, cli: Cli) -> None:
    quantized = {"quant_method": "modelopt", "quant_algo": "NVFP4", "kv_cache_quant_algo": told}

    printed = cli.flops(LLAMA | {"quantization_config": quantized}, "--prompt-tokens", 64)

    assert printed["prefill"]["kv_write_bytes"] == 64 * 4 * 2 * 2 * 64 * bytes_


@pytest.mark.parametrize(("kv_dtype", "is_told"), [(None, True), ("q8_0", False), ("q4_0", True)])
def test_names_of_llama_cpp_tell_the_format_of_its_cache(kv_dtype: str | None, is_told: bool, cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    marked(trace, LLAMA)
    main = trace.process().thread()
    kernel = "void flash_attn_ext_vec<(int)64, (int)1, (ggml_type)8, (ggml_type)8, (bool)0>(const char *)"
    for at in range(0, 400 * MS, 100 * MS):
        main.push(at, at + 100 * MS, "decode", domain="llmperf")
        main.mark(at + 1, 'llmperf.step {"b":1,"q":1,"kv":100,"logits":1}', domain="llmperf")
        kernels_of_a_pass(main, at + MS, attention=kernel)

    report = cli.analyze(trace, *(["--kv-dtype", kv_dtype] if kv_dtype else []))

    assert ("cache_of_another_dtype" in codes(report)) == is_told


def test_layers_that_a_quantized_cache_leaves_out_are_told(cli: Cli) -> None:
    trace = decoding("gemm")
    marked(trace, LLAMA, kv_dtype="fp8", kv_plain_layers=["sliding_window"])

    _, err = cli.sql(trace, "SELECT mbu_busy FROM phase_summary")

    # `cache_of_two_dtypes`
    assert "layers of the run (sliding_window) keep their keys and values in the model's dtype" in err


@pytest.mark.parametrize(
    ("kernel", "told"),
    [
        ("void vllm::merge_attn_states_kernel<__nv_bfloat16, 128>(float*)", True),
        # Parts of one sequence.
        ("void flashinfer::PersistentVariableLengthMergeStatesKernel<8, 16>(float*)", False),
    ],
)
def test_a_prefix_that_sequences_share_is_told(kernel: str, told: bool, cli: Cli) -> None:
    trace = decoding(kernel)
    marked(trace, LLAMA)

    _, err = cli.sql(trace, "SELECT mbu_busy FROM phase_summary")

    # `shared_prefix`
    assert ("merge attention, as where sequences share a prefix that is read once" in err) == told


@pytest.mark.parametrize("length", [100, 1_000, 10_000])
def test_a_window_ends_the_growth_of_the_cache_of_half_of_the_layers(length: int, cli: Cli) -> None:
    """gpt-oss 20B: 12 of 24 layers see the last 128 tokens."""
    config = {
        "model_type": "gpt_oss", "hidden_size": 2880, "intermediate_size": 2880, "num_hidden_layers": 24,
        "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 201088,
        "num_local_experts": 32, "num_experts_per_tok": 4, "sliding_window": 128, "tie_word_embeddings": False,
        "layer_types": ["sliding_attention", "full_attention"] * 12, "torch_dtype": "bfloat16",
    }  # fmt: skip

    printed = cli.flops(config, "--prompt-tokens", length)

    token = 2 * 8 * 64 * 2
    assert printed["params"] == 20_914_757_184
    assert printed["decode"]["kv_read_bytes"] == 12 * token * (length + min(length, 127))
    assert printed["decode"]["kv_write_bytes"] == 24 * token


@pytest.mark.parametrize(("heads", "groups", "head"), [(32, 8, 128), (32, 8, 80), (32, 1, 128), (16, 16, 256)])
def test_a_cache_is_as_wide_as_its_heads_and_not_as_the_embedding(heads: int, groups: int, head: int, cli: Cli) -> None:
    config = LLAMA | {
        "model_type": "qwen3", "hidden_size": 2560, "num_attention_heads": heads, "num_key_value_heads": groups,
        "head_dim": head, "num_hidden_layers": 36,
    }  # fmt: skip

    printed = cli.flops(config, "--prompt-tokens", 8192)

    token = 2 * 36 * groups * head * 2
    assert printed["prefill"]["kv_write_bytes"] == printed["decode"]["kv_read_bytes"] == 8192 * token
    assert printed["decode"]["kv_write_bytes"] == token
