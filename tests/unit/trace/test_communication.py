"""Communication by collective: what compute hides, and what kernel names say."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.report.sections import report_document
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.ask import ask, report_of, table
from tests.support.trace_builder import TraceBuilder

MS = 1_000_000
JOB = Path(__file__).resolve().parents[2] / "jobs" / "h200x2_fsdp_slow_rank"
ALL_REDUCE = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL"


@pytest.mark.parametrize("seed", range(4))
def test_what_compute_hides_agrees_with_counting_each_ns(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    trace = TraceBuilder().gpu(0).gpu(1)
    main = trace.process().thread().push(0, 1000, "backward")
    spans: dict[tuple[int, bool], list[range]] = {}
    for at in range(40):
        device, talks, start = random.randrange(2), random.random() < 0.3, random.randrange(10, 400)
        end = start + random.randrange(1, 40)
        name = ALL_REDUCE if talks else "gemm"
        main.launch(at, gpu=(start, end), name=name, device=device, stream=random.randrange(4))
        spans.setdefault((device, talks), []).append(range(start, end))
    hidden = shown = 0
    for device in (0, 1):
        busy = {ns for span in spans.get((device, False), []) for ns in span}
        for span in spans.get((device, True), []):
            hidden += sum(ns in busy for ns in span)
            shown += sum(ns not in busy for ns in span)

    answer = ask(trace, "SELECT sum(overlapped_ns), sum(exposed_ns) FROM collective_summary", tmp_path)

    assert answer.splitlines()[1] == f"{hidden},{shown}"


def test_a_rank_whose_sends_are_not_measured_is_in_the_trace(tmp_path: Path) -> None:
    """Rank 0 receives for 30 of the 40 ms of its step; rank 1 sends outside its own, in which it computes for 10."""
    trace = TraceBuilder().gpu(0).gpu(1)
    for rank in range(2):
        main = trace.process(100 + rank).thread()
        start = 100 * MS * rank
        main.push(start, start + 40 * MS, "step", domain="llmperf")
        main.launch(start, gpu=(start + 1, start + 10 * MS), name="gemm", device=rank)
    main.launch(50 * MS, gpu=(50 * MS, 80 * MS), name="ncclDevKernel_SendRecv", device=1)
    trace.process(100).thread().launch(20, gpu=(10 * MS, 40 * MS), name="ncclDevKernel_SendRecv", device=0)

    (told,) = [one for one in report_of(trace, tmp_path).findings if one.code == "exposed_communication"]

    assert "of the time, or wait: 30.0 ms of it run kernels whose partners on other ranks are not known" in told.message


def test_names_of_kernels_say_what_they_do(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 1000, "decode")
    names = [
        ALL_REDUCE,
        "ncclKernel_AllReduce_TREE_LL128_Sum_float",
        "ncclDevKernel_AllGather_NVLS",
        "ncclDevKernel_SendRecv",
        "multimem_all_reduce_kernel",
        "cross_device_reduce_2stage",
        "nvshmemi_transfer_rma_p2p",
        "two_shot_all_reduce_kernel",
    ]
    for place, name in enumerate(names):
        main.launch(10 * place, gpu=(100 * place + 100, 100 * place + 150), name=name)

    assert ask(
        trace,
        "SELECT name, kind, algorithm, protocol, dtype, exposed_ratio FROM collective_summary ORDER BY name",
        tmp_path,
    ) == table("""
        name,                                      kind,       algorithm, protocol, dtype, exposed_ratio
        cross_device_reduce_2stage,                all_reduce, ,          ,         ,      1.0
        multimem_all_reduce_kernel,                all_reduce, ,          ,         ,      1.0
        ncclDevKernel_AllGather_NVLS,              all_gather, nvls,      ,         ,      1.0
        ncclDevKernel_AllReduce_Sum_bf16_RING_LL,  all_reduce, ,          ,         bf16,  1.0
        ncclDevKernel_SendRecv,                    send_recv,  ,          ,         ,      1.0
        ncclKernel_AllReduce_TREE_LL128_Sum_float, all_reduce, tree,      ll128,    float, 1.0
        nvshmemi_transfer_rma_p2p,                 ,           ,          ,         ,      1.0
        two_shot_all_reduce_kernel,                all_reduce, ,          ,         ,      1.0
    """)


def test_fsdp_gathers_behind_compute_but_for_the_late_rank() -> None:
    with open_trace(JOB, TraceOptions(use_cache=False)) as trace:
        report = analyze(trace)

    found = {(row.phase, row.kind): row for row in report.collectives}
    gather, again = found["forward", "all_gather"], found["backward", "all_gather"]
    # Nine groups of weights in each of five steps that are not cold, on two ranks.
    assert (gather.kernel_count, again.kernel_count) == (90, 80)
    assert [round(ns / 1e6, 1) for ns in (gather.time_ns, gather.wait_ns or 0, gather.exposed_ns)] == [
        277.2,
        258.1,
        219.9,
    ]
    assert (again.exposed_ratio or 1) < 0.05
    for row in report.collectives:
        assert row.overlapped_ns + row.exposed_ns == row.time_ns
        assert row.wait_ns is not None
        assert row.wait_ns + (row.transfer_ns or 0) == row.time_ns
    assert "communication" in [section.name for section in report_document(report).sections]
