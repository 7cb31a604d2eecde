"""More of what test_public_reports.py has: what people ask first about their servers and their training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline.capture.plan import CapturePlan, nsys_argv
from nsys_pipeline.nsys.install import Nsys
from tests.cli.run import MS, Cli
from tests.cli.test_public_reports import ALL_REDUCE, LLAMA, all_layers, codes, lm_head, marked, pairs, phase
from tests.support.kineto import KinetoTrace
from tests.support.trace_builder import TraceBuilder

US = 1000
#: 8 billion parameters: 16 GB in 16 bits. A token has 128 KiB in the cache.
LARGE: dict[str, Any] = LLAMA | {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 2_000_000,
}  # fmt: skip
CACHE_KERNEL = "void vllm::reshape_and_cache_flash_kernel<__nv_bfloat16, unsigned char, (vllm::Fp8KVCacheDataType)1>"


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


def test_chunks_of_a_prompt_are_not_called_decode(cli: Cli) -> None:
    """A prompt of 3,900 tokens in chunks, then steps as whole graphs; FlashAttention has one kernel for both."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    at = 0
    for tokens in (1024, 1024, 1024, 828, *[1] * 12):
        end = at + 10 * US
        if tokens == 1:
            end += 300 * US
            main.graph_launch(at, gpu=(at + 10 * US, end))
        for layer in range(8 if tokens > 1 else 0):
            for number, (name, blocks) in enumerate((
                ("void at::native::indexSelectLargeIndex<c10::BFloat16>", tokens if layer == 0 else 0),
                ("void marlin::Marlin<__nv_bfloat16>", 132),
                ("void vllm::reshape_and_cache_flash_kernel<__nv_bfloat16>", tokens),
                ("void flash::flash_fwd_splitkv_kernel<Flash_fwd_kernel_traits>", 32 * (tokens // 64)),
                ("void marlin::Marlin<__nv_bfloat16>", 132),
                ("void vllm::act_and_mul_kernel<c10::BFloat16>", tokens),
            )):  # fmt: skip
                if blocks:
                    main.launch(at + 6 * layer + number, gpu=(end, end + 100 * US), name=name, gridX=blocks)
                    end += 100 * US
        main.launch(at + 300, gpu=(end, end + 10 * US), name="reduce_kernel<ArgMaxOps<float>>", gridX=1)
        main.memcpy(at + 310, gpu=(end + 10 * US, end + 11 * US), kind=2)
        at = end + 100 * US

    rows, err = cli.sql(trace, "SELECT phase, occurrences FROM phase_summary ORDER BY phase")

    assert rows == [{"phase": "repeat A", "occurrences": 12}, {"phase": "repeat B", "occurrences": 4}]
    assert "16 occurrences of repeat A, repeat B are inferred" in err


def test_a_call_that_waits_for_the_gpu_is_no_copy(cli: Cli) -> None:
    """The call that copies a token to the host takes 59 of 90 ms, since 59 kernels run before it."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in range(0, 360 * MS, 90 * MS):
        main.push(at, at + 90 * MS, "decode")
        for number in range(59):
            main.launch(at + number, gpu=(at + (1 + number) * MS, at + (2 + number) * MS))
        call = main.call(at + MS, until=at + 60 * MS + US, api="cudaMemcpyAsync_v3020")
        main.process.memcpy((at + 60 * MS, at + 60 * MS + US), correlation=call, kind=2, size_bytes=8)

    rows, _ = cli.sql(trace, "SELECT class, sum(time_ns)::BIGINT AS ns FROM time_budget GROUP BY class")

    budget = {row["class"]: row["ns"] for row in rows}
    assert (budget["compute"], budget["copy"]) == (4 * 59 * MS, 4 * US)
    assert budget["host"] == pytest.approx(4 * 30 * MS, rel=1e-4)


def test_steps_that_are_graphs_are_no_idle_time(cli: Cli) -> None:
    """Decode: the graph is recorded as a whole; prefill: old recorders left out graphs and what is in them."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for step in range(10):
        at, name = 20 * MS * step, ("decode", "prefill")[step % 2]
        main.push(at, at + 20 * MS, name).launch(at, gpu=(at + MS, at + 2 * MS))
        main.graph_launch(at + 2, gpu=(at + 2 * MS, at + 19 * MS) if name == "decode" else None)

    report = cli.analyze(trace)

    assert (phase(report, "decode")["gpu_busy_ns"], phase(report, "prefill")["gpu_busy_ns"]) == (5 * 18 * MS, 5 * MS)
    assert {"whole_graphs", "untraced_graphs"} <= codes(report)
    (told,) = [one["message"] for one in report["findings"] if one["code"] == "untraced_graphs"]
    assert "5 of 10 CUDA graph launches" in told


def test_times_of_operators_inside_each_other_add_up_once(cli: Cli) -> None:
    trace = KinetoTrace()
    trace.annotation("forward", 0, 90_000)
    for at in range(0, 80_000, 20_000):
        for depth, name in enumerate(("aten::linear", "aten::matmul", "aten::mm")):
            trace.op(name, at + 1000 * depth, at + 15_000 - 1000 * depth, [[4, 8], [8, 8]])
        trace.launch(at + 3000, gpu=(at + 5_000, at + 17_000))

    rows, _ = cli.sql(
        trace,
        "SELECT operator, gpu_time_ns AS whole, gpu_self_ns AS own, gpu_self_ratio AS share "
        "FROM operators ORDER BY own",
    )

    assert {row["operator"]: row["whole"] for row in rows} == dict.fromkeys(
        ("aten::linear", "aten::matmul", "aten::mm"), 48_000
    )
    assert [row["own"] for row in rows] == [0, 0, 48_000]
    assert sum(row["share"] for row in rows) == 1


def test_a_range_that_opens_the_recording_needs_no_registered_name() -> None:
    """nsys compares names of ranges with `--nvtx-capture` only where they are registered strings, unless it is told."""
    nsys = Nsys(Path("/x/nsys"), (2024, 2, 3), "2024.2.3", frozenset(), frozenset())
    plan = CapturePlan(command=("python", "run.py"), capture_range="nvtx", nvtx_range="bench")

    assert "--nvtx-capture=bench" in nsys_argv(nsys, plan, Path("out/trace"))
    assert plan.whole_environment == {"NSYS_NVTX_PROFILER_REGISTER_ONLY": "0"}


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


@pytest.mark.parametrize(("ranks", "copies"), [(1, 1), (4, 1), (16, 2)])
def test_each_rank_has_its_heads_in_the_cache(ranks: int, copies: int, cli: Cli) -> None:
    """8 heads of keys and values are split over at most 8 ranks; 16 have each head twice."""
    decode = cli.flops(LARGE, "--prompt-tokens", 1000, "--tp", ranks)["decode"]

    assert decode["kv_read_bytes"] == copies * 1000 * 32 * 2 * 8 * 128 * 2
    if ranks > 1:
        assert decode["gpu_bytes"] == pytest.approx(decode["bytes"] / ranks, rel=1e-6)


def test_a_first_step_that_compiles_is_not_in_the_throughput(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    marked(trace, LLAMA)
    main = trace.process().thread()
    at = 0
    for step in range(6):
        for part, length in (("forward", 20 if step else 2000), ("backward", 40), ("optimizer", 10)):
            end = at + length * MS
            main.push(at, end, part, domain="llmperf").launch(at + MS, gpu=(end - 8 * MS, end))
            if part == "forward":
                main.mark(at + 1, 'llmperf.step {"b":1,"q":64,"kv":0,"logits":64}', domain="llmperf")
            at = end

    training = cli.analyze(trace)["training"]

    assert (training["steps"], training["left_out"], training["wall_ns"]) == (5, 1, 5 * 70 * MS)
    assert training["tokens_per_s_per_gpu"] == pytest.approx(64 / 0.07)


def test_tokens_of_all_micro_batches_and_none_of_other_ranks(cli: Cli) -> None:
    """Two ranks; four micro-batches of other lengths a step: 2 × (64 + 128 + 32 + 16) tokens in 90 ms on each GPU."""
    trace = TraceBuilder().gpu(0).gpu(1)
    for rank in range(2):
        main = trace.process(100 + rank).thread()
        mark = {"v": 1, "model": LLAMA, "rank": rank, "world": 2, "dp": 2}
        main.mark(0, f"llmperf.run {json.dumps(mark)}", domain="llmperf")
        at = 0
        for part in [part for _ in range(3) for part in (64, 128, 32, 16, "optimizer")]:
            for name in ["optimizer"] if part == "optimizer" else ["forward", "backward"]:
                main.push(at, at + 10 * MS, name, domain="llmperf")
                main.launch(at + MS, gpu=(at + 2 * MS, at + 9 * MS), device=rank)
                if name == "forward":
                    step = f'{{"b":2,"q":{part},"kv":0,"logits":{2 * int(part)}}}'
                    main.mark(at + 1, f"llmperf.step {step}", domain="llmperf")
                at += 10 * MS

    rows, _ = cli.sql(
        trace, "SELECT steps, tokens, flops::BIGINT AS flops, tokens_per_s_per_gpu AS rate FROM training_summary"
    )

    tokens, seen = 2 * (64 + 128 + 32 + 16), 2 * sum(map(pairs, (64, 128, 32, 16)))
    forward = all_layers(LLAMA, tokens, seen) + tokens * lm_head(LLAMA)
    assert rows == [{
        "steps": 6, "tokens": 6 * tokens, "flops": 6 * 3 * forward, "rate": pytest.approx(tokens / 0.09),
    }]  # fmt: skip


def test_a_slow_backward_that_a_collective_hides_is_found(cli: Cli) -> None:
    """All ranks' backwards end with the collective, so that they take as long; one computes 54 ms, the other 24."""
    trace = TraceBuilder().gpu(0).gpu(1)
    for rank in range(2):
        main = trace.process(100 + rank).thread()
        autograd = main.process.thread(300 + rank)
        for at in range(0, 400 * MS, 100 * MS):
            main.push(at, at + 20 * MS, "forward").launch(at + MS, gpu=(at + 2 * MS, at + 20 * MS), device=rank)
            main.push(at + 20 * MS, at + 80 * MS, "backward")
            end = at + (45 + 30 * rank) * MS
            autograd.launch(at + 21 * MS, gpu=(at + 21 * MS, end), device=rank)
            autograd.launch(at + 22 * MS, gpu=(end, at + 79 * MS), name=ALL_REDUCE, device=rank, stream=20)
            main.call(at + 23 * MS, until=at + 79 * MS, api="cudaStreamSynchronize_v3020")
            main.push(at + 80 * MS, at + 95 * MS, "optimizer")
            main.launch(at + 81 * MS, gpu=(at + 82 * MS, at + 94 * MS), device=rank)

    report = cli.analyze(trace)

    backward = phase(report, "backward")
    assert (backward["bound"], backward["wall_ns"]) == ("waiting", 4 * 2 * 60 * MS)
    budget = backward["budget"]
    assert (budget["wait_ns"], budget["transfer_ns"]) == (4 * 30 * MS, 4 * 2 * 4 * MS)
    (late,) = [one["message"] for one in report["findings"] if one["code"] == "late_rank"]
    assert "wait 120.0 ms for process 101, each of them 30.0 ms a step" in late


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


def test_passes_whose_work_was_not_recorded_are_told(cli: Cli) -> None:
    """torch.profiler misses what runs right behind its start: all four mixed passes, and the first of four prefills."""
    trace = KinetoTrace()
    mark = f"llmperf:llmperf.run {json.dumps({'v': 1, 'model': LLAMA})}".replace('"', "%22")
    trace.annotation(mark, 0, 0)
    for number in range(12):
        at = 20 * MS * number
        name, tokens, cached = (("mixed", 8, 8), ("prefill", 64, 0), ("decode", 1, 64))[number // 4]
        trace.annotation(f"llmperf:{name}", at + 1, at + 19 * MS)
        step = f"%22b%22:1,%22q%22:{tokens},%22kv%22:{cached},%22logits%22:1"
        trace.annotation(f"llmperf:llmperf.step {{{step}}}", at + 2, at + 2)
        if number > 4:
            trace.launch(at + MS, gpu=(at + 2 * MS, at + 18 * MS))

    report = cli.analyze(trace)

    measured = {name: phase(report, name)["mfu_busy"] is not None for name in ("mixed", "prefill", "decode")}
    assert measured == {"mixed": False, "prefill": False, "decode": True}
    told = {one["phase"]: one["message"] for one in report["findings"] if one["code"] == "passes_without_work"}
    assert told.keys() == {"mixed", "prefill"}
    assert told["mixed"].startswith("4 of 4 measured passes of mixed have tokens and no GPU work")
    assert told["prefill"].startswith("1 of 4 measured passes of prefill have tokens and no GPU work")
