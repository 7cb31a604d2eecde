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
