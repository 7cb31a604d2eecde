"""Trainers as they are: state in several types, rollouts in the trainer's process, what runs again."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from tests.cli.public_reports.common import (
    ALL_REDUCE,
    LLAMA,
    codes,
    marked,
    message,
    one_pass,
    pairs,
    phase,
    projections,
)
from tests.cli.public_reports.test_training_frameworks import ADAM, GATHER, SCATTER, WEIGHTS, of_tokens, part
from tests.cli.run import MS, Cli
from tests.support.trace_builder import ThreadBuilder, TraceBuilder

METADATA = "multi_tensor_apply_kernel<TensorListMetadata<(int)4>, "
TORCH = f"{METADATA}at::native::FusedAdamMathFunctor<"
MASTER = f"{METADATA}transformer_engine::AdamFunctorMaster<__nv_bfloat16, __nv_bfloat16, float, int>>"
ATTENTION, OWN_ATTENTION = "flash_fwd_kernel", "flash_bwd_kernel"
PRODUCT, OF_INPUTS, OF_WEIGHTS, FP8 = (
    f"nvjet_{name}" for name in ("tst_128x256_TNT", "tst_128x256_NNT", "tst_128x256_NTT", "qqtst_128x256_TNT")
)


# -- the optimizer --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernels", "of_each"),
    [
        ([f"{TORCH}float, (int)4, (at::native::ADAM_MODE)1, (bool)0>>"], 7 * 4),
        ([f"{TORCH}c10::BFloat16, 4, (at::native::ADAM_MODE)1, false>>"], 7 * 2),
        # AMSGrad keeps the maximum of the second moment, too.
        ([f"{TORCH}float, (int)5, (at::native::ADAM_MODE)1, (bool)1>>"], None),
        ([f"{TORCH}float, 5, (at::native::ADAM_MODE)1, true>>"], None),
        ([f"{METADATA}TernaryOpScalarFunctor<float, 2>, LerpFunctor<float>>", "at::native::maximum<float>"], None),
        ([f"{METADATA}AdamFunctor<float, float, int>>"], 7 * 4),
        # Moments of weights in 16 bits are in 32, and so is a second copy of the weights.
        ([f"{METADATA}AdamFunctor<c10::BFloat16, float, int>>"], None),
        ([f"{METADATA}AdamFunctor<float, __nv_bfloat16, float, int>>"], None),
        ([MASTER], None),
        ([f"{METADATA}DistAdamFunctor<float, float>>"], None),
        # Lists in two types: nobody knows how many weights each has.
        ([f"{TORCH}float, 4, (at::native::ADAM_MODE)1, false>>", f"{TORCH}c10::BFloat16, 4, false>>"], None),
        (["triton_for_fused_1"], None),
    ],
)
def test_bytes_of_an_optimizer_are_those_of_the_types_that_its_kernels_name(
    kernels: list[str], of_each: int | None, cli: Cli
) -> None:
    """AdamW reads a gradient, a weight and two moments, and writes the last three, in each of three steps."""
    trace = TraceBuilder().gpu()
    marked(trace, LLAMA)
    main, at = trace.process(100).thread(), 0
    for _ in range(3):
        at = part(main, part(main, at, "forward", 20, step=of_tokens(64)), "backward", 20)
        main.push(at, at + 20 * MS, "optimizer").push(at + 10, at + 20 * MS - 10, "Optimizer.step#AdamW.step")
        for number, name in enumerate(kernels):
            main.launch(at + 20 + number, gpu=(at + (number + 1) * MS, at + (number + 2) * MS), name=name)
        at += 20 * MS

    report = cli.analyze(trace)

    # Table and norms beside the weights of products.
    expected = None if of_each is None else 3 * of_each * (WEIGHTS + 512 * 1000 + 9 * 512)
    assert phase(report, "optimizer")["bytes"] == expected
    assert ("optimizer_bytes_unknown" in codes(report)) == (of_each is None)


# -- rollouts -------------------------------------------------------------------------------------------


def rollout(main: ThreadBuilder, at: int, *, named: bool) -> int:
    """A prefill of 10 ms and four decode steps of 5, as an engine in the trainer's process marks them."""
    ids = {"ids": [0, 1]} if named else {}
    at = one_pass(main, at, "prefill", 10, json.dumps({"b": 2, "q": 64, "kv": 0, "logits": 2} | ids))
    for step in range(4):
        at = one_pass(main, at, "decode", 5, json.dumps({"b": 2, "q": 1, "kv": 64 + step, "logits": 2} | ids))
    return at


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("references", [0, 2])
def test_an_engine_in_the_trainers_process_is_in_no_step(references: int, named: bool, cli: Cli) -> None:
    """Five rollouts of 30 ms, each with passes of a reference of 10 ms, and a step of 70 ms, 63 of them of the GPU."""
    trace = TraceBuilder().gpu()
    marked(trace, LLAMA)
    main, at = trace.process(100).thread(), MS
    for _ in range(5):
        at = rollout(main, at, named=named)
        for _ in range(references):
            at = one_pass(main, at, "prefill", 10, '{"b":2,"q":96,"kv":0,"logits":192}')
        at = one_pass(main, at, "forward", 20, '{"b":2,"q":96,"kv":0,"logits":192}')
        at = part(main, part(main, at, "backward", 40), "optimizer", 10, kernel=ADAM)

    report = cli.analyze(trace)
    rows, _ = cli.sql(trace, "SELECT tokens, wall_ns, gpu_busy_ns FROM training_steps")

    length = 70 + 10 * references
    assert [tuple(row.values()) for row in rows] == [(192, length * MS, (17 + 38 + 8 + 7 * references) * MS)] * 5
    assert report["training"]["tokens_per_s_per_gpu"] == pytest.approx(192 / length * 1000)
    assert ("forwards_without_backward" in codes(report)) == bool(references)
    told = message(report, "between_steps")
    assert "in decode, prefill for 120.0 ms" in told
    assert f"{120 / (5 * length + 120):.0%}".replace("%", " %") in told


def test_steps_that_follow_each_other_have_nothing_between_them(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main, at = trace.process(100).thread(), 0
    for _ in range(4):
        at = part(main, part(main, part(main, at + 5 * MS, "forward", 20), "backward", 40), "optimizer", 10)
    assert "between_steps" not in codes(cli.analyze(trace))


# -- what runs again ------------------------------------------------------------------------------------


def checkpointed(product: str, own: list[str], again: list[str], *, attention: int = 1) -> TraceBuilder:
    """Three steps of four layers; `own`: products of a layer's backward, `again`: what it runs once more."""
    trace, us = TraceBuilder().gpu(), 100_000
    main, at = trace.process(100).thread(), MS
    forward = [product, *[ATTENTION] * attention, *[product] * 3] * 4 + [f"{PRODUCT}_head"]
    backward = [OF_INPUTS, OF_WEIGHTS] + (own + [OWN_ATTENTION] * attention + again) * 4
    for _ in range(3):
        for name, kernels in (("forward", forward), ("backward", backward), ("optimizer", [ADAM])):
            end = at + (len(kernels) + 2) * us
            main.push(at, end, name)
            for number, kernel in enumerate(kernels):
                begin = at + (number + 1) * us
                main.launch(at + 10 * (number + 1), gpu=(begin, begin + us - 100), name=kernel)
            at = end
    return trace


#: A gradient of inputs and one of weights for each of a layer's four products.
PLAIN = [OF_INPUTS, OF_WEIGHTS] * 4
SEEN = 3 * 4 * 4 * pairs(512) * 512


def analyzed(cli: Cli, trace: TraceBuilder, *options: object) -> tuple[dict[str, int], str, set[str]]:
    report = cli.analyze(trace, "--model", cli.config(LLAMA), "--shape", "1x512", *options)
    told = codes(report)
    reason = message(report, "recomputation_unknown") if "recomputation_unknown" in told else ""
    return report["training"], reason, told


def test_attention_that_runs_again_alone_freezes_no_weights(cli: Cli) -> None:
    training, reason, told = analyzed(cli, checkpointed(PRODUCT, PLAIN, [ATTENTION]))
    assert (training["recomputed_flops"], training["recomputed_min_flops"]) == (None, SEEN)
    assert "of a layer with 4 products in the forward 0 are run again" in reason
    assert "weights_frozen" not in told


def test_layers_that_run_again_are_counted(cli: Cli) -> None:
    training, reason, told = analyzed(cli, checkpointed(PRODUCT, PLAIN, [PRODUCT, ATTENTION, *[PRODUCT] * 3]))
    assert (training["recomputed_flops"], reason) == (3 * projections(LLAMA, 512) + SEEN, "")
    assert "weights_frozen" not in told


@pytest.mark.parametrize("again", [[ATTENTION] * 4, [PRODUCT, *[ATTENTION] * 4, *[PRODUCT] * 3]])
def test_ring_attention_counts_no_layers(again: list[str], cli: Cli) -> None:
    """Four ranks split each sequence, and pass keys around: four kernels of attention in a layer."""
    trace = checkpointed(PRODUCT, PLAIN, again, attention=4)
    training, reason, told = analyzed(cli, trace, "--cp", 4)
    # One rank's quarter of the attention over whole sequences of 2,048 tokens; FLOPs are of the four ranks.
    assert (training["recomputed_flops"], training["recomputed_min_flops"]) == (None, 3 * 4 * pairs(2048) * 512)
    assert "attention may take several kernels a layer" in reason
    assert "weights_frozen" not in told


@pytest.mark.parametrize("again", [[ATTENTION], [FP8, ATTENTION, *[FP8] * 3]])
def test_products_in_fp8_have_one_name_in_both_directions(again: list[str], cli: Cli) -> None:
    training, reason, told = analyzed(cli, checkpointed(FP8, [FP8] * 8, again))
    assert (training["recomputed_flops"], training["recomputed_min_flops"]) == (None, SEEN)
    assert "have the names of those of the forward" in reason
    assert "weights_frozen" not in told


# -- micro-batches --------------------------------------------------------------------------------------


def kernels_of(main: ThreadBuilder, at: int, names: list[str]) -> int:
    """Kernels of 0.1 ms each; when they end."""
    for number, name in enumerate(names):
        begin = at + (number + 1) * 100_000
        main.launch(at + 10 * (number + 1), gpu=(begin, begin + 99_000), name=name)
    return at + (len(names) + 2) * 100_000


@pytest.mark.parametrize("name", ["forward-backward", "train_step"])
@pytest.mark.parametrize("batches", [1, 4])
@pytest.mark.parametrize("is_checkpointed", [True, False])
def test_several_micro_batches_in_a_range_are_told(name: str, batches: int, is_checkpointed: bool, cli: Cli) -> None:
    """A shape is of one micro-batch. If forwards run again, there are twice as many of their kernels."""
    layer = [PRODUCT, ATTENTION, *[PRODUCT] * 3]
    backward = [*PLAIN, OWN_ATTENTION, "flash_bwd_convert_dq_kernel", *(layer if is_checkpointed else [])]
    trace = TraceBuilder().gpu()
    main, at = trace.process(100).thread(), MS
    for _ in range(3):
        begin, at = at, kernels_of(main, at, (layer * 4 + backward * 4) * batches)
        if name == "forward-backward":
            main.push(begin, at, name)
            at = part(main, at, "optimizer", 10, kernel=ADAM)
        else:
            at = kernels_of(main, at, [ADAM])
            main.push(begin, at, name)

    report = cli.analyze(trace, "--model", cli.config(LLAMA), "--shape", "1x512")

    assert report["training"]["tokens"] == 3 * 512
    assert ("other_micro_batches" in codes(report)) == (batches > 1)
    if batches > 1:
        told = message(report, "other_micro_batches")
        assert "runs 4 times the attention of a micro-batch, and counts as one micro-batch: it holds several" in told


@pytest.mark.parametrize("stages", [1, 2])
def test_stages_that_share_a_rank_are_told(stages: int, cli: Cli) -> None:
    """Two ranks of a pipeline, of which each has two of four layers; interleaved, in two stages."""
    trace = TraceBuilder()
    for rank in range(2):
        main, at = trace.gpu(rank).process(100 + rank).thread(), MS
        for _ in range(3):
            for part_name, kernels in (("forward", [PRODUCT, ATTENTION]), ("backward", [OF_INPUTS, OWN_ATTENTION])):
                for number in range(4 * stages):
                    end = at + 4 * MS
                    main.push(at, end, f"{part_name} {number}")
                    for place, kernel in enumerate(kernels * (2 // stages)):
                        gpu = (at + (place + 1) * 100_000, at + (place + 2) * 100_000 - 100)
                        main.launch(at + 10 * (place + 1), gpu=gpu, name=kernel, device=rank)
                    at = end
            end = at + 10 * MS
            main.push(at, end, "optimizer").launch(at + 2, gpu=(at + MS, end - MS), name=ADAM, device=rank)
            at = end

    report = cli.analyze(trace, "--model", cli.config(LLAMA), "--shape", "1x512", "--pp", 2)

    # Both ranks work on each micro-batch, and a pass of a stage counts as that of all layers.
    assert report["training"]["tokens"] == 3 * 4 * 512 * stages
    assert ("other_micro_batches" in codes(report)) == (stages > 1)
    if stages > 1:
        told = message(report, "other_micro_batches")
        assert "runs 0.5 times the attention of a micro-batch in a stage of a pipeline of 2" in told
        assert "ranks have several stages each" in told


def scheduled(*actions: tuple[str, ...]) -> TraceBuilder:
    """Three steps of ranks that run these actions of a schedule of torch's, 10 ms each, and an optimizer."""
    trace = TraceBuilder()
    marked(trace, LLAMA, pp=2)
    for rank, names in enumerate(actions):
        main, at = trace.gpu(rank).process(100 + rank).thread(), MS
        for _ in range(3):
            for number, name in enumerate([*names, "optimizer"]):
                step = of_tokens(64) if "F" in name and "_" not in name else ""
                main.push(at, at + 10 * MS, name if name == "optimizer" else f"PP:{name}")
                main.launch(at + 2, gpu=(at + MS, at + 9 * MS), name=f"kernel_{number}", device=rank)
                if step:
                    main.mark(at + 1, f"llmperf.step {step}", domain="llmperf")
                at += 10 * MS
    return trace


def test_actions_of_torchs_schedules_are_passes(cli: Cli) -> None:
    """Two ranks of a stage each, and two micro-batches: sends and receives are in no phase."""
    trace = scheduled(
        ("0F0", "0SEND_F0", "0F1", "0SEND_F1", "0RECV_B0", "0B0", "0RECV_B1", "0B1"),
        ("1RECV_F0", "1F0", "1B0", "1SEND_B0", "1RECV_F1", "1F1", "1B1", "1SEND_B1"),
    )
    report = cli.analyze(trace)
    rows, _ = cli.sql(trace, "SELECT micro_batches, wall_ns, gpu_busy_ns FROM training_steps WHERE step > 0")

    assert [phase(report, name)["occurrences"] for name in ("forward", "backward", "optimizer")] == [12, 12, 6]
    assert [tuple(row.values()) for row in rows] == [(2, 90 * MS, 9 * 8 * MS)] * 4
    assert (report["training"]["steps"], report["training"]["tokens"]) == (6, 3 * 128)
    assert not {"other_micro_batches", "backward_in_parts"} & codes(report)


def test_stages_that_share_a_rank_are_told_by_their_names(cli: Cli) -> None:
    report = cli.analyze(scheduled(("0F0", "2F0", "2B0", "0B0"), ("1F0", "3F0", "3B0", "1B0")))
    assert "a range of forward is of one of 2 stages of its rank" in message(report, "other_micro_batches")


def test_gradients_of_inputs_and_of_weights_are_parts_of_a_backward(cli: Cli) -> None:
    report = cli.analyze(scheduled(("0F0", "0I0", "0W0"), ("1F0", "1I0", "1W0")))
    assert (phase(report, "backward")["occurrences"], phase(report, "backward")["flops"]) == (12, None)
    assert "backward_in_parts" in codes(report)


# -- shards and their replicas --------------------------------------------------------------------------


def replicated(*, late: int, is_replicated: bool = True) -> TraceBuilder:
    """Four steps of four ranks: weights are shared by ranks 0 and 1, and by 2 and 3, of which the last is late.

    Without replicas all four share them, and all of them wait for the last.
    """
    trace = TraceBuilder()
    for rank in range(4):
        main, at = trace.gpu(rank).process(100 + rank).thread(), MS
        own = late if rank == 3 else 0
        waited = late if rank > 1 or not is_replicated else 0
        for _ in range(4):
            main.push(at, at + 100 * MS, "forward")
            main.push(at + 100 * MS, at + 220 * MS, "backward")
            main.push(at + 220 * MS, at + 240 * MS, "optimizer")
            for layer in range(4):
                begin = at + (20 * layer + 1) * MS
                gathered = begin + waited + 2 * MS
                main.launch(begin, gpu=(begin + own, gathered), device=rank, stream=20, name=GATHER)
                main.launch(begin + 100, gpu=(gathered, gathered + 10 * MS), device=rank, name=PRODUCT)
                begin = at + (25 * layer + 101) * MS
                main.launch(begin, gpu=(begin + MS, begin + 18 * MS), device=rank, name=OF_INPUTS)
                scattered, reduced = ((begin + n * MS, begin + (n + 2) * MS) for n in (18, 20))
                main.launch(begin + 100, gpu=scattered, device=rank, stream=21, name=SCATTER)
                if is_replicated:
                    main.launch(begin + 200, gpu=reduced, device=rank, stream=22, name=ALL_REDUCE)
            main.launch(at + 220 * MS + 2, gpu=(at + 221 * MS, at + 238 * MS), device=rank, name=ADAM)
            at += 240 * MS
    return trace


@pytest.mark.parametrize("is_replicated", [True, False])
def test_shards_that_have_replicas_have_no_bytes_of_the_optimizer(is_replicated: bool, cli: Cli) -> None:
    """Each GPU updates a half of the weights, or a quarter: kernels alone do not tell which of both."""
    options = ("--model", cli.config(LLAMA), "--shape", "1x512", "--dp", 4)

    report = cli.analyze(replicated(late=0, is_replicated=is_replicated), *options)

    # Four ranks, four steps, seven times four bytes of a quarter of the weights.
    expected = None if is_replicated else 4 * 4 * 7 * 4 * (WEIGHTS + 512 * 1000 + 9 * 512) // 4
    assert phase(report, "optimizer")["bytes"] == expected
    assert ("optimizer_bytes_unknown" in codes(report)) == is_replicated
    if is_replicated:
        assert "as among replicas (HSDP)" in message(report, "optimizer_bytes_unknown")


@pytest.mark.parametrize("late", [0, MS])
@pytest.mark.parametrize("is_replicated", [True, False])
def test_ranks_that_do_not_wait_for_each_other_are_told(is_replicated: bool, late: int, cli: Cli) -> None:
    """By their order, kernels of both pairs are one collective: but those of ranks 0 and 1 end 1 ms before."""
    report = cli.analyze(replicated(late=late, is_replicated=is_replicated))

    assert ("communicators_unclear" in codes(report)) == (is_replicated and late > 0)
    if is_replicated and late:
        told = message(report, "communicators_unclear")
        assert "all_gather of 4 ranks" in told
        assert "end 1.0 ms apart" in told


# -- copies beside passes -------------------------------------------------------------------------------


@pytest.mark.parametrize("is_another_thread", [True, False])
@pytest.mark.parametrize(("length", "saved"), [(110, range(1, 12)), (500, [0]), (65, range(1, 12, 3))])
def test_copies_that_run_on_beside_later_passes_make_none_cold(
    length: int, saved: Sequence[int], is_another_thread: bool, cli: Cli
) -> None:
    """Twelve equal steps of 70 ms. Checkpoints are copied in a stream of their own, launched in forwards."""
    trace = TraceBuilder().gpu()
    process, at = trace.process(100), MS
    main, saver = process.thread(), process.thread()
    for step in range(12):
        if step in saved:
            begin = at + 2 * MS
            (saver if is_another_thread else main).memcpy(at + MS, gpu=(begin, begin + length * MS), stream=30)
        at = part(main, part(main, part(main, at, "forward", 20), "backward", 40), "optimizer", 10, kernel=ADAM)

    report = cli.analyze(trace)

    assert "cold_first_occurrence" not in codes(report)
    assert [one["cold_occurrences"] for one in report["phases"]] == [0, 0, 0]
    rows, _ = cli.sql(trace, "SELECT DISTINCT wall_ns, count(*) OVER () AS steps FROM training_steps")
    assert [tuple(row.values()) for row in rows] == [(70 * MS, 12)]
