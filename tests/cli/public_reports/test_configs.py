"""Fields of configs: widths and heads, tied tables, kinds of layers; what is no decoder is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nsys_pipeline.model import load_model
from tests.cli.public_reports.common import LLAMA, QWEN_3_5, lm_head, pairs, projections
from tests.cli.run import Cli, run
from tests.support.kineto import KinetoTrace

GLM_5: dict[str, Any] = {
    "model_type": "glm_moe_dsa", "hidden_size": 6144, "num_hidden_layers": 4, "num_attention_heads": 64,
    "num_key_value_heads": 64, "head_dim": 192, "qk_nope_head_dim": 192, "qk_rope_head_dim": 64, "v_head_dim": 256,
    "kv_lora_rank": 512, "q_lora_rank": 2048, "intermediate_size": 12288, "moe_intermediate_size": 2048,
    "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8, "first_k_dense_replace": 3,
    "index_head_dim": 128, "index_n_heads": 32, "index_topk": 2048, "vocab_size": 154880, "dtype": "bfloat16",
}  # fmt: skip


def test_a_width_of_the_mlp_that_is_not_four_times_the_model(cli: Cli) -> None:
    config = LLAMA | {"intermediate_size": 1376}

    attention = 4 * 4 * 8 * 64 * pairs(100)

    assert cli.prefill(config, "--prompt-tokens", 100) == projections(config, 100) + attention + lm_head(config)


def test_heads_that_are_wider_than_the_model(cli: Cli) -> None:
    tokens = 196_608
    config = load_model("qwen3-235b-a22b").config
    width, layers, heads, head = 4096, 94, 64, 128
    products = width * head * (heads + 2 * 4) + heads * head * width + 128 * width + 8 * 3 * width * 1536

    flops = layers * (2 * tokens * products + 4 * heads * head * (tokens * (tokens + 1) // 2)) + lm_head(config)

    assert cli.prefill("qwen3-235b-a22b", "--prompt-tokens", tokens) == flops


def test_heads_whose_size_the_config_states(cli: Cli) -> None:
    config = {
        "model_type": "gpt_oss", "hidden_size": 288, "intermediate_size": 288, "num_hidden_layers": 2,
        "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 1000, "num_local_experts": 4,
        "num_experts_per_tok": 2, "sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"],
        "torch_dtype": "bfloat16",
    }  # fmt: skip

    ops = cli.flops(config, "--prompt-tokens", 64)["ops"]

    found = sum(one["flops"] for one in ops if (one["phase"], one["name"]) == ("prefill", "qkv"))
    assert found == 2 * 2 * 64 * 288 * (8 + 2 * 2) * 64


def test_the_rotary_part_of_a_latent_is_not_the_head_size(cli: Cli) -> None:
    """GLM-5's config has a `head_dim` of 192 beside a `qk_rope_head_dim` of 64, and checkpoints have the latter."""
    ops = cli.flops(GLM_5, "--prompt-tokens", 16)["ops"]

    sizes = {op["name"]: (op["n"], op["k"]) for op in ops if op["phase"] == "prefill" and op["name"] in ("kv_a", "q_b")}
    assert sizes == {"kv_a": (512 + 64, 6144), "q_b": (64 * (192 + 64), 2048)}


@pytest.mark.parametrize(("gate", "told"), [(True, False), (False, True)])
def test_a_gate_that_the_model_has_anyway_is_no_news(gate: bool, told: bool, cli: Cli) -> None:
    found = cli.flops(QWEN_3_5 | {"attn_output_gate": gate}, "--prompt-tokens", 16)

    (queries,) = {op["n"] for op in found["ops"] if op["phase"] == "prefill" and op["name"] in ("qkv", "q")}
    assert queries == 24 * 256 * 2 + 2 * 4 * 256
    assert any("attn_output_gate" in note for note in found["convention"]["notes"]) == told


def test_a_table_of_embeddings_is_no_product(cli: Cli) -> None:
    tied = cli.flops(LLAMA | {"tie_word_embeddings": True}, "--prompt-tokens", 100)
    untied = cli.flops(LLAMA, "--prompt-tokens", 100)

    assert tied["prefill"]["flops"] == untied["prefill"]["flops"]
    assert untied["params"] - tied["params"] == 512 * 1000


def test_tied_tables_are_stored_once_and_multiplied(cli: Cli) -> None:
    tied, untied = (
        cli.flops(LLAMA | {"tie_word_embeddings": is_tied}, "--prompt-tokens", 64) for is_tied in (True, False)
    )

    assert untied["params"] - tied["params"] == 1000 * 512
    assert untied["prefill"]["flops"] == tied["prefill"]["flops"]


def test_the_decoder_says_whether_tables_are_tied(cli: Cli) -> None:
    text = {
        "model_type": "mistral", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "head_dim": 64,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1000,
    }  # fmt: skip

    def params(told: bool) -> int:
        config = {"model_type": "mistral3", "text_config": text | {"tie_word_embeddings": told}}
        return int(cli.flops(config, "--dtype", "bf16", "--prompt-tokens", 8)["params"])

    assert params(False) - params(True) == 1000 * 256


def test_embeddings_of_layers_are_looked_up(cli: Cli) -> None:
    """Gemma 4 E2B and E4B: a table of 4 × 32 numbers for each token, of which a step reads one row of 2,000."""
    config = {
        "model_type": "gemma4_text", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 64, "global_head_dim": 64, "vocab_size": 2000,
        "vocab_size_per_layer_input": 2000, "hidden_size_per_layer_input": 32, "num_kv_shared_layers": 0,
        "layer_types": ["full_attention"] * 4, "dtype": "bfloat16", "tie_word_embeddings": True,
        "use_double_wide_mlp": False,
    }  # fmt: skip

    printed = cli.flops(config, "--prompt-tokens", 100)

    layer = 256 * 64 * (4 + 2) + 4 * 64 * 256 + 3 * 256 * 512 + 2 * 256 * 32
    products = 4 * layer + 256 * 4 * 32 + 2000 * 256
    norms = 4 * (5 * 256 + 2 * 64) + 32 + 256
    # read: all products, and of both tables one row
    assert printed["decode"]["weight_bytes"] == 2 * (products + norms + 4 * 32 + 256)
    assert printed["params"] == pytest.approx(products + 2000 * 4 * 32 + norms, abs=4)


def test_weights_that_no_token_reads_are_in_no_bandwidth(cli: Cli) -> None:
    printed = cli.flops(LLAMA, "--prompt-tokens", 64)

    norms = 2 * 4 + 1
    layers = 4 * (512 * (512 + 2 * 128) + 512 * 512 + 3 * 512 * 1_024)
    # Of the table of embeddings one row, of the head all of them.
    assert printed["decode"]["weight_bytes"] == 2 * (layers + (norms + 1) * 512 + 512 * 1_000)
    assert printed["params"] == layers + norms * 512 + 2 * 512 * 1_000


def test_weights_that_layers_share_are_stored_once_and_multiplied_each_time(cli: Cli) -> None:
    """Zamba 2: one transformer layer at three places."""
    kinds = ["mamba", "mamba", "hybrid"] * 3
    config = {
        "model_type": "zamba2", "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 9,
        "num_attention_heads": 8, "num_key_value_heads": 8, "attention_head_dim": 128, "attention_hidden_size": 1024,
        "vocab_size": 1000, "mamba_d_state": 64, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_ngroups": 1,
        "n_mamba_heads": 16, "mamba_headdim": 64, "hybrid_layer_ids": [2, 5, 8], "num_mem_blocks": 1,
        "adapter_rank": 16, "use_shared_attention_adapter": False, "use_shared_mlp_adapter": True,
        "torch_dtype": "bfloat16", "layers_block_type": kinds,
    }  # fmt: skip

    ops = [one for one in cli.flops(config, "--prompt-tokens", 100)["ops"] if one["phase"] == "prefill"]

    for name, weights in (("qkv", 1024 * 3 * 1024), ("gate_up", 512 * 2 * 2048), ("down", 2048 * 512)):
        shared = [one for one in ops if one["name"] == name]
        assert sum(one["flops"] for one in shared) == 3 * 2 * 100 * weights
        assert sum(one["weight_bytes"] for one in shared) == 2 * weights
    assert run(cli.capsys, "flops", cli.config({"model_type": "albert", "num_hidden_groups": 1}))[0] != 0


def test_layers_that_are_two_and_experts_that_compute_nothing(cli: Cli) -> None:
    """LongCat-Flash: no `num_hidden_layers` in the config; each of `num_layers` has attention and a dense MLP twice."""
    config = {
        "model_type": "longcat_flash", "hidden_size": 512, "num_layers": 3, "num_attention_heads": 8,
        "vocab_size": 1000, "q_lora_rank": 96, "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16,
        "v_head_dim": 32, "ffn_hidden_size": 1024, "expert_ffn_hidden_size": 128, "n_routed_experts": 16,
        "zero_expert_num": 8, "zero_expert_type": "identity", "moe_topk": 4, "torch_dtype": "bfloat16",
    }  # fmt: skip
    tokens = 96

    latent = 512 * 96 + 96 * 8 * 48 + 512 * (64 + 16) + 64 * 8 * (32 + 32) + 8 * 32 * 512
    # of four experts that a token chooses 16 / 24 compute
    experts = 512 * 24 + 3 * 512 * 128 * 4 * 16 // 24
    layer = tokens * 2 * (2 * latent + 2 * 3 * 512 * 1024 + experts) + 2 * 2 * pairs(tokens) * 8 * (48 + 32)
    assert cli.prefill(config, "--prompt-tokens", tokens) == pytest.approx(3 * layer + 2 * 512 * 1000, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "more", "head"),
    [
        ("LlamaForSequenceClassification", {"num_labels": 3}, 3 * 512),
        ("LlamaForTokenClassification", {"id2label": {"0": "a", "1": "b", "2": "c", "3": "d"}}, 4 * 512),
        ("LlamaModel", {}, 0),
        # Code of its own generates with what it calls so.
        ("LlamaModel", {"auto_map": {"AutoModelForCausalLM": "modeling.Llama"}}, 1000 * 512),
        ("LlamaForCausalLM", {}, 1000 * 512),
    ],
)
def test_classifiers_have_no_lm_head(name: str, more: dict[str, Any], head: int, cli: Cli) -> None:
    plain = cli.flops(LLAMA, "--prompt-tokens", 64)
    other = cli.flops(LLAMA | more | {"architectures": [name]}, "--prompt-tokens", 64)

    # What sorts tokens has a bias, and runs on each of them.
    bias, runs = (4, 64) if "Token" in name else (0, 1)
    assert plain["params"] - other["params"] == 1000 * 512 - head - bias
    assert plain["prefill"]["flops"] - other["prefill"]["flops"] == 2 * (1000 * 512 - runs * head)
    tied = cli.flops(LLAMA | more | {"architectures": [name], "tie_word_embeddings": True}, "--prompt-tokens", 64)
    # The table is there all the same.
    assert other["params"] - tied["params"] == (1000 * 512 if head == 1000 * 512 else 0)


def test_layers_that_pruning_made_unlike_are_told(cli: Cli) -> None:
    config = LLAMA | {"model_type": "qwen2", "layer_head_num": [8, 8, 4, 4], "layer_inter_size": [1024, 512, 512, 256]}

    (note,) = cli.flops(config, "--prompt-tokens", 64)["convention"]["notes"]

    assert note.startswith("the config has `layer_head_num`, `layer_inter_size`")


def test_kinds_of_more_layers_than_there_are_are_refused(cli: Cli) -> None:
    path = cli.config(LLAMA | {"model_type": "qwen3", "layer_types": ["full_attention"] * 6})

    code, out, err = run(cli.capsys, "flops", path, "--prompt-tokens", 64)

    assert (code, out) == (1, "")
    assert "`layer_types` lists 6 layers, but there are 4" in err


def test_a_model_that_denoises_is_no_decoder(cli: Cli) -> None:
    path = cli.config({"model_type": "llada", "d_model": 512, "n_layers": 4, "n_heads": 8})

    code, _, err = run(cli.capsys, "flops", path, "--prompt-tokens", 64)

    assert code == 1
    assert "model type `llada` is not known" in err


def test_asking_twice_gives_the_same_flops(cli: Cli) -> None:
    trace = KinetoTrace()
    trace.op("aten::mm", 0, 10_000, [[4, 8], [8, 2]])
    trace.launch(1_000, gpu=(20_000, 45_000))
    path = trace.write(cli.folder / "trace.json")

    asked = [run(cli.capsys, "sql", path, "SELECT flops, calls FROM operators", "--format", "json") for _ in range(2)]

    assert [json.loads(out) for _, out, _ in asked] == [{"flops": 2 * 4 * 8 * 2, "calls": 1}] * 2
