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
    "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 1000, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
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
    report = cli.analyze(decode_steps(LLAMA, 100, "gemm"), "--kv-dtype", kv_dtype)

    assert printed["prefill"]["kv_write_bytes"] == 64 * 4 * 2 * 2 * 64 * bytes_
    is_bare = kv_dtype.startswith("int")
    assert any("without scales" in note for note in printed["convention"]["notes"]) == is_bare
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

    assert (phase(report, "decode")["occurrences"], phase(report, "decode")["tokens"]) == ((8, 32) if in_pieces else (4, 16))
    told = [one["message"] for one in report["findings"] if one["code"] == "steps_in_pieces"]
    assert [message[:51] for message in told] == ["4 of 8 measured ranges of decode run no matrix prod"] * in_pieces


@pytest.mark.parametrize(("cache", "is_told"), [(75_497_472, True), (6_291_456, False), (None, False)])
def test_weights_that_stay_in_the_l2_cache_are_told(cache: int | None, is_told: bool, cli: Cli) -> None:
    """19 MB in 30 µs are 63 % of an RTX 4090's bandwidth, and it has 75 MB of cache; what is above 100 % is left out."""
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
    assert [message[:70] for message in told] == ["a pass of decode reads 19.1 MB of weights and KV cache, and the L2 cac"] * is_told


def test_the_wait_at_the_second_of_two_engines_is_in_the_ttft(cli: Cli) -> None:
    """A prompt of 100 tokens in two chunks, from 10 ms on; the other engine has its cache at 30 ms and begins at 500."""
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
        "process_id": 101, "waiting": 10, "ttft": 509, "tpot": 10, "reused_tokens": 0, "new_tokens": 4, "prefill_steps": 3,
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
    assert ("6 of 6 served requests are beams of a search" in err) == is_search


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
