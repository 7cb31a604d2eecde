"""FLOPs of training: backward, recomputation, adapters, fused losses, models that are only run forward."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest

from nsys_pipeline.model import load_model
from tests.cli.public_reports.common import (
    LLAMA,
    US,
    all_layers,
    codes,
    lm_head,
    marked,
    one_pass,
    pairs,
    phase,
    projections,
    run_ranges,
    trained,
)
from tests.cli.run import MS, Cli, run
from tests.support.trace_builder import ThreadBuilder, TraceBuilder

STEP = 'llmperf.step {"b":1,"q":64,"kv":0,"logits":64}'


def test_recomputation_leaves_the_head_out(cli: Cli) -> None:
    train = cli.flops(LLAMA, "--train", "--prompt-tokens", 100, "--checkpointing", "full")["train"]
    layers = all_layers(LLAMA, 100, pairs(100))

    assert train["forward"]["flops"] == layers + 100 * lm_head(LLAMA)
    assert train["backward"]["flops"] == 2 * train["forward"]["flops"]
    assert train["recomputed"]["flops"] == layers


def test_attention_that_runs_again_is_in_no_model_flops(cli: Cli) -> None:
    """72·B·L·s·h² + 12·B·L·s²·h + 6·B·s·h·V; 4·B·L·s²·h more run, which no formula can know of."""
    gpt = {
        "model_type": "gpt2", "n_embd": 512, "n_layer": 6, "n_head": 8, "n_positions": 1024, "vocab_size": 1000,
        "torch_dtype": "bfloat16",
    }  # fmt: skip
    batch, length, layers, width = 2, 512, 6, 512
    products = 72 * batch * layers * length * width**2 + 6 * batch * length * width * 1000
    attention = 12 * batch * layers * length**2 * width
    step = f'{{"b":{batch},"q":{length},"kv":0,"logits":{batch * length}}}'
    options = ("--train", "--batch", batch, "--prompt-tokens", length, "--attention", "full")

    train = cli.flops(gpt, *options)["train"]

    assert train["forward"]["flops"] + train["backward"]["flops"] == products + attention
    trace = TraceBuilder().gpu()
    marked(trace, gpt)
    main, at = trace.process().thread(), 0
    for _ in range(4):
        at = one_pass(main, at, "forward", 20, step)
        # Half of the scores of a causal mask are needed.
        end = at + 40 * MS
        main.push(at, end, "backward", domain="llmperf")
        main.launch(at + MS, gpu=(at + 2 * MS, at + 10 * MS), name="flash_fwd_kernel")
        main.launch(at + 2 * MS, gpu=(at + 10 * MS, end - MS), name="flash_bwd_kernel")
        at = end
    report = cli.analyze(trace)
    assert report["training"]["flops"] == 4 * (products + 12 * batch * layers * pairs(length) * width)
    assert report["training"]["hfu_busy"] is None
    assert "recomputation_unknown" in codes(report)


def test_layers_that_run_again_twice_count_twice(cli: Cli) -> None:
    def layer(main: ThreadBuilder, at: int, products: str, attention: str) -> int:
        for number in range(7):
            main.launch(at, gpu=(at + 10, at + 900), name=f"gemm_{products}_{number}")
            at += 1_000
        main.launch(at, gpu=(at + 10, at + 900), name=attention)
        return at + 1_000

    def training(times: int) -> dict[str, Any]:
        trace = TraceBuilder().gpu()
        main = trace.process().thread()
        for step in range(2):
            start = at = step * MS + 10
            for _ in range(4):
                at = layer(main, at, "tn", "flash_fwd_kernel")
            main.push(start - 5, at, "forward")
            main.mark(start - 4, 'llmperf.step {"b":1,"q":512,"kv":0,"logits":512}', domain="llmperf")
            start = at = at + 10
            for _ in range(4):
                for _ in range(times):
                    at = layer(main, at, "tn", "flash_fwd_kernel")
                at = layer(main, at, "nt", "flash_bwd_kernel")
            main.push(start - 5, at, "backward")
        marked(trace, LLAMA)
        found: dict[str, Any] = cli.analyze(trace, "--keep-cold")["training"]
        return found

    again = 2 * all_layers(LLAMA, 512, pairs(512))
    once, twice = training(1), training(2)

    assert (once["recomputed_flops"], twice["recomputed_flops"]) == (again, 2 * again)
    assert once["flops"] == twice["flops"]


def test_layers_that_predict_further_tokens_are_told(cli: Cli) -> None:
    config = load_model("deepseek-v3").config
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for start, name in ((0, "forward"), (50, "backward")):
        main.push(start * MS, (start + 49) * MS, name).launch(
            (start + 1) * MS, gpu=((start + 2) * MS, (start + 40) * MS)
        )
        main.mark(start * MS + 1, 'llmperf.step {"b":1,"q":16,"kv":0,"logits":16}', domain="llmperf")
    marked(trace, dict(config), tp=64, world=64)

    (note,) = cli.flops("deepseek-v3", "--train", "--prompt-tokens", 16)["convention"]["notes"]

    assert note.startswith("1 layer(s) that predict further tokens are not counted")
    report = cli.analyze(trace)
    assert "further_layers_not_counted" in codes(report)
    assert all(phase(report, name)["is_lower_bound"] for name in ("forward", "backward"))
    assert cli.flops(LLAMA, "--prompt-tokens", 16)["convention"]["notes"] == []


def test_frozen_weights_have_no_gradients(cli: Cli) -> None:
    full = cli.flops("llama-3-70b", "--prompt-tokens", 4096, "--train")["train"]["step"]["flops"]
    adapters = cli.flops("llama-3-70b", "--prompt-tokens", 4096, "--train", "--lora", 16)["train"]["step"]["flops"]

    # Two thirds, and what attention and the adapters add.
    assert 2 / 3 < adapters / full < 0.7


def test_adapters_that_no_mark_tells_are_told(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 90 * MS, "execute_context_0(0)_generation_64(64)")
    for number, name in enumerate(("gemm", "_lora_shrink_kernel", "_lora_expand_kernel")):
        main.launch((number + 1) * MS, gpu=((5 + 5 * number) * MS, (9 + 5 * number) * MS), name=name)

    _, err = cli.sql(trace, "SELECT mfu_busy_min FROM phase_summary", "--model", "tiny-llama")

    # `adapter_kernels`
    assert "in decode 2 kernels (`_lora_shrink_kernel`) multiply with LoRA adapters" in err or (
        "in decode 2 kernels (`_lora_expand_kernel`) multiply with LoRA adapters" in err
    )


def test_a_prefix_that_is_trained_is_cached_before_the_first_token(cli: Cli) -> None:
    """Prefix tuning: keys and values of 16 virtual tokens stand in the cache of each forward of 64."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    marked(trace, LLAMA)
    for at in range(0, 100 * MS, 20 * MS):
        main.push(at, at + 5 * MS, "forward", domain="llmperf")
        main.mark(at + 1, 'llmperf.step {"b":1,"q":64,"kv":16,"logits":64}', domain="llmperf")
        main.launch(at + MS, gpu=(at + MS, at + 5 * MS))
        main.push(at + 5 * MS, at + 15 * MS, "backward", domain="llmperf")
        main.launch(at + 6 * MS, gpu=(at + 6 * MS, at + 15 * MS))

    report = cli.analyze(trace)

    forward = all_layers(LLAMA, 64, pairs(64) + 64 * 16) + 64 * lm_head(LLAMA)
    assert phase(report, "forward")["flops"] == 5 * forward
    assert (report["training"]["flops"], report["training"]["tokens"]) == (5 * 3 * forward, 5 * 64)


def test_a_fused_loss_computes_gradients_of_the_head_in_the_forward(cli: Cli) -> None:
    """Liger's: logits, loss and both gradients, of one chunk or of four; behind it the forward has no other product."""
    trace = TraceBuilder().gpu(0).gpu(1)
    marked(trace, LLAMA)

    def launch(thread: ThreadBuilder, start: int, names: list[str], gpu: int) -> None:
        for number, name in enumerate(names):
            at = start + number * 100 * US
            thread.launch(at + US, gpu=(at + 2 * US, at + 90 * US), name=name, device=gpu)

    layers, gradients = ["gemm"] * 16, ["dgrad_gemm", "wgrad_gemm"]
    for gpu, chunks in enumerate((1, 4)):
        process = trace.process(100 + gpu)
        main, autograd = process.thread(), process.thread(tid=201 + gpu)
        head = ["gemm", "liger_cross_entropy_kernel", *gradients] * chunks
        for at in range(0, 40 * MS, 10 * MS):
            main.push(at, at + 4 * MS, "forward", domain="llmperf").mark(at + 1, STEP, domain="llmperf")
            launch(main, at, [*layers, *head], gpu)
            main.push(at + 4 * MS, at + 8 * MS, "backward", domain="llmperf")
            launch(autograd, at + 4 * MS, gradients * 16, gpu)

    report = cli.analyze(trace)

    rest = all_layers(LLAMA, 64, pairs(64))
    assert phase(report, "forward")["flops"] == 8 * (rest + 3 * 64 * lm_head(LLAMA))
    assert phase(report, "backward")["flops"] == 8 * 2 * rest
    assert report["training"]["flops"] == 8 * 3 * (rest + 64 * lm_head(LLAMA))
    assert "weights_frozen" not in codes(report)


def halves(*names: str) -> TraceBuilder:
    """Three steps of one micro-batch, whose ranges of 20 ms hold a kernel each."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for step in range(3):
        for number, name in enumerate(names):
            at = (step * 10 + number) * 20 * MS
            main.push(at, at + 20 * MS, name).launch(at + MS, gpu=(at + 2 * MS, at + 19 * MS), name=f"gemm_{number}")
            if name == "forward":
                main.mark(at + 1, 'llmperf.step {"b":1,"q":512,"kv":0,"logits":512}', domain="llmperf")
    marked(trace, LLAMA)
    return trace


def test_halves_of_a_backward_have_no_flops_of_their_own(cli: Cli) -> None:
    forward = all_layers(LLAMA, 512, pairs(512)) + 512 * lm_head(LLAMA)

    whole_passes = halves("forward", "backward", "optimizer")
    # Its forward ran before the recording.
    whole_passes.process(100).thread().push(-40 * MS, -20 * MS, "backward")
    whole = cli.analyze(whole_passes)
    split = cli.analyze(halves("forward", "backward", "backward", "optimizer"))

    assert phase(whole, "backward")["flops"] == 3 * 2 * forward
    assert "backward_in_parts" not in codes(whole)
    assert (phase(split, "forward")["flops"], phase(split, "backward")["flops"]) == (3 * forward, None)
    assert (phase(split, "backward")["mfu_busy"], split["training"]) == (None, None)
    assert "backward_in_parts" in codes(split)


def test_forwards_that_overlap_backwards_have_no_flops(cli: Cli) -> None:
    """DualPipe runs the forward of one micro-batch in one range with the backward of another."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    run_ranges(main, 0, "forward_chunk", "overlapped_forward_backward", "backward_chunk", "optimizer")
    marked(trace, LLAMA)

    rows, _ = cli.sql(trace, "SELECT is_complete, flops FROM training_steps")

    assert rows == [{"is_complete": False, "flops": None}]


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

    flops = all_layers(LLAMA, 64, pairs(64)) + 64 * lm_head(LLAMA)
    assert phase(report, "forward")["flops"] == 5 * 2 * flops
    assert phase(report, "backward")["flops"] == 5 * 2 * 2 * flops
    training = report["training"]
    assert (training["steps"], training["tokens"], training["device_count"]) == (5, 5 * 2 * 64, 2)
    assert (training["flops"], training["wall_ns"]) == (5 * 2 * 3 * flops, 500 * MS)
    assert not codes(report) & {"forwards_without_backward", "open_at_once"}


def test_passes_of_a_reference_model_are_in_the_time_of_a_step(cli: Cli) -> None:
    """Steps of 80 ms: a reference model without gradients runs before the policy, or after it; three ranks."""
    trace = TraceBuilder().gpu(0).gpu(1).gpu(2)
    marked(trace, LLAMA)
    passes = (["prefill", "forward"], ["forward", "prefill"], ["gpt2.prefill", "forward"])
    for rank, parts in enumerate(passes):
        main = trace.process(100 + rank).thread()
        for step in range(5):
            for number, part in enumerate([*parts, "backward", "optimizer"]):
                at = (80 * step + 20 * number) * MS
                main.push(at, at + 20 * MS, part, domain="llmperf")
                main.launch(at + MS, gpu=(at + 2 * MS, at + 20 * MS), device=rank)
                if part == "forward":
                    main.mark(at + 1, STEP, domain="llmperf")

    rows, err = cli.sql(
        trace,
        "SELECT sum(wall_ns) AS wall, sum(gpu_busy_ns) AS busy, sum(tokens) AS n "
        "FROM training_steps GROUP BY process_id",
    )

    assert rows == 3 * [{"wall": 5 * 80 * MS, "busy": 5 * 72 * MS, "n": 5 * 64}]
    # `forwards_without_backward`
    assert re.findall(r"without a backward \((\d+) in all\).* in the phase (\S+) are the model's", err) == [
        ("10", "prefill"), ("5", "gpt2.prefill"),
    ]  # fmt: skip


@pytest.mark.parametrize(("teacher", "steps"), [(True, range(4)), (False, [2])])
def test_passes_of_a_teacher_are_in_the_time_of_a_step(teacher: bool, steps: Sequence[int], cli: Cli) -> None:
    """Steps of 60 ms; before those in `steps` another forward runs for 20 ms: in each a teacher, in one evaluation."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    at = 0
    for step in range(4):
        for name in [*(["forward"] if step in steps else []), "forward", "backward", "optimizer"]:
            main.push(at, at + 20 * MS, name).launch(at + MS, gpu=(at + 2 * MS, at + 20 * MS))
            if name == "forward":
                main.mark(at + 1, 'llmperf.step {"b":1,"q":64,"kv":0,"logits":64}', domain="llmperf")
            at += 20 * MS
    marked(trace, LLAMA)

    rows, err = cli.sql(
        trace, "SELECT sum(wall_ns) AS wall, sum(gpu_busy_ns) AS busy, sum(tokens) AS n FROM training_steps"
    )

    passes = 16 if teacher else 12
    assert rows == [{"wall": passes * 20 * MS, "busy": passes * 18 * MS, "n": 4 * 64}]
    # `forwards_without_backward`
    assert ("each training step has forward passes without a backward (4 in all)" in err) == teacher


@pytest.mark.parametrize(
    ("options", "dtype", "peak"),
    [((), "bf16", 989.4), (("--peak", "bf16=1979"), "bf16", 1979), (("--peak", "bf16=1979"), "fp16", 989.4)],
)
def test_the_peak_that_is_asked_for_is_the_one_that_is_used(
    options: tuple[str, ...], dtype: str, peak: float, cli: Cli
) -> None:
    """The last: the peak of another dtype than the model's was asked for, and the line says which one was used."""
    config = LLAMA | {"torch_dtype": "bfloat16" if dtype == "bf16" else "float16"}
    trace = TraceBuilder()
    trained(trace, config, step='{"b":1,"q":4096,"kv":0,"logits":4096}')

    report = cli.analyze(trace, *options)
    _, out, _ = run(cli.capsys, "analyze", cli.folder / "trace.sqlite", "--no-cache", *options)
    rows, _ = cli.sql(trace, "SELECT mfu_wall FROM training_summary", *options)

    flops = 3 * (projections(LLAMA, 4096) + 4 * 4 * 512 * pairs(4096) + 4096 * lm_head(LLAMA))
    assert report["training"]["mfu_wall"] == pytest.approx(flops / 0.32 / (peak * 1e12))
    assert rows[0]["mfu_wall"] == pytest.approx(report["training"]["mfu_wall"])
    assert f"{peak:,.1f} TFLOP/s {dtype}" in out


def test_llm_c_on_blackwell_has_its_own_peak(cli: Cli) -> None:
    """GPT-2 124M: three times the products and the attention of 4 x 1,024 tokens, on an RTX 5090 with 209.5 TFLOP/s."""
    config = {
        "model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "vocab_size": 50257,
        "torch_dtype": "bfloat16",
    }  # fmt: skip
    trace = TraceBuilder().gpu(
        name="NVIDIA GeForce RTX 5090", compute=(12, 0), sm_count=170, memory_bandwidth=1_792_000_000_000
    )
    main = trace.process().thread()
    for step, at in enumerate(range(0, 250 * MS, 50 * MS)):
        main.push(at, at + 49 * MS, f"Train step {step}")
        main.push(at, at + 10 * MS, "gpt2_forward").push(at + 10 * MS, at + 40 * MS, "gpt2_backward_and_reduce")
        for number in range(24):
            name, start = "cutlass_80_tensorop_bf16_s16816gemm_bf16_128x256", at + (1 + number) * MS
            main.launch(start, gpu=(start + MS, start + 2 * MS), name=name)
        main.push(at + 40 * MS, at + 48 * MS, "gpt2_update")
        main.launch(at + 41 * MS, gpu=(at + 42 * MS, at + 47 * MS), name="void adamw_kernel3<float, __nv_bfloat16>")

    report = cli.analyze(trace, "--model", cli.config(config), "--shape", "4x1024")

    tokens = 4 * 1024
    products = 2 * tokens * (12 * 12 * 768 * 768 + 768 * 50257)
    flops = 3 * (products + 4 * 12 * 4 * 768 * pairs(1024))
    assert report["phases"][0]["flops"] == 5 * flops
    assert report["phases"][0]["mfu_busy"] == pytest.approx(flops / 29e-3 / 209.5e12, rel=1e-3)


def test_weights_in_fp32_that_are_gathered_in_bf16(cli: Cli) -> None:
    """FSDP's mixed precision on H100s: the config says float32, and products run in 16 bits."""
    size = {"hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 32}
    model = LLAMA | size | {"torch_dtype": "float32"}
    trace = TraceBuilder()
    gather, scatter = "ncclDevKernel_AllGather_RING_LL", "ncclDevKernel_ReduceScatter_Sum_bf16_RING_LL"
    talk = {"forward": (gather,), "backward": (gather, scatter)}
    for rank in range(2):
        trained(trace, model, rank=rank, step='{"b":1,"q":4096,"kv":0,"logits":4096}', talk=talk, world=2, dp=2)

    told = cli.analyze(trace)
    report = cli.analyze(trace, "--dtype", "bf16")

    assert "products_of_another_dtype" in codes(told)
    flops = all_layers(model, 4096, pairs(4096)) + 4096 * lm_head(model)
    for name, length, times in (("forward", 100, 1), ("backward", 200, 2)):
        assert phase(told, name)["flops"] == phase(report, name)["flops"] == 2 * 2 * times * flops
        expected = times * flops / (length * 1e-3 * 989.4e12)
        assert phase(report, name)["mfu_wall"] == pytest.approx(expected, rel=1e-3)
    assert report["training"]["tokens"] == 2 * 2 * 4096
    assert "products_of_another_dtype" not in codes(report)
