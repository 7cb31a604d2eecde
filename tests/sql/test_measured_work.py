"""Which work a cause is about: what is outside every phase and outside all measured time is not, nor is a sampler."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsys_pipeline.records import Finding
from tests.support.ask import report_of
from tests.support.trace_builder import TraceBuilder

MS = 1_000_000
GEMM = "nvjet_sm90_tst_64x8_64x16_2x1_v_bz_TNT"
COPY, SOFTMAX = "CatArrayBatchedCopy", "softmax_warp_forward"


def told(trace: TraceBuilder, code: str, folder: Path) -> Finding:
    (found,) = [one for one in report_of(trace, folder).findings if one.code == code]
    return found


@pytest.mark.parametrize(
    ("code", "kernels", "stake_ns"),
    [("copying_kernels", "5 kernels", 5 * 2 * MS), ("few_blocks", "5 kernels", 5 * 2 * MS * (132 - 33) // 132)],
)
def test_work_before_the_first_request_is_in_no_cause(code: str, kernels: str, stake_ns: int, tmp_path: Path) -> None:
    """Fifty casts of 2 ms load a model; in each of five steps one of 2 ms and a product of 3 ms follow the decode."""
    trace = TraceBuilder().gpu()
    main, at = trace.process().thread(), 0
    for _ in range(50):
        main.launch(at, gpu=(at + 1, at + 1 + 2 * MS), name=COPY, gridX=33)
        at += 2 * MS + 1
    start = at
    for _ in range(5):
        main.push(at, at + 10, "decode", domain="llmperf")
        main.launch(at + 1, gpu=(at + 1, at + 1 + 10 * MS), name=GEMM)
        main.launch(at + 20, gpu=(at + 1 + 10 * MS, at + 1 + 12 * MS), name=COPY, gridX=33)
        main.launch(at + 30, gpu=(at + 1 + 12 * MS, at + 1 + 15 * MS), name=GEMM)
        at += 15 * MS + 1
    main.push(start, at, "request", domain="llmperf")

    found = told(trace, code, tmp_path)

    assert (found.phase, found.at_stake_ns) == (None, stake_ns)
    assert kernels in found.message


def test_copies_before_a_request_without_phases_are_in_no_cause(tmp_path: Path) -> None:
    """Weights are copied for 100 ms; a request without phases has a copy of 3 ms of 1 MiB and a product of 7 ms."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    pinned = {"srcKind": 1, "dstKind": 2, "size_bytes": 1 << 20}
    main.memcpy(0, gpu=(10, 100 * MS), **pinned)
    main.memcpy(200 * MS, gpu=(200 * MS + 10, 203 * MS + 10), **pinned)
    main.launch(200 * MS + 20, gpu=(203 * MS + 10, 210 * MS + 10), name=GEMM)
    main.push(200 * MS - 1, 210 * MS + 10, "request", domain="llmperf")

    found = told(trace, "exposed_copies", tmp_path)

    assert found.at_stake_ns == 3 * MS
    assert "1 copies of 1 MiB" in found.message


def test_attention_ends_with_its_product(tmp_path: Path) -> None:
    """Four layers of 1 ms products and softmax each; then a head of 6 ms, a sampler's softmax and its other kernels.

    A softmax that routes tokens to experts is no attention.
    """
    trace = TraceBuilder().gpu()
    main, at = trace.process().thread(), 0
    layer = [(GEMM, 1), (SOFTMAX, 1), (GEMM, 1), ("topkGatingSoftmax", 1)]
    for _ in range(3):
        start = at
        for name, length in [*layer * 4, (GEMM, 6), (SOFTMAX, 1), ("gatherTopK", 2)]:
            main.launch(at, gpu=(at + 1, at + 1 + length * MS), name=name)
            at += length * MS + 1
        main.push(start, at, "decode", domain="llmperf")

    found = told(trace, "eager_attention", tmp_path)

    assert found.at_stake_ns == 3 * 4 * 3 * MS
    assert "and 4 softmax kernels a step" in found.message


def test_a_routers_softmax_is_no_attention(tmp_path: Path) -> None:
    """Four layers of experts alone: a router's product, its softmax, the largest of each row, and two products."""
    trace = TraceBuilder().gpu()
    main, at = trace.process().thread(), 0
    for _ in range(3):
        start = at
        for name in [GEMM, SOFTMAX, "gatherTopK", COPY, GEMM, GEMM] * 4:
            main.launch(at, gpu=(at + 1, at + 1 + MS), name=name)
            at += MS + 1
        main.push(start, at, "step", domain="llmperf")

    codes = {one.code for one in report_of(trace, tmp_path).findings}

    assert "copying_kernels" in codes
    assert "eager_attention" not in codes


@pytest.mark.parametrize("is_cold", [True, False])
def test_what_lies_beside_cold_phases_of_a_request_is_cold(is_cold: bool, tmp_path: Path) -> None:
    """Five requests of a prefill of 10 ms and three decode steps of 5 ms, and a sampler of 2 ms behind each.

    The first prefill is cold, and takes 400 ms, and so is its first decode step, of 305. Code is loaded for 100 ms
    before that prefill and for 200 behind it, and for 50 behind that step, all of it without a phase. Each other
    request has 4 × 2 ms outside its phases, and the first one 2 × 2, behind its last two steps.
    """
    trace = TraceBuilder().gpu()
    main, at = trace.process().thread(), 0

    def work(name: str, ms: int) -> None:
        nonlocal at
        main.launch(at, gpu=(at + 10, at + ms * MS), name=name)
        at += ms * MS

    def load(ms: int) -> None:
        nonlocal at
        main.call(at, until=at + ms * MS - 1, api="cuLibraryLoadData")
        at += ms * MS

    for request in range(5):
        first, started = is_cold and request == 0, at
        if first:
            load(100)
        for index in range(4):
            start, phase = at, "decode" if index else "prefill"
            if first and index < 2:
                load(300 if index else 390)
            work(GEMM, 5 if index else 10)
            main.push(start, at - 1, phase, domain="llmperf")
            if first and index < 2:
                load(50 if index else 200)
            work(SOFTMAX, 2)
        main.push(started, at - 1, "request", domain="llmperf")

    report = report_of(trace, tmp_path)

    outside = report.unattributed.budget
    assert (outside.total_ns, outside.api_ns) == ((4 * 8 + (4 if is_cold else 8)) * MS, 0)
    assert "loading_in_steps" not in {one.code for one in report.findings}


def test_products_before_the_first_request_are_in_no_cause(tmp_path: Path) -> None:
    """Fifty slow products of known shape load a model; one that takes as long is measured, in a decode."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    name = "aten::mm, seq = 1, sizes = [[4096, 4096], [4096, 64]]"
    for index in range(51):
        at = 3 * MS * index
        main.push(at, at + 10, name).launch(at + 1, gpu=(at + 5, at + 5 + 2 * MS), name=GEMM)
    main.launch(at + 20, gpu=(at + 5 + 2 * MS, at + 5 + 5 * MS), name=COPY)
    main.push(at - 1, at + 15, "decode", domain="llmperf").push(at - 2, at + 6 * MS, "request", domain="llmperf")

    found = [one for one in report_of(trace, tmp_path).findings if one.code == "slow_products"]

    assert [one.phase for one in found] == ["decode"]
    assert "1 matrix products" in found[0].message
