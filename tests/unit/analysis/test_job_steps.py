"""A step that is cold on one rank is left out on all ranks that share it: they are compared over the same steps."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest

from nsys_pipeline.inputs import AnalysisOptions
from tests.support.ask import ask, report_of
from tests.support.real_traces import unpack_by_name
from tests.support.reference import busy_ns
from tests.support.trace_builder import ThreadBuilder, TraceBuilder

ALL_REDUCE = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL"
MS = 1_000_000
STEPS = 6
FIRST_STEP = [f"{rank},{phase}" for rank in (0, 1) for phase in ("backward", "forward", "optimizer")]
LEFT_OUT = "SELECT process_id - 100 AS rank, phase, occurrence FROM phases WHERE NOT is_measured ORDER BY ALL"

Groups = tuple[tuple[int, ...], ...]  # ranks that reduce together, on a stream for each


def arrival(rank: int, step: int, slow: int) -> int:
    """When `rank` comes to the first collective of `step`: the host of rank `slow` takes 50 ms in the first one."""
    return 100 * step * MS + (50 * MS if rank == slow and step == 0 else MS)


def decode(main: ThreadBuilder, rank: int, *, slow: int, groups: Groups) -> None:
    """Six decode steps of a rank, in which it reduces once with each of its groups."""
    for step in range(STEPS):
        own = arrival(rank, step, slow)
        main.push(100 * step * MS, own + 3 * MS, "decode")
        main.launch(own, gpu=(own + 10, own + MS), name="gemm", device=rank)
        last = max(arrival(each, step, slow) for each in range(3))
        for place, group in enumerate(groups):
            if rank in group:
                begin = own + MS if place == 0 else last + (place + 1) * MS
                main.launch(
                    own + place + 1,
                    gpu=(begin, last + (place + 2) * MS),
                    name=ALL_REDUCE,
                    device=rank,
                    stream=7 + place,
                )


def job(ranks: int, groups: Groups, *, slow: int = 0) -> TraceBuilder:
    trace = TraceBuilder()
    for rank in range(ranks):
        decode(trace.gpu(rank).process(100 + rank).thread(), rank, slow=slow, groups=groups)
    return trace


def left_out(trace: TraceBuilder, folder: Path) -> list[str]:
    return ask(trace, LEFT_OUT, folder).splitlines()[1:]


def test_a_cold_step_is_left_out_on_all_ranks_of_it(tmp_path: Path) -> None:
    assert left_out(job(2, ((0, 1),)), tmp_path) == ["0,decode,0", "1,decode,1"]

    for keep_cold in (False, True):
        report = report_of(tmp_path / "trace.sqlite", options=AnalysisOptions(keep_cold=keep_cold))
        (phase,) = report.phases
        assert phase.occurrences - phase.cold_occurrences == 2 * (STEPS if keep_cold else STEPS - 1)
        (told,) = [one.message for one in report.findings if one.code == "cold_first_occurrence"]
        # The other rank waits for it, and is slow itself.
        assert f"2 of {2 * STEPS} occurrences of decode (the first ones)" in told
        assert told.startswith("cold and counted" if keep_cold else "left out as cold")


def test_ranks_that_share_no_communicator_reach_each_other_through_one_that_does(tmp_path: Path) -> None:
    assert left_out(job(3, ((0, 1), (1, 2))), tmp_path) == ["0,decode,0", "1,decode,1", "2,decode,2"]


def test_replicas_that_share_no_collective_have_steps_of_their_own(tmp_path: Path) -> None:
    assert left_out(job(2, ()), tmp_path) == ["0,decode,0"]


def test_ranges_that_cut_the_work_otherwise_are_not_the_same_steps(tmp_path: Path) -> None:
    trace = TraceBuilder()
    for rank in (0, 1):
        main = trace.gpu(rank).process(100 + rank).thread()
        for step in range(STEPS):
            start, own = 100 * step * MS, arrival(rank, step, 0)
            middle, end = own + 2 * MS, own + 4 * MS
            main.push(start, middle if rank else end, "decode")
            if rank:
                main.push(middle, end, "decode")
            last = max(arrival(each, step, 0) for each in (0, 1))
            for place in (0, 1):
                at = own + MS + 2 * place * MS
                gpu = (max(at + 10, place * (last + 2 * MS)), last + (2 * place + 2) * MS)
                main.launch(at, gpu=gpu, name=ALL_REDUCE, device=rank)

    assert left_out(trace, tmp_path) == ["0,decode,0"]


def train(slow: Iterable[tuple[int, str]], *, evaluates: int | None = None, is_joined: bool = True) -> TraceBuilder:
    """Six training steps of two ranks, which reduce in `backward` alone; `slow` takes 60 ms in the first."""
    trace = TraceBuilder()
    slow = set(slow)
    for rank in (0, 1):
        main = trace.gpu(rank).process(100 + rank).thread()
        main.mark(0, f'llmperf.run {{"v": 1, "rank": {rank}, "world": 2}}')
        for step in range(STEPS):
            start = 400 * step * MS
            for place, phase in enumerate(("forward", "backward", "optimizer")):
                begin = start + 100 * place * MS
                at = begin + (60 * MS if step == 0 and (rank, phase) in slow else MS)
                main.push(begin, at + 4 * MS, phase)
                main.launch(at, gpu=(at + 10, at + 2 * MS), name="gemm", device=rank)
                if phase == "backward":
                    late = any((each, phase) in slow for each in (0, 1)) and step == 0
                    last = begin + (60 * MS if late else MS)
                    name = ALL_REDUCE if is_joined else f"gemm_{rank}"
                    main.launch(
                        at + MS, gpu=(at + 2 * MS, last + 4 * MS if is_joined else at + 3 * MS), name=name, device=rank
                    )
            if rank == evaluates and step == 2:
                main.push(start + 320 * MS, start + 323 * MS, "forward")
    return trace


@pytest.mark.parametrize(("phase", "is_joined"), [("optimizer", True), ("forward", True), ("forward", False)])
def test_passes_without_a_collective_are_counted_from_those_that_have_one(
    phase: str, is_joined: bool, tmp_path: Path
) -> None:
    """Without a collective that is matched, ranks of training are taken to do the same passes."""
    rows = left_out(train([(1, phase)], is_joined=is_joined), tmp_path)

    assert [row.rsplit(",", 1)[0] for row in rows] == FIRST_STEP
    steps = ask(tmp_path / "trace.sqlite", "SELECT rank, step FROM training_steps WHERE is_cold ORDER BY ALL", tmp_path)
    assert steps.splitlines()[1:] == ["0,0", "1,0"]


def test_an_evaluation_of_one_rank_shifts_no_step(tmp_path: Path) -> None:
    rows = left_out(train([(0, "optimizer")], evaluates=0), tmp_path)

    assert [row.rsplit(",", 1)[0] for row in rows] == FIRST_STEP


def accumulate(steps: int, *, late_ns: int = 0, gap_ns: int = 0) -> TraceBuilder:
    """Steps of two micro-batches on two ranks. Rank 0's first forward is late, or it stands still after it."""
    trace = TraceBuilder()
    for rank in (0, 1):
        main = trace.gpu(rank).process(100 + rank).thread()
        main.mark(0, f'llmperf.run {{"v": 1, "rank": {rank}, "world": 2}}')
        at = MS
        for step in range(steps):
            for place, phase in enumerate(("forward", "backward", "forward", "backward", "optimizer")):
                is_first = (rank, step, place) == (0, 0, 0)
                begin, at = at, at + (late_ns if is_first else 0)
                main.launch(at, gpu=(at + 10, at + MS), name="gemm", device=rank)
                if place == 3:
                    name = ALL_REDUCE
                    last = at + late_ns + gap_ns if rank == 1 and step == 0 else at
                    main.launch(at + 1, gpu=(at + MS, last + 2 * MS), name=name, device=rank)
                    at = last
                main.push(begin, at + 2 * MS, phase)
                at += 3 * MS + (gap_ns if is_first else 0)
    return trace


@pytest.mark.parametrize(("late", "gap"), [(60, 0), (0, 60)])
def test_all_passes_of_a_cold_training_step_are_left_out(late: int, gap: int, tmp_path: Path) -> None:
    """A pass is cold, or its step as a whole: phases, collectives and steps are of the same five steps."""
    path = accumulate(STEPS, late_ns=late * MS, gap_ns=gap * MS).write(tmp_path / "trace.sqlite")

    report = report_of(path)

    assert {phase.name: (phase.occurrences, phase.cold_occurrences) for phase in report.phases} == {
        "forward": (24, 4),
        "backward": (24, 4),
        "optimizer": (12, 2),
    }
    measured = "SELECT count(*) FROM collectives WHERE is_measured"
    assert ask(path, measured, tmp_path).splitlines()[1:] == ["10"]
    assert [(rank.wait_ns, rank.blamed_ns) for rank in report.ranks] == [(0, 0), (0, 0)]
    told = " ".join(one.message for one in report.findings if one.code == "cold_first_occurrence")
    assert "optimizer (the rest of cold training steps)" in told


def test_the_only_training_step_is_not_left_out_for_one_pass(tmp_path: Path) -> None:
    rows = left_out(accumulate(1, late_ns=60 * MS), tmp_path)

    assert [row.rsplit(",", 1)[0] for row in rows] == ["0,forward", "1,forward"]


def test_one_trace_for_each_rank_is_the_same(tmp_path: Path) -> None:
    for rank in (0, 1):
        trace = TraceBuilder()
        decode(trace.gpu(rank).process(100 + rank).thread(), rank, slow=0, groups=((0, 1),))
        trace.write(tmp_path / f"trace-rank{rank}.sqlite")

    report = report_of(tmp_path)

    assert [(rank.rank, rank.window_ns) for rank in report.ranks] == [(0, 5 * 4 * MS), (1, 5 * 4 * MS)]
    assert [(phase.occurrences, phase.cold_occurrences) for phase in report.phases] == [(12, 2)]


# -- a real job, from the raw tables ---------------------------------------------------------------------------------


def test_ranks_of_a_real_job_are_compared_over_the_same_steps(tmp_path: Path) -> None:
    """Kernels of each GPU by launch, from the raw tables: all prefill and decode ranges of a thread but its first."""
    path = unpack_by_name("h200x2_tensor_parallel", tmp_path)
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("""
            WITH step AS (
                SELECT n.globalTid AS tid, n.start, n.end, row_number() OVER (
                    PARTITION BY n.globalTid, coalesce(n.text, s.value) ORDER BY n.start
                ) AS number
                FROM NVTX_EVENTS AS n LEFT JOIN StringIds AS s ON s.id = n.textId
                WHERE n.eventType = 59 AND coalesce(n.text, s.value) IN ('prefill', 'decode')
            )
            SELECT k.deviceId, k.start, k.end
            FROM step
            JOIN CUPTI_ACTIVITY_KIND_RUNTIME AS a ON a.globalTid = step.tid AND a.start BETWEEN step.start AND step.end
            JOIN CUPTI_ACTIVITY_KIND_KERNEL AS k
                ON k.correlationId = a.correlationId AND k.globalPid = a.globalTid - (a.globalTid & 16777215)
            WHERE step.number > 1
        """).fetchall()
    busy = [busy_ns([row[1:] for row in rows if row[0] == device]) for device in (0, 1)]

    report = report_of(path)
    ranks = report.ranks

    for rank, ns in zip(ranks, busy, strict=True):
        # Copies are no kernels; none takes a tenth of a millisecond here.
        assert (rank.window_ns or 0) - (rank.idle_ns or 0) == pytest.approx(ns, abs=MS // 10)
    assert ranks[0].reason == "host"
    assert ranks[0].late_phase == "decode"
    # What each is idle for while the other waits, over all phases: the difference is that of the raw times, but for
    # what the collectives themselves differ by.
    late = {rank.process_id: 0 for rank in ranks}
    for phase in report.rank_lateness:
        late[phase.process_id] += phase.more_ns or 0
    windows = [rank.window_ns or 0 for rank in ranks]
    raw = busy[1] - busy[0] + windows[0] - windows[1]
    assert late[ranks[0].process_id] - late[ranks[1].process_id] == pytest.approx(raw, rel=0.01)
