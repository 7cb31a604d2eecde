"""Calls that allocate or load cost what the GPU is idle in them, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ask import report_of
from tests.support.trace_builder import TraceBuilder

MS = 1_000_000


@pytest.mark.parametrize(
    ("api", "code"), [("cudaMalloc_v3020", "allocations_in_steps"), ("cuLibraryLoadData", "loading_in_steps")]
)
@pytest.mark.parametrize(("idle_ms", "told_ms"), [(0, None), (1, None), (3, 3), (4, 4)])
def test_a_call_costs_what_the_gpu_is_idle_in_it(
    api: str, code: str, idle_ms: int, told_ms: int | None, tmp_path: Path
) -> None:
    """Five steps: a kernel of 10 ms, the call of 4 ms around its end, 1 ms of host code, then 6 ms of another call."""
    trace = TraceBuilder().gpu()
    main, at = trace.process().thread(), 0
    for _ in range(5):
        main.launch(at, gpu=(at + 5, at + 5 + 10 * MS), name="gemm")
        end = at + 5 + 10 * MS + idle_ms * MS
        main.call(end - 4 * MS, until=end, api=api)
        main.call(end + MS, until=end + 7 * MS, api="cudaStreamIsCapturing_v10000")
        main.push(at, end + 7 * MS, "decode")
        at = end + 7 * MS + 1

    stakes = {one.code: one.at_stake_ns for one in report_of(trace, tmp_path).findings}

    assert stakes.get(code) == (None if told_ms is None else 5 * told_ms * MS)
    assert stakes["calls_in_steps"] == 5 * 6 * MS


@pytest.mark.parametrize(
    ("api", "code"), [("cudaFree_v3020", "allocations_in_steps"), ("cuLibraryLoadData", "loading_in_steps")]
)
def test_a_call_between_steps_costs_the_step_that_it_delays(api: str, code: str, tmp_path: Path) -> None:
    """Requests of a prefill and three decode steps: a call of 4 ms stands behind each step and the work of the prefill.

    Between two requests it takes 50 ms, which is no measured time.
    """
    trace = TraceBuilder().gpu()
    main, at = trace.process().thread(), 0
    for _ in range(3):
        begin = at
        for phase in ("prefill", "decode", "decode", "decode"):
            start, at = at, at + 5_000
            main.launch(at, gpu=(at + 5, at + 5 + 5 * MS), name="gemm")
            at += 6 * MS
            if phase == "prefill":
                main.call(at, until=at + 4 * MS, api=api)
                at += 4 * MS
            main.push(start, at, phase)
            at += 1_000
            if phase != "prefill":
                main.call(at, until=at + 4 * MS, api=api)
                at += 4 * MS + 1_000
        main.push(begin, at, "request")
        main.call(at + MS, until=at + 51 * MS, api=api)
        at += 60 * MS

    report = report_of(trace, tmp_path)
    told = {one.phase: one for one in report.findings if one.code == code}

    # three decode steps wait for what stands behind the step before them; behind a request's last one no step follows
    assert {phase: one.at_stake_ns for phase, one in told.items()} == {"decode": 3 * 3 * 4 * MS, None: 3 * 4 * MS}
    name = api.removesuffix("_v3020")
    assert told["decode"].message.startswith("in decode steps ")
    assert told["decode"].message.endswith(f": 9 × {name}, mostly between steps, 36.0 ms in all")
    assert "calls_in_steps" not in {one.code for one in report.findings}
    assert {phase.name: phase.budget.api_ns for phase in report.phases} == {"prefill": 0, "decode": 36 * MS}


def test_a_call_beside_which_another_thread_leaves_the_gpu_idle_costs_nothing(tmp_path: Path) -> None:
    """The thread that launches all but one kernel is in a call for 4 ms of each step; the other one allocates then."""
    trace = TraceBuilder().gpu()
    process = trace.process()
    main, other, at = process.thread(), process.thread(222), 0
    other.launch(0, gpu=(10, 20), name="copy")
    for _ in range(5):
        start, at = at, at + 5_000
        main.launch(at, gpu=(at + 5, at + 5 + 5 * MS), name="gemm")
        other.call(at + 5 * MS + 10, until=at + 9 * MS, api="cudaMalloc_v3020")
        main.call(at + 5 * MS + 10, until=at + 9 * MS, api="cudaStreamIsCapturing_v10000")
        at += 9 * MS
        main.launch(at, gpu=(at + 5, at + 5 + MS), name="gemm")
        at += 2 * MS
        main.push(start, at, "decode")
        other.push(start, at, "decode")
        at += 1_000

    report = report_of(trace, tmp_path)

    assert "allocations_in_steps" not in {one.code for one in report.findings}
    assert sum(phase.budget.api_ns for phase in report.phases) == 5 * (4 * MS - 10)
