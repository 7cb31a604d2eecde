"""Busy and idle time of a GPU: streams, copies, waits of the host, windows of a trace."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.public_reports.common import ALL_REDUCE, MODULE, US, decode_of_torch, phase, spent
from tests.cli.run import MS, Cli
from tests.support.trace_builder import TraceBuilder


def test_overlapping_streams_are_busy_once(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 100 * MS, "forward")
    main.launch(MS, gpu=(10 * MS, 90 * MS)).launch(2 * MS, gpu=(30 * MS, 95 * MS), stream=8, name=ALL_REDUCE)

    forward = phase(cli.analyze(trace), "forward")

    assert (forward["kernel_time_ns"], forward["gpu_busy_ns"]) == (145 * MS, 85 * MS)
    assert forward["budget"]["compute_ns"] == 80 * MS


def test_an_idle_stream_beside_a_busy_one_is_no_idle_gpu(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 60 * MS, "decode").launch(10, gpu=(MS, 2 * MS))
    main.launch(20, gpu=(MS, 55 * MS), stream=8).launch(30, gpu=(51 * MS, 52 * MS))

    rows, _ = cli.sql(trace, "SELECT gpu_idle_ns, idle_gap_count FROM phases")

    assert rows == [{"gpu_idle_ns": 0, "idle_gap_count": 0}]
    assert phase(cli.analyze(trace), "decode")["budget"]["compute_ns"] == 54 * MS


def test_copying_is_no_idle_time(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 52 * MS, "decode").launch(10, gpu=(MS, 2 * MS))
    main.memcpy(20, gpu=(2 * MS, 40 * MS)).launch(30, gpu=(40 * MS, 52 * MS))

    decode = phase(cli.analyze(trace), "decode")

    assert (decode["budget"]["copy_ns"], decode["budget"]["compute_ns"]) == (38 * MS, 13 * MS)
    assert sum(decode["budget"][name] for name in ("launch_ns", "latency_ns", "sync_ns", "api_ns", "host_ns")) == MS


def test_waiting_for_a_stream_is_no_work(cli: Cli) -> None:
    trace = decode_of_torch()
    trace.event("cuda_sync", "Stream Sync", 20_000, 80_000, 0, 7, stream=7, correlation=9)

    decode = phase(cli.analyze(trace), "decode")

    assert (decode["kernel_count"], decode["gpu_busy_ns"]) == (1, 25_000)


def test_a_call_that_waits_for_the_gpu_is_no_copy(cli: Cli) -> None:
    """The call that copies a token to the host takes 59 of 90 ms, since 59 kernels run before it."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in range(0, 360 * MS, 90 * MS):
        main.push(at, at + 90 * MS, "decode")
        for number in range(59):
            main.launch(at + number, gpu=(at + (1 + number) * MS, at + (2 + number) * MS))
        call = main.call(at + MS, until=at + 60 * MS + US, api="cudaMemcpyAsync_v3020")
        main.process.memcpy((at + 60 * MS, at + 60 * MS + US), correlation=call, kind=2, size_bytes=8)

    rows, _ = cli.sql(trace, "SELECT class, sum(time_ns)::BIGINT AS ns FROM time_budget GROUP BY class")

    budget = {row["class"]: row["ns"] for row in rows}
    assert (budget["compute"], budget["copy"]) == (4 * 59 * MS, 4 * US)
    assert budget["host"] == pytest.approx(4 * 30 * MS, rel=1e-4)


@pytest.mark.parametrize("options", [(), ("--steps", "4:6"), ("--skip", 4), ("--from", 0.2, "--to", 0.4)])
def test_work_that_a_window_leaves_out_is_no_idle_time(options: tuple[Any, ...], cli: Cli) -> None:
    """The GPU is busy from 2 to 802 ms; the host runs ahead, and opens steps of 59 ms that take 100 on the GPU."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for step in range(8):
        at = step * 60 * MS
        main.push(at, at + 59 * MS, "step")
        for number in range(10):
            start = (2 + step * 100 + number * 10) * MS
            main.launch(at + (1 + 5 * number) * MS, gpu=(start, start + 10 * MS), name="nvjet_tst")

    budget = spent(cli, trace, *options)

    steps = {(): 8, ("--steps", "4:6"): 2, ("--skip", 4): 4}.get(options, 3)
    assert budget.pop("compute") == steps * 100
    assert sum(budget.values()) == (0 if options else 2)


@pytest.mark.parametrize(("kernel", "gap"), [(5, 5), (14, 1)])
def test_short_gaps_between_small_kernels_add_up(kernel: int, gap: int, cli: Cli) -> None:
    """A thousand kernels a step, with gaps that no timeline shows: idle for half of the time, or for 7 % of it."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in range(MS, 100 * MS, 20 * MS):
        main.push(at, at + 1_000 * (kernel + gap) * US, MODULE, domain="TSL")
        for start in range(at, at + 1_000 * (kernel + gap) * US, (kernel + gap) * US):
            main.launch(start + 10, gpu=(start + gap * US, start + (gap + kernel) * US), name="loop_fusion")

    step = phase(cli.analyze(trace), "step")

    assert (step["gpu_busy_ns"], step["busy_ratio"]) == (5_000 * kernel * US, kernel / (kernel + gap))
    idle = sum(step["budget"][name] for name in ("launch_ns", "latency_ns", "sync_ns", "api_ns", "host_ns"))
    assert idle == 5_000 * gap * US


def test_gaps_and_their_sum_are_of_the_same_gaps(cli: Cli) -> None:
    """Two GPUs of one process: three gaps of 40 ms and six of 0.3 on the first, three of 41 on the other."""
    trace = TraceBuilder().gpu(0).gpu(1)
    main = trace.process().thread().push(0, 136 * MS, "forward")
    at = MS
    for number in range(10):
        main.launch(at, gpu=(at + 100, at + MS), device=0)
        if number % 3 == 0:
            main.launch(at + 50, gpu=(at + 100, at + MS), device=1)
        at += MS + (40 * MS if number % 3 == 0 else 300 * US)

    forward = phase(cli.analyze(trace), "forward")

    assert (forward["idle_gap_count"], forward["longest_idle_gap_ns"]) == (12, 42 * MS + 600 * US + 100)
    assert forward["idle_gap_ns"] == 3 * 40 * MS + 6 * 300 * US + 9 * 100 + 3 * (42 * MS + 600 * US + 100)
