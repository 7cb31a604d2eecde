"""Ranks: where the time of each one's GPU went, whom the others wait for, and why."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import pytest

from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.records import RankRow, Report
from nsys_pipeline.report.sections import report_document
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.ask import report_of
from tests.support.real_traces import SUFFIX, TRACES
from tests.support.reference import busy_ns
from tests.support.trace_builder import TraceBuilder

JOB = Path(__file__).resolve().parents[2] / "jobs" / "h200x2_fsdp_slow_rank"
ALL_GATHER = "ncclDevKernel_AllGather_RING_LL"
ALL_REDUCE = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL"
MS = 1_000_000
KEEP_COLD = AnalysisOptions(keep_cold=True)


def train(late: str) -> TraceBuilder:
    """Four steps of two ranks that reduce gradients after 10 ms of kernels; `late` makes rank 1 come 5 ms later."""
    trace = TraceBuilder().gpu(0).gpu(1)
    for device in (0, 1):
        main = trace.process(100 + device).thread()
        more = 5 * MS if device else 0
        for step in range(4):
            start = 40 * step * MS
            begin = start + (more if late == "data" else 0)
            launch = begin + (more if late == "host" else 0)
            done = launch + 10 * MS + (more if late == "compute" else 0)
            main.push(begin, launch + 4 * MS, "forward")
            main.launch(launch, gpu=(launch + 10, done), name="gemm", device=device)
            main.push(launch + 4 * MS, start + 30 * MS, "backward")
            # A collective ends everywhere when the last rank has come and 2 ms have passed.
            main.launch(launch + 5 * MS, gpu=(done, start + 17 * MS), name=ALL_REDUCE, device=device)
            main.push(start + 30 * MS, start + 31 * MS, "optimizer")
            main.launch(start + 30 * MS, gpu=(start + 30 * MS + 10, start + 31 * MS), name="adam", device=device)
    return trace


@pytest.mark.parametrize("late", ["compute", "data", "host"])
def test_a_late_rank_has_a_reason(late: str, tmp_path: Path) -> None:
    report = report_of(train(late), tmp_path)

    first, second = report.ranks
    assert (first.is_late, first.reason, second.is_late, second.reason) == (False, None, True, late)
    assert (second.blamed_ns, first.wait_ns) == (4 * 5 * MS, 4 * 5 * MS)
    # Before the first collective the ranks have not met.
    assert second.more_ns == pytest.approx(3 * 5 * MS, rel=0.01)
    section = next(one for one in report_document(report).sections if one.name == "ranks")
    assert "pid 101" in str(section)
    (told,) = [one.message for one in report.findings if one.code == "late_rank"]
    assert "the other ranks wait 20.0 ms for process 101, each of them 5.0 ms a step" in told
    assert {
        "compute": "before them its kernels take at least 15.0 ms longer than those of the others",
        "data": "before them it takes at least 15.0 ms longer until the first pass of its steps",
        "host": "before them its GPU is idle for at least 15.0 ms longer",
    }[late] in told


def late_in(report: Report) -> dict[str | None, str]:
    """What is said of late ranks, phase by phase, from the rank on."""
    return {one.phase: one.message.partition("wait ")[2] for one in report.findings if one.code == "late_rank"}


def test_each_phase_has_a_reason_of_its_own(tmp_path: Path) -> None:
    # given rank 1 that is fed 3 ms late to its forward, and whose backward has kernels of 4 ms more
    trace = TraceBuilder()
    for rank in (0, 1):
        main = trace.gpu(rank).process(100 + rank).thread()
        for at in range(0, 200, 40):
            begin, done = at + 3 * rank, at + 15 + 4 * rank
            main.push(begin * MS, (at + 10) * MS, "forward")
            main.launch(begin * MS, gpu=(begin * MS + 10, (at + 5) * MS), name=ALL_GATHER, device=rank)
            main.push((at + 10) * MS, (at + 29) * MS, "backward")
            main.launch((at + 10) * MS, gpu=((at + 10) * MS + 10, done * MS), name="gemm", device=rank)
            main.launch((at + 11) * MS, gpu=(done * MS, (at + 21) * MS), name=ALL_REDUCE, device=rank)
            main.push((at + 29) * MS, (at + 30) * MS, "optimizer")
            main.launch((at + 29) * MS, gpu=((at + 29) * MS + 10, (at + 30) * MS), name="adam", device=rank)

    told = late_in(report_of(trace, tmp_path, KEEP_COLD))

    assert told == {
        "forward": "15.0 ms for process 101, each of them 3.0 ms a step, and it comes last to 5 of 5 collectives: "
        "before them it takes at least 12.0 ms longer until the first pass of its steps, as when it waits for data",
        "backward": "20.0 ms for process 101, each of them 4.0 ms a step, and it comes last to 5 of 5 collectives: "
        "before them its kernels take at least 20.0 ms longer than those of the others",
    }


def test_a_rank_that_is_late_behind_overlap_is_not_said_to_compute_more(tmp_path: Path) -> None:
    # given two buckets beside a backward of 20 ms that rank 1's host launches 4 ms late
    trace = TraceBuilder()
    for rank in (0, 1):
        main = trace.gpu(rank).process(100 + rank).thread()
        for at in range(0, 300, 60):
            begin = at + 4 * rank
            main.push(at * MS, (at + 1) * MS, "forward").launch(
                at * MS, gpu=(at * MS + 10, (at + 1) * MS), name="gemm", device=rank
            )
            main.push((at + 1) * MS, (at + 40) * MS, "backward")
            main.launch((begin + 1) * MS, gpu=((begin + 1) * MS + 10, (begin + 21) * MS), name="gemm", device=rank)
            for ready in (10, 20):  # rank 0 waits beside its kernels
                first, last = (begin + ready) * MS, (at + ready + 6) * MS
                main.launch((begin + 2) * MS, gpu=(first, last), name=ALL_REDUCE, device=rank, stream=20)
            main.launch((begin + 3) * MS, gpu=((at + 34) * MS, (at + 36) * MS), name=ALL_REDUCE, device=rank, stream=20)
            main.push((at + 40) * MS, (at + 41) * MS, "optimizer")
            main.launch((at + 40) * MS, gpu=((at + 40) * MS + 10, (at + 41) * MS), name="adam", device=rank)

    told = late_in(report_of(trace, tmp_path, KEEP_COLD))

    # 4 ms before each of both buckets, in all steps but the first
    assert told["backward"].endswith(
        "before them its GPU is idle for at least 32.0 ms longer, for the host does something else"
    )


def test_a_cold_step_makes_nobody_late_in_the_next_one(tmp_path: Path) -> None:
    # given rank 1 whose third optimizer loads a module for 50 ms, so rank 0 waits at the next step's gather
    trace = TraceBuilder()
    for rank in (0, 1):
        main = trace.gpu(rank).process(100 + rank).thread()
        for step in range(8):
            at = 20 * step + (60 if step > 2 else 0)
            begin = at - (50 if step == 3 and rank == 0 else 0)
            main.push(begin * MS, (begin + 1) * MS, "forward")
            main.launch(begin * MS, gpu=(begin * MS + 10, (at + 2) * MS), name=ALL_GATHER, device=rank)
            main.launch(begin * MS + 10, gpu=((at + 2) * MS, (at + 4) * MS), name="gemm", device=rank)
            main.push((at + 4) * MS, (at + 9) * MS, "backward")
            main.launch((at + 4) * MS, gpu=((at + 4) * MS + 10, (at + 8) * MS), name="gemm", device=rank)
            main.launch((at + 5) * MS, gpu=((at + 8) * MS, (at + 9) * MS), name=ALL_REDUCE, device=rank)
            slow = 50 if step == 2 and rank else 0
            main.push((at + 10) * MS, (at + 12 + slow) * MS, "optimizer")
            if slow:
                main.call((at + 10) * MS, until=(at + 59) * MS, api="cuModuleLoadData")
            done = (at + 11 + slow) * MS
            main.launch(done, gpu=(done + 10, done + MS), name="adam", device=rank)

    report = report_of(trace, tmp_path)

    assert {one.message for one in report.findings if one.code == "late_rank"} == set()
    assert [rank.is_late for rank in report.ranks] == [False, False]
    # the waiting itself is told
    assert report.ranks[0].wait_ns == pytest.approx(50 * MS, rel=0.01)


def test_the_rank_whose_experts_take_longer_is_late_to_all_to_alls_of_nccl(tmp_path: Path) -> None:
    trace = TraceBuilder()
    for rank in range(3):
        main = trace.gpu(rank).process(100 + rank).thread()
        for at in range(0, 200, 10):
            done = at + 2 + 3 * (rank == 1)
            main.push(at * MS, (at + 9) * MS, "decode")
            main.launch(at * MS, gpu=(at * MS + 10, done * MS), name="experts", device=rank)
            main.launch(
                at * MS + 9, gpu=(done * MS, (at + 6) * MS), name="ncclDevKernel_SendRecv", device=rank, stream=20
            )

    told = late_in(report_of(trace, tmp_path, KEEP_COLD))

    assert told["decode"] == (
        "120.0 ms for process 101, each of them 3.0 ms a step, and it comes last to 20 of 20 collectives: "
        "before them its kernels take at least 57.0 ms longer than those of the others"
    )


def parts(rank: RankRow) -> list[float]:
    return [round((ns or 0) / 1e6, 1) for ns in (rank.compute_ns, rank.transfer_ns, rank.wait_ns, rank.copy_ns)]


def steps_of(kernels: list[list[tuple[int, int, int]]]) -> TraceBuilder:
    """Training of ranks; each step is when it begins, when its all-reduce does, and when that ends, in ms."""
    trace = TraceBuilder()
    for rank, steps in enumerate(kernels):
        main = trace.gpu(rank).process(100 + rank).thread()
        main.mark(0, f'llmperf.run {{"v": 1, "rank": {rank}, "world": {len(kernels)}}}')
        for begin, first, last in ((a * MS, b * MS, c * MS) for a, b, c in steps):
            main.push(begin, begin + MS, "forward").launch(
                begin, gpu=(begin + 10, begin + MS), name="gemm", device=rank
            )
            main.push(begin + MS, last, "backward")
            main.launch(begin + MS, gpu=(first, last), name=ALL_REDUCE, device=rank)
    return trace


def test_collectives_that_a_rank_lacks_neither_wait_nor_transfer(tmp_path: Path) -> None:
    # given rank 0 with 24 steps, of which rank 1, which comes 3 ms later each time, has 20
    first = [(20 * n, 20 * n + 5, 20 * n + 10) for n in range(24)]
    report = report_of(steps_of([first, [(a + 3, b + 3, c) for a, b, c in first[:20]]]), tmp_path, KEEP_COLD)

    (row,) = [row for row in report.collectives if row.phase == "backward"]
    assert (row.kernel_count, row.time_ns) == (44, (24 * 5 + 20 * 2) * MS)
    assert (row.wait_ns, row.transfer_ns) == (20 * 3 * MS, 20 * 2 * 2 * MS)
    assert [(rank.wait_ns, rank.transfer_ns, rank.blamed_ns) for rank in report.ranks] == [
        (20 * 3 * MS, 20 * 2 * MS, 0),
        (0, 20 * 2 * MS, 20 * 3 * MS),
    ]
    told = {one.code: one.message for one in report.findings}
    assert "it comes last to 20 of 20 collectives" in told["late_rank"]
    # Of what the GPUs only communicate, 20 ms may be all waiting: no reason to send less.
    assert told["collectives_unmatched"] == (
        "in backward 4 kernels of communication have no known partner on another rank: 20.0 ms with no compute beside "
        "them count as communication, and how much of that is waiting is not known"
    )
    assert {one.code: one.at_stake_ns for one in report.findings}["exposed_communication"] == 20 * 2 * 2 * MS
    assert "communication, waits" in str(report_document(report))
    assert told["rank_recorded_less"] == (
        "rank 1 has 20 of the 24 collectives of its communicators: its recording begins late or ends early; "
        "4 kernels have no partner, and their waiting and transfer are not known"
    )


def test_ranks_are_compared_over_the_steps_that_all_have(tmp_path: Path) -> None:
    # given rank 1 that comes 3 ms late to each of 20 steps, and rank 0 that is fed 100 ms late to the four after them
    first = [(20 * n, 20 * n + 5, 20 * n + 10) for n in range(20)] + [
        (120 * n - 2000, 120 * n - 1995, 120 * n - 1990) for n in range(21, 25)
    ]
    report = report_of(steps_of([first, [(a + 3, b + 3, c) for a, b, c in first[:20]]]), tmp_path, KEEP_COLD)

    second = report.ranks[1]
    # Of the first step nothing is before its first pass.
    assert (second.is_late, second.reason, second.more_ns) == (True, "data", 19 * 3 * MS)


def test_a_rank_that_starts_later_is_not_cut_and_waiting_that_nothing_tells_is_not_known(tmp_path: Path) -> None:
    slow = [(0, 105, 110)] + [(20 * n + 100, 20 * n + 105, 20 * n + 110) for n in range(1, 6)]
    later = [(100, 108, 110), *slow[1:]]
    assert "rank_recorded_less" not in {one.code for one in report_of(steps_of([slow, later, slow]), tmp_path).findings}

    (tmp_path / "cut").mkdir()
    report = report_of(steps_of([slow, later[:3]]), tmp_path / "cut", KEEP_COLD)
    assert [(rank.wait_ns, rank.transfer_ns, rank.blamed_ns) for rank in report.ranks] == [(None, None, None)] * 2
    (told,) = [one.message for one in report.findings if one.code == "rank_recorded_less"]
    assert told == "rank 1 has 3 training steps, where others have 6: its recording begins late or ends early"


def test_ranks_that_are_equal_are_not_late(tmp_path: Path) -> None:
    assert [rank.is_late for rank in report_of(train("nobody"), tmp_path).ranks] == [False, False]


def test_the_time_of_each_rank_adds_up_and_one_that_sleeps_is_named() -> None:
    # given FSDP2 on two GPUs, a trace for each; rank 1 sleeps 30 ms before each of six forwards
    report = report_of(JOB)

    first, second = report.ranks
    assert [(rank.rank, rank.world, rank.device_ids) for rank in report.ranks] == [(0, 2, [0]), (1, 2, [1])]
    assert (first.is_late, second.is_late, second.reason) == (False, True, "data")
    # five steps after the cold one, in each of which rank 0 needs a millisecond or two itself
    assert second.more_ns is not None
    assert 5 * 25 * MS < second.more_ns < 5 * 32 * MS
    assert [parts(rank) for rank in report.ranks] == [[378.9, 13.7, 169.2, 4.4], [386.2, 13.7, 33.9, 4.4]]
    for rank in report.ranks:
        spent = (rank.compute_ns, rank.transfer_ns, rank.wait_ns, rank.copy_ns, rank.idle_ns)
        assert sum(ns or 0 for ns in spent) == rank.window_ns == report.windows_ns[rank.device_ids[0]]


def test_tensor_parallel_ranks_wait_in_nearly_all_of_their_all_reduce() -> None:
    report = report_of(TRACES / f"h200x2_tensor_parallel{SUFFIX}")

    assert [parts(rank) for rank in report.ranks] == [[33.2, 5.6, 78.0, 0.0], [33.5, 5.7, 1354.2, 0.0]]
    assert [(rank.late_phase, rank.reason) for rank in report.ranks] == [("decode", "host"), ("prefill", "host")]


@pytest.mark.parametrize("keep_cold", [False, True])
def test_ranks_and_collectives_count_the_same_steps(keep_cold: bool) -> None:
    report = report_of(TRACES / f"h200x2_tensor_parallel{SUFFIX}", options=AnalysisOptions(keep_cold=keep_cold))

    # no compute runs beside the collectives of this trace
    of_ranks = sum((rank.wait_ns or 0) + (rank.transfer_ns or 0) for rank in report.ranks)
    in_phases = [row for row in report.collectives if row.phase is not None]
    assert of_ranks == sum((row.wait_ns or 0) + (row.transfer_ns or 0) for row in in_phases)


def test_two_columns_about_waiting_differ_in_what_compute_hides() -> None:
    """Of two ranks, what the other one is blamed for, without a rank's own waiting, is waiting beside its compute."""
    job = JOB.parent / "short" / f"h200x2_fsdp_slow_rank{SUFFIX}"
    report = report_of(job)
    with open_trace(job, TraceOptions(use_cache=False)) as trace:
        trace.build("views.collectives", "views.kernels", "views.training_steps")
        waits, kernels, steps = (
            trace.connection.execute(query).fetchall()
            for query in (
                "SELECT device_id, start_ns, start_ns + wait_ns FROM views.collectives "
                "WHERE is_measured AND phase IS NOT NULL AND communicator_id IS NOT NULL",
                "SELECT device_id, start_ns, end_ns FROM views.kernels "
                "WHERE family <> 'communication' ORDER BY start_ns",
                "SELECT rank, wall_ns, input_wait_ns FROM views.training_steps WHERE is_complete AND NOT is_cold",
            )
        )

    for number, rank in enumerate(report.ranks):
        own = [kernel[1:] for kernel in kernels if kernel[0] == number]
        hidden = sum(covered_ns(wait[1:], own) for wait in waits if wait[0] == number)
        assert hidden > 0
        assert (report.ranks[1 - number].blamed_ns or 0) - (rank.wait_ns or 0) == hidden
        assert rank.median_step_ns == median(step[1] for step in steps if step[0] == number)
        assert rank.median_input_wait_ns == median(step[2] for step in steps if step[0] == number)
    assert report.training is not None
    assert report.training.median_input_wait_ns == pytest.approx(median(step[2] for step in steps), abs=1)


def covered_ns(span: tuple[int, int], parts: list[tuple[int, int]]) -> int:
    """Time of `span` in which one of `parts` runs."""
    return busy_ns(
        (max(start, span[0]), min(end, span[1])) for start, end in parts if end > span[0] and start < span[1]
    )


def test_one_rank_has_no_table(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    trace.process().thread().push(0, 10, "decode").launch(2, gpu=(4, 8))

    report = report_of(trace, tmp_path)

    assert len(report.ranks) == 1
    assert "ranks" not in [section.name for section in report_document(report).sections]
