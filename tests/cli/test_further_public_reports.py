"""More of what test_public_reports.py has: fused losses, reference models, work that the host does."""

from __future__ import annotations

import pytest

from tests.cli.run import MS, Cli
from tests.cli.test_public_reports import LLAMA, codes, lm_head, marked, pairs, phase, projections
from tests.support.trace_builder import ThreadBuilder, TraceBuilder

US = 1000
STEP = 'llmperf.step {"b":1,"q":64,"kv":0,"logits":64}'


@pytest.mark.parametrize(("name", "is_first"), [("prefill", True), ("prefill", False), ("gpt2.prefill", True)])
def test_passes_of_a_reference_model_are_in_the_time_of_a_step(name: str, is_first: bool, cli: Cli) -> None:
    """Steps of 80 ms: a reference model without gradients runs before the policy, or after it."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    marked(trace, LLAMA)
    parts = [name, "forward"] if is_first else ["forward", name]
    for step in range(5):
        for number, part in enumerate([*parts, "backward", "optimizer"]):
            at = (80 * step + 20 * number) * MS
            main.push(at, at + 20 * MS, part, domain="llmperf").launch(at + MS, gpu=(at + 2 * MS, at + 20 * MS))
            if part == "forward":
                main.mark(at + 1, STEP, domain="llmperf")

    rows, err = cli.sql(
        trace, "SELECT sum(wall_ns) AS wall, sum(gpu_busy_ns) AS busy, sum(tokens) AS n FROM training_steps"
    )

    assert rows == [{"wall": 5 * 80 * MS, "busy": 5 * 72 * MS, "n": 5 * 64}]
    # `forwards_without_backward`
    assert "each training step has forward passes without a backward (5 in all)" in err
    assert f"in the phase {name} are the model's" in err


@pytest.mark.parametrize("chunks", [1, 4])
def test_a_fused_loss_computes_gradients_of_the_head_in_the_forward(chunks: int, cli: Cli) -> None:
    """Liger's: logits, loss and both gradients, chunk by chunk; behind it the forward has no other product."""
    trace = TraceBuilder().gpu()
    process = trace.process()
    main, autograd = process.thread(), process.thread(tid=101)
    marked(trace, LLAMA)

    def run(thread: ThreadBuilder, start: int, names: list[str]) -> None:
        for number, name in enumerate(names):
            at = start + number * 100 * US
            thread.launch(at + US, gpu=(at + 2 * US, at + 90 * US), name=name)

    layers, gradients = ["gemm"] * 16, ["dgrad_gemm", "wgrad_gemm"]
    head = ["gemm", "liger_cross_entropy_kernel", *gradients] * chunks
    for at in range(0, 40 * MS, 10 * MS):
        main.push(at, at + 4 * MS, "forward", domain="llmperf").mark(at + 1, STEP, domain="llmperf")
        run(main, at, [*layers, *head])
        main.push(at + 4 * MS, at + 8 * MS, "backward", domain="llmperf")
        run(autograd, at + 4 * MS, gradients * 16)

    report = cli.analyze(trace)

    rest = projections(LLAMA, 64) + 4 * LLAMA["num_hidden_layers"] * pairs(64) * LLAMA["hidden_size"]
    assert phase(report, "forward")["flops"] == 4 * (rest + 3 * 64 * lm_head(LLAMA))
    assert phase(report, "backward")["flops"] == 4 * 2 * rest
    assert report["training"]["flops"] == 4 * 3 * (rest + 64 * lm_head(LLAMA))
    assert "weights_frozen" not in codes(report)


def test_copies_of_a_model_on_two_gpus_share_a_backward(cli: Cli) -> None:
    """`DataParallel`: each step has a thread for each GPU, which runs the forward of half of the batch."""
    trace = TraceBuilder().gpu(0).gpu(1)
    process = trace.process()
    main = process.thread()
    marked(trace, LLAMA)
    for step in range(5):
        at = step * 100 * MS
        for gpu in range(2):
            thread = process.thread(tid=200 + 2 * step + gpu).push(at + gpu, at + 20 * MS, "forward", domain="llmperf")
            thread.mark(at + gpu + 1, STEP, domain="llmperf")
            thread.launch(at + MS, gpu=(at + 2 * MS, at + 20 * MS), device=gpu)
            process.thread(tid=101 + gpu).launch(at + 21 * MS, gpu=(at + 22 * MS, at + 60 * MS), device=gpu)
        main.push(at + 20 * MS, at + 60 * MS, "backward", domain="llmperf")
        main.push(at + 60 * MS, at + 100 * MS, "optimizer", domain="llmperf")
        main.launch(at + 61 * MS, gpu=(at + 62 * MS, at + 100 * MS))

    report = cli.analyze(trace)

    flops = projections(LLAMA, 64) + 4 * LLAMA["num_hidden_layers"] * pairs(64) * LLAMA["hidden_size"]
    flops += 64 * lm_head(LLAMA)
    assert phase(report, "forward")["flops"] == 5 * 2 * flops
    assert phase(report, "backward")["flops"] == 5 * 2 * 2 * flops
    training = report["training"]
    assert (training["steps"], training["tokens"], training["device_count"]) == (5, 5 * 2 * 64, 2)
    assert (training["flops"], training["wall_ns"]) == (5 * 2 * 3 * flops, 500 * MS)
    assert not codes(report) & {"forwards_without_backward", "open_at_once"}


def of_experts_on_the_host(copied: int) -> TraceBuilder:
    """Decode steps of llama.cpp: what is not of experts runs on the GPU, whose results go to the host and back."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    marked(trace, MOE)
    for step in range(4):
        at = step * 20 * MS
        main.push(at, at + 19 * MS, "decode", domain="llmperf")
        main.mark(at + 1, 'llmperf.step {"b":1,"q":1,"kv":512,"logits":1}', domain="llmperf")
        for layer in range(4):
            start = at + (4 * layer + 1) * MS
            for number, name in enumerate(["mul_mat_vec_q"] * 4 + ["flash_attn_ext_vec", "mul_mat_vec_q"]):
                main.launch(
                    start + number * US, gpu=(start + number * 20 * US, start + (number + 1) * 20 * US), name=name
                )
            if copied:
                main.memcpy(start + MS, gpu=(start + MS, start + MS + US), kind=2, size_bytes=2048)
                main.memcpy(start + 3 * MS, gpu=(start + 3 * MS, start + 3 * MS + US), kind=1, size_bytes=copied)
        main.launch(at + 18 * MS, gpu=(at + 18 * MS, at + 18 * MS + US), name="mul_mat_vec_q")
    return trace


MOE = LLAMA | {
    "model_type": "qwen3_moe", "num_experts": 16, "num_experts_per_tok": 4, "moe_intermediate_size": 128,
    "head_dim": 64, "norm_topk_prob": True,
}  # fmt: skip


@pytest.mark.parametrize(("copied", "is_told"), [(2048, True), (0, False), (4 * 3 * 512 * 128 * 2, False)])
def test_experts_that_the_host_computes_are_told(copied: int, is_told: bool, cli: Cli) -> None:
    """Not where nothing goes to the host and back, nor where the experts' weights are copied to the GPU."""
    report = cli.analyze(of_experts_on_the_host(copied))

    assert ("experts_on_the_host" in codes(report)) == is_told
