"""Training by frameworks as they are: closures of optimizers, formulas, profilers that take time, AMD's GPUs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.public_reports.common import ALL_REDUCE, LLAMA, codes, lm_head, message, pairs, phase, projections
from tests.cli.run import MS, Cli, run
from tests.support.kineto import KinetoTrace, gpu
from tests.support.trace_builder import TraceBuilder

ADAM = "multi_tensor_apply_kernel<FusedAdamMathFunctor<float, 4>>"
AUTOGRAD = 4712
LIGHTNING = "[pl][profile]"
STRATEGY = f"{LIGHTNING}[Strategy]SingleDeviceStrategy."


def micro_batches_of_lightning(accumulated: int, *, has_steps: bool) -> KinetoTrace:
    """Eight batches of 31 ms, 1 for the loader; the last one of each step runs in the optimizer, which takes 5 ms more.

    So Lightning's automatic optimization does: forward and backward are a closure of the optimizer. The profiler's step
    begins behind each forward.
    """
    trace, at, profiled = KinetoTrace(), 0, -1
    trace.meta("thread_name", 4711, AUTOGRAD, name=f"thread {AUTOGRAD} (pt_autograd_0)")
    for batch in range(8):
        begin = at = at + MS
        trace.launch(at + 20_000, gpu=(at + 30_000, at + 10 * MS - 30_000), name="nvjet_hsh_f")
        trace.annotation(f"{STRATEGY}training_step", at + 10_000, at + 10 * MS - 20_000)
        if has_steps:
            if profiled >= 0:
                trace.annotation(f"ProfilerStep#{batch}", profiled, at + 10 * MS - 10_000)
            profiled = at + 10 * MS - 5_000
        at += 10 * MS
        trace.launch(at + 20_000, gpu=(at + 30_000, at + 20 * MS - 30_000), name="nvjet_hsh_b", tid=AUTOGRAD)
        trace.annotation(f"{STRATEGY}backward", at + 10_000, at + 20 * MS - 10_000)
        at += 20 * MS
        if batch % accumulated == accumulated - 1:
            trace.launch(at + 20_000, gpu=(at + 30_000, at + 5 * MS - 30_000), name=ADAM)
            at += 5 * MS
            trace.annotation("Optimizer.step#AdamW.step", begin + 5_000, at - 10_000)
            trace.annotation(f"{LIGHTNING}[LightningModule]Model.optimizer_step", begin + 2_000, at - 5_000)
        trace.annotation(f"{LIGHTNING}run_training_batch", begin, at)
    return trace


@pytest.mark.parametrize("has_steps", [False, True])
@pytest.mark.parametrize("accumulated", [1, 4])
def test_an_optimizer_that_runs_the_passes_begins_behind_them(accumulated: int, has_steps: bool, cli: Cli) -> None:
    trace = micro_batches_of_lightning(accumulated, has_steps=has_steps)
    options = ("--model", cli.config(LLAMA), "--shape", "2x512")

    report = cli.analyze(trace, *options)
    rows, _ = cli.sql(trace, "SELECT micro_batches, tokens, wall_ns FROM training_steps WHERE step > 0", *options)

    steps, length = 8 // accumulated, 31 * accumulated + 5
    found = {name: report["training"][name] for name in ("steps", "left_out", "micro_batches", "tokens")}
    assert found == {"steps": steps, "left_out": 0, "micro_batches": 8, "tokens": 8 * 1024}
    assert [(row["micro_batches"], row["tokens"]) for row in rows] == [(accumulated, accumulated * 1024)] * (steps - 1)
    assert all(row["wall_ns"] == pytest.approx(length * MS, abs=50_000) for row in rows)
    assert phase(report, "optimizer")["wall_ns"] == pytest.approx(steps * 5 * MS, rel=0.01)
    assert phase(report, "optimizer")["gpu_busy_ns"] == steps * (5 * MS - 60_000)
    assert "nested_phases" not in codes(report)


@pytest.mark.parametrize("is_tied", [True, False])
def test_a_table_that_is_the_head_too_is_one_product(is_tied: bool, cli: Cli) -> None:
    config = LLAMA | {"tie_word_embeddings": is_tied}
    printed = cli.flops(config, "--train", "--batch", 2, "--prompt-tokens", 64)

    forward = projections(LLAMA, 128) + 4 * 4 * 512 * 2 * pairs(64) + 128 * lm_head(LLAMA)
    weights = 4 * (512 * 64 * (8 + 2 * 2) + 512 * 512 + 3 * 512 * 1024) + 9 * 512 + (1 if is_tied else 2) * 512 * 1000
    assert printed["train"]["step"]["flops"] == 3 * forward
    assert printed["params"] == weights


@pytest.mark.parametrize("name", ["AMD Instinct MI355X", "AMD Instinct MI350X", ""])
def test_gpus_of_amd_have_no_peak_of_another_one(name: str, cli: Cli) -> None:
    device = gpu(0, name) | {"numSms": 256, "computeMajor": 9, "computeMinor": 5, "warpSize": 64}
    trace, at = KinetoTrace(deviceProperties=[device]), 0
    for _ in range(3):
        for text, length in (("forward", 30), ("backward", 60), ("Optimizer.step#AdamW.step", 10)):
            trace.annotation(text, at, at + length * MS)
            trace.launch(
                at + 1_000, gpu=(at + 10_000, at + length * MS - 1_000), name="Cijk_Alik_Bljk_BBS_BH_MT256x256x64"
            )
            at += length * MS
    options = ("--model", cli.config(LLAMA), "--shape", "2x512")

    plain, told = cli.analyze(trace, *options), cli.analyze(trace, *options, "--peak", "bf16=2500")

    flops = 3 * 2 * 3 * (projections(LLAMA, 512) + 4 * 4 * 512 * pairs(512) + 512 * lm_head(LLAMA))
    assert (plain["training"]["flops"], plain["training"]["mfu_wall"]) == (flops, None)
    assert any(
        "no cited peak" in text or "does not name" in text for text in [one["message"] for one in plain["findings"]]
    )
    assert told["training"]["mfu_wall"] == pytest.approx(flops / 0.3 / 2500e12, rel=1e-4)
    code, out, err = run(cli.capsys, "flops", cli.config(LLAMA), "--prompt-tokens", 8, "--gpu", name or "MI355X")
    assert (code, out) == (1, "")
    assert "no peaks are known for" in err


def test_checkpointing_runs_layers_four_times_and_the_head_three_times(cli: Cli) -> None:
    """Megatron's formula, without the masked half of attention: 96 b s l h² of the layers, 6 b s h V of the head."""
    batch, tokens, layers, width, vocabulary = 2, 256, 2, 512, 4096
    config: dict[str, Any] = {
        "model_type": "gpt2", "n_embd": width, "n_layer": layers, "n_head": 8, "n_positions": 1024,
        "vocab_size": vocabulary, "torch_dtype": "bfloat16",
    }  # fmt: skip
    kernels = {
        "forward": ["nvjet_tst_qkv", "fmha_fwd_kernel", "nvjet_tst_o", "nvjet_tst_up", "nvjet_tst_down"] * layers,
        "backward": [],
        "optimizer": [ADAM],
    }
    kernels["backward"] = [*kernels["forward"], *(["nvjet_ntt_a", "nvjet_ntn_b"] * 4 + ["fmha_bwd_kernel"]) * layers]
    trace = TraceBuilder().gpu()
    main, at = trace.process().thread(), 0
    for _ in range(3):
        for name, length in (("forward", 40), ("backward", 120), ("optimizer", 10)):
            main.push(at, at + length * MS, name)
            for number, kernel in enumerate(kernels[name]):
                main.launch(
                    at + 3_000 * (number + 1), gpu=(at + (number + 1) * MS, at + (number + 2) * MS), name=kernel
                )
            at += length * MS

    training = cli.analyze(trace, "--model", cli.config(config), "--shape", f"{batch}x{tokens}")["training"]

    positions = batch * tokens
    layer_flops = layers * (24 * positions * width**2 + 4 * width * batch * pairs(tokens))
    head = 2 * positions * width * vocabulary
    assert training["flops"] == 3 * 3 * (layer_flops + head)
    assert training["recomputed_flops"] == 3 * layer_flops


@pytest.mark.parametrize(
    ("noted", "text"),
    [
        (
            {"record_shapes": 1, "with_stack": 1},
            "noting its 80 operators, their shapes and their stacks took host time",
        ),
        ({"record_shapes": 0}, "noting its 80 operators took host time"),
    ],
)
def test_time_that_a_profiler_takes_is_told(noted: dict[str, int], text: str, cli: Cli) -> None:
    """Steps of 20 operators, of 40 µs on the host, with a kernel of 3 µs each: most of the time is the profiler's."""
    trace, at = KinetoTrace(**noted), 0
    for step in range(4):
        begin = at
        for _ in range(20):
            trace.op("aten::addmm", at, at + 34_000, [[1000], [64, 1000], [1000, 1000], [], []])
            trace.launch(at + 20_000, gpu=(at + 30_000, at + 33_000))
            at += 40_000
        trace.annotation(f"ProfilerStep#{step}", begin, at)

    report = cli.analyze(trace)

    assert phase(report, "step")["wall_ns"] == 4 * 20 * 40_000
    assert text in message(report, "torch_profiler_limits")
    assert "torch.profiler" in message(report, "torch_profiler_limits")


def test_communication_lasts_as_long_as_its_kernel(cli: Cli) -> None:
    """`nccl:all_reduce` is over on the host in 50 µs; its kernel runs for 40 ms, 10 of them beside another one."""
    trace, at = KinetoTrace(), 0
    trace.meta("thread_name", 4711, AUTOGRAD, name=f"thread {AUTOGRAD} (pt_autograd_0)")
    for step in range(4):
        trace.launch(at + 100_000, gpu=(at + 200_000, at + 10 * MS))
        trace.launch(at + 500_000, gpu=(at + 10 * MS, at + 20 * MS), tid=AUTOGRAD)
        trace.op("record_param_comms", at + 600_000, at + 680_000, tid=AUTOGRAD)
        trace.annotation("nccl:all_reduce", at + 610_000, at + 660_000, tid=AUTOGRAD)
        trace.launch(at + 620_000, gpu=(at + 20 * MS, at + 60 * MS), name=ALL_REDUCE, tid=AUTOGRAD, stream=20)
        trace.launch(at + 800_000, gpu=(at + 20 * MS, at + 30 * MS), tid=AUTOGRAD)
        trace.annotation(f"ProfilerStep#{step}", at, at + 62 * MS)
        at += 62 * MS

    rows, _ = cli.sql(trace, "SELECT phase, kind, kernel_count, time_ns, exposed_ns FROM collective_summary")

    assert [tuple(row.values()) for row in rows] == [("step", "all_reduce", 4, 160 * MS, 120 * MS)]
