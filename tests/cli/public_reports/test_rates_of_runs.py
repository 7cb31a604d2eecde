"""Rates of training and serving as they are reported: which tokens they count, and the time that divides them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.public_reports.common import LLAMA, codes, lm_head, marked, message, pairs, phase, projections
from tests.cli.run import MS, Cli
from tests.support.trace_builder import ThreadBuilder, TraceBuilder

GLM: dict[str, Any] = {
    "model_type": "glm4_moe", "hidden_size": 256, "intermediate_size": 512, "moe_intermediate_size": 128,
    "num_hidden_layers": 3, "first_k_dense_replace": 1, "n_routed_experts": 8, "n_shared_experts": 1,
    "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 64, "vocab_size": 1000, "max_position_embeddings": 202752, "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}  # fmt: skip
GPT_OSS: dict[str, Any] = {
    "model_type": "gpt_oss", "hidden_size": 256, "intermediate_size": 128, "num_hidden_layers": 4,
    "layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": 128, "num_local_experts": 8,
    "num_experts_per_tok": 2, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 32,
    "vocab_size": 1000, "tie_word_embeddings": False, "torch_dtype": "bfloat16", "attention_bias": True,
    "quantization_config": {"quant_method": "mxfp4"},
}  # fmt: skip


def required(lengths: list[int]) -> int:
    """FLOPs of forward and backward of sequences of `LLAMA`."""
    return 3 * sum(projections(LLAMA, n) + 4 * 4 * 512 * pairs(n) + n * lm_head(LLAMA) for n in lengths)


def stretch(main: ThreadBuilder, begin: int, end: int, name: str, *, mark: str = "", device: int = 0) -> int:
    """A range with one kernel, from 1 ms behind its begin to its end."""
    main.push(begin, end, name).launch(begin + 2, gpu=(begin + MS, end), name="nvjet_hsh", device=device)
    if mark:
        main.mark(begin + 1, f"llmperf.step {mark}", domain="llmperf")
    return end


def test_tokens_of_a_rank_are_no_samples(cli: Cli) -> None:
    """Two ranks, eight sequences of 512 tokens each a step of 100 ms: 40,960 tokens a second and GPU, not 80."""
    trace = TraceBuilder().gpu(0).gpu(1)
    for rank in range(2):
        main, at = trace.process(100 + rank).thread(), 0
        for _ in range(5):
            for name, length in (("forward", 30), ("backward", 60), ("optimizer", 10)):
                at = stretch(main, at, at + length * MS, name, device=rank)

    training = cli.analyze(trace, "--model", cli.config(LLAMA), "--shape", "8x512")["training"]

    assert (training["steps"], training["device_count"], training["tokens"]) == (10, 2, 10 * 8 * 512)
    assert training["tokens_per_s_per_gpu"] == pytest.approx(8 * 512 / 0.1)
    assert training["flops"] == required([512] * 80)


def test_batches_of_other_sizes_count_as_they_are(cli: Cli) -> None:
    """Packed micro-batches of other numbers of samples on two ranks; the step of both ends with the slower one."""
    lengths = [[[90, 120, 80], [200, 150], [40, 50, 60, 70]], [[170, 80], [60, 80, 90, 110], [180]]]
    trace = TraceBuilder().gpu(0).gpu(1)
    for rank, steps in enumerate(lengths):
        main, at = trace.process(100 + rank).thread(), 0
        main.mark(0, f"llmperf.run {json.dumps({'v': 1, 'model': LLAMA, 'rank': rank, 'world': 2})}", domain="llmperf")
        for samples in steps:
            mark = json.dumps({"q": samples, "kv": [0] * len(samples), "logits": sum(samples)})
            at = stretch(main, at, at + 30 * MS, "forward", mark=mark, device=rank)
            at = stretch(
                main, stretch(main, at, at + 60 * MS, "backward", device=rank), at + 70 * MS, "optimizer", device=rank
            )

    training = cli.analyze(trace)["training"]

    samples = [length for rank in lengths for step in rank for length in step]
    assert training["tokens"] == sum(samples) == 1_630
    assert training["tokens_per_s_per_gpu"] == pytest.approx(1_630 / 2 / 0.3)
    assert training["flops"] == required(samples)


@pytest.mark.parametrize("is_marked", [True, False])
def test_a_step_is_as_long_as_its_sequences(is_marked: bool, cli: Cli) -> None:
    """Four micro-batches of 2,048 tokens, of a model that may read 202,752; the worker's range alone is an update."""
    trace = TraceBuilder().gpu()
    main, at = trace.process(300).thread(), 0
    for _ in range(3):
        begin = at
        for name, length in [("forward", 10), ("backward", 20)] * 4 + [("optimizer", 5)]:
            if is_marked:
                at = stretch(main, at, at + length * MS, name)
            else:
                main.launch(at + 2, gpu=(at + MS, at + length * MS), name="nvjet_hsh")
                at += length * MS
        main.push(begin, at, "megatron_policy_worker/train")

    report = cli.analyze(trace, "--model", cli.config(GLM), "--shape", "1x2048")

    if not is_marked:
        update = phase(report, "update")
        assert (update["occurrences"], update["tokens"], update["flops"], update["mfu_wall"]) == (3, None, None, None)
        assert "shapes_without_requests" in codes(report)
        return
    attention = 256 * 64 * (4 + 2 * 2) + 4 * 64 * 256
    layers = 3 * attention + 3 * 256 * 512 + 2 * (256 * 8 + 3 * 3 * 256 * 128)
    forward = 2 * 2048 * (layers + 256 * 1000) + 3 * 4 * 4 * 64 * pairs(2048)
    assert report["training"]["flops"] == 3 * 4 * 3 * forward
    assert report["training"]["tokens_per_s_per_gpu"] == pytest.approx(4 * 2048 / 0.125)


def served(
    framework: str, model: dict[str, Any], steps: list[tuple[int, int, str]], prompts: dict[str, int]
) -> TraceBuilder:
    """Steps of an engine: ms of begin and length, and the requests in each; a request arrives 5 ms before its first."""
    trace = TraceBuilder().gpu()
    server, worker = trace.process(100).thread(), trace.process(200).thread()
    run = {"v": 1, "rank": 0, "world": 1, "tp": 1, "framework": framework, "model": model}
    worker.mark(0, f"llmperf.run {json.dumps(run)}", domain="llmperf")
    held: dict[str, int] = {}
    numbers = {name: number for number, name in enumerate(prompts)}
    for at, length, names in steps:
        new = {str(numbers[name]): name for name in names if name not in held}
        for name in new.values():
            text = json.dumps({"id": name, "prompt": prompts[name], "waited_ms": 0})
            server.mark((at - 5) * MS + numbers[name], f"llmperf.request {text}", domain="llmperf")
        q = [1 if name in held else prompts[name] for name in names]
        mark = {"q": q, "kv": [held.get(name, 0) for name in names], "ids": [numbers[name] for name in names]}
        held |= {name: held.get(name, 0) + tokens for name, tokens in zip(names, q, strict=True)}
        kind = "decode" if max(q) == 1 else "prefill" if min(q) > 1 else "mixed"
        worker.push(at * MS, (at + length) * MS, kind, domain="llmperf")
        said = mark | {"logits": len(q)} | ({"new": new} if new else {})
        worker.mark(at * MS + 1, f"llmperf.step {json.dumps(said)}", domain="llmperf")
        worker.launch(at * MS + 2, gpu=(at * MS + 100, (at + length) * MS - 100))
    return trace


def test_a_pause_of_the_load_is_in_its_throughput_and_in_no_time_per_token(cli: Cli) -> None:
    """Ten tokens of one request, then, two seconds later, ten of each of two."""
    steps = [(10, 20, "a"), *((30 + 10 * n, 10, "a") for n in range(9))]
    steps += [(2_000, 30, "bc"), *((2_030 + 15 * n, 15, "bc") for n in range(9))]

    report = cli.analyze(served("vllm", LLAMA, steps, {"a": 100, "b": 100, "c": 100}))
    rows, _ = cli.sql(
        served("vllm", LLAMA, steps, {"a": 100, "b": 100, "c": 100}),
        "SELECT request, tpot_ns, new_tokens FROM served_requests ORDER BY request",
    )

    assert [tuple(row.values()) for row in rows] == [("a", 10 * MS, 10), ("b", 15 * MS, 10), ("c", 15 * MS, 10)]
    # From the first arrival, at 5 ms, to the end of the last step, at 2,165.
    assert report["served"]["new_tokens_per_s"] == pytest.approx(30 / 2.16, rel=1e-4)
    assert phase(report, "decode")["measured_wall_ns"] == 9 * (10 + 15) * MS


def test_tokens_that_a_server_holds_back_are_there_when_they_are_computed(cli: Cli) -> None:
    """200 tokens of a gpt-oss, of which a client sees nothing while it reasons."""
    steps = [(10, 40, "a"), *((50 + 5 * n, 5, "a") for n in range(199))]

    report = cli.analyze(served("sglang", GPT_OSS, steps, {"a": 500}))

    (request,) = report["requests"]
    assert (request["ttft_p50_ns"], request["tpot_p50_ns"]) == (45 * MS, 5 * MS)
    assert report["served"]["new_tokens"] == 200
    attention = 256 * 32 * (8 + 2 * 2) + 8 * 32 * 256
    token = 2 * (4 * (attention + 256 * 8 + 2 * 3 * 256 * 128) + 256 * 1000)
    seen = 2 * 199 * 128 + 2 * sum(range(501, 700))
    assert phase(report, "decode")["flops"] == 199 * token + 4 * 8 * 32 * seen


def test_an_answer_that_ends_early_has_the_tokens_of_its_passes(cli: Cli) -> None:
    """TensorRT-LLM without marks: a request for 512 tokens ends after 12. No pass of it is called 500 tokens."""
    trace = TraceBuilder().gpu(name="NVIDIA L4", sm_count=58, memory_bandwidth=300_096_000_000, compute=(8, 9))
    main, at = trace.process(400).thread(), 0
    for step in range(3 * 12):
        first = step % 12 == 0
        attention = "fmha_v2_flash_attention_fp16" if first else "masked_multihead_attention_kernel<unsigned short>"
        product = "sm80_xmma_gemm_f16f16" if first else "gemvx::kernel<__half>"
        names = [*[product, attention, product, product, product] * 4, product, "topk_stage_2_opt3_sampling<float>"]
        for number, name in enumerate(names):
            begin = at + 100_000 + number * MS
            main.launch(at + number * 2_000, gpu=(begin, begin + MS - 1_000), name=name, gridX=512 if first else 32)
        at += 25 * MS

    report = cli.analyze(trace, "--model", cli.config(LLAMA), "--shape", "1x100+512")

    (found,) = [one for one in report["phases"] if one["name"] != "outside"]
    assert (found["occurrences"], found["tokens"], found["flops"], found["mbu_busy"]) == (36, None, None, None)
    assert "36 occurrences" in message(report, "inferred_phases")
    assert "the shapes are not used" in message(report, "shapes_without_requests")


def test_micro_batches_of_a_last_batch_count_once(cli: Cli) -> None:
    """A loader of three batches, the last one smaller, two in a step; five steps take eight batches."""
    batches = [[20, 7, 13, 30], [5, 16, 9, 11], [25, 8]]
    taken = (batches * 3)[:8]
    trace = TraceBuilder().gpu()
    marked(trace, LLAMA, source="auto")
    main, at = trace.process(100).thread(), 0
    for number, lengths in enumerate(taken):
        width = max(lengths)
        mark = {"q": lengths, "kv": [0] * len(lengths), "logits": sum(lengths)}
        padded = {"padded": [width, 0, width * len(lengths)]}
        at = stretch(main, at, at + 10 * MS, "forward", mark=json.dumps(mark | padded))
        at = stretch(main, at, at + 20 * MS, "backward")
        # The last batch of a loader ends a step.
        if number % 3:
            at = stretch(main, at, at + 5 * MS, "optimizer")

    report = cli.analyze(trace)

    training = report["training"]
    tokens = 3 * 70 + 3 * 41 + 2 * 33
    assert (training["steps"], training["micro_batches"], training["tokens"]) == (5, 8, tokens)
    assert training["flops"] == required([length for lengths in taken for length in lengths])
    assert f"({3 * 50 + 3 * 23 + 2 * 17} of {3 * 120 + 3 * 64 + 2 * 50})" in message(report, "padding")
