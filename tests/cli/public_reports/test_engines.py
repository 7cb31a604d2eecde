"""Engines: what their steps are, chunks of prompts, several models, ranks without requests."""

from __future__ import annotations

import pytest

from tests.cli.public_reports.common import (
    LLAMA,
    PROMPT,
    TOKEN,
    US,
    analyzed_folder,
    analyzed_steps,
    codes,
    engine,
    kernels_of_a_pass,
    lm_head,
    messages,
    pairs,
    phase,
    projections,
)
from tests.cli.run import MS, Cli
from tests.support.kineto import KinetoTrace
from tests.support.trace_builder import TraceBuilder


def test_batches_of_both_kinds_are_a_phase(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for number, name in enumerate(["prefill_batch", "mixed_batch", "decode_batch", "decode_batch", "mixed_batch"]):
        at = number * 20 * MS
        main.push(at, at + MS, "scheduler_step")
        main.push(at + MS, at + 15 * MS, name).launch(at + 2 * MS, gpu=(at + 3 * MS, at + 14 * MS))
        main.push(at + 15 * MS, at + 18 * MS, "sampling").launch(at + 15 * MS + 1, gpu=(at + 16 * MS, at + 17 * MS))

    rows, _ = cli.sql(trace, "SELECT phase, count(*) AS n FROM gpu_work GROUP BY phase ORDER BY phase")

    assert rows == [
        {"phase": "decode", "n": 2}, {"phase": "mixed", "n": 2}, {"phase": "prefill", "n": 1}, {"phase": None, "n": 5},
    ]  # fmt: skip


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
            kernels_of_a_pass(main, at + MS)
        if in_pieces:
            main.push(at + 31 * MS, at + 33 * MS, "step[DECODE bs=4]")
        main.launch(at + (31 if in_pieces else 29) * MS + 1, gpu=(at + 32 * MS, at + 33 * MS), name="ArgMaxOps<float>")

    report = cli.analyze(trace)

    decode = phase(report, "decode")
    assert (decode["occurrences"], decode["tokens"]) == ((8, 32) if in_pieces else (4, 16))
    told = [one["message"] for one in report["findings"] if one["code"] == "steps_in_pieces"]
    assert [message[:51] for message in told] == ["4 of 8 measured ranges of decode run no matrix prod"] * in_pieces


@pytest.mark.parametrize("tokens", ["g_sq=2 ", ""])
def test_sums_over_the_requests_of_a_step(tokens: str, cli: Cli) -> None:
    # Prompts of 8 and 4 tokens behind 2 and 6 that are cached; then sequences of 10 and 20 tokens.
    report = analyzed_steps(
        cli,
        "step[EXTEND bs=2 toks=12 c_sq=12 c_sqsq=80 c_sqsk=120 c_sk=20]",
        f"step[DECODE bs=2 {tokens}g_sqsq=2 g_sqsk=30 g_sk=30]",
    )

    attention, logits = 4 * 4 * 8 * 64, 2 * lm_head(LLAMA)
    prompts = 8 * 2 + pairs(8) + 4 * 6 + pairs(4)
    assert phase(report, "prefill")["flops"] == projections(LLAMA, 12) + attention * prompts + logits
    assert phase(report, "decode")["flops"] == projections(LLAMA, 2) + attention * 30 + logits


def test_stages_of_one_rank_in_files_of_their_own(cli: Cli) -> None:
    for number, (stage, text) in enumerate((("EXTEND", "step[EXTEND bs=2 toks=12]"), ("DECODE", "step[DECODE bs=2]"))):
        trace = KinetoTrace(distributedInfo={"rank": 0, "world_size": 1})
        for step in range(2):
            at = number * 10 * MS + step * 200_000
            trace.annotation(text, at, at + 90_000)
            trace.launch(at + 10_000, gpu=(at + 20_000, at + 45_000))
        trace.write(cli.folder / f"1757059104.5-TP-0-{stage}.trace.json.gz")

    report = analyzed_folder(cli)

    assert [(one["name"], one["kernel_count"]) for one in report["phases"]] == [("prefill", 2), ("decode", 2)]
    assert [(one["rank"], one["device_ids"]) for one in report["ranks"]] == [(0, [0])]


def test_halves_of_a_batch_on_threads_of_their_own(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    process = trace.process()
    main, halves = process.thread(), [process.thread(), process.thread()]
    main.push(0, 18 * MS, "execute_context_0(0)_generation_64(64)").launch(MS, gpu=(MS + 5, 2 * MS), name="prepare")
    for number, half in enumerate(halves):
        for layer in range(4):
            at = (3 + 2 * layer + number) * MS
            half.push(at - 9, at + 9, f"{{'Module': 'model.layers.{layer}.mlp'}}")
            half.launch(at, gpu=(at + 5, at + MS + MS // 2), stream=11 + number)

    rows, _ = cli.sql(trace, "SELECT phase, count(*) AS n FROM gpu_work GROUP BY phase")

    assert rows == [{"phase": "decode", "n": 9}]


def test_empty_steps_of_idle_ranks_are_no_decode_steps(cli: Cli) -> None:
    trace = KinetoTrace()
    texts = ("execute_context_0(0)_generation_8(8)", "execute_context_0(0)_generation_0(0)", "step[IDLE bs=0]")
    for number, text in enumerate(texts):
        at = number * 90_000
        trace.annotation(text, at, at + 80_000)
        trace.launch(at + 5_000, gpu=(at + 10_000, at + 70_000))

    report = cli.analyze(trace)

    (decode,) = report["phases"]
    assert (decode["name"], decode["occurrences"], decode["kernel_count"], decode["tokens"]) == ("decode", 1, 1, 8)
    assert report["unattributed"]["kernel_count"] == 2


def test_engines_of_several_models_are_told(cli: Cli) -> None:
    trace = TraceBuilder().gpu(0).gpu(1)
    engine(trace, 100, "decode", TOKEN, device=0, model=LLAMA)
    engine(trace, 101, "decode", TOKEN, device=1, at=1, model=LLAMA | {"num_hidden_layers": 2, "use_cache": False})

    rows, err = cli.sql(trace, "SELECT process_id, flops IS NULL AS unknown FROM phases GROUP BY ALL ORDER BY ALL")
    total, _ = cli.sql(trace, "SELECT flops, mfu_busy FROM phase_summary")

    assert rows == [{"process_id": 100, "unknown": False}, {"process_id": 101, "unknown": True}]
    # Not those of half of the phase.
    assert total == [{"flops": None, "mfu_busy": None}]
    # `other_runs`
    assert "1 processes run something else than the first that says what it runs (another model)" in err


@pytest.mark.parametrize("decoding_ranks", [1, 2])
def test_engines_of_other_degrees_are_told(decoding_ranks: int, cli: Cli) -> None:
    """One computes prompts on a GPU, another one tokens, on as many or on two."""
    trace = TraceBuilder().gpu(0).gpu(1).gpu(2)
    engine(trace, 100, "prefill", PROMPT, device=0, model=LLAMA, tp=1)
    for rank in range(decoding_ranks):
        engine(trace, 200 + rank, "decode", TOKEN, device=1 + rank, at=1, model=LLAMA, tp=decoding_ranks)

    rows, err = cli.sql(trace, "SELECT phase, flops IS NULL AS unknown, tokens FROM phase_summary ORDER BY phase")

    tokens = 3 * 8 * decoding_ranks
    assert rows == [
        {"phase": "decode", "unknown": decoding_ranks > 1, "tokens": tokens},
        {"phase": "prefill", "unknown": False, "tokens": 3 * 8 * 512},
    ]
    assert ("(another parallel degree)" in err) == (decoding_ranks > 1)


def test_flops_of_a_run_are_those_of_the_whole_model(cli: Cli) -> None:
    whole, shared = TraceBuilder().gpu(0), TraceBuilder().gpu(0).gpu(1)
    engine(whole, 100, "decode", TOKEN, device=0, model=LLAMA, tp=1)
    for rank in range(2):
        engine(shared, 100 + rank, "decode", TOKEN, device=rank, at=rank, model=LLAMA, tp=2)

    (one,), _ = cli.sql(whole, "SELECT sum(flops) AS flops FROM phases")
    (both,), _ = cli.sql(shared, "SELECT sum(flops) AS flops FROM phases")

    assert one == both


@pytest.mark.parametrize("annotated", [True, False])
def test_kernels_of_a_thread_without_cpu_events_are_not_lost(annotated: bool, cli: Cli) -> None:
    """vLLM's steps on a thread of Ray: of it the trace has launches alone, and annotations, if any, on another."""
    trace = KinetoTrace()
    trace.meta("thread_name", 4711, 77, name="thread 77 (python)")
    for step in range(6):
        at = step * MS
        if annotated:
            text = "execute_context_0(0)_generation_8(8)" if step else "execute_context_1(64)_generation_0(0)"
            trace.annotation(text, at, at + 900 * US)
        for number, name in enumerate(["nvjet_tst_64x8", "flash_fwd_splitkv_kernel", "reduce_kernel"]):
            start = at + (100 + 200 * number) * US
            trace.launch(at + (14 + 20 * number) * US, gpu=(start, start + 150 * US), name=name, tid=77)

    report = cli.analyze(trace)

    if annotated:
        assert (phase(report, "prefill")["gpu_busy_ns"], phase(report, "decode")["gpu_busy_ns"]) == (
            450 * US,
            2250 * US,
        )
        assert messages(report, "other_thread").startswith("15 operations of decode were launched by threads")
    else:
        assert report["unattributed"]["reasons"] == {"no_range": {"count": 18, "time_ns": 2700 * US}}
        assert "no_nvtx" in codes(report)
    assert report["totals"]["kernel_time_ns"] == 2700 * US
