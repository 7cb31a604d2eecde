"""Attention and what a step reads of the cache: masks, windows, chunks, indexers, layers with a state."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.public_reports.common import DEEPSEEK, LATENT, LLAMA, lm_head, marked, ops, pairs, phase, projections
from tests.cli.run import MS, Cli
from tests.support.trace_builder import TraceBuilder

GPT_OSS: dict[str, Any] = {
    "model_type": "gpt_oss", "hidden_size": 256, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 1000, "num_local_experts": 8,
    "num_experts_per_tok": 2, "sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"],
    "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip


def test_sliding_windows_and_grouped_queries(cli: Cli) -> None:
    layers = ["sliding_attention"] * 3 + ["full_attention"]
    config = LLAMA | {"model_type": "olmo3", "sliding_window": 64, "layer_types": layers}

    attention = 4 * 8 * 64 * (3 * pairs(256, 64) + pairs(256))

    assert cli.prefill(config, "--prompt-tokens", 256) == projections(config, 256) + attention + lm_head(config)


def test_attention_in_chunks(cli: Cli) -> None:
    tokens, width, heads, groups, head = 16_384, 5120, 40, 8, 128
    products = width * head * (heads + 2 * groups) + heads * head * width + 16 * width + 2 * 3 * width * 8192
    # Every fourth of 48 layers attends to all; the others inside two chunks of 8,192.
    attention = 4 * heads * head * (36 * 2 * (8192 * 8193 // 2) + 12 * (tokens * (tokens + 1) // 2))

    flops = 48 * 2 * tokens * products + attention + 2 * width * 202_048

    assert cli.prefill("llama-4-scout", "--prompt-tokens", tokens) == flops


def test_chunks_of_a_prompt_attend_to_what_is_cached(cli: Cli) -> None:
    whole = cli.prefill(LLAMA, "--prompt-tokens", 1024)

    chunks = [cli.prefill(LLAMA, "--prompt-tokens", 256, "--cached-tokens", cached) for cached in (0, 256, 512, 768)]

    assert sum(chunks) == whole + 3 * lm_head(LLAMA)
    assert chunks == sorted(chunks)
    assert len(set(chunks)) == 4


def test_sequences_of_other_lengths_are_not_padded(cli: Cli) -> None:
    both = cli.prefill(LLAMA, "--prompt-tokens", "100,300")

    assert both == cli.prefill(LLAMA, "--prompt-tokens", 100) + cli.prefill(LLAMA, "--prompt-tokens", 300)
    assert both < cli.prefill(LLAMA, "--batch", 2, "--prompt-tokens", 300)


def test_packed_sequences_do_not_attend_to_each_other(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 50 * MS, "forward").launch(MS, gpu=(5 * MS, 9 * MS))
    main.mark(1, 'llmperf.step {"q":[100,200,212],"kv":[0,0,0],"logits":512}', domain="llmperf")
    marked(trace, LLAMA)

    attention = 4 * 4 * 8 * 64 * sum(pairs(tokens) for tokens in (100, 200, 212))

    assert phase(cli.analyze(trace), "forward")["flops"] == projections(LLAMA, 512) + attention + 512 * lm_head(LLAMA)


def test_windows_of_every_other_layer(cli: Cli) -> None:
    printed = cli.flops(GPT_OSS, "--prompt-tokens", 64)

    assert ops(printed, "attention") == 4 * 4 * 64 * (pairs(64, 16) + pairs(64))


def test_a_window_bounds_what_a_decode_step_reads(cli: Cli) -> None:
    printed = cli.flops(GPT_OSS, "--prompt-tokens", 64)

    # The new token is one of the 16.
    assert printed["decode"]["kv_read_bytes"] == (15 + 64) * 2 * 2 * 64 * 2


def test_values_of_another_width_than_keys(cli: Cli) -> None:
    printed = cli.flops(LATENT, "--prompt-tokens", 64)

    assert ops(printed, "attention") == 2 * (48 + 24) * 4 * 2 * pairs(64)


def test_decode_steps_of_sequences_of_other_lengths(cli: Cli) -> None:
    printed = cli.flops(LLAMA, "--prompt-tokens", "100,300")

    assert ops(printed, "attention", "decode") == 4 * 4 * 8 * 64 * (101 + 301)
    assert printed["decode"]["kv_read_bytes"] == 2 * 4 * 2 * 64 * 2 * (100 + 300)


def test_a_step_reads_all_that_is_cached(cli: Cli) -> None:
    printed = cli.flops(LLAMA, "--prompt-tokens", 1, "--cached-tokens", 10_240)

    assert printed["prefill"]["kv_read_bytes"] == 10_240 * 2 * 4 * 2 * 64 * 2


def test_gates_of_attention_and_layers_with_a_state(cli: Cli) -> None:
    flops = {
        (one["layer"], one["name"]): one["flops"]
        for one in cli.flops("qwen3-next-80b-a3b", "--prompt-tokens", 100)["ops"]
        if one["phase"] == "prefill"
    }

    # Queries and their gates, 16 heads of 256 each; keys and values of 2.
    assert flops["layers.full.moe", "qkv"] == 12 * 2 * 100 * 2048 * (2 * 16 + 2 * 2) * 256
    # Queries and keys of 16 heads, values and gates of 32, all of 128.
    assert flops["layers.linear.moe", "in_proj_qkvz"] == 36 * 2 * 100 * 2048 * (2 * 16 + 2 * 32) * 128


def test_decoders_without_a_causal_mask(cli: Cli) -> None:
    config = LLAMA | {"is_causal": False}

    printed = cli.flops(config, "--prompt-tokens", 64)

    # Every token sees all 64.
    assert printed["prefill"]["flops"] == projections(config, 64) + 4 * 4 * 8 * 64 * 64 * 64 + lm_head(config)
    assert printed["prefill"]["kv_write_bytes"] == 0
    assert printed["decode"] is None
    assert "no causal mask" in printed["convention"]["notes"][0]


@pytest.mark.parametrize(("model_type", "flag", "seen"), [("gemma3_text", True, 8), ("gemma4_text", "all", 9)])
def test_gemma_that_attends_in_both_directions(model_type: str, flag: object, seen: int, cli: Cli) -> None:
    """Windows of 16, halved: a token sees 8 of those before it in Gemma 3 and 9 in Gemma 4, and as many after it."""
    config = {
        "model_type": model_type, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 6,
        "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 64, "global_head_dim": 64, "vocab_size": 1000,
        "vocab_size_per_layer_input": 1000, "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0,
        "sliding_window": 16, "layer_types": ["sliding_attention"] * 5 + ["full_attention"], "torch_dtype": "bfloat16",
    }  # fmt: skip

    causal, both = (
        cli.prefill(config | more, "--prompt-tokens", 64) for more in ({}, {"use_bidirectional_attention": flag})
    )

    sliding = sum(min(one + seen, 63) - max(one - seen, 0) + 1 for one in range(64))
    assert both - causal == 4 * 4 * 64 * (5 * (sliding - pairs(64, 16)) + 64 * 64 - pairs(64))


def test_indexers_that_run_in_some_layers_alone(cli: Cli) -> None:
    """GLM-5.2: 16 keys for a query; of 12 layers the first three, the 7th and the 11th choose them."""
    config = DEEPSEEK | {
        "model_type": "glm_moe_dsa", "num_hidden_layers": 12, "index_topk": 16, "index_head_dim": 32,
        "index_n_heads": 4, "index_topk_freq": 4, "index_skip_topk_offset": 3,
    }  # fmt: skip

    printed = cli.flops(config, "--prompt-tokens", 64)

    layers = {(one["name"], one["layer"]): one["layers"] for one in printed["ops"] if one["phase"] == "decode"}
    assert sum(count for (name, _), count in layers.items() if name == "index_scores") == 5
    # Absorbed: each head scores a latent with its rotary key, and sums latents.
    assert ops(printed, "attention", "decode") == 12 * 2 * 16 * 4 * (64 + 16 + 64)
    assert ops(printed, "index_q", "decode") == 5 * 2 * 128 * 4 * 32


def test_layers_of_attention_and_mamba_side_by_side(cli: Cli) -> None:
    """Falcon-H1: each layer has both, so each has keys, values and a state."""
    config = {
        "model_type": "falcon_h1", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 3,
        "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64, "mamba_n_heads": 12, "mamba_d_head": 32,
        "mamba_d_ssm": 384, "mamba_d_state": 64, "mamba_d_conv": 4, "mamba_n_groups": 1, "vocab_size": 1000,
        "torch_dtype": "bfloat16",
    }  # fmt: skip
    tokens, channels = 100, 384 + 2 * 64

    mamba = 256 * (384 + channels + 12) + channels * 4 + 384 * 256
    attention = 256 * 64 * (8 + 2 * 2) + 8 * 64 * 256
    layer = tokens * 2 * (mamba + attention + 3 * 256 * 512) + tokens * 4 * 384 * 64 + 4 * pairs(tokens) * 8 * 64
    printed = cli.flops(config, "--prompt-tokens", tokens)
    assert printed["prefill"]["flops"] == 3 * layer + 2 * 256 * 1000
    state = 384 * 64 * 4 + channels * 3 * 2
    assert printed["prefill"]["kv_write_bytes"] == 3 * (tokens * 2 * 2 * 64 * 2 + state)


def test_causal_attention_computes_half_of_the_pairs(cli: Cli) -> None:
    printed = cli.flops(LLAMA, "--batch", 2, "--prompt-tokens", 4096)

    assert pairs(4096) == 4096 * 4097 // 2
    assert ops(printed, "attention") == 2 * 4 * 4 * 512 * pairs(4096)
    full = cli.flops(LLAMA, "--batch", 2, "--prompt-tokens", 4096, "--attention", "full")
    assert ops(full, "attention") == 2 * 4 * 4 * 512 * 4096**2


@pytest.mark.parametrize("groups", [32, 8, 1])
def test_keys_and_values_are_projected_once_for_each_group(groups: int, cli: Cli) -> None:
    """Weights, FLOPs of a prefill and of a step of training fall with the heads of keys and values."""
    config = LLAMA | {"hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": groups}
    layer = 4096 * 128 * (32 + 2 * groups) + 4096 * 4096 + 3 * 4096 * 1024

    printed = cli.flops(config, "--prompt-tokens", 64)
    trained = cli.flops(config, "--prompt-tokens", 64, "--train")

    attention = 4 * 4 * 4096 * pairs(64)
    assert printed["prefill"]["flops"] == 2 * 64 * 4 * layer + attention + lm_head(config)
    assert printed["params"] == 4 * (layer + 2 * 4096) + 4096 + 2 * 4096 * 1000
    assert trained["train"]["step"]["flops"] == 3 * (2 * 64 * 4 * layer + attention + 64 * lm_head(config))
