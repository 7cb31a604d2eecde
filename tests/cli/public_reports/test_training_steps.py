"""Steps of training: where they begin and end, their tokens per second, what in them is no training."""

from __future__ import annotations

import json

import pytest

from tests.cli.public_reports.common import (
    LARGE,
    LLAMA,
    all_layers,
    codes,
    lm_head,
    marked,
    message,
    pairs,
    phase,
    projections,
    run_ranges,
)
from tests.cli.run import MS, Cli, run
from tests.support.kineto import KinetoTrace
from tests.support.trace_builder import TraceBuilder

LIGHTNING = "[pl][profile][Strategy]SingleDeviceStrategy."


def training(ranks: int = 1, micro_batches: int = 1, **marks: object) -> TraceBuilder:
    """Two steps of 512 tokens for each micro-batch, whose ranges follow each other without a gap."""
    trace = TraceBuilder()
    for rank in range(ranks):
        trace.gpu(rank)
        main = trace.process(100 + rank).thread()
        run_mark = {"v": 1, "model": LLAMA, "rank": rank, "world": ranks} | marks
        main.mark(0, f"llmperf.run {json.dumps(run_mark)}", domain="llmperf")
        at = MS
        for _ in range(2):
            for name in ["forward", "backward"] * micro_batches + ["optimizer"]:
                main.push(at, at + 10 * MS, name).launch(at + 2, gpu=(at + MS, at + 4 * MS), device=rank)
                if name == "forward":
                    main.mark(at + 1, 'llmperf.step {"b":1,"q":512,"kv":0,"logits":512}', domain="llmperf")
                at += 10 * MS
    return trace


def test_micro_batches_of_a_step_add_up(cli: Cli) -> None:
    one, three = (cli.analyze(training(micro_batches=number))["training"] for number in (1, 3))

    assert (one["steps"], one["micro_batches"], one["tokens"]) == (2, 2, 1024)
    assert (three["steps"], three["micro_batches"], three["tokens"]) == (2, 6, 3072)
    attention = 4 * 4 * 8 * 64 * pairs(512)
    assert one["flops"] == 2 * 3 * (projections(LLAMA, 512) + attention + 512 * lm_head(LLAMA))
    assert three["flops"] == 3 * one["flops"]


def test_tokens_of_all_micro_batches_of_a_step(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for number in range(4):
        at = number * 100 * MS
        main.push(at, at + 40 * MS, "forward").launch(at + MS, gpu=(at + 2 * MS, at + 30 * MS))
        main.mark(at + 1, 'llmperf.step {"b":1,"q":512,"kv":0,"logits":512}', domain="llmperf")
        main.push(at + 50 * MS, at + 90 * MS, "backward").launch(at + 51 * MS, gpu=(at + 52 * MS, at + 85 * MS))
    main.push(400 * MS, 500 * MS, "optimizer").launch(401 * MS, gpu=(402 * MS, 450 * MS))
    marked(trace, LLAMA)

    training = cli.analyze(trace)["training"]

    assert (training["micro_batches"], training["tokens"]) == (4, 2048)
    assert training["tokens_per_s_per_gpu"] == pytest.approx(2048 / 0.5)


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


def test_tokens_of_ranks_that_share_a_pass_count_once(cli: Cli) -> None:
    shared, own = (cli.analyze(training(ranks=2, tp=tp))["training"] for tp in (2, 1))

    assert (shared["tokens"], own["tokens"]) == (1024, 2048)
    assert (shared["flops"], own["flops"]) == (own["flops"] / 2, shared["flops"] * 2)
    assert shared["tokens_per_s_per_gpu"] == pytest.approx(own["tokens_per_s_per_gpu"] / 2)


@pytest.mark.parametrize("ranks", [8, 1])
def test_tokens_of_all_ranks_are_not_those_of_one_gpu(ranks: int, cli: Cli) -> None:
    """8 ranks with 4 sequences of 4,096 tokens each in 1.93 s; all are recorded, or rank 0 alone."""
    trace = TraceBuilder()
    for rank in range(ranks):
        main = trace.gpu(rank).process(100 + rank).thread()
        mark = {"v": 1, "model": LARGE, "rank": rank, "world": 8, "dp": 8}
        main.mark(0, f"llmperf.run {json.dumps(mark)}", domain="llmperf")
        at = 0
        for part, length in [("forward", 600), ("backward", 1200), ("optimizer", 130)] * 3:
            end = at + length * MS
            main.push(at, end, part, domain="llmperf").launch(at + MS, gpu=(at + 2 * MS, end - MS), device=rank)
            if part == "forward":
                main.mark(at + 1, 'llmperf.step {"b":4,"q":4096,"kv":0,"logits":16384}', domain="llmperf")
            at = end

    report = cli.analyze(trace)

    assert report["training"]["tokens_per_s_per_gpu"] == pytest.approx(4 * 4096 / 1.93)
    assert ("ranks_missing" in {one["code"] for one in report["warnings"]}) == (ranks == 1)


def test_tokens_of_a_step_are_not_those_of_all_before(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for step in range(3):
        for place, name in enumerate(("forward", "backward", "optimizer")):
            at = step * 300 * MS + place * 100 * MS
            main.push(at, at + 100 * MS, name).launch(at + MS, gpu=(at + 2 * MS, at + 90 * MS))

    rows, _ = cli.sql(trace, "SELECT tokens FROM training_steps", "--model", "tiny-llama", "--shape", "2x32")

    assert [row["tokens"] for row in rows] == [64] * 3


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


def test_steps_of_a_resumed_run_keep_their_numbers(cli: Cli) -> None:
    trace, model = KinetoTrace(), ("--model", "tiny-llama", "--shape", "1x32")
    for number in range(4):
        at = number * 200_000
        trace.annotation(f"ProfilerStep#{3865 + number}", at, at + 100_000)
        for place, name in enumerate(("forward", "backward", "optimizer")):
            start = at + place * 33_000
            trace.annotation(name, start, start + 33_000)
            trace.launch(start + 1_000, gpu=(start + 2_000, start + 30_000))
    path = trace.write(cli.folder / "resumed.json")

    code, out, _ = run(cli.capsys, "analyze", path, *model, "--format", "json", "--no-cache")
    other, _, err = run(cli.capsys, "analyze", path, "--steps", "3865:3867", "--no-cache")

    training = json.loads(out)["training"]
    assert (code, training["steps"], training["tokens"]) == (0, 4, 128)
    # `--steps` counts those of the recording.
    assert (other, "4 of optimizer" in err) == (2, True)


@pytest.mark.parametrize("text", ["save_checkpoint", "range of no meaning"])
def test_saving_checkpoints_is_no_training(text: str, cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for start in (0, 500 * MS, 1_000 * MS):
        for name, begin, end in (("forward", 0, 150), ("backward", 150, 350), ("optimizer", 350, 400)):
            main.push(start + begin * MS, start + end * MS, name)
            main.launch(start + (begin + 1) * MS, gpu=(start + (begin + 2) * MS, start + (end - 5) * MS))
        main.push(start + 400 * MS, start + 480 * MS, text)

    rows, _ = cli.sql(trace, "SELECT wall_ns, input_wait_ns FROM training_steps ORDER BY step")

    # 20 ms of each step go by after the checkpoint; without its range all 100 ms are the next step's.
    between = 20 * MS if text == "save_checkpoint" else 100 * MS
    first, *others = [tuple(row.values()) for row in rows]
    assert (first, others) == ((400 * MS, 0), [(400 * MS + between, between)] * 2)


@pytest.mark.parametrize("evaluating", [f"{LIGHTNING}validation_step", "eval_step_7"])
def test_evaluation_is_in_no_step_and_no_wait_for_input(evaluating: str, cli: Cli) -> None:
    """Sanity check, then two epochs of two steps of two micro-batches; evaluation after each epoch."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    at = run_ranges(main, 0, evaluating)
    for _ in range(2):
        for batch in range(4):
            start = at
            at = run_ranges(main, at, f"{LIGHTNING}training_step", f"{LIGHTNING}backward")
            at = run_ranges(main, at, "Optimizer.step#AdamW.step") if batch % 2 else at
            main.push(start, at, "[pl][profile]run_training_batch")
        at = run_ranges(main, at, evaluating)

    rows, _ = cli.sql(trace, "SELECT wall_ns, input_wait_ns, gpu_busy_ns FROM training_steps")
    phases, _ = cli.sql(
        trace, "SELECT phase, kernel_count FROM phase_summary WHERE phase NOT IN ('forward', 'backward')"
    )

    assert rows == [{"wall_ns": 100 * MS, "input_wait_ns": 0, "gpu_busy_ns": 90 * MS}] * 4
    assert {row["phase"]: row["kernel_count"] for row in phases} == {"evaluation": 3, "optimizer": 4}


@pytest.mark.parametrize("waiting", [0, 20])
def test_input_that_the_gpu_does_not_wait_for_is_told(waiting: int, cli: Cli) -> None:
    """The host is in its data loader for 60 of 100 ms; the GPU works on the step before for 52 of them."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in range(0, 600 * MS, 100 * MS):
        main.push(at + 60 * MS, at + 66 * MS, "forward")
        main.launch(at + 61 * MS, gpu=(at + 62 * MS, at + 80 * MS), name="gemm")
        main.push(at + 66 * MS, at + 72 * MS, "backward")
        main.launch(at + 67 * MS, gpu=(at + 80 * MS, at + 150 * MS - waiting * 3 * MS), name="gemm")
        main.push(at + 72 * MS, at + 74 * MS, "optimizer")
        main.launch(at + 73 * MS, gpu=(at + 150 * MS - waiting * 3 * MS, at + 152 * MS - waiting * 3 * MS), name="adam")

    report = cli.analyze(trace)

    assert ("input_wait_hidden" in codes(report)) == (waiting == 0)
    if not waiting:
        # Five waits from 74 to 160 ms, in each of which the GPU works until 152.
        assert "of 430.0 ms" in message(report, "input_wait_hidden")
        assert "work for 390.0 ms" in message(report, "input_wait_hidden")


def test_an_optimizer_inside_the_backward_makes_no_steps(cli: Cli) -> None:
    """Hooks update each weight as soon as its gradient is there, on autograd's thread."""
    trace = TraceBuilder().gpu()
    process = trace.process()
    main, autograd = process.thread(), process.thread()
    for at in range(0, 300 * MS, 100 * MS):
        main.push(at, at + 30 * MS, "forward").launch(at + MS, gpu=(at + 2 * MS, at + 30 * MS))
        main.mark(at + 1, 'llmperf.step {"b":1,"q":64,"kv":0,"logits":64}', domain="llmperf")
        main.push(at + 30 * MS, at + 100 * MS, "backward")
        for start in range(at + 31 * MS, at + 90 * MS, 20 * MS):
            autograd.launch(start, gpu=(start + 9, start + 8 * MS))
            autograd.push(start + 9 * MS, start + 12 * MS, "Optimizer.step#AdamW.step")
            autograd.launch(start + 10 * MS, gpu=(start + 11 * MS, start + 12 * MS), name="multi_tensor_apply_kernel")
    marked(trace, LLAMA)

    rows, _ = cli.sql(trace, "SELECT micro_batches, is_complete, wall_ns, tokens FROM training_steps")

    assert rows == [{"micro_batches": 1, "is_complete": True, "wall_ns": 100 * MS, "tokens": 64}] * 3


def test_the_warm_up_of_a_pipeline_is_no_warm_up(cli: Cli) -> None:
    """Megatron names the parts of a pipeline's schedule by its functions, inside the range of each step."""
    schedule = "megatron.core.pipeline_parallel.schedules.forward_backward_pipelining_with_interleaving"
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for step in range(4):
        at = step * 100 * MS
        main.push(at, at + 95 * MS, f"training_step_{step}")
        main.push(at + 1, at + 90 * MS, "megatron.bridge.training.train.train_step")
        for number, part in enumerate(["warmup", "steady", "cooldown"]):
            start = at + (1 + 25 * number) * MS
            main.push(start, start + 25 * MS, f"{schedule}.{part}")
            main.launch(start + MS, gpu=(start + 2 * MS, start + 22 * MS))

    found = phase(cli.analyze(trace), "step")

    assert (found["occurrences"], found["warmup_occurrences"]) == (4, 0)
    assert (found["kernel_count"], found["wall_ns"], found["gpu_busy_ns"]) == (12, 380 * MS, 240 * MS)


@pytest.mark.parametrize("gpu_ms", [20, 200])
def test_steps_that_the_host_leaves_before_the_gpu_does(gpu_ms: int, cli: Cli) -> None:
    """A step takes 30 ms of the host, and 20 or 200 of the GPU: then the host's time says nothing about it."""
    trace = KinetoTrace()
    for step in range(5):
        at = step * 30 * MS
        trace.annotation(f"ProfilerStep#{step + 2}", at, at + 30 * MS)
        start = 3 * MS + step * max(gpu_ms, 30) * MS
        trace.launch(at + MS, gpu=(start, start + gpu_ms * MS), name="nvjet_tst")

    report = cli.analyze(trace)

    steps = phase(report, "step")
    assert (steps["median_wall_ns"], steps["median_busy_ns"]) == (30 * MS, gpu_ms * MS)
    assert ("work_outlives_range" in codes(report)) == (gpu_ms == 200)
