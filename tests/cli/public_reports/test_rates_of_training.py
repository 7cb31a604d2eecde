"""Rates of training: padding, waits that are none, rings of attention, images, first steps, frozen weights."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.public_reports.common import (
    LLAMA,
    all_layers,
    codes,
    lm_head,
    marked,
    message,
    pairs,
    projections,
)
from tests.cli.run import MS, Cli
from tests.support.trace_builder import TraceBuilder

ADAM = "multi_tensor_apply_kernel<FusedAdamMathFunctor<float, 4>>"
SHAPE = ("--shape", "2x512")


def forward_flops(tokens: int) -> int:
    """Of a sequence, with the head at each token."""
    return all_layers(LLAMA, tokens, pairs(tokens)) + tokens * lm_head(LLAMA)


def micro_batch(
    trace: TraceBuilder, rank: int, at: int, mark: str, *, kernel: str = "nvjet_tst", count: int = 1
) -> int:
    """A forward of 20 ms and a backward of 40, of `count` kernels each; when it ends."""
    main = trace.process(100 + rank).thread()
    for name, length in (("forward", 20), ("backward", 40)):
        main.push(at, at + length * MS, name, domain="llmperf")
        if mark and name == "forward":
            main.mark(at + 1, f"llmperf.step {mark}", domain="llmperf")
        part = length * MS // count
        for number in range(count):
            begin = at + number * part
            main.launch(at + 2 + number, gpu=(begin + 100, begin + part), name=kernel, device=rank)
            kernel_of_ring = "ncclDevKernel_SendRecv(ncclDevKernelArgsStorage<4096ul>)"
            if count > 1 and (number % 4 < 3 or name == "backward"):
                main.launch(at + 60 + number, gpu=(begin, begin + MS), name=kernel_of_ring, device=rank, stream=30)
        at += length * MS
    return at


def update(trace: TraceBuilder, rank: int, at: int) -> int:
    main = trace.process(100 + rank).thread().push(at, at + 10 * MS, "optimizer", domain="llmperf")
    main.launch(at + 1, gpu=(at + 100, at + 10 * MS), name=ADAM, device=rank)
    return at + 10 * MS


def test_batches_of_ranks_with_padding_have_their_own_tokens(cli: Cli) -> None:
    """Two ranks, three steps of two micro-batches of two samples: 1,272 of 1,464 positions are samples."""
    lengths = [[(256, 200), (100, 60)], [(256, 256), (16, 128)]]
    trace = TraceBuilder().gpu(0).gpu(1)
    marked(trace, LLAMA, world=2)
    for rank in (0, 1):
        at = MS
        for _ in range(3):
            for pair in lengths[rank]:
                padded = f'"padded":[{max(pair)},0,{2 * max(pair)}]'
                mark = f'{{"q":{list(pair)},"kv":0,"logits":{sum(pair)},{padded}}}'
                at = micro_batch(trace, rank, at, mark)
            at = update(trace, rank, at)

    training = cli.analyze(trace)["training"]

    samples = [length for rank in lengths for pair in rank for length in pair]
    flops = 3 * 3 * sum(forward_flops(length) for length in samples)
    assert (training["steps"], training["tokens"], training["flops"]) == (6, 3 * 1272, flops)
    assert training["tokens_per_s_per_gpu"] == pytest.approx(1272 / 2 / 0.13)
    assert training["mfu_wall"] == pytest.approx(flops / 2 / 0.39 / 989.4e12, rel=1e-3)


@pytest.mark.parametrize("waits", [False, True])
def test_a_wait_for_the_gpu_is_no_wait_for_input(waits: bool, cli: Cli) -> None:
    """Five steps whose launches take the host 3 ms and the GPU 100; the loss is read behind each, then data in 6 ms."""
    trace = TraceBuilder().gpu()
    main, at = trace.process().thread(), MS
    data = 6 * MS if waits else 0
    for _ in range(5):
        begin = at = at + data
        for number, (name, kernel) in enumerate((("forward", "a"), ("backward", "b"), ("optimizer", ADAM))):
            start = begin + number * 33 * MS
            main.push(at, at + MS, name).launch(at + 10, gpu=(start + MS, start + 34 * MS), name=kernel)
            at += MS
        main.call(at, until=begin + 100 * MS, api="cudaStreamSynchronize_v3020")
        at = begin + 100 * MS

    report = cli.analyze(trace, "--model", cli.config(LLAMA), *SHAPE)

    training = report["training"]
    # From the first forward to the end of the last update: nothing but the first wait for data is missing.
    assert training["wall_ns"] == pytest.approx(5 * 100 * MS + 4 * data, abs=MS)
    assert ("first_wait_missing" in codes(report)) == waits
    if waits:
        assert "about 6.0 ms" in message(report, "first_wait_missing")
        assert "about 1 % too high" in message(report, "first_wait_missing")


@pytest.mark.parametrize("is_told", [True, False])
def test_blocks_of_a_ring_are_no_micro_batches(is_told: bool, cli: Cli) -> None:
    """Four ranks with a quarter of each of 2 × 3 sequences of 2,048 tokens: four attention kernels in each layer."""
    trace = TraceBuilder()
    marked(trace, LLAMA, world=4)
    for rank in range(4):
        trace.gpu(rank)
        at = MS
        for _ in range(3):
            for _ in range(2):
                mark = '{"b":1,"q":512,"kv":0,"logits":512}'
                at = micro_batch(trace, rank, at, mark, kernel="flash_fwd_kernel", count=16)
            at = update(trace, rank, at)

    report = cli.analyze(trace, *(("--cp", 4) if is_told else ()))

    training = report["training"]
    assert "other_micro_batches" not in codes(report)
    assert ("context_parallel_unknown" in codes(report)) == (not is_told)
    assert training["flops"] == (3 * 6 * forward_flops(2048) if is_told else None)
    if is_told:
        assert training["tokens"] == 6 * 2048
        assert training["tokens_per_s_per_gpu"] == pytest.approx(2 * 2048 / 4 / 0.13)


@pytest.mark.parametrize("is_sized", [True, False])
def test_images_of_a_batch_are_in_the_flops_of_a_step(is_sized: bool, cli: Cli) -> None:
    """Samples of 40 and 30 tokens with images of 8 × 8 and 4 × 12 patches; one layer looks at windows."""
    config: dict[str, Any] = LLAMA | {
        "model_type": "qwen2_5_vl", "rope_scaling": {"type": "mrope", "mrope_section": [8, 12, 12]},
        "image_token_id": 5, "vision_config": {
            "depth": 2, "hidden_size": 64, "intermediate_size": 128, "num_heads": 4, "out_hidden_size": 512,
            "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112,
            "fullatt_block_indexes": [1], "in_channels": 3,
        },
    }  # fmt: skip
    trace = TraceBuilder().gpu()
    marked(trace, config)
    images = '"images":[[8,8],[4,12]]' if is_sized else '"unsized":["images"]'
    at = MS
    for _ in range(3):
        at = micro_batch(trace, 0, at, f'{{"q":[40,30],"kv":0,"logits":70,{images}}}')
        at = update(trace, 0, at)

    report = cli.analyze(trace)

    text = projections(LLAMA, 70) + 4 * 4 * 512 * (pairs(40) + pairs(30)) + 70 * lm_head(LLAMA)
    patches, seen = 64 + 48, 64**2 + 32**2 + 16**2 + 64**2 + 48**2
    table = 2 * patches * 3 * 2 * 14 * 14 * 64
    layers = 2 * 2 * patches * (4 * 64 * 64 + 3 * 64 * 128) + 4 * 64 * seen
    tower = layers + 2 * patches // 4 * (256 * 256 + 256 * 512)
    # Pixels have no gradient.
    step = 3 * (text + tower) + 2 * table if is_sized else 3 * text
    assert report["training"]["flops"] == 3 * step
    assert report["training"]["is_lower_bound"] == (not is_sized)
    assert ("parts_not_counted" in codes(report)) == (not is_sized)


def test_steps_that_compile_are_in_neither_side_of_a_rate(cli: Cli) -> None:
    """The first of eight steps compiles for 9 s and collects garbage for 3; three forwards evaluate at the end."""
    trace, at = TraceBuilder().gpu(), MS
    main = trace.process().thread()
    for step in range(8):
        for _ in range(2):
            for name, length in (("forward", 30), ("backward", 60)):
                late = 4_500 * MS if step == 0 else 0
                end = at + late + length * MS
                main.push(at, end, name).launch(at + late + 10, gpu=(end - length * MS + 100, end))
                at = end
        main.push(at, at + 10 * MS, "optimizer").launch(at + 10, gpu=(at + 100, at + 10 * MS), name=ADAM)
        at += (3_010 if step == 0 else 10) * MS
    for _ in range(3):
        main.push(at, at + 30 * MS, "forward").launch(at + 10, gpu=(at + 100, at + 30 * MS))
        at += 30 * MS

    training = cli.analyze(trace, "--model", cli.config(LLAMA), *SHAPE)["training"]

    found = {name: training[name] for name in ("steps", "left_out", "micro_batches", "tokens", "wall_ns")}
    # The second one follows the garbage collection.
    assert found == {
        "steps": 6, "left_out": 2, "micro_batches": 12, "tokens": 12 * 1024, "wall_ns": 6 * 190 * MS,
    }  # fmt: skip
    assert training["flops"] == 12 * 3 * 2 * forward_flops(512)
    assert training["mfu_wall"] == pytest.approx(training["flops"] / 1.14 / 989.4e12, rel=1e-3)


def test_gradients_of_frozen_weights_are_not_counted(cli: Cli) -> None:
    """A backward has the gradients of inputs down to the first trained weight, and those of trained weights."""
    options = ("--train", "--batch", 2, "--prompt-tokens", 16, "--attention", "full", "--count", "executed")
    adapted, upper = (
        cli.flops(LLAMA, *options, *more)["train"] for more in (("--lora", 4), ("--train-only", r"layers\.[23]\."))
    )

    tokens, layers, width, inner, heads = 32, 4, 512, 1024, 2 * 64
    attention, head = 4 * layers * 2 * 16**2 * width, tokens * lm_head(LLAMA)
    base = projections(LLAMA, tokens)
    sides = (width + width, width + heads, width + heads, width + width, *[width + inner] * 3)
    added = 2 * tokens * layers * 4 * sum(sides)
    # Nothing asks for the gradient of the first layer's input, by its queries, keys and values or by their adapters.
    first = 2 * tokens * (width * (width + 2 * heads) + 3 * width * 4)
    assert adapted["forward"]["flops"] == base + attention + head + added
    assert adapted["backward"]["flops"] == base + 2 * attention + head + 2 * added - first
    assert upper["forward"]["flops"] == base + attention + head
    # Of two layers both gradients, for the norm of the lower one is trained before its products.
    assert upper["backward"]["flops"] == base + attention + head
