"""What a late rank costs the others, by hand and by a count over all steps: unequal numbers of them, and cold ones."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.records import RankLateness, Report
from nsys_pipeline.report.sections import report_document
from tests.support.ask import ask, report_of, table
from tests.support.trace_builder import TraceBuilder

ALL_REDUCE = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL"
MS = 1_000_000
KEEP_COLD = AnalysisOptions(keep_cold=True)


def training(late_ms: list[list[int]], *, cold: int | None = None, period: int = 40) -> TraceBuilder:
    """Ranks whose n-th steps begin together; the host of each comes `late_ms` later to the step's one all-reduce.

    The forward of step `cold` loads a module for 100 ms, in which nobody waits for anybody.
    """
    trace = TraceBuilder()
    for rank, steps in enumerate(late_ms):
        main = trace.gpu(rank).process(100 + rank).thread()
        main.mark(0, f'llmperf.run {{"v": 1, "rank": {rank}, "world": {len(late_ms)}}}')
        for step, late in enumerate(steps):
            at = (period * step + (100 if cold is not None and step > cold else 0)) * MS
            slow = 100 * MS if step == cold else 0
            main.push(at, at + MS + slow, "forward").launch(at, gpu=(at + 10, at + MS), name="gemm", device=rank)
            if slow:
                main.call(at + MS, until=at + MS + slow - 10, api="cuModuleLoadData")
            begin, end = at + MS + slow, at + 30 * MS + slow
            last = begin + MS + max(others[step] if step < len(others) else 0 for others in late_ms) * MS
            main.push(begin, end, "backward")
            start = begin + MS + late * MS
            main.launch(start - 10, gpu=(start, last + MS), name=ALL_REDUCE, device=rank)
            main.push(end, end + MS, "optimizer").launch(end, gpu=(end + 10, end + MS), name="adam", device=rank)
    return trace


def costs(report: Report) -> dict[int | None, RankLateness]:
    assert {one.phase for one in report.rank_lateness} <= {"backward"}
    return {one.rank: one for one in report.rank_lateness}


def test_a_rank_that_records_more_steps_costs_no_more_a_step(tmp_path: Path) -> None:
    # given rank 1, 15 ms late to each of 20 steps, which has four more than rank 0
    report = report_of(training([[0] * 20, [15] * 24]), tmp_path, KEEP_COLD)

    late = costs(report)[1]
    assert (late.blamed_ns, late.wait_ns, late.steps, late.step_ns) == (20 * 15 * MS, 20 * 15 * MS, 20, 15 * MS)
    # before the first all-reduce the ranks have not met
    assert (late.is_late, late.reason, late.more_ns) == (True, "host", 19 * 15 * MS)
    (rank,) = [rank for rank in report.ranks if rank.is_late]
    assert (rank.rank, rank.blamed_ns, rank.blamed_step_ns) == (1, 20 * 15 * MS, 15 * MS)
    assert (rank.late_phase, rank.reason, rank.more_ns) == ("backward", "host", 19 * 15 * MS)
    (told,) = [one.message for one in report.findings if one.code == "late_rank"]
    words = "in backward the other{} wait 300.0 ms for {}, each of them 15.0{} ms a step"
    assert told.startswith(words.format(" ranks", "rank 1", ""))
    section = next(one for one in report_document(report).sections if one.name == "ranks")
    assert words.format("s", "it", "0") in str(section)


def test_a_step_behind_a_cold_one_is_in_no_mean(tmp_path: Path) -> None:
    # given rank 1, 4 ms late to each of 12 steps, of which the sixth is cold: nobody asks who is late to the seventh
    late = costs(report_of(training([[0] * 12, [4] * 12], cold=5), tmp_path))[1]
    assert (late.late_count, late.blamed_ns, late.wait_ns) == (10, 11 * 4 * MS, 10 * 4 * MS)
    assert (late.steps, late.step_ns) == (10, 4 * MS)
    query = "SELECT rank, phase, blamed_ns, wait_ns, steps, step_ns, reason FROM rank_lateness"
    assert ask(tmp_path / "trace.sqlite", query, tmp_path) == table("""
        rank, phase,    blamed_ns, wait_ns,  steps, step_ns, reason
        1,    backward, 44000000,  40000000, 10,    4000000, host
    """)


@pytest.mark.parametrize("seed", range(3))
def test_costs_agree_with_a_count_over_all_steps(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    ranks, steps, cold = random.choice((2, 3, 4)), random.randrange(18, 26), random.choice((None, 6))
    late_ms = [[random.choice((0, 0, 1, 2, 7)) for _ in range(steps - random.choice((0, 0, 2)))] for _ in range(ranks)]
    # Nobody knows who waits in steps that a rank lacks, and nobody is blamed in the cold one and behind it.
    common = min(map(len, late_ms))
    left = set() if cold is None else {cold, cold + 1}
    blamed, judged = ([0] * ranks for _ in range(2))
    for step in range(common):
        came = [steps_of[step] for steps_of in late_ms]
        if step != cold:
            last = came.index(max(came))
            waited = sum(max(came) - one for one in came) * MS
            blamed[last] += waited
            judged[last] += 0 if step in left else waited

    found = costs(report_of(training(late_ms, cold=cold), tmp_path, AnalysisOptions(keep_cold=cold is None)))

    clean = (ranks - 1) * (common - len(left))
    for rank in range(ranks):
        one = found.get(rank)
        if one is None:
            assert blamed[rank] == 0
            continue
        assert (one.blamed_ns, one.wait_ns, one.collectives) == (blamed[rank], judged[rank], common - len(left))
        assert (one.step_ns or 0) == pytest.approx(judged[rank] / clean, abs=1)
        assert one.steps in (clean, None)
        assert one.each_ns == pytest.approx(judged[rank] / (ranks - 1), abs=1)
        assert one.more_ns is None or one.more_ns <= one.each_ns


@pytest.mark.parametrize("is_hidden", [True, False])
def test_waiting_beside_compute_is_told_as_such(is_hidden: bool, tmp_path: Path) -> None:
    """In five backwards of a step rank 0 waits 10 ms each for rank 1; it may compute beside the first 8 of them."""
    trace = TraceBuilder()
    for rank in range(2):
        main = trace.gpu(rank).process(100 + rank).thread()
        main.mark(0, f'llmperf.run {{"v": 1, "rank": {rank}, "world": 2}}')
        for at in range(0, 5 * 40 * MS, 40 * MS):
            main.push(at, at + 30 * MS, "backward").launch(at, gpu=(at + 10, at + MS), name="gemm", device=rank)
            start = at + (12 if rank else 2) * MS
            main.launch(at + 20, gpu=(start, at + 13 * MS), name=ALL_REDUCE, device=rank, stream=9)
            if is_hidden and not rank:
                main.launch(at + 30, gpu=(at + 2 * MS, at + 10 * MS), name="gemm", device=rank)

    (told,) = [one for one in report_of(trace, tmp_path, KEEP_COLD).findings if one.code == "late_rank"]

    hidden = ", in which their GPUs do nothing else for at most 10.0 ms" if is_hidden else ""
    assert f"wait 50.0 ms for rank 1, each of them 50.0 ms a step{hidden}, and it comes last to 5 of 5" in told.message
    assert told.at_stake_ns == (10 if is_hidden else 50) * MS
