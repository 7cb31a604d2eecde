"""What findings about kernels and copies promise at most: time in which nothing else runs on the GPU, ns by ns."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.ask import report_of
from tests.support.trace_builder import TraceBuilder

US = 1_000
NAMES = {
    "CatArrayBatchedCopy": "copying",
    "ampere_sgemm_128x64_tn": "plain",
    "vectorized_layer_norm_kernel": "small",
    "nvjet_sm90_tst_64x8_64x16_2x1_v_bz_TNT": None,
    "ncclDevKernel_AllReduce_Sum_bf16_RING_LL": None,
}


@pytest.mark.parametrize("seed", range(4))
def test_exposed_time_agrees_with_counting_each_ns(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    trace = TraceBuilder().gpu(0).gpu(1)
    main = trace.process().thread().push(0, 1500, "forward").push(1500, 5000, "backward")
    works: list[tuple[int, int, int, str, str | None]] = []  # GPU, start, end, phase, what
    for at in range(60):
        # launches of the second half lie in backward, whenever their kernels run
        call, phase = (20 * at, "forward") if at < 30 else (1500 + 20 * at, "backward")
        device, start = random.randrange(2), call + random.randrange(1, 400)
        end = start + random.randrange(1, 120)
        if random.random() < 0.2:
            main.memcpy(call, (start, end), device=device, stream=20, srcKind=1, dstKind=2, copyKind=1)
            works.append((device, start, end, phase, "pinned copy"))
        else:
            name = random.choice(list(NAMES))
            main.launch(call, gpu=(start, end), name=name, device=device, stream=random.randrange(3))
            works.append((device, start, end, phase, NAMES[name]))
    expected: dict[tuple[str, str], int] = {}
    for device in (0, 1):
        for ns in range(max(work[2] for work in works)):
            running = {work[3:] for work in works if work[0] == device and work[1] <= ns < work[2]}
            if len(running) == 1:
                ((phase, what),) = running
                if what is not None:
                    expected[what, phase] = expected.get((what, phase), 0) + 1

    with open_trace(trace.write(tmp_path / "trace.sqlite"), TraceOptions(use_cache=False)) as opened:
        opened.build("attribute.suspects", "attribute.phase_spending")
        found = opened.connection.execute("SELECT what, phase, exposed_ns, time_ns FROM attribute.suspects").fetchall()
        budget = dict(
            opened.connection.execute("SELECT phase, compute_ns + copy_ns FROM attribute.phase_spending").fetchall()
        )

    assert len(found) >= 5
    for what, phase, exposed, time in found:
        assert exposed == expected.get((what, phase), 0) <= time
    for phase, spent in budget.items():
        assert sum(exposed for _, name, exposed, _ in found if name == phase) <= spent


def test_what_another_stream_hides_is_not_at_stake(tmp_path: Path) -> None:
    """Ten steps: 200 µs of a product beside 150 µs of casts that it hides, then 100 µs of casts alone."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for step in range(10):
        at = 400 * step * US
        main.push(at, at + 30 * US, "decode")
        main.launch(at, gpu=(at + 10 * US, at + 210 * US), name="nvjet_sm90_tst_64x8_64x16_2x1_v_bz_TNT")
        main.launch(at + 5 * US, gpu=(at + 20 * US, at + 170 * US), name="CatArrayBatchedCopy", stream=8)
        main.launch(at + 8 * US, gpu=(at + 210 * US, at + 310 * US), name="CatArrayBatchedCopy", stream=8)

    (told,) = [one for one in report_of(trace, tmp_path).findings if one.code == "copying_kernels"]

    assert told.at_stake_ns == 10 * 100 * US


def test_of_eager_attention_what_another_stream_hides_is_not_at_stake(tmp_path: Path) -> None:
    """Four layers of 100 µs each: scores, softmax and a product; a collective runs beside the last 60 µs of them."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    main.push(0, 400 * US, "prefill")
    for layer in range(4):
        at = 100 * layer * US
        main.launch(at, gpu=(at + 10 * US, at + 40 * US), name="nvjet_sm90_tst_64x8_64x16_2x1_v_bz_TNT")
        main.launch(at + 1, gpu=(at + 40 * US, at + 70 * US), name="cunn_SoftMaxForward")
        main.launch(at + 2, gpu=(at + 70 * US, at + 100 * US), name="nvjet_sm90_tst_64x8_64x16_2x1_v_bz_TNT")
        main.launch(
            at + 3, gpu=(at + 40 * US, at + 100 * US), name="ncclDevKernel_AllReduce_Sum_bf16_RING_LL", stream=8
        )

    (told,) = [one for one in report_of(trace, tmp_path).findings if one.code == "eager_attention"]

    assert told.at_stake_ns == 4 * 30 * US


def test_of_few_blocks_what_another_stream_hides_is_not_at_stake(tmp_path: Path) -> None:
    """Ten steps: a product hides 40 of 100 µs of attention in 8 blocks for 132 SMs."""
    trace = TraceBuilder().gpu(sm_count=132)
    main = trace.process().thread()
    for step in range(10):
        at = 400 * step * US
        main.push(at, at + 30 * US, "decode")
        main.launch(at, gpu=(at + 10 * US, at + 270 * US), name="nvjet_sm90_tst_64x8_64x16_2x1_v_bz_TNT")
        main.launch(at + 5, gpu=(at + 230 * US, at + 330 * US), name="flash_fwd_kernel", stream=8, gridX=8)

    (told,) = [one for one in report_of(trace, tmp_path).findings if one.code == "few_blocks"]

    # of 100 µs, the SMs without a block are 94 %
    assert told.at_stake_ns == 10 * 60 * US


@pytest.mark.parametrize(("beside", "alone"), [(0, 250), (200, 50), (250, None)])
def test_of_slow_products_what_another_stream_hides_is_not_at_stake(
    beside: int, alone: int | None, tmp_path: Path
) -> None:
    """Ten products that an H100 could do in 35 µs take 250 each, beside attention on another stream."""
    trace = TraceBuilder().gpu(name="NVIDIA H100 80GB HBM3")
    main = trace.process().thread()
    for step in range(10):
        at = 400 * step * US
        main.push(at, at + 300 * US, "forward")
        main.push(at + US, at + 3 * US, "aten::mm, seq = 1, sizes = [[1024, 4096], [4096, 4096]]")
        main.launch(at + 2 * US, gpu=(at + 10 * US, at + 260 * US), name="sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n")
        if beside:
            end = at + (10 + beside) * US
            main.launch(at + 4 * US, gpu=(at + 10 * US, end), name="flash_fwd_kernel", stream=8)

    told = [one.at_stake_ns for one in report_of(trace, tmp_path).findings if one.code == "slow_products"]

    lost = 10 * 250 * US - 10 * 2 * 1024 * 4096 * 4096 / 989.5e12 * 1e9
    assert told == ([] if alone is None else [pytest.approx(min(lost, 10 * alone * US), rel=1e-3)])


def test_products_that_no_gpu_ran_make_slow_ones_neither_shorter_nor_more(tmp_path: Path) -> None:
    """Ten products of 250 µs that an H100 could do in 35, and 300 that a graph recorded: 8 µs a call."""
    trace = TraceBuilder().gpu(name="NVIDIA H100 80GB HBM3")
    main = trace.process().thread()
    name = "aten::mm, seq = 1, sizes = [[1024, 4096], [4096, 4096]]"
    for step in range(10):
        at = 400 * step * US
        main.push(at, at + 390 * US, "forward")
        main.push(at + US, at + 3 * US, name)
        main.launch(at + 2 * US, gpu=(at + 10 * US, at + 260 * US), name="sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n")
        for place in range(30):
            main.push(at + (300 + place) * US, at + (300 + place) * US + 500, name)

    (told,) = [one for one in report_of(trace, tmp_path).findings if one.code == "slow_products"]

    assert told.at_stake_ns == pytest.approx(10 * 250 * US - 10 * 2 * 1024 * 4096 * 4096 / 989.5e12 * 1e9, rel=1e-3)
    assert told.message.startswith("in forward 10 matrix products reach less than a third")


def test_of_pageable_copies_what_another_stream_hides_is_not_at_stake(tmp_path: Path) -> None:
    """Ten steps of 1 ms. Two threads copy for 600 and 350 µs, one inside of the other, beside a kernel for half of it.

    Behind them the host waits for 200 µs, which no copy is to blame for.
    """
    trace = TraceBuilder().gpu()
    process = trace.process()
    main, other = process.thread(), process.thread()
    pageable = {"srcKind": 0, "dstKind": 2, "size_bytes": 1 << 20}
    for step in range(10):
        at = 1000 * step * US
        main.push(at, at + 1000 * US, "prefill")
        main.launch(at + US, gpu=(at + 10 * US, at + 400 * US), name="nvjet_sm90_tst_64x8_64x16_2x1_v_bz_TNT")
        main.memcpy(at + 100 * US, (at + 200 * US, at + 700 * US), stream=8, **pageable)
        other.memcpy(at + 300 * US, (at + 350 * US, at + 650 * US), stream=9, **pageable)
        main.call(at + 750 * US, until=at + 950 * US, api="cudaStreamSynchronize_v3020")

    (told,) = [one for one in report_of(trace, tmp_path).findings if one.code == "pageable_copies"]

    assert told.at_stake_ns == 10 * 300 * US


@pytest.mark.parametrize(("beside", "is_told"), [(False, True), (True, False)])
def test_copies_between_gpus_that_others_hide_are_no_matter(beside: bool, is_told: bool, tmp_path: Path) -> None:
    """Two copies at once, 4 µs of 200 in each step, which a product may hide; a copy from the host is exposed."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for step in range(10):
        at = 200 * step * US
        main.push(at, at + 200 * US, "forward")
        main.launch(at, gpu=(at + US, at + (189 if beside else 180) * US), name="nvjet_sm90_tst_64x8_64x16")
        main.memcpy(at + 3, (at + 190 * US, at + 198 * US), kind=1, stream=10, srcKind=1, dstKind=2)
        for stream in (8, 9):
            main.memcpy(
                at + 2, (at + 184 * US, at + 188 * US), kind=10, stream=stream, srcKind=2, dstKind=2, size_bytes=1 << 20
            )

    told = [one.at_stake_ns for one in report_of(trace, tmp_path).findings if one.code == "copies_between_gpus"]

    assert told == [10 * 4 * US] * is_told
