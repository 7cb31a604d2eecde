"""Mixtures of experts: which layers have them, how many a token or a batch reads, and on which rank."""

from __future__ import annotations

from typing import Any

import pytest

from nsys_pipeline.workload.trained import trained_fields
from tests.cli.public_reports.common import ALL_REDUCE, LLAMA, MIXTURE, US, codes, lm_head, marked, pairs, phase
from tests.cli.run import MS, Cli, run
from tests.support.trace_builder import TraceBuilder

GEMMA4: dict[str, Any] = {
    "model_type": "gemma4_text", "hidden_size": 256, "intermediate_size": 768, "moe_intermediate_size": 128,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "global_head_dim": 64,
    "num_global_key_value_heads": 2, "vocab_size": 1000, "enable_moe_block": True, "num_experts": 8, "top_k_experts": 2,
    "layer_types": ["full_attention", "full_attention"], "tie_word_embeddings": True, "torch_dtype": "bfloat16",
    "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0, "attention_k_eq_v": False,
    "use_double_wide_mlp": False,
}  # fmt: skip
NEMOTRON: dict[str, Any] = {
    "model_type": "nemotron_h", "hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 2,
    "hybrid_override_pattern": "*E", "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
    "vocab_size": 1000, "mamba_num_heads": 8, "mamba_head_dim": 32, "ssm_state_size": 16, "n_groups": 2,
    "conv_kernel": 4, "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64,
    "moe_shared_expert_intermediate_size": 128, "n_shared_experts": 1, "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}  # fmt: skip
LLAMA_WITH_EXPERTS = LLAMA | {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}
MIXTRAL: dict[str, Any] = {
    "model_type": "mixtral", "hidden_size": 256, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1000, "num_local_experts": 8,
    "num_experts_per_tok": 2, "sliding_window": None, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
MOE = LLAMA | {
    "model_type": "qwen3_moe", "num_experts": 16, "num_experts_per_tok": 4, "moe_intermediate_size": 128,
    "head_dim": 64, "norm_topk_prob": True,
}  # fmt: skip


def test_experts_have_a_width_of_their_own(cli: Cli) -> None:
    tokens, width, heads, layers = 100, 2048, 16, 27
    latent = width * heads * 192 + width * (512 + 64) + 512 * heads * (128 + 128) + heads * 128 * width
    attention = 2 * heads * (192 + 128) * pairs(tokens)
    dense, experts = 3 * width * 10_944, width * 64 + 3 * width * 1408 * (6 + 2)

    flops = layers * (2 * tokens * latent + attention) + 2 * tokens * (dense + 26 * experts) + 2 * width * 102_400

    assert cli.prefill("deepseek-v2-lite", "--prompt-tokens", tokens) == flops


def test_the_mlp_beside_the_experts_has_the_dense_width(cli: Cli) -> None:
    per_layer = 256 * 512 + 256 * 256 + 3 * 256 * 768 + 256 * 8 + 2 * 3 * 256 * 128

    prefill = cli.prefill(GEMMA4, "--prompt-tokens", 64)

    assert prefill == 2 * 64 * 2 * per_layer + 4 * 2 * 4 * 64 * pairs(64) + lm_head(GEMMA4)


def test_experts_of_a_hybrid_are_counted(cli: Cli) -> None:
    # Two matrices in each expert; two routed ones of width 64 and a shared one of 128.
    weights = 256 * 512 + 256 * 256 + 256 * 8 + 2 * 2 * 256 * 64 + 2 * 256 * 128

    prefill = cli.prefill(NEMOTRON, "--prompt-tokens", 64)

    assert prefill == 2 * 64 * weights + 4 * 4 * 64 * pairs(64) + lm_head(NEMOTRON)


@pytest.mark.parametrize("dense", [[], [1]])
def test_experts_in_every_other_layer(dense: list[int], cli: Cli) -> None:
    config = {
        "model_type": "qwen3_moe", "hidden_size": 256, "intermediate_size": 512, "moe_intermediate_size": 64,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "num_experts": 8,
        "num_experts_per_tok": 2, "decoder_sparse_step": 2, "mlp_only_layers": dense, "vocab_size": 1000,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    }  # fmt: skip
    # The second and the fourth, unless the config calls one of them dense.
    sparse = 2 - len(dense)
    weights = 4 * (256 * 512 + 256 * 256) + sparse * (256 * 8 + 2 * 3 * 256 * 64) + (4 - sparse) * 3 * 256 * 512

    prefill = cli.prefill(config, "--prompt-tokens", 64)

    assert prefill == 2 * 64 * weights + 4 * 4 * 4 * 64 * pairs(64) + lm_head(config)


@pytest.mark.parametrize(("step", "experts"), [(1, 16), (2, 128)])
def test_experts_in_each_layer_or_in_every_other_one(step: int, experts: int, cli: Cli) -> None:
    """Llama 4 Scout and Maverick: one routed and one shared expert of 8192; dense layers are 16384 wide."""
    config = {
        "model_type": "llama4_text", "attention_chunk_size": 8192, "head_dim": 128, "hidden_size": 5120,
        "interleave_moe_layer_step": step, "intermediate_size": 8192, "intermediate_size_mlp": 16384,
        "num_attention_heads": 40, "num_experts_per_tok": 1, "num_hidden_layers": 48, "num_key_value_heads": 8,
        "num_local_experts": experts, "vocab_size": 202048, "tie_word_embeddings": False, "dtype": "bfloat16",
    }  # fmt: skip
    width, head, tokens, sparse = 5120, 128, 256, 48 // step
    products = (
        48 * (width * head * (40 + 2 * 8) + 40 * head * width)
        + sparse * (width * experts + 2 * 3 * width * 8192)
        + (48 - sparse) * 3 * width * 16384
        + width * 202048
    )

    flops = 2 * tokens * products + 4 * 48 * 40 * head * tokens * (tokens + 1) // 2

    assert cli.prefill(config, "--prompt-tokens", tokens, "--logits", "all") == flops


def test_experts_between_layers_with_a_state(cli: Cli) -> None:
    config = {
        "model_type": "nemotron_h", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4,
        "hybrid_override_pattern": "ME*E", "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
        "mamba_num_heads": 8, "mamba_head_dim": 32, "ssm_state_size": 16, "n_groups": 2, "conv_kernel": 4,
        "chunk_size": 64, "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64,
        "n_shared_experts": 1, "moe_shared_expert_intermediate_size": 128, "mlp_hidden_act": "relu2",
        "vocab_size": 1000, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    }  # fmt: skip
    # Gate, values, two of the state's matrices for each of two groups, and a step for each of eight heads.
    state = 256 * (2 * 256 + 2 * 2 * 16 + 8) + 256 * 256 + (256 + 2 * 2 * 16) * 4
    attention = 256 * 64 * (4 + 2 * 2) + 256 * 256
    # No gate: two matrices of each of two experts of 64, and of the shared one of 128.
    experts = 256 * 8 + 2 * 256 * (2 * 64 + 128)
    scan, scores = 4 * 64 * 8 * 32 * 16, 4 * 4 * 64 * pairs(64)

    prefill = cli.prefill(config, "--prompt-tokens", 64)

    assert prefill == 2 * 64 * (state + attention + 2 * experts) + scan + scores + lm_head(config)


def test_a_hybrid_of_experts_is_not_as_large_as_its_parameters(cli: Cli) -> None:
    """Qwen3.5-35B-A3B: 8 of 256 experts and a shared one, 30 of 40 layers with a state; 8,192 tokens of text."""
    text = {
        "model_type": "qwen3_5_moe_text", "hidden_size": 2048, "num_hidden_layers": 40, "num_attention_heads": 16,
        "num_key_value_heads": 2, "head_dim": 256, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
        "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "num_experts": 256,
        "num_experts_per_tok": 8, "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512,
        "layer_types": (["linear_attention"] * 3 + ["full_attention"]) * 10, "vocab_size": 248320,
        "tie_word_embeddings": False, "dtype": "bfloat16",
    }  # fmt: skip
    # Weights that a token meets: 16 and 32 heads of 128, the latter twice; a gate and a decay for each of 32.
    with_state = 2048 * (2 * 2048 + 2 * 4096 + 2 * 32) + 4 * 8192 + 4096 * 2048
    # Queries with their gate, keys, values; heads of 256.
    attending = 2048 * (2 * 4096 + 2 * 512) + 4096 * 2048
    experts = 2048 * 256 + 9 * 3 * 2048 * 512 + 2048
    weights = 30 * with_state + 10 * attending + 40 * experts + 2048 * 248320
    scores = 10 * 4 * 16 * 256 * pairs(8192)
    # A state of 128 × 128 in each head is read, corrected and read again.
    states = 30 * 8192 * 6 * 32 * 128 * 128

    train = cli.flops(text, "--train", "--prompt-tokens", 8192)["train"]

    assert train["forward"]["flops"] == 2 * 8192 * weights + scores + states
    assert train["backward"]["flops"] == 2 * train["forward"]["flops"]


@pytest.mark.parametrize("chosen", [1, 2, 4])
def test_a_token_trains_as_many_experts_as_it_chooses(chosen: int, cli: Cli) -> None:
    printed = cli.flops(LLAMA_WITH_EXPERTS | {"num_experts_per_tok": chosen}, "--prompt-tokens", 100, "--train")

    # Queries, keys, values, output, router, and three matrices of each expert that a token chooses.
    layer = 512 * 64 * (8 + 2 * 2) + 512 * 512 + 512 * 8 + chosen * 3 * 512 * 1024
    forward = 4 * (2 * 100 * layer + 4 * 512 * pairs(100)) + 100 * lm_head(LLAMA_WITH_EXPERTS)
    assert printed["train"]["step"]["flops"] == 3 * forward


def test_experts_that_a_small_batch_reads(cli: Cli) -> None:
    experts = [
        one
        for one in cli.flops("mixtral-8x7b", "--batch", 3, "--prompt-tokens", 16)["ops"]
        if one["phase"] == "decode" and one["name"] in ("experts_gate_up", "experts_down")
    ]

    # Two of eight for each of three tokens: 4.625 experts on average, not 6 and not 8.
    expected = 8 * (1 - (1 - 2 / 8) ** 3) * 3 * 4096 * 14_336 * 2 * 32
    assert sum(one["weight_bytes"] for one in experts) == pytest.approx(expected, rel=1e-6)


def test_bandwidth_is_not_that_of_all_that_a_file_holds(cli: Cli) -> None:
    """A token reads four of 16 experts and no table of embeddings; a layer for further tokens is told."""
    printed = cli.flops(MIXTURE | {"num_nextn_predict_layers": 1}, "--prompt-tokens", 64)

    layer = 256 * 64 * (4 + 2 * 2) + 256 * 256 + 256 * 16 + 4 * 3 * 256 * 128 + 2 * 256 + 2 * 64
    assert printed["decode"]["weight_bytes"] == 2 * (4 * layer + 256 + 256 * 1000 + 256)
    assert any("predict further tokens" in note or "num_nextn" in note for note in printed["convention"]["notes"])


def test_experts_of_like_prompts_are_no_uniform_choice(cli: Cli) -> None:
    """16 like sequences on two ranks. All choose the same two of eight experts, which are those of rank 0."""
    trace = TraceBuilder().gpu(0).gpu(1)
    mains = [trace.process(100 + rank).thread() for rank in (0, 1)]
    for step in range(6):
        at = step * 20 * MS
        for rank, main in enumerate(mains):
            main.push(at, at + 20 * MS, "decode")
            main.mark(at + 1, f'llmperf.step {{"b":16,"q":1,"kv":{64 + step},"logits":16}}', domain="llmperf")
            for layer in range(4):
                start = at + (1 + 4 * layer) * MS
                work = 2 * MS if rank == 0 else MS // 2
                main.launch(start, gpu=(start + 1, start + work), name="fused_moe_kernel", device=rank)
                end = start + (2 * MS if rank == 0 else MS // 2)
                main.launch(start + 9, gpu=(end, start + 3 * MS), name=ALL_REDUCE, device=rank)
    marked(trace, LLAMA_WITH_EXPERTS, world=2, tp=2, ep=2)

    report = cli.analyze(trace)
    _, out, _ = run(cli.capsys, "analyze", cli.folder / "trace.sqlite", "--no-cache")

    # 8 of 8 experts are charged, as 16 unlike tokens would read; two of eight were.
    assert report["model"]["routing"] == "uniform"
    assert "weights of as many experts as uniform routing would choose" in " ".join(out.split())
    assert "uneven_experts" in codes(report)


def test_experts_of_all_ranks_are_counted(cli: Cli) -> None:
    whole, shared = (cli.flops(MIXTRAL, "--batch", 3, "--prompt-tokens", 16, *o) for o in ((), ("--ep", 4, "--tp", 4)))

    assert shared["params"] == whole["params"]
    assert shared["decode"]["flops"] == whole["decode"]["flops"]


def test_each_rank_reads_the_experts_that_it_holds(cli: Cli) -> None:
    printed = cli.flops(MIXTRAL, "--batch", 3, "--prompt-tokens", 16, "--ep", 4)
    experts = sum(
        one["weight_bytes"] for one in printed["ops"] if one["phase"] == "decode" and "experts_" in one["name"]
    )

    # A token chooses 2 of all 8: a rank's two are read as often as any, not by each of the tokens.
    assert experts == pytest.approx(8 * (1 - (1 - 2 / 8) ** 3) * 3 * 256 * 128 * 2 * 2, rel=1e-6)
    assert printed["decode"]["bytes"] - printed["decode"]["gpu_bytes"] >= 3 / 4 * experts


@pytest.mark.parametrize("ranks", [("--ep", 8), ("--tp", 8, "--ep", 8), ("--tp", 8, "--ep", 4)])
def test_a_gpu_reads_its_share_of_the_experts(ranks: tuple[object, ...], cli: Cli) -> None:
    """Kimi K2 in 16 bits, a batch that meets all 384 experts: 2,029 GB of experts are 254 GB on each of eight GPUs."""
    config = {
        "model_type": "deepseek_v3", "hidden_size": 7168, "intermediate_size": 18_432, "moe_intermediate_size": 2048,
        "num_hidden_layers": 61, "num_attention_heads": 64, "num_key_value_heads": 64, "q_lora_rank": 1536,
        "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
        "n_routed_experts": 384, "num_experts_per_tok": 8, "n_shared_experts": 1, "first_k_dense_replace": 1,
        "vocab_size": 163_840, "tie_word_embeddings": False, "torch_dtype": "bfloat16", "n_group": 1, "topk_group": 1,
    }  # fmt: skip
    printed = cli.flops(config, "--batch", 1024, "--prompt-tokens", 128, *ranks)
    decode = printed["decode"]

    experts = 60 * 384 * 3 * 7168 * 2048 * 2
    counted = sum(
        one["weight_bytes"] for one in printed["ops"] if one["phase"] == "decode" and one["name"].startswith("experts_")
    )
    assert counted == pytest.approx(experts, rel=1e-6)
    # What is not an expert is whole on each GPU, or shared by all if --tp says so.
    shared = 8 if "--tp" in ranks else 1
    assert decode["gpu_bytes"] == pytest.approx(experts / 8 + (decode["bytes"] - experts) / shared, rel=1e-6)


@pytest.mark.parametrize("copies", [32, None])
def test_copies_of_experts_that_balance_load_are_told(copies: int | None, cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    marked(trace, MIXTURE, redundant_experts=copies)
    main = trace.process().thread()
    main.push(0, 9 * MS, "decode", domain="llmperf").launch(2, gpu=(MS, 8 * MS))
    main.mark(1, 'llmperf.step {"b":4,"q":1,"kv":100,"logits":4}', domain="llmperf")

    report = cli.analyze(trace)

    told = [one["message"] for one in report["findings"] if one["code"] == "copied_experts"]
    assert [message[:36] for message in told] == ["each layer holds 32 copies of expert"] * (copies is not None)


def test_experts_that_the_host_computes_are_told(cli: Cli) -> None:
    """llama.cpp: what is not of experts runs on the GPU, whose results go to the host and back.

    Not where nothing goes there (prefill), nor where the experts' weights are copied to the GPU (mixed).
    """
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    marked(trace, MOE)
    for step in range(12):
        name, copied = (("decode", 2048), ("prefill", 0), ("mixed", 4 * 3 * 512 * 128 * 2))[step % 3]
        at = step * 20 * MS
        main.push(at, at + 19 * MS, name, domain="llmperf")
        main.mark(at + 1, 'llmperf.step {"b":1,"q":1,"kv":512,"logits":1}', domain="llmperf")
        for layer in range(4):
            start = at + (4 * layer + 1) * MS
            for number, kernel in enumerate(["mul_mat_vec_q"] * 4 + ["flash_attn_ext_vec", "mul_mat_vec_q"]):
                main.launch(
                    start + number * US, gpu=(start + number * 20 * US, start + (number + 1) * 20 * US), name=kernel
                )
            if copied:
                main.memcpy(start + MS, gpu=(start + MS, start + MS + US), kind=2, size_bytes=2048)
                main.memcpy(start + 3 * MS, gpu=(start + 3 * MS, start + 3 * MS + US), kind=1, size_bytes=copied)
        main.launch(at + 18 * MS, gpu=(at + 18 * MS, at + 18 * MS + US), name="mul_mat_vec_q")

    rows, _ = cli.sql(trace, "SELECT phase FROM findings WHERE code = 'experts_on_the_host'")

    assert rows == [{"phase": "decode"}]


class Weight:
    def __init__(self, *shape: int, requires_grad: bool = True) -> None:
        self.shape, self.requires_grad = shape, requires_grad


class Tuned:
    """A model as PEFT names its weights, with adapters of rank 16 on queries and on parameters of experts."""

    config = None

    def named_parameters(self) -> list[tuple[str, Weight]]:
        named = []
        for layer in range(2):
            before = f"base_model.model.model.layers.{layer}"
            named += [
                (f"{before}.self_attn.q_proj.base_layer.weight", Weight(256, 256, requires_grad=False)),
                (f"{before}.self_attn.q_proj.lora_A.default.weight", Weight(16, 256)),
                (f"{before}.self_attn.q_proj.lora_B.default.weight", Weight(256, 16)),
                (f"{before}.mlp.experts.base_layer.lora_A.default.weight", Weight(8 * 16, 256)),
                (f"{before}.mlp.experts.base_layer.lora_B.default.weight", Weight(256, 8 * 16)),
                (f"{before}.mlp.experts.lora_A.default.weight", Weight(8 * 16, 128)),
                (f"{before}.mlp.experts.lora_B.default.weight", Weight(256, 8 * 16)),
            ]
        return named


def test_adapters_of_routed_experts_are_told(cli: Cli) -> None:
    told = trained_fields(Tuned())
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for name, at in (("forward", 0), ("backward", 50 * MS)):
        main.push(at, at + 40 * MS, name).launch(at + MS, gpu=(at + 2 * MS, at + 30 * MS))
    main.mark(1, 'llmperf.step {"b":1,"q":64,"kv":0,"logits":64}', domain="llmperf")
    marked(trace, MIXTRAL, **told)

    report = cli.analyze(trace)

    assert told["lora_rank"] == 16
    (found,) = [one for one in report["findings"] if one["code"] == "adapters_of_experts"]
    assert found["severity"] == "warning"
    assert all(phase(report, name)["is_lower_bound"] for name in ("forward", "backward"))
    # Queries, keys, values and output; the router; three matrices of two experts.
    layer = 256 * (256 + 2 * 128) + 256 * 256 + 256 * 8 + 2 * 3 * 256 * 128
    frozen = 2 * 64 * 2 * layer + 4 * 2 * 4 * 64 * pairs(64) + 64 * lm_head(MIXTRAL)
    # What is counted beside them: two products of rank 16 beside the queries of two layers.
    assert phase(report, "forward")["flops"] == frozen + 2 * 2 * 64 * 16 * (256 + 256)


def test_parameters_of_all_experts_and_of_an_own_head(cli: Cli) -> None:
    """Mixtral 8x7B: 46.7 billion, of which a token uses 12.9; its head is not the table of embeddings."""
    config = MIXTRAL | {
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 32000,
    }  # fmt: skip
    printed = cli.flops(config, "--prompt-tokens", 512)

    attention, expert, table = 4096 * 128 * (32 + 2 * 8) + 4096**2, 3 * 4096 * 14336, 32000 * 4096
    around = 32 * (attention + 8 * 4096 + 2 * 4096) + 4096 + 2 * table
    assert (printed["params"], printed["active_params"]) == (around + 32 * 8 * expert, around + 32 * 2 * expert)
    assert printed["params"] == 46_702_792_704
    tied = cli.flops(config | {"tie_word_embeddings": True}, "--prompt-tokens", 512)
    assert printed["params"] - tied["params"] == table
