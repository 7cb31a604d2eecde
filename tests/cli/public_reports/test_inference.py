"""Generation and serving: caches that are kept, static or brought along, steps that overlap, graphs, offloading."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.public_reports.common import LLAMA, codes, lm_head, message, messages, pairs, phase, projections, spent
from tests.cli.run import MS, Cli, run
from tests.support.trace_builder import ProcessBuilder, TraceBuilder

US = 1000
MIXTRAL: dict[str, Any] = LLAMA | {"model_type": "mixtral", "num_local_experts": 64, "num_experts_per_tok": 2}
LLAMA_7B: dict[str, Any] = LLAMA | {
    "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 32, "vocab_size": 32000, "torch_dtype": "float16",
}  # fmt: skip
DEEPSEEK_V4: dict[str, Any] = {
    "model_type": "deepseek_v4", "hidden_size": 4096, "num_hidden_layers": 43, "num_attention_heads": 64,
    "num_key_value_heads": 1, "head_dim": 512, "q_lora_rank": 1024, "o_lora_rank": 1024, "o_groups": 8,
    "qk_rope_head_dim": 64, "index_head_dim": 128, "index_n_heads": 64, "index_topk": 512, "sliding_window": 128,
    "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 6, "moe_intermediate_size": 2048,
    "hc_mult": 4, "vocab_size": 129280, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "compress_ratios": [0, 0, *[4, 128] * 20, 4, 0],
}  # fmt: skip


def engine(framework: str = "vllm", model: dict[str, Any] = LLAMA, **more: Any) -> tuple[TraceBuilder, ProcessBuilder]:
    """An engine of one process, which describes its run."""
    trace = TraceBuilder().gpu()
    process = trace.process(200)
    mark = {"v": 1, "model": model, "rank": 0, "world": 1, "tp": 1, "framework": framework} | more
    process.thread().mark(0, f"llmperf.run {json.dumps(mark)}", domain="llmperf")
    return trace, process


def arrive(process: ProcessBuilder, at: int, *names: str) -> None:
    for name in names:
        process.thread().mark(at, f'llmperf.request {{"id":"{name}","prompt":100,"waited_ms":0}}', domain="llmperf")


def step(
    process: ProcessBuilder, at: int, requests: dict[int, tuple[int, int]], *, names: dict[int, str] | None = None,
    open_for: int = 9 * MS, gpu: tuple[int, int] | None = None, phase: str | None = None, **mark: Any,
) -> None:  # fmt: skip
    """A step at `at`: number of a request → its new and cached tokens. One kernel, from `at + 1 ms` to `at + 10 ms`."""
    q, kv = ([tokens[side] for tokens in requests.values()] for side in (0, 1))
    name = phase or ("decode" if max(q) == 1 else "prefill")
    start, end = gpu or (at + MS, at + 10 * MS)
    process.thread().push(at, at + open_for, name, domain="llmperf").launch(at + 2 * US, gpu=(start, end))
    said = {"q": q, "kv": kv, "ids": list(requests), "logits": len(q)} | mark
    if names:
        said["new"] = {str(number): one for number, one in names.items()}
    process.thread().mark(at + US, f"llmperf.step {json.dumps(said)}", domain="llmperf")


# -- generate --------------------------------------------------------------------------------------------------------


def generated(*requests: tuple[int, list[int]], batch: int = 1) -> TraceBuilder:
    """Calls of `generate`: cached tokens before, chunks of the prompt of 10 ms each, then decode steps of 5 ms."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    main.mark(0, f"llmperf.run {json.dumps({'v': 1, 'model': LLAMA, 'framework': 'transformers'})}", domain="llmperf")
    for number, (cached, chunks) in enumerate(requests):
        held = cached
        at = number * 200 * MS + MS
        main.push(at, at + (len(chunks) * 10 + 15) * MS, "request", domain="llmperf")
        for length, name in [*((each, "prefill") for each in chunks), *((1, "decode") for _ in range(3))]:
            took = (10 if name == "prefill" else 5) * MS
            main.push(at + US, at + took, name, domain="llmperf").launch(at + 3 * US, gpu=(at + MS, at + took - MS))
            shape = {"b": batch, "q": length, "kv": held, "logits": batch}
            main.mark(at + 2 * US, f"llmperf.step {json.dumps(shape)}", domain="llmperf")
            held += length
            at += took
    return trace


def test_a_turn_with_a_kept_cache_computes_what_the_cache_lacks(cli: Cli) -> None:
    """23 of the 31 tokens of the second turn are in the cache, as `generate` marks it."""
    report = cli.analyze(generated((0, [20]), (23, [8])))

    seen = 4 * 4 * 512 * (pairs(20) + pairs(31) - pairs(23))
    assert phase(report, "prefill")["tokens"] == 28
    assert phase(report, "prefill")["flops"] == projections(LLAMA, 28) + seen + 2 * lm_head(LLAMA)
    assert {one["shape"]: one["ttft_p50_ns"] for one in report["requests"]} == {"1x20": 10 * MS, "1x8": 10 * MS}


def test_positions_that_a_static_cache_has_empty_are_executed(cli: Cli) -> None:
    """300 positions, 20 of them filled: eager code attends to all, as torch's counter has it (627,712 of a step)."""
    model = LLAMA | {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "vocab_size": 100,
    }  # fmt: skip
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    main.mark(0, f"llmperf.run {json.dumps({'v': 1, 'model': model})}", domain="llmperf")
    main.push(MS, 5 * MS, "decode", domain="llmperf").launch(MS + 2 * US, gpu=(2 * MS, 4 * MS))
    main.mark(MS + US, 'llmperf.step {"b":2,"q":1,"kv":20,"logits":2,"padded":[1,299,2]}', domain="llmperf")

    decode = phase(cli.analyze(trace), "decode")

    assert (decode["tokens"], decode["flops"], decode["executed_flops"]) == (2, 342_016, 627_712)
    assert decode["mfu_busy"] < decode["hfu_busy"]


def test_a_batch_makes_a_token_of_each_sequence_in_a_step(cli: Cli) -> None:
    report = cli.analyze(generated((0, [16]), (0, [16]), batch=4))

    assert phase(report, "decode")["tokens"] == 2 * 3 * 4
    assert [one["tpot_p50_ns"] for one in report["requests"]] == [5 * MS]


def test_each_chunk_of_a_prompt_computes_the_head(cli: Cli) -> None:
    report = cli.analyze(generated((0, [6, 6, 4])))

    prefill = phase(report, "prefill")
    assert prefill["flops"] == projections(LLAMA, 16) + 4 * 4 * 512 * pairs(16) + 3 * lm_head(LLAMA)
    assert [one["ttft_p50_ns"] for one in report["requests"]] == [30 * MS]


# -- formulas --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tp", [4, 8, 16])
def test_windows_with_more_heads_and_values_narrower_than_keys(tp: int, cli: Cli) -> None:
    """MiMo-V2-Flash after 8,192 tokens: 9 layers see all, of 4 heads, 39 a window, of 8; keys of 192, values of 128."""
    config = {
        "model_type": "mimo_v2_flash", "hidden_size": 4096, "intermediate_size": 16384, "num_hidden_layers": 48,
        "num_attention_heads": 64, "num_key_value_heads": 4, "head_dim": 192, "v_head_dim": 128,
        "swa_num_attention_heads": 64, "swa_num_key_value_heads": 8, "swa_head_dim": 192, "swa_v_head_dim": 128,
        "sliding_window_size": 128, "hybrid_layer_pattern": [int(i != 0 and i % 6 != 5) for i in range(48)],
        "moe_layer_freq": [0] + [1] * 47, "n_routed_experts": 256, "num_experts_per_tok": 8,
        "moe_intermediate_size": 2048, "vocab_size": 152_576, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    }  # fmt: skip

    decode = cli.flops(config, "--prompt-tokens", 8192, "--tp", tp)["decode"]

    # Ranks that have no head of their own hold another one's.
    assert decode["kv_read_bytes"] == 2 * (192 + 128) * (9 * max(4, tp) * 8192 + 39 * max(8, tp) * 128)


@pytest.mark.parametrize(("batch", "tokens"), [(1, 3000), (2, 1500)])
def test_prompts_of_a_batch_do_not_see_each_other(batch: int, tokens: int, cli: Cli) -> None:
    flops = cli.prefill(LLAMA_7B, "--batch", batch, "--prompt-tokens", tokens)

    # A layer has four square products, and three of 11,008, not two of four times the width.
    products = 2 * 3000 * 32 * (4 * 4096**2 + 3 * 4096 * 11_008)
    assert flops == products + batch * (32 * 4 * 4096 * pairs(tokens) + lm_head(LLAMA_7B))


def test_a_cache_of_windows_and_compressed_entries(cli: Cli) -> None:
    """DeepSeek-V4-Flash after 100,000 tokens; the run stores entries as vLLM packs them, which is told."""
    decode = cli.flops(DEEPSEEK_V4, "--prompt-tokens", 100_000)["decode"]

    windows, picked, keys, heavy = 43 * 127 * 512, 21 * 512 * 512, 21 * 25_000 * 128, 20 * 781 * 512
    assert decode["kv_read_bytes"] == 2 * (windows + picked + keys + heavy)

    trace, process = engine(model=DEEPSEEK_V4, kv_dtype="fp8_ds_mla")
    step(process, MS, {0: (1, 100_000)}, names={0: "a"})
    told = message(cli.analyze(trace), "cache_format_not_read")
    assert told.startswith("the run stores its KV cache as `fp8_ds_mla`, which is counted as fp8 without its scales")


# -- copies ----------------------------------------------------------------------------------------------------------


def test_experts_that_are_copied_to_the_gpu_bound_a_step(cli: Cli) -> None:
    """Eight layers copy four experts of 12.6 MB each from pinned memory and multiply with them, in 15 ms."""
    model = MIXTRAL | {
        "num_hidden_layers": 8, "num_local_experts": 16, "num_experts_per_tok": 4, "hidden_size": 2048,
        "num_attention_heads": 16, "num_key_value_heads": 4,
    }  # fmt: skip
    trace, process = engine("other", model)
    main = process.thread()
    for number in range(4):
        at = number * 20 * MS + MS
        main.push(at, at + 15 * MS, "decode", domain="llmperf")
        main.mark(at + 1, 'llmperf.step {"b":1,"q":1,"kv":100,"logits":1}', domain="llmperf")
        for layer in range(8):
            begin = at + layer * 1800 * US
            main.launch(begin + US, gpu=(begin + 10 * US, begin + 200 * US), name="flash_attn_decode")
            for expert in range(4):
                here = begin + (200 + 400 * expert) * US
                copied = (here + 5 * US, here + 255 * US)
                main.memcpy(here, copied, size_bytes=3 * 2048 * 1024 * 2, kind=1, srcKind=1, dstKind=2)
                main.launch(here + US, gpu=(here + 260 * US, here + 390 * US), name="gemv_expert")

    report = cli.analyze(trace)

    decode = phase(report, "decode")
    assert decode["bound"] == "copy-bound"
    assert decode["budget"]["copy_ns"] == 4 * 32 * 250 * US
    assert "128 copies of 1,536 MiB in all" in message(report, "exposed_copies")


def test_a_copy_of_the_cache_does_not_last_while_it_waits(cli: Cli) -> None:
    """Copies that are asked for at 3 ms wait for the forward: they run from 55 to 63 ms, at last beside a kernel."""
    trace, process = engine()
    main = process.thread()
    for number in range(4):
        at = number * 100 * MS
        step(process, at, {0: (1024, 0)}, gpu=(at + 5 * MS, at + 55 * MS), open_for=20 * MS)
        for copy in range(8):
            copied = (at + (55 + copy) * MS, at + (56 + copy) * MS)
            more = {"kind": 2, "stream": 20, "srcKind": 2, "dstKind": 1}
            main.memcpy(at + 3 * MS + copy * US, copied, size_bytes=50_000_000, **more)
        step(process, at + 58 * MS, {0: (1, 1024)}, gpu=(at + 60 * MS, at + 80 * MS), open_for=22 * MS)

    time = spent(cli, trace)

    assert (time["copy"], time["compute"]) == (pytest.approx(4 * 5), pytest.approx(4 * (50 + 20)))


# -- engines ---------------------------------------------------------------------------------------------------------


def test_work_of_a_step_that_runs_in_the_range_of_the_next_one(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for number, (requests, took) in enumerate(
        [("0 ctx reqs, 0 ctx tokens, 2", 5)] * 3 + [("1 ctx reqs, 64 ctx tokens, 2", 9)] * 2
    ):
        at = number * 10 * MS
        main.push(at, at + 4 * MS, f"[Executor] _forward_step {number}: {requests} gen reqs")
        main.launch(at + MS, gpu=(at + 10 * MS, at + (10 + took) * MS))

    report = cli.analyze(trace, "--model", cli.config(LLAMA))

    busy = {name: phase(report, name)["gpu_busy_ns"] for name in ("decode", "mixed")}
    assert busy == {"decode": 3 * 5 * MS, "mixed": 2 * 9 * MS}
    assert "work_outlives_range" in codes(report)


def test_a_step_that_is_launched_ahead_has_no_time_of_the_one_before(cli: Cli) -> None:
    """A step each 10 ms, launched 8 ms before it runs: its range is open for 3 ms, and it is done after 18."""
    trace, process = engine()
    arrive(process, 1, "a")
    for number in range(21):
        at = MS + number * 10 * MS
        shape = {0: (1, 99 + number) if number else (100, 0)}
        names = None if number else {0: "a"}
        step(process, at, shape, names=names, open_for=3 * MS, gpu=(at + 8 * MS, at + 18 * MS), ahead=True)

    report = cli.analyze(trace)
    rows, _ = cli.sql(trace, "SELECT tokens_per_s FROM served_steps WHERE phase = 'decode'")
    path = cli.folder / "trace.sqlite"
    status, _, err = run(cli.capsys, "analyze", path, "--no-cache", "--fail-if", "decode.tokens_per_s > 1")

    assert [row["tokens_per_s"] for row in rows] == [pytest.approx(100)] * 20
    (served,) = report["requests"]
    assert (served["ttft_p50_ns"], served["tpot_p50_ns"]) == (pytest.approx(19 * MS, abs=2), 10 * MS)
    # 20 tokens in the 60 ms of the ranges would be 333 in a second.
    assert status == 2
    assert "decode.tokens_per_s is not known in the report" in err


def waiting() -> TraceBuilder:
    """Four requests arrive at once, and two of them run at a time: a prompt and three steps of 10 ms each."""
    trace, process = engine()
    arrive(process, 1, "a", "b", "c", "d")
    for number in range(8):
        pair = (0, 1) if number < 4 else (2, 3)
        turn = number % 4
        names = None if turn else {one: "abcd"[one] for one in pair}
        step(process, number * 10 * MS + 10, dict.fromkeys(pair, (1, 99 + turn) if turn else (100, 0)), names=names)
    return trace


def test_requests_that_wait_do_not_raise_the_throughput(cli: Cli) -> None:
    trace = waiting()

    rows, _ = cli.sql(
        trace, "SELECT round(ttft_ns / 1e6) AS ttft, tpot_ns / 1e6 AS tpot FROM served_requests ORDER BY request"
    )
    (summary,), _ = cli.sql(trace, "SELECT new_tokens_per_s FROM served_summary")

    assert [tuple(row.values()) for row in rows] == [(10, 10), (10, 10), (50, 10), (50, 10)]
    assert summary["new_tokens_per_s"] == pytest.approx(16 / 80e-3, rel=1e-4)


def test_a_verifying_step_does_not_hold_its_drafter(cli: Cli) -> None:
    """Target and drafter run for 2 and 1 ms: three guesses, two of which are right each time."""
    trace, process = engine()
    arrive(process, 1, "a")
    step(process, 10, {0: (100, 0)}, names={0: "a"}, gpu=(MS, 9 * MS))
    for number in range(6):
        at = (10 + 4 * number) * MS
        more: dict[str, Any] = {"drafts": [3], "logits": 4}
        step(
            process, at, {0: (4, 100 + 3 * number)}, phase="verify", gpu=(at + US, at + 2 * MS), open_for=2 * MS, **more
        )
        process.thread().push(at + 2 * MS, at + 4 * MS, "draft", domain="llmperf")
        process.thread().launch(at + 2 * MS + US, gpu=(at + 3 * MS, at + 4 * MS))

    report = cli.analyze(trace)

    verify, draft = phase(report, "verify"), phase(report, "draft")
    assert (verify["gpu_busy_ns"], draft["gpu_busy_ns"]) == (6 * (2 * MS - US), 6 * MS)
    # Four layers with their norms, the last norm and the head; of the table of embeddings a row for each token.
    weights = 4 * (512 * 64 * 12 + 512 * 512 + 3 * 512 * 1024 + 2 * 512) + 512 + 512 * 1000 + 4 * 512
    cached = 4 * 2 * 2 * 64
    assert verify["bytes"] == 2 * 6 * weights + 2 * cached * sum(104 + 3 * number for number in range(6))
    assert (draft["flops"], draft["bytes"]) == (None, None)
    (row,), _ = cli.sql(trace, "SELECT accepted_tokens, new_tokens FROM served_requests")
    assert row == {"accepted_tokens": 10, "new_tokens": 17}


@pytest.mark.parametrize("both", [True, False])
def test_a_first_token_that_comes_with_the_cache(both: bool, cli: Cli) -> None:
    """The engine that decodes begins at 40 ms behind the whole prompt, as SGLang's does."""
    trace, process = engine("sglang")
    arrive(process, 1, "a")
    if both:
        other = trace.gpu(1).process(300)
        other.thread().mark(0, 'llmperf.run {"v":1,"rank":0,"world":1,"tp":1,"framework":"sglang"}', domain="llmperf")
        other.thread().push(MS, 9 * MS, "prefill", domain="llmperf").launch(2 * MS, gpu=(3 * MS, 9 * MS), device=1)
        mark = {"q": [100], "kv": [0], "ids": [0], "logits": 1, "new": {"0": "a"}}
        other.thread().mark(MS + 1, f"llmperf.step {json.dumps(mark)}", domain="llmperf")
    for number in range(4):
        names = None if number else {0: "a"}
        step(
            process,
            (40 + 10 * number) * MS,
            {0: (1, 100 + number)},
            names=names,
            gpu=((41 + 10 * number) * MS, (50 + 10 * number) * MS),
        )

    report = cli.analyze(trace)
    rows, _ = cli.sql(
        trace, "SELECT process_id, round(ttft_ns / 1e6) AS ttft, tpot_ns / 1e6 AS tpot, new_tokens FROM served_requests"
    )

    assert rows == [{"process_id": 200, "ttft": 40, "tpot": 10, "new_tokens": 5}]
    assert "requests_unserved" not in codes(report)


@pytest.mark.parametrize(
    ("framework", "sizes", "batch", "is_padded"),
    [
        ("sglang", [1, 2, 4, 8], 5, True),
        ("sglang", [1, 2, 4, 8], 8, False),
        ("sglang", [1, 2, 3, 4, 5], 5, False),
        ("sglang", None, 5, False),
        ("vllm", None, 5, True),
        ("vllm", None, 16, False),
    ],
)
def test_a_batch_that_replays_the_graph_of_a_larger_one_is_told(
    framework: str, sizes: list[int] | None, batch: int, is_padded: bool, cli: Cli
) -> None:
    trace, process = engine(framework, MIXTRAL, **({"graph_sizes": sizes} if sizes else {}))
    main = process.thread()
    for number in range(6):
        at = number * 10 * MS
        main.push(at, at + 9 * MS, "decode", domain="llmperf").graph_launch(at + 2 * US, gpu=(at + MS, at + 8 * MS))
        mark = {"q": [1] * batch, "kv": [100] * batch, "ids": list(range(batch)), "logits": batch}
        main.mark(at + US, f"llmperf.step {json.dumps(mark)}", domain="llmperf")

    told = messages(cli.analyze(trace), "graphs_of_larger_batches")

    assert ("18 of the 48 sequences that they compute are padding" in told) == is_padded
    assert bool(told) == is_padded
    assert ("by default" in told) == (is_padded and sizes is None)


def test_samples_of_a_prompt_are_no_requests_of_clients(cli: Cli) -> None:
    """A request for three texts: the prompt is computed once and found twice, and each text has four tokens."""
    trace, process = engine()
    names = {number: f"{number}_cmpl-7f3a" for number in range(3)}
    arrive(process, 1, *names.values())
    step(process, 10, {0: (100, 0), 1: (4, 96), 2: (4, 96)}, names=names)
    for number in range(3):
        step(process, (10 + 10 * number) * MS, dict.fromkeys(names, (1, 100 + number)))

    report = cli.analyze(trace)
    (summary,), _ = cli.sql(trace, "SELECT requests, new_tokens, prompt_tokens, reused_tokens FROM served_summary")

    assert summary == {"requests": 3, "new_tokens": 12, "prompt_tokens": 300, "reused_tokens": 192}
    assert "3 of 3 served requests are runs of 1 requests for several texts" in messages(report, "samples_as_requests")
