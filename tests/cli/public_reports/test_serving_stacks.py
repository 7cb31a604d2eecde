"""Inference by engines and calculators as they are: loads that are cut, requests that end early, latents, experts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.public_reports.common import LLAMA, codes, message, messages, phase
from tests.cli.run import MS, Cli, run
from tests.support.kineto import KinetoTrace
from tests.support.trace_builder import TraceBuilder

LENGTH = 20 * MS


def load(
    requests: dict[str, tuple[int, int]], steps: int, *, framework: str = "vllm", **fields: object
) -> TraceBuilder:
    """Steps of 20 ms; `requests`: the first step of each, and the one behind its last. A prompt has 10 tokens."""
    trace = TraceBuilder().gpu()
    server, worker = trace.process(100).thread(), trace.process(200).thread()
    described = {"v": 1, "rank": 0, "world": 1, "tp": 1, "framework": framework, "model": LLAMA} | fields
    worker.mark(0, f"llmperf.run {json.dumps(described)}", domain="llmperf")
    numbers = {name: number for number, name in enumerate(requests)}
    for step in range(steps):
        at = MS + step * LENGTH
        names = [name for name, (first, end) in requests.items() if first <= step < end]
        if not names:
            continue
        begun = [name for name in names if requests[name][0] == step]
        new = {str(numbers[name]): name for name in (names if step == 0 else begun)}
        for name in begun:
            text = json.dumps({"id": name, "prompt": 10, "waited_ms": 0})
            server.mark(at - MS // 2 - numbers[name], f"llmperf.request {text}", domain="llmperf")
        mark: dict[str, Any] = {
            "q": [10 if name in begun else 1 for name in names],
            "kv": [0 if name in begun else 9 + step - requests[name][0] for name in names],
            "ids": [numbers[name] for name in names], "logits": len(names),
        }  # fmt: skip
        kind = "decode" if not begun else "prefill" if len(begun) == len(names) else "mixed"
        worker.push(at, at + LENGTH - MS // 10, kind, domain="llmperf").launch(at + 2, gpu=(at + MS, at + LENGTH - MS))
        worker.mark(at + 1, f"llmperf.step {json.dumps(mark | ({'new': new} if new else {}))}", domain="llmperf")
    return trace


@pytest.mark.parametrize("is_whole", [True, False])
def test_requests_from_before_the_recording_are_told(is_whole: bool, cli: Cli) -> None:
    """A second of a load: one request began 30 steps before it."""
    requests = {"a": (0 if is_whole else -30, 20), "b": (5, 25), "c": (10, 40), "d": (30, 50)}

    report = cli.analyze(load(requests, 50))

    # 20 + 20 + 30 + 20 tokens, whenever the first of them began.
    assert report["served"]["new_tokens"] == 90
    assert report["served"]["new_tokens_per_s"] == pytest.approx(90, rel=1e-2)
    assert ("requests_begun_before" in codes(report)) == (not is_whole)
    if not is_whole:
        assert message(report, "requests_begun_before").startswith("1 of 4 requests may have begun before")


@pytest.mark.parametrize(
    ("framework", "fields", "is_told"),
    [
        ("sglang", {}, True),
        ("vllm", {"async_scheduling": True}, True),
        ("vllm", {}, False),
        ("vllm", {"async_scheduling": "no"}, False),
    ],
)
def test_answers_that_end_before_their_limit(framework: str, fields: dict[str, Any], is_told: bool, cli: Cli) -> None:
    """TPOT is of the tokens that there are, whatever the client asked for; the step behind the end is told."""
    trace = load({"a": (0, 11), "b": (2, 8)}, 12, framework=framework, **fields)
    _, printed, _ = run(cli.capsys, "analyze", cli.write(trace), "--no-cache")

    served = cli.analyze(trace)["served"]
    rows, _ = cli.sql(trace, "SELECT request, tpot_ns, new_tokens FROM served_requests ORDER BY request")

    assert [tuple(row.values()) for row in rows] == [("a", LENGTH, 11), ("b", LENGTH, 6)]
    assert served["may_count_discarded"] == is_told
    assert ("schedules ahead" in " ".join(printed.split())) == is_told


def test_times_per_token_are_of_requests_and_not_of_gaps(cli: Cli) -> None:
    """One of 41 tokens and two of 3: their mean gap is nearer to that of the long one than their median TPOT."""
    trace = load({"a": (0, 41), "b": (2, 5), "c": (10, 13)}, 41)

    rows, _ = cli.sql(
        trace, "SELECT request, new_tokens, last_token_ns - first_token_ns AS ns, tpot_ns FROM served_requests"
    )

    assert {row["request"]: row["new_tokens"] for row in rows} == {"a": 41, "b": 3, "c": 3}
    assert all(row["tpot_ns"] == pytest.approx(row["ns"] / (row["new_tokens"] - 1)) for row in rows)


@pytest.mark.parametrize(
    ("layers", "options", "token"), [(61, (), 70_272), (61, ("--kv-dtype", "fp8"), 35_136), (27, (), 31_104)]
)
def test_a_cache_of_latents_is_no_cache_of_heads(layers: int, options: tuple[str, ...], token: int, cli: Cli) -> None:
    """512 values of a latent and 64 of positions in each layer, of DeepSeek-V3 and of V2-Lite, on each GPU."""
    config = {
        "model_type": "deepseek_v3", "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048,
        "num_hidden_layers": layers, "first_k_dense_replace": 3, "num_attention_heads": 128, "num_key_value_heads": 128,
        "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
        "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8, "n_group": 8, "topk_group": 4,
        "vocab_size": 129280, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    }  # fmt: skip
    whole = cli.flops(config, "--prompt-tokens", 1024, *options)["decode"]
    split = cli.flops(config, "--prompt-tokens", 1024, "--tp", 8, *options)["decode"]

    assert (whole["kv_read_bytes"], whole["kv_write_bytes"]) == (1024 * token, token)
    assert (split["kv_read_bytes"], split["kv_write_bytes"]) == (8 * 1024 * token, 8 * token)


def test_a_token_reads_the_experts_that_it_chooses(cli: Cli) -> None:
    """Qwen3-30B-A3B in 16 bits: 8 of 128 experts a layer, 6.08 of 61 GB."""
    config = {
        "model_type": "qwen3_moe", "hidden_size": 2048, "intermediate_size": 6144, "moe_intermediate_size": 768,
        "num_hidden_layers": 48, "num_experts": 128, "num_experts_per_tok": 8, "num_attention_heads": 32,
        "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 151936, "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }  # fmt: skip
    printed = cli.flops(config, "--prompt-tokens", 1024)

    attention, expert, router = 2048 * (32 + 2 * 4) * 128 + 32 * 128 * 2048, 3 * 2048 * 768, 2048 * 128
    norms, head = 48 * (2 * 2048 + 2 * 128) + 2048, 2048 * 151936
    assert printed["params"] == 48 * (attention + 128 * expert + router) + 2 * head + norms
    # And the row of the table that the token is.
    assert printed["decode"]["weight_bytes"] == pytest.approx(
        2 * (48 * (attention + 8 * expert + router) + head + norms), rel=1e-5
    )


def test_products_in_graphs_are_in_the_tables_of_kernels(cli: Cli) -> None:
    """Prompts run operator by operator, tokens as a graph: 40 kernels of 9 µs in each, and the head behind it."""
    trace, at = KinetoTrace(), 0
    for _ in range(3):
        trace.annotation("execute_context_1(16)_generation_0(0)", at, at + 2 * MS)
        for number in range(40):
            start = at + 30_000 * number
            trace.op("aten::mm", start + 1_000, start + 6_000, [[16, 512], [512, 512]])
            trace.launch(start + 2_000, gpu=(start + 20_000, start + 29_000), name="nvjet_tst")
        at += 3 * MS
        for _ in range(6):
            trace.annotation("execute_context_0(0)_generation_1(1)", at, at + MS)
            trace.correlation += 1
            trace.call("cudaGraphLaunch", at + 100_000, at + 150_000, trace.correlation)
            for number in range(40):
                start = at + 200_000 + 10_000 * number
                trace.kernel("nvjet_tst" if number % 2 else "rms_norm_kernel", start, start + 9_000, trace.correlation)
            trace.op("aten::mm", at + 899_000, at + 904_000, [[1, 512], [512, 1000]])
            trace.launch(at + 900_000, gpu=(at + 910_000, at + 920_000), name="nvjet_tst")
            at += MS + 50_000

    report = cli.analyze(trace)
    rows, _ = cli.sql(
        trace, "SELECT name, count(*) AS n FROM kernels WHERE phase = 'decode' GROUP BY name ORDER BY name"
    )

    assert [tuple(row.values()) for row in rows] == [("nvjet_tst", 18 * 21), ("rms_norm_kernel", 18 * 20)]
    assert phase(report, "decode")["gpu_busy_ns"] == 18 * (40 * 9_000 + 10_000)
    assert "work_without_operators" in codes(report)
    hints = " ".join(str(one["hint"]) for one in report["findings"] if one["code"] == "gaps_in_graphs")
    assert "nsys" not in hints
    assert "nsys" not in messages(report, "gaps_in_graphs")
