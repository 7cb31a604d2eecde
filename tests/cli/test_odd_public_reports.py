"""More of what test_public_reports.py has: formats that few engines have, requests of two engines, steps in pieces."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.run import MS, Cli
from tests.cli.test_fresh_public_reports import decode_steps
from tests.cli.test_public_reports import LLAMA, codes, marked, ops, phase
from tests.support.kineto import KinetoTrace
from tests.support.trace_builder import ThreadBuilder, TraceBuilder

MIXTURE: dict[str, Any] = {
    "model_type": "qwen3_moe", "hidden_size": 256, "intermediate_size": 512, "moe_intermediate_size": 128,
    "num_hidden_layers": 4, "num_experts": 16, "num_experts_per_tok": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 1000, "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}  # fmt: skip


def one_pass(main: ThreadBuilder, at: int, *, attention: str = "fmhaSm100Kernel") -> None:
    """The kernels of a pass of `LLAMA`, of 1 ms each: four layers and the head."""
    names = [*(["nvjet_tst", attention, *["nvjet_tst"] * 3] * 4), "nvjet_tst"]
    for number, name in enumerate(names):
        main.launch(at + number, gpu=(at + number * MS + MS, at + number * MS + 2 * MS), name=name)


# -- formats of weights and caches -------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(("kv_dtype", "is_told"), [(None, True), ("q8_0", False), ("q4_0", True)])
def test_names_of_llama_cpp_tell_the_format_of_its_cache(kv_dtype: str | None, is_told: bool, cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    marked(trace, LLAMA)
    main = trace.process().thread()
    kernel = "void flash_attn_ext_vec<(int)64, (int)1, (ggml_type)8, (ggml_type)8, (bool)0>(const char *)"
    for at in range(0, 400 * MS, 100 * MS):
        main.push(at, at + 100 * MS, "decode", domain="llmperf")
        main.mark(at + 1, 'llmperf.step {"b":1,"q":1,"kv":100,"logits":1}', domain="llmperf")
        one_pass(main, at + MS, attention=kernel)

    report = cli.analyze(trace, *(["--kv-dtype", kv_dtype] if kv_dtype else []))

    assert ("cache_of_another_dtype" in codes(report)) == is_told


def weights_of(printed: dict[str, Any], name: str, phase_name: str = "decode") -> list[tuple[float, str]]:
    """Bytes of the weights of an operation in each kind of layer, for one layer of it, and the dtype of its product."""
    return [
        (one["weight_bytes"] / one["layers"], one["dtype"])
        for one in printed["ops"]
        if (one["phase"], one["name"]) == (phase_name, name)
    ]


LATENT: dict[str, Any] = {
    "model_type": "deepseek_v3", "hidden_size": 256, "intermediate_size": 512, "moe_intermediate_size": 128,
    "num_hidden_layers": 3, "first_k_dense_replace": 1, "n_routed_experts": 8, "n_shared_experts": 1,
    "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "num_attention_heads": 4, "num_key_value_heads": 4,
    "q_lora_rank": 128, "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32,
    "vocab_size": 1000, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
}  # fmt: skip


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

    printed = cli.flops(LATENT | {"quantization_config": quantization}, "--prompt-tokens", 64)

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


# -- steps and requests ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_pieces", [True, False])
@pytest.mark.parametrize("as_graph", [True, False])
def test_steps_in_two_ranges_of_one_text_are_told(in_pieces: bool, as_graph: bool, cli: Cli) -> None:
    """Four steps of four requests; the second range has the sampling."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in range(0, 160 * MS, 40 * MS):
        main.push(at, at + 30 * MS, "step[DECODE bs=4]")
        if as_graph:
            main.graph_launch(at + 1, gpu=(at + MS, at + 20 * MS))
        else:
            one_pass(main, at + MS)
        if in_pieces:
            main.push(at + 31 * MS, at + 33 * MS, "step[DECODE bs=4]")
        main.launch(at + (31 if in_pieces else 29) * MS + 1, gpu=(at + 32 * MS, at + 33 * MS), name="ArgMaxOps<float>")

    report = cli.analyze(trace)

    decode = phase(report, "decode")
    assert (decode["occurrences"], decode["tokens"]) == ((8, 32) if in_pieces else (4, 16))
    told = [one["message"] for one in report["findings"] if one["code"] == "steps_in_pieces"]
    assert [message[:51] for message in told] == ["4 of 8 measured ranges of decode run no matrix prod"] * in_pieces


@pytest.mark.parametrize(("cache", "is_told"), [(75_497_472, True), (6_291_456, False), (None, True)])
def test_weights_that_stay_in_the_l2_cache_are_told(cache: int | None, is_told: bool, cli: Cli) -> None:
    """19 MB in 30 µs are 63 % of an RTX 4090's bandwidth, and it has 75 MB of cache, if nobody says another size."""
    trace = TraceBuilder().gpu(name="NVIDIA GeForce RTX 4090", l2_cache_bytes=cache)
    marked(trace, LLAMA)
    main = trace.process().thread()
    for at in range(0, 600_000, 100_000):
        main.push(at, at + 60_000, "decode", domain="llmperf")
        main.mark(at + 1, 'llmperf.step {"b":1,"q":1,"kv":100,"logits":1}', domain="llmperf")
        main.launch(at + 10_000, gpu=(at + 20_000, at + 50_000))

    report = cli.analyze(trace)

    assert phase(report, "decode")["mbu_busy"] == pytest.approx(19_066_880 / 30e-6 / 1008e9, rel=1e-4)
    told = [one["message"] for one in report["findings"] if one["code"] == "weights_in_cache"]
    assert [message[:30] for message in told] == ["a pass of decode reads 19.1 MB"] * is_told


def test_the_wait_at_the_second_of_two_engines_is_in_the_ttft(cli: Cli) -> None:
    """A prompt of 100 tokens in two chunks, from 10 ms on; the other engine begins at 500."""
    trace = TraceBuilder().gpu(0).gpu(1)
    first, second = trace.process(100), trace.process(101)
    for worker in (first, second):
        worker.thread().mark(0, 'llmperf.run {"v":1,"rank":0,"world":1,"tp":1}', domain="llmperf")
    for worker, at in ((first, 0), (second, 25 * MS)):
        worker.thread().mark(at, 'llmperf.request {"id":"a","prompt":100,"waited_ms":0}', domain="llmperf")
    steps = [(first, 0, 10, 64, 0), (first, 0, 20, 36, 64)] + [(second, 1, 500 + 10 * n, 1, 99 + n) for n in range(4)]
    for worker, device, at, tokens, cached in steps:
        start = at * MS
        worker.thread().push(start, start + 9 * MS, "decode" if device else "prefill", domain="llmperf")
        worker.thread().launch(start + 2, (start + MS, start + 8 * MS), device=device)
        mark: dict[str, Any] = {"q": [tokens], "kv": [cached], "ids": [0], "logits": 1}
        if cached in (0, 99):
            mark["new"] = {"0": "a"}
        worker.thread().mark(start + 1, f"llmperf.step {json.dumps(mark)}", domain="llmperf")

    (request,), err = cli.sql(
        trace,
        "SELECT process_id, waiting_ns / 1e6 AS waiting, ttft_ns / 1e6 AS ttft, tpot_ns / 1e6 AS tpot, reused_tokens, "
        "new_tokens, prefill_steps FROM served_requests",
    )
    (summary,), _ = cli.sql(trace, "SELECT requests, prompt_tokens_per_s, span_ns / 1e6 AS span FROM served_summary")

    assert request == {
        "process_id": 101, "waiting": 10, "ttft": 509, "tpot": 10, "reused_tokens": 0, "new_tokens": 4,
        "prefill_steps": 3,
    }  # fmt: skip
    assert summary == {"requests": 1, "prompt_tokens_per_s": pytest.approx(100 / 0.539), "span": 539}
    assert "had no first token" not in err


@pytest.mark.parametrize("is_search", [True, False])
def test_beams_that_a_server_runs_as_requests_are_told(is_search: bool, cli: Cli) -> None:
    """A search for three tokens over two beams: six requests of a token each, of which a text has three."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for step in range(3):
        at = 10 * MS * step
        names = [f"cmpl-{step}-beam-{beam}-9f2ab61c" if is_search else f"cmpl-{step}-{beam}" for beam in range(2)]
        ids = [2 * step, 2 * step + 1]
        new = {str(number): name for number, name in zip(ids, names, strict=True)}
        mark = {"q": [1, 1], "kv": [99 + step] * 2, "ids": ids, "new": new, "logits": 2}
        main.push(at, at + 9 * MS, "decode", domain="llmperf").launch(at + 2, gpu=(at + MS, at + 8 * MS))
        main.mark(at + 1, f"llmperf.step {json.dumps(mark)}", domain="llmperf")

    (summary,), err = cli.sql(trace, "SELECT new_tokens FROM served_summary")

    assert summary == {"new_tokens": 6}
    assert ("6 of 6 served requests are beams of a search" in err) == is_search  # `beams_as_requests`


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


# -- models ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_texts", "of_tokens"), [(["XLMRobertaModel"], 0), (["XLMRobertaForSequenceClassification"], 0),
                                (["XLMRobertaForTokenClassification"], 3)],
)  # fmt: skip
def test_pairs_of_a_reranker_are_counted_with_its_head(of_texts: list[str], of_tokens: int, cli: Cli) -> None:
    """A query of 10 tokens before documents of 20 and 30: 70 tokens in all; the head sorts each pair, or each token."""
    config = {
        "model_type": "xlm-roberta", "architectures": of_texts, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 1000, "max_position_embeddings": 514,
        "type_vocab_size": 1, "id2label": dict.fromkeys("abc"[: of_tokens or 1]), "torch_dtype": "float16",
    }  # fmt: skip
    layers = 2 * (2 * 70 * (4 * 64 * 64 + 2 * 64 * 128) + 4 * 64 * (30**2 + 40**2))
    pooler = 2 * 2 * 64 * 64
    head = {"XLMRobertaModel": pooler, "XLMRobertaForSequenceClassification": pooler + 2 * 2 * 64}

    assert cli.prefill(config, "--prompt-tokens", "30,40") == layers + head.get(of_texts[0], 2 * 70 * 64 * of_tokens)


def test_indexers_that_run_in_some_layers_alone(cli: Cli) -> None:
    """GLM-5.2: 16 keys for a query; of 12 layers the first three, the 7th and the 11th choose them."""
    config = LATENT | {
        "model_type": "glm_moe_dsa", "num_hidden_layers": 12, "index_topk": 16, "index_head_dim": 32,
        "index_n_heads": 4, "index_topk_freq": 4, "index_skip_topk_offset": 3,
    }  # fmt: skip

    printed = cli.flops(config, "--prompt-tokens", 64)

    layers = {(one["name"], one["layer"]): one["layers"] for one in printed["ops"] if one["phase"] == "decode"}
    assert sum(count for (name, _), count in layers.items() if name == "index_scores") == 5
    # Absorbed: each head scores a latent with its rotary key, and sums latents.
    assert ops(printed, "attention", "decode") == 12 * 2 * 16 * 4 * (64 + 16 + 64)
    assert ops(printed, "index_q", "decode") == 5 * 2 * 128 * 4 * 32


WHISPER: dict[str, Any] = {
    "model_type": "whisper", "d_model": 64, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "vocab_size": 1000,
    "num_mel_bins": 80, "max_source_positions": 1500, "max_target_positions": 448, "torch_dtype": "float16",
}  # fmt: skip


def test_the_cache_of_an_encoder_has_its_positions(cli: Cli) -> None:
    """1,500 positions, not 1,024, in three layers of the decoder; a decode step after four tokens reads those, too."""
    trace = TraceBuilder().gpu()
    marked(trace, WHISPER)
    main = trace.process().thread()
    for number, (name, tokens, cached) in enumerate((("prefill", 4, 0), ("decode", 1, 4))):
        at = 20 * MS * number
        main.push(at, at + 19 * MS, name, domain="llmperf").launch(at + 2, gpu=(at + MS, at + 18 * MS))
        main.mark(at + 1, f'llmperf.step {{"b":1,"q":{tokens},"kv":{cached},"logits":1}}', domain="llmperf")

    query = (
        "SELECT phase, sum(layers * kv_read_bytes) AS read, sum(layers * kv_write_bytes) AS written FROM ops GROUP BY 1"
    )
    rows, _ = cli.sql(trace, query)

    own = 3 * 2 * 64 * 2
    assert {row["phase"]: (row["read"], row["written"]) for row in rows} == {
        "prefill": (0, own * (1500 + 4)), "decode": (own * (1500 + 4), own),
    }  # fmt: skip


def test_bandwidth_is_not_that_of_all_that_a_file_holds(cli: Cli) -> None:
    """A token reads four of 16 experts and no table of embeddings; a layer for further tokens is told."""
    printed = cli.flops(MIXTURE | {"num_nextn_predict_layers": 1}, "--prompt-tokens", 64)

    layer = 256 * 64 * (4 + 2 * 2) + 256 * 256 + 256 * 16 + 4 * 3 * 256 * 128 + 2 * 256 + 2 * 64
    assert printed["decode"]["weight_bytes"] == 2 * (4 * layer + 256 + 256 * 1000 + 256)
    assert any("predict further tokens" in note or "num_nextn" in note for note in printed["convention"]["notes"])


# -- ranges and kernels ------------------------------------------------------------------------------------------------


def test_steps_that_check_several_guesses_are_no_tokens(cli: Cli) -> None:
    """Medusa: 64 positions of a tree in each step, of which some are right; its heads are in the config."""
    trace = TraceBuilder().gpu()
    marked(trace, LLAMA | {"medusa_num_heads": 3})
    main = trace.process().thread().push(0, 70 * MS, "request", domain="llmperf")
    for number, (name, tokens, cached) in enumerate((("prefill", 100, 0), ("decode", 64, 100), ("decode", 64, 103))):
        at = 20 * MS * number
        main.push(at, at + 19 * MS, name, domain="llmperf").launch(at + 2, gpu=(at + MS, at + 18 * MS))
        main.mark(at + 1, f'llmperf.step {{"b":1,"q":{tokens},"kv":{cached},"logits":{tokens}}}', domain="llmperf")

    report = cli.analyze(trace)

    (request,) = report["requests"]
    assert (request["ttft_p50_ns"], request["tpot_p50_ns"]) == (19 * MS, None)
    assert "config_not_read" in codes(report)


@pytest.mark.parametrize("inner", ["step_{0}::op{1}", "aten::step_{0}_mul", "step_{0} add {1}", "step_{0}_attention"])
def test_ranges_that_contain_the_name_of_a_step_are_none(inner: str, cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for step in range(4):
        at = 100 * MS * step
        main.push(at, at + 90 * MS, f"step_{step}")
        for op in range(5):
            main.push(at + (1 + 4 * op) * MS, at + (2 + 4 * op) * MS, inner.format(step, op))
            main.launch(at + (1 + 4 * op) * MS + 1, gpu=(at + (2 + 4 * op) * MS, at + (4 + 4 * op) * MS))

    rows, _ = cli.sql(trace, "SELECT phase, occurrences, gpu_busy_ns, wall_ns FROM phase_summary")

    assert rows == [{"phase": "step", "occurrences": 4, "gpu_busy_ns": 4 * 5 * 2 * MS, "wall_ns": 4 * 90 * MS}]


def test_kernels_that_torch_compiles_have_no_flops_of_operators(cli: Cli) -> None:
    """A product of torch, and one that Inductor generated, which takes four times as long and has no operator."""
    trace = KinetoTrace()
    trace.annotation("forward", 0, 300_000)
    for at, name, duration in ((0, "aten::mm", 20_000), (100_000, "triton_tem_fused_mm_0", 80_000)):
        trace.op(name, at, at + 50_000, [[64, 128], [128, 256]])
        trace.launch(at + 1000, gpu=(at + 10_000, at + 10_000 + duration), name=name)

    rows, err = cli.sql(trace, "SELECT operator, flops FROM operators")
    families, _ = cli.sql(trace, "SELECT name, family FROM kernels ORDER BY name")

    assert rows == [{"operator": "aten::mm", "flops": 2 * 64 * 128 * 256}]
    assert "in forward 80 % of the GPU time was launched outside every operator of torch" in err
    assert "kernels that torch.compile generates" in err
    assert {"name": "triton_tem_fused_mm_0", "family": "gemm"} in families
