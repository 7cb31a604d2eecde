"""Ranks that share a model: tensor, pipeline and context parallelism, batches of their own, several files."""

from __future__ import annotations

import json

import pytest

from tests.cli.public_reports.common import (
    ALL_REDUCE,
    LLAMA,
    analyzed_folder,
    codes,
    lm_head,
    marked,
    pairs,
    phase,
    projections,
    trained,
)
from tests.cli.run import MS, Cli, run
from tests.support.kineto import KinetoTrace
from tests.support.trace_builder import TraceBuilder

EIGHT = '{"b":8,"q":2048,"kv":0,"logits":16384}'
GATHER = "ncclDevKernel_AllGather_RING_LL(ncclDevKernelArgsStorage<4096ul>)"
SCATTER = "ncclDevKernel_ReduceScatter_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)"
SEND = "ncclDevKernel_SendRecv(ncclDevKernelArgsStorage<4096ul>)"


@pytest.mark.parametrize(("recorded", "tp"), [(8, 8), (1, 8), (8, None)])
def test_flops_of_a_tensor_parallel_gpt_are_shared_by_its_ranks(recorded: int, tp: int | None, cli: Cli) -> None:
    """GPT of two layers, 8 GPUs, 8 sequences of 2,048 tokens in 0.32 s; the trace has all ranks, one, or no degree."""
    width, tokens, vocabulary = 6144, 8 * 2048, 50_304
    config = {
        "model_type": "gpt2", "n_embd": width, "n_layer": 2, "n_head": 48, "n_positions": 2048,
        "vocab_size": vocabulary, "torch_dtype": "float16",
    }  # fmt: skip
    trace = TraceBuilder()
    for rank in range(recorded):
        reduced = {"forward": (ALL_REDUCE,), "backward": (ALL_REDUCE,)}
        marks = {"world": 8, "tp": 8} if tp else {}
        trained(trace, config if tp else None, rank=rank, talk=reduced, step=EIGHT if tp else "", **marks)

    report = cli.analyze(trace, *(() if tp else ("--model", cli.config(config), "--shape", "8x2048")))

    if tp is None:
        assert "parallel_degree_unknown" in codes(report)
        assert (report["training"]["flops"], report["training"]["mfu_busy"]) == (None, None)
        return
    layer = 2 * tokens * 12 * width**2 + 8 * 4 * width * pairs(2048)
    of_a_gpu = 3 * (2 * layer + 2 * tokens * width * vocabulary) / 8
    assert report["training"]["flops"] == 2 * recorded * of_a_gpu
    assert report["training"]["mfu_wall"] == pytest.approx(of_a_gpu / 0.32 / 989.4e12)
    assert report["training"]["tokens_per_s_per_gpu"] == pytest.approx(tokens / 8 / 0.32)
    assert ("ranks_missing" in codes(report)) == (recorded == 1)


def test_a_sequence_that_is_split_over_ranks(cli: Cli) -> None:
    def trace(*before: int) -> TraceBuilder:
        made = TraceBuilder().gpu(0).gpu(1)
        for rank, kv in enumerate(before):
            main = made.process(100 + rank).thread().push(0, 50 * MS, "forward")
            main.mark(1, f'llmperf.step {{"b":1,"q":512,"kv":{kv},"logits":512}}', domain="llmperf")
            main.launch(MS, gpu=(2 * MS, 40 * MS), device=rank)
        marked(made, LLAMA, world_size=2)
        return made

    rest = projections(LLAMA, 1024) + 1024 * lm_head(LLAMA)
    halves, whole = (phase(cli.analyze(trace(0, kv)), "forward")["flops"] for kv in (0, 512))

    assert halves == rest + 4 * 4 * 8 * 64 * 2 * pairs(512)
    assert whole == rest + 4 * 4 * 8 * 64 * pairs(1024)


@pytest.mark.parametrize(
    ("way", "is_told"),
    [("ring", True), ("ring", False), ("flex", True), ("fsdp", False)],
)
def test_tokens_of_split_sequences_count_once(way: str, is_told: bool, cli: Cli) -> None:
    """Two pairs of ranks: each pair has a sequence of 2,048 tokens, each rank half of it.

    Keys and values go round, or are gathered, as torch has it for flex attention, beside the weights of FSDP.
    FSDP alone is neither.
    """
    ways: dict[str, dict[str, tuple[str, ...]]] = {
        "ring": {"forward": (SEND,), "backward": (SEND,)},
        "flex": {"forward": (GATHER,) * 3, "backward": (GATHER, SCATTER, SCATTER, SCATTER)},
        "fsdp": {"forward": (GATHER,), "backward": (GATHER, SCATTER)},
    }
    trace = TraceBuilder()
    for rank in range(4):
        trained(trace, rank=rank, talk=ways[way])
    model = ("--model", cli.config(LLAMA), "--shape", "1x1024")

    report = cli.analyze(trace, *model, *(("--dp", 2, "--cp", 2) if is_told else ()))

    assert ("context_parallel_unknown" in codes(report)) == (not is_told and way != "fsdp")
    if is_told:
        sequence = projections(LLAMA, 2048) + 4 * 4 * 512 * pairs(2048) + 2048 * lm_head(LLAMA)
        assert report["training"]["tokens"] == 2 * 2 * 2048
        assert report["training"]["flops"] == 2 * 2 * 3 * sequence
        assert report["training"]["tokens_per_s_per_gpu"] == pytest.approx(1024 / 0.32)
    elif way != "fsdp":
        assert (report["training"]["tokens"], report["training"]["flops"]) == (None, None)


def test_stages_with_other_numbers_of_layers(cli: Cli) -> None:
    trace = TraceBuilder().gpu(0).gpu(1)
    for rank, layers in enumerate((3, 1)):
        main = trace.process(100 + rank).thread()
        main.mark(0, f'llmperf.run {{"v":1,"rank":{rank},"world":2,"pp":2,"tp":1}}', domain="llmperf")
        main.push(1, 50 * MS, "forward")
        main.mark(2, 'llmperf.step {"b":1,"q":512,"kv":0,"logits":512}', domain="llmperf")
        for layer in range(layers):
            main.launch(MS + layer * 100, gpu=((5 + 10 * layer) * MS, (9 + 10 * layer) * MS), device=rank)
    marked(trace, LLAMA, pp=2, world=2)

    report = cli.analyze(trace)

    # All GPUs together have the whole model; nothing says how much of it one of them has.
    assert 0 < phase(report, "forward")["mfu_wall"] < 1
    assert {(one["flops"], one["mfu_wall"]) for one in report["ranks"]} == {(None, None)}


def test_ranks_with_batches_of_their_own_are_not_one_gpu(cli: Cli) -> None:
    def trace(ranks: int) -> TraceBuilder:
        made = TraceBuilder()
        for rank in range(ranks):
            made.gpu(rank)
            main = made.process(100 + rank).thread()
            run_mark = {"v": 1, "model": LLAMA, "rank": rank, "world": ranks, "tp": 1}
            main.mark(0, f"llmperf.run {json.dumps(run_mark)}", domain="llmperf")
            main.push(1, 50 * MS, "forward").launch(MS, gpu=(5 * MS, 9 * MS), device=rank)
            main.mark(2, 'llmperf.step {"b":1,"q":512,"kv":0,"logits":512}', domain="llmperf")
        return made

    one, four = (phase(cli.analyze(trace(ranks)), "forward") for ranks in (1, 4))

    assert four["flops"] == 4 * one["flops"]
    assert four["mfu_busy"] == pytest.approx(one["mfu_busy"])


def test_recordings_of_one_process_are_no_ranks(cli: Cli) -> None:
    def record(file: str, at: int) -> None:
        trace = KinetoTrace()
        for step in range(4):
            start = at + step * 200_000
            for name, begin, end in (("forward", 0, 50), ("backward", 50, 90), ("optimizer", 90, 100)):
                trace.annotation(name, start + begin * 1_000, start + end * 1_000)
                trace.launch(start + begin * 1_000 + 1_000, gpu=(start + begin * 1_000 + 3_000, start + end * 1_000))
        trace.write(cli.folder / file)

    record("host_4711.1784000000000.pt.trace.json", 0)
    record("host_4711.1784000000010.pt.trace.json", 10 * MS)

    report = analyzed_folder(cli, "--model", "tiny-llama", "--shape", "1x16")

    assert [one["device_ids"] for one in report["ranks"]] == [[0]]
    assert len(report["trace"]["devices"]) == 1
    training = report["training"]
    # The first step of each recording begins with its first pass, not where the recording before it ended.
    assert (training["steps"], training["device_count"], training["wall_ns"]) == (8, 1, 2 * (100 + 3 * 200) * 1_000)
    assert training["tokens_per_s_per_gpu"] == pytest.approx(8 * 16 / 1.4e-3)


def test_processes_of_one_number_that_run_together_are_ranks(cli: Cli) -> None:
    for rank in range(2):
        trace = KinetoTrace()
        for step in range(3):
            at = step * 200_000 + rank * 1_000
            trace.annotation("decode", at, at + 90_000)
            trace.launch(at + 10_000, gpu=(at + 20_000, at + 45_000))
        trace.write(cli.folder / f"rank{rank}.trace.json")

    report = analyzed_folder(cli)

    assert [(one["rank"], one["device_ids"]) for one in report["ranks"]] == [(0, [0]), (1, [1])]


def test_recordings_of_a_capture_range_that_repeats_are_no_ranks(cli: Cli) -> None:
    """`--capture-range-end=repeat:2` leaves run.1 and run.2 of one process, recorded one after the other."""
    folder = cli.folder / "runs"
    folder.mkdir()
    for number in (1, 2):
        trace = TraceBuilder().gpu().session(80 * MS)
        trace.row("TARGET_INFO_SESSION_START_TIME", utcEpochNs=1_750_000_000_000_000_000 + number * 60_000 * MS)
        main = trace.process(777).thread()
        for at in range(0, 80 * MS, 20 * MS):
            main.push(at, at + 18 * MS, "decode").launch(at + MS, gpu=(at + 2 * MS, at + 16 * MS + number))
        trace.write(folder / f"run.{number}.sqlite")

    code, out, err = run(cli.capsys, "analyze", folder, "--format", "json", "--no-cache")

    report = json.loads(out)
    assert (code, len(report["trace"]["devices"])) == (0, 1), err
    assert {one["process_id"] for one in report["ranks"]} == {777}
    assert {device for one in report["ranks"] for device in one["device_ids"]} == {0}
    # the minute between the two is nobody's
    assert phase(report, "decode")["wall_ns"] == 8 * 18 * MS
    assert sum(report["windows_ns"].values()) == 8 * 18 * MS


def test_a_file_of_all_ranks_is_refused(cli: Cli) -> None:
    trace = KinetoTrace()
    for rank in range(2):
        name = f"[TP0{rank}] 4711"
        trace.event("user_annotation", "decode", 0, 90_000, name, 4711)
        trace.event("cuda_runtime", "cudaLaunchKernel", 10_000, 12_000, name, 4711, correlation=1)
        trace.kernel("gemm", 20_000, 45_000, 1, device=rank)

    code, out, err = run(cli.capsys, "analyze", trace.write(cli.folder / "merged.trace.json"), "--no-cache")

    assert (code, out) == (1, "")
    assert "nothing says which GPU work is whose" in err
    assert "a folder with one for each rank is one trace" in err


def test_files_of_ranks_with_clocks_of_their_own(cli: Cli) -> None:
    for rank in range(2):
        trace = KinetoTrace(distributedInfo={"rank": rank, "world_size": 2})
        del trace.head["baseTimeNanoseconds"]
        for step in range(4):
            at = rank * 1_000 * MS + step * 200_000
            trace.annotation("decode", at, at + 90_000)
            trace.launch(at + 10_000, gpu=(at + 20_000, at + 45_000))
            trace.launch(at + 12_000, gpu=(at + 50_000, at + 60_000), name=ALL_REDUCE)
        trace.write(cli.folder / f"rank{rank}.trace.json")

    code, out, _ = run(cli.capsys, "analyze", cli.folder, "--format", "json", "--no-cache")

    decode = phase(json.loads(out), "decode")
    assert (code, decode["kernel_count"], decode["gpu_busy_ns"]) == (0, 16, 280_000)
    # Spans are of each GPU, and waiting is not what two clocks differ by.
    assert (decode["idle_gap_ns"], decode["budget"]["wait_ns"]) == (2 * 4 * 5_000, 0)


@pytest.mark.parametrize(("idle", "told"), [(1, True), (0, False)])
def test_processes_that_each_call_their_gpu_0(idle: int, told: bool, cli: Cli) -> None:
    """Two of them, whose kernels of 70 ms overlap: on GPUs of their own, or on the only one."""
    trace = TraceBuilder("2023.3").gpu(0)
    for number in range(idle):
        trace.gpu(number + 1)
    for process in range(2):
        main = trace.process(100 + process).thread().push(0, 90 * MS, "decode")
        main.launch(MS, gpu=((5 + 5 * process) * MS, (75 + 5 * process) * MS))

    rows, err = cli.sql(trace, "SELECT gpu_busy_ns FROM phase_summary")

    assert rows == [{"gpu_busy_ns": 75 * MS}]
    # `gpus_not_told_apart`; where there is no other GPU they share it.
    assert ("in decode 2 processes work at the same time on what each calls GPU 0, and 1 other" in err) == told
    assert "have decode open at once" in err


def test_processes_that_share_a_gpu_are_told(cli: Cli) -> None:
    """Two replicas of an engine under MPS: the GPU works for both at once."""
    trace = TraceBuilder().gpu()
    marked(trace, LLAMA)
    for pid in (100, 200):
        main = trace.process(pid).thread()
        for at in range(0, 100 * MS, 20 * MS):
            main.push(at, at + 19 * MS, "decode", domain="llmperf")
            main.mark(at + 1, 'llmperf.step {"b":8,"q":1,"kv":512,"logits":8}', domain="llmperf")
            main.launch(at + MS, gpu=(at + 2 * MS, at + 18 * MS))

    report = cli.analyze(trace)

    found = phase(report, "decode")
    assert (found["tokens"], found["wall_ns"], found["gpu_busy_ns"]) == (2 * 5 * 8, 2 * 5 * 19 * MS, 5 * 16 * MS)
    assert "open_at_once" in codes(report)


@pytest.mark.parametrize("recorded", [2, 1, 0])
def test_a_rank_without_work_in_the_trace_shares_its_passes(recorded: int, cli: Cli) -> None:
    """Two ranks of an engine share each pass of four requests; nsys has the kernels of some of them."""
    trace = TraceBuilder()
    for rank in range(2):
        main = trace.gpu(rank).process(200 + rank).thread()
        run_mark = {"v": 1, "framework": "vllm", "model": LLAMA, "tp": 2, "rank": rank, "world": 2}
        main.mark(0, f"llmperf.run {json.dumps(run_mark)}", domain="llmperf")
        for number, at in enumerate(range(MS, 240 * MS, 20 * MS)):
            name, step = ("decode", {"q": 1, "kv": 63 + number}) if number else ("prefill", {"q": 64, "kv": 0})
            main.push(at, at + 18 * MS, name, domain="llmperf")
            main.mark(at + 1, f"llmperf.step {json.dumps({'b': 4, 'logits': 4} | step)}", domain="llmperf")
            if rank < recorded:
                main.launch(at + MS, gpu=(at + 2 * MS, at + 16 * MS), device=rank)

    report = cli.analyze(trace)

    assert {name: phase(report, name)["tokens"] for name in ("prefill", "decode")} == {"prefill": 256, "decode": 44}
    expected = projections(LLAMA, 256) + 4 * 4 * 4 * 512 * pairs(64) + 4 * lm_head(LLAMA)
    assert phase(report, "prefill")["flops"] == expected
    assert ("phases_without_work" in codes(report)) == (recorded == 1)
    # A rank whose kernels are missing has a GPU of its own.
    assert ("open_at_once" in codes(report)) == (recorded == 0)
    assert (phase(report, "decode")["mfu_busy"] is None) == (recorded < 2)
