"""Training: what ranks wait for, where a step begins and ends, and what of it runs twice."""

from __future__ import annotations

import json

import pytest

from tests.cli.public_reports.common import (
    ALL_REDUCE,
    LLAMA,
    codes,
    lm_head,
    message,
    messages,
    pairs,
    phase,
    projections,
    trained,
)
from tests.cli.run import MS, Cli
from tests.support.trace_builder import TraceBuilder

SHAPE = ("--shape", "2x512")
WHOLE = "DeepSpeedEngine."
PRODUCTS, MICRO, ADAM = "nvjet_tst", 60 * MS, "multi_tensor_apply_kernel<FusedAdamMathFunctor<float, 4>>"


def nodes(*late_ms: int, world: int | None = None) -> TraceBuilder:
    """Two ranks of a node; `late_ms`: how much longer each computes. They meet for 5 ms, then the other node for 10."""
    trace = TraceBuilder()
    for rank, late in enumerate(late_ms):
        main = trace.gpu(rank).process(100 + rank).thread()
        if world is not None:
            main.mark(0, f"llmperf.run {json.dumps({'v': 1, 'rank': rank, 'world': world, 'tp': 1})}", domain="llmperf")
        for at in range(0, 6 * 150 * MS, 150 * MS):
            computed, met = at + (100 + late) * MS, at + (105 + max(late_ms)) * MS
            main.push(at, at + 5 * MS, "forward")
            main.launch(at + MS, gpu=(at + 2 * MS, at + 40 * MS), device=rank, name=PRODUCTS)
            main.push(at + 5 * MS, at + 12 * MS, "backward")
            main.launch(at + 6 * MS, gpu=(at + 40 * MS, computed), device=rank, name=PRODUCTS)
            main.launch(at + 10 * MS, gpu=(computed, met), device=rank, stream=20, name=ALL_REDUCE)
            main.launch(at + 11 * MS, gpu=(met, met + 10 * MS), device=rank, stream=20, name=ALL_REDUCE)
            main.push(at + 12 * MS, at + 14 * MS, "optimizer")
            main.launch(at + 13 * MS, gpu=(met + 10 * MS, met + 15 * MS), device=rank, name=ADAM)
            main.push(at + 14 * MS, at + 150 * MS, "log")
    return trace


@pytest.mark.parametrize(
    ("world", "told"),
    [(2, ""), (4, ", or wait for ranks that are not in the trace"), (None, "not in the trace, if the job has others")],
)
def test_collectives_may_wait_for_another_node(world: int | None, told: str, cli: Cli) -> None:
    """A collective within the node that is longer than the one between nodes waits for a rank of the node."""
    report = cli.analyze(nodes(0, 20, world=world))
    rows, _ = cli.sql(nodes(0, 20), "SELECT wait_ns, transfer_ns FROM collective_summary")

    assert rows == [{"wait_ns": 6 * 20 * MS, "transfer_ns": 2 * 6 * 15 * MS}]
    found = message(report, "exposed_communication")
    assert found.endswith(told or "of the time")
    assert ("not in the trace" in found) == (world != 2)


def test_a_batch_takes_longer_than_its_ranges_on_the_host(cli: Cli) -> None:
    """Lightning's ranges of 6, 8 and 2 ms; the GPU works for 82, 173 and 10, and the batch waits for it."""
    trace = TraceBuilder().gpu()
    main, at = trace.process().thread(), 0
    for _ in range(6):
        main.push(at, at + 4 * MS, "get_train_batch")
        at += 4 * MS
        main.push(at + 1, at + 6 * MS, "model_forward")
        main.launch(at + 2 * MS, gpu=(at + 3 * MS, at + 85 * MS), name=PRODUCTS)
        main.push(at + 6 * MS, at + 14 * MS, "model_backward")
        main.launch(at + 7 * MS, gpu=(at + 85 * MS, at + 258 * MS), name=PRODUCTS)
        main.push(at + 14 * MS, at + 16 * MS, "optimizer_step")
        main.launch(at + 15 * MS, gpu=(at + 258 * MS, at + 268 * MS), name=ADAM)
        main.call(at + 17 * MS, until=at + 269 * MS, api="cudaStreamSynchronize_v3020")
        main.push(at, at + 270 * MS, "run_training_batch")
        at += 271 * MS

    report = cli.analyze(trace)

    assert report["training"]["median_wall_ns"] == 275 * MS
    busy = {name: phase(report, name)["gpu_busy_ns"] for name in ("forward", "backward", "optimizer")}
    assert busy == {"forward": 6 * 82 * MS, "backward": 6 * 173 * MS, "optimizer": 6 * 10 * MS}
    assert sum(one["code"] == "work_outlives_range" for one in report["findings"]) == 3


@pytest.mark.parametrize("waiting", [42, 0])
def test_the_first_wait_for_data_is_in_no_step(waiting: int, cli: Cli) -> None:
    """Six steps wait for data, then copy it for 2 ms before each of two micro-batches; the first wait is nobody's."""
    trace = TraceBuilder().gpu()
    main, at = trace.process().thread(), 0
    for _ in range(6):
        at += waiting * MS
        for _ in range(2):
            main.push(at, at + 2 * MS, "preprocess").memcpy(at + MS, gpu=(at + MS + 1_000, at + 2 * MS - 1_000))
            main.push(at + 2 * MS, at + 22 * MS, "forward")
            main.launch(at + 2 * MS + 9, gpu=(at + 3 * MS, at + 22 * MS), name=PRODUCTS)
            main.push(at + 22 * MS, at + 62 * MS, "backward")
            main.launch(at + 22 * MS + 9, gpu=(at + 23 * MS, at + 62 * MS), name=PRODUCTS)
            at += 62 * MS
        main.push(at, at + 6 * MS, "optimizer").launch(at + 9, gpu=(at + MS, at + 6 * MS), name=ADAM)
        at += 6 * MS

    report = cli.analyze(trace, "--model", cli.config(LLAMA), *SHAPE)

    training = report["training"]
    step = (waiting + 130) * MS
    assert (training["median_wall_ns"], training["median_input_wait_ns"]) == (step, (waiting + 2) * MS)
    assert training["wall_ns"] == 6 * step - (waiting + 2) * MS
    too_high = training["tokens_per_s_per_gpu"] / (2048 / step * 1e9) - 1
    assert too_high == pytest.approx(0.0445 if waiting else 2 / 778, abs=1e-4)
    assert ("first_wait_missing" in codes(report)) == (waiting > 0)
    if waiting:
        assert "about 44.0 ms" in message(report, "first_wait_missing")
        assert "about 4 % too high" in message(report, "first_wait_missing")


def test_the_backward_of_checkpointed_layers_has_the_forward_in_it(cli: Cli) -> None:
    """DeepSpeed's ranges: rates are of FLOPs that the model needs, and HFU has what runs again, the head without."""
    forward = [f"{PRODUCTS}_qkv", "fmha_fwd_kernel", *(f"{PRODUCTS}_{name}" for name in ("o", "up", "down"))] * 4
    again = [*forward[:5], *["nvjet_ntt_a", "nvjet_ntn_b"] * 4, "fmha_bwd_kernel"] * 4
    kernels = {"forward": [*forward, f"{PRODUCTS}_head"], "backward": ["nvjet_ntt_h", "nvjet_ntn_h", *again]}
    trace = TraceBuilder().gpu()
    main, at = trace.process().thread(), 0
    for _ in range(3):
        for name, length in (("forward", 40), ("backward", 120), ("step", 10)):
            main.push(at, at + length * MS, WHOLE + name)
            for number, kernel in enumerate(kernels.get(name, [ADAM]), 1):
                main.launch(at + 3_000 * number, gpu=(at + number * MS, at + (number + 1) * MS), name=kernel)
            at += length * MS

    report = cli.analyze(trace, "--model", cli.config(LLAMA), *SHAPE)

    layers = projections(LLAMA, 1024) + 4 * 4 * 512 * 2 * pairs(512)
    required = layers + 1024 * lm_head(LLAMA)
    assert phase(report, "backward")["flops"] == 3 * 2 * required
    assert phase(report, "backward")["gpu_busy_ns"] == 3 * (2 + 4 * 14) * MS
    assert report["training"]["flops"] == 3 * 3 * required
    assert report["training"]["recomputed_flops"] == 3 * layers


@pytest.mark.parametrize("is_told", [True, False])
def test_tokens_of_ranks_that_share_a_sequence_count_once(is_told: bool, cli: Cli) -> None:
    """Two pairs of tensor-parallel ranks, each with a sequence of 1,024 tokens in 0.32 s."""
    trace = TraceBuilder()
    for rank in range(4):
        trained(trace, rank=rank, talk={"forward": (ALL_REDUCE,), "backward": (ALL_REDUCE,)})

    report = cli.analyze(
        trace, "--model", cli.config(LLAMA), "--shape", "1x1024", *(("--tp", 2, "--dp", 2) if is_told else ())
    )

    found = (report["training"]["tokens"], report["training"]["tokens_per_s_per_gpu"])
    assert found == ((2 * 2 * 1024, 2 * 1024 / 4 / 0.32) if is_told else (None, None))
    assert ("parallel_degree_unknown" in codes(report)) == (not is_told)


@pytest.mark.parametrize("names", [("forward", "backward", "step"), ("model_forward", "model_backward", "optimizer")])
def test_an_optimizer_that_waits_for_more_micro_batches_ends_no_step(names: tuple[str, ...], cli: Cli) -> None:
    """`engine.step()` is called behind each of 12 micro-batches; it updates weights behind every fourth."""
    trace = TraceBuilder().gpu()
    main, at = trace.process().thread(), 0
    forward, backward, optimizer = (WHOLE + name if names[0] == "forward" else name for name in names)
    for batch in range(1, 13):
        main.push(at, at + 20 * MS, forward).launch(at + MS, gpu=(at + 2 * MS, at + 20 * MS), name=PRODUCTS)
        main.push(at + 20 * MS, at + MICRO, backward)
        main.launch(at + 21 * MS, gpu=(at + 22 * MS, at + MICRO), name=PRODUCTS)
        at += MICRO
        end = at + (MS // 20 if batch % 4 else 10 * MS)
        main.push(at, end, optimizer)
        if not batch % 4:
            main.launch(at + MS, gpu=(at + 2 * MS, end), name=ADAM)
        at = end

    report = cli.analyze(trace, "--model", cli.config(LLAMA), *SHAPE)

    training, optimizer_phase = report["training"], phase(report, "optimizer")
    assert (training["steps"], training["micro_batches"], training["tokens"]) == (3, 12, 12 * 1024)
    assert training["median_wall_ns"] == pytest.approx(4 * MICRO + 10 * MS + 3 * MS // 20, abs=1)
    assert training["tokens_per_s_per_gpu"] == pytest.approx(12 * 1024 / (at / 1e9), rel=1e-3)
    # AdamW moves 28 bytes for each weight, in three of them.
    weights = 4 * (512 * 64 * (8 + 2 * 2) + 512 * 512 + 3 * 512 * 1024) + 9 * 512 + 2 * 512 * 1000
    assert (optimizer_phase["occurrences"], optimizer_phase["bytes"]) == (12, 3 * 28 * weights)
    assert messages(report, "first_wait_missing") == ""
