"""Processes that work on several GPUs each, as JAX runs them: who waits for whom in collectives."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ask import ask, report_of
from tests.support.trace_builder import TraceBuilder

MS = 1_000_000
ALL_REDUCE = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL"


def job(processes: int, late: dict[int, int]) -> TraceBuilder:
    """Six steps of 100 ms on two GPUs of each process, which meet; `late`: GPU → ms that it computes longer."""
    trace = TraceBuilder()
    for number in range(processes):
        process = trace.process(100 + number)
        for thread in (0, 1):
            device = 2 * number + thread
            trace.gpu(device)
            worker = process.thread(100 + number + 50 * thread)
            for at in range(0, 600 * MS, 100 * MS):
                start = at + (50 + late.get(device, 0)) * MS
                worker.push(at, at + 99 * MS, "decode")
                worker.launch(at + MS, gpu=(at + 2 * MS, start), name="nvjet_tst", device=device)
                worker.launch(at + 3 * MS, gpu=(start, at + 70 * MS), name=ALL_REDUCE, device=device, stream=9)
    return trace


def test_gpus_of_one_process_are_no_other_ranks(tmp_path: Path) -> None:
    """The finding said that `the other ranks` wait for the only process, which came last to all collectives."""
    report = report_of(job(1, {1: 10}), tmp_path)

    (collective,) = report.collectives
    assert (collective.wait_ns, collective.transfer_ns) == (6 * 10 * MS, 12 * 10 * MS)
    assert "late_rank" not in {one.code for one in report.findings}
    assert report.rank_lateness == []


@pytest.mark.parametrize("beside", [0, 4])
def test_a_process_is_late_if_gpus_of_another_wait_for_it(beside: int, tmp_path: Path) -> None:
    """GPUs 0 and 1 wait 20 ms a step for the process of GPU 3; GPU 2 is its own, and no other rank."""
    report = report_of(job(2, {3: 10, 2: beside}), tmp_path)

    (late,) = [one for one in report.findings if one.code == "late_rank"]
    assert late.message.startswith("in decode the other ranks wait 120.0 ms for process 101, each of them")
    assert "it comes last to 6 of 6 collectives" in late.message
    assert "its kernels take at least 50.0 ms longer than those of the others" in late.message


@pytest.mark.parametrize(
    ("late", "answer"),
    [({1: 10}, "process_id,blamed_ns\n100,0"), ({3: 10, 2: 4}, "process_id,blamed_ns\n100,0\n101,120000000")],
)
@pytest.mark.parametrize("view", ["ranks", "rank_summary"])
def test_gpus_of_one_process_are_one_rank_in_both_views(
    view: str, late: dict[int, int], answer: str, tmp_path: Path
) -> None:
    """In `ranks` a process was blamed for what its own GPUs wait for each other: 6 ms a step of GPU 2."""
    assert (
        ask(job(len(late), late), f"SELECT process_id, blamed_ns FROM {view} ORDER BY process_id", tmp_path) == answer
    )


def test_gpus_that_change_phases_take_no_turns(tmp_path: Path) -> None:
    """While one GPU prefills, the other decodes, and then the other way round: each is idle for 3 ms in 50.

    A phase runs on one GPU after the other, and none of them waits: the finding had all idle time.
    """
    trace = TraceBuilder().gpu(0).gpu(1)
    process = trace.process()
    for number, phase in enumerate(("prefill", "decode")):
        thread = process.thread(100 + number)
        for turn in range(8):
            at = turn * 50 * MS
            thread.push(at, at + 49 * MS, phase)
            thread.launch(at + 2 * MS, gpu=(at + 3 * MS, at + 50 * MS), name="nvjet_tst", device=(turn + number) % 2)

    report = report_of(trace, tmp_path)

    assert [(one.name, one.gpu_busy_ns) for one in report.phases] == [("prefill", 8 * 47 * MS), ("decode", 8 * 47 * MS)]
    assert "gpus_take_turns" not in {one.code for one in report.findings}
