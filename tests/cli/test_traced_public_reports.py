"""More of what test_public_reports.py has: what analyzers made of traces, and what profilers left out of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.run import MS, Cli
from tests.cli.test_outer_public_reports import message
from tests.cli.test_public_reports import ALL_REDUCE, codes, phase
from tests.support.kineto import KinetoTrace
from tests.support.trace_builder import TraceBuilder

US = 1_000
FIVE_STEPS = range(0, 500 * MS, 100 * MS)


def spent(cli: Cli, trace: TraceBuilder | KinetoTrace, *options: object) -> dict[str, float]:
    """The time budget of all phases by class, in ms."""
    query = "SELECT class, sum(time_ns) / 1e6 AS ms FROM time_budget GROUP BY class HAVING ms > 0"
    rows, _ = cli.sql(trace, query, *options)
    return {row["class"]: row["ms"] for row in rows}


# -- what was not recorded -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seen", ["launches", "copies", "waits", "kernels"])
def test_a_library_whose_kernels_are_not_recorded_is_told(seen: str, cli: Cli) -> None:
    """Of each step of 90 ms, 18 and 16 are torch's; for 41 or 42 the host waits for kernels that the trace lacks."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in FIVE_STEPS:
        main.push(at, at + 90 * MS, "step")
        main.launch(at + MS, gpu=(at + 2 * MS, at + 20 * MS), name="at::native::vectorized_elementwise_kernel")
        main.push(at + 20 * MS, at + 70 * MS, "k2::IntersectDense")
        if seen == "launches":
            for number in range(4):
                main.call(at + (21 + number) * MS)
        if seen == "kernels":
            main.launch(at + 21 * MS, gpu=(at + 26 * MS, at + 67 * MS), name="k2::GetArcs")
        if seen == "waits":
            main.call(at + 26 * MS, until=at + 68 * MS, api="cudaStreamSynchronize_v3020")
        else:
            copy = main.call(at + 26 * MS, until=at + 68 * MS, api="cudaMemcpy_v3020")
            main.process.memcpy((at + 67 * MS, at + 68 * MS), correlation=copy, kind=2)
        main.launch(at + 71 * MS, gpu=(at + 72 * MS, at + 88 * MS), name="nvjet_tst")

    report = cli.analyze(trace)

    assert ("waits_without_work" in codes(report)) == (seen != "kernels")
    if seen != "kernels":
        assert f"the host waits {5 * (42 if seen == 'waits' else 41)}.0 ms" in message(report, "waits_without_work")
    assert ("nsys_lost_work" in codes(report)) == (seen == "launches")


@pytest.mark.parametrize("seen", ["ranges", "launches", "neither", "kernels"])
def test_collectives_that_are_not_recorded_are_told(seen: str, cli: Cli) -> None:
    trace = KinetoTrace(distributedInfo={"backend": "nccl", "rank": 0, "world_size": 4})
    for step, at in enumerate(FIVE_STEPS):
        trace.annotation(f"ProfilerStep#{step}", at, at + 100 * MS)
        trace.launch(at + MS, gpu=(at + 2 * MS, at + 60 * MS), name="volta_sgemm_64x64_nt")
        if seen != "neither":
            trace.annotation("nccl:all_reduce", at + 5 * MS, at + 6 * MS)
            trace.op("record_param_comms", at + 5 * MS, at + 6 * MS)
        if seen == "launches":
            trace.correlation += 1
            trace.call("cudaLaunchKernelExC", at + 5 * MS, at + 5 * MS + 9 * US, trace.correlation)
        if seen == "kernels":
            trace.launch(at + 5 * MS, gpu=(at + 60 * MS, at + 85 * MS), name=ALL_REDUCE, stream=20)
        trace.launch(at + 61 * MS, gpu=(at + 85 * MS, at + 95 * MS), name="multi_tensor_apply_kernel<sgd>")

    report = cli.analyze(trace)

    assert ("communication_missing" in codes(report)) == (seen != "kernels")
    assert ("torch_profiler_lost_work" in codes(report)) == (seen == "launches")
    if seen == "neither":
        assert "trains on 4 ranks" in message(report, "communication_missing")
    elif seen != "kernels":
        assert "5 ranges of collectives" in message(report, "communication_missing")


def test_steps_without_kernels_around_one_that_never_ends_are_told(cli: Cli) -> None:
    """32 steps: all kernels are of the first and the last, but for one that has 99 % of the time."""
    trace = KinetoTrace()
    for step in range(32):
        at = step * 55 * MS
        trace.annotation("step[DECODE bs=64]", at, at + 54 * MS)
        trace.correlation += 1
        trace.call("cudaGraphLaunch", at + MS, at + 2 * MS, trace.correlation)
        for start in range(at + 2 * MS, at + 10 * MS, 10 * US) if step in (0, 31) else ():
            trace.kernel("nvjet_tst", start, start + 9 * US, trace.correlation)
        if step == 0:
            trace.kernel("reduce_kernel", at + 10 * MS, at + 1_750 * MS, trace.correlation)

    report = cli.analyze(trace)

    assert "30 of 32 CUDA graph launches" in message(report, "untraced_graphs")
    assert "torch_profiler_lost_work" in codes(report)


@pytest.mark.parametrize("percent", [0, 1, 97])
def test_counters_that_stay_at_zero_while_kernels_run_are_told(percent: int, cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main, source = trace.process().thread(), 1 << 48
    name = "SMs Active [Throughput %]"
    trace.row("TARGET_INFO_GPU_METRICS", typeId=source, sourceId=source, metricId=0, metricName=name)
    for at in FIVE_STEPS:
        main.push(at, at + 99 * MS, "prefill").launch(at + MS, gpu=(at + 2 * MS, at + 92 * MS), name="nvjet_tst")
        for sample in range(at, at + 100 * MS, MS):
            value = percent if at + 2 * MS <= sample < at + 92 * MS else 0
            trace.row("GPU_METRICS", timestamp=sample, typeId=source, metricId=0, value=value)

    report = cli.analyze(trace)

    assert ("counters_without_activity" in codes(report)) == (percent == 0)
    if not percent:
        assert "450 samples of GPU 0" in message(report, "counters_without_activity")


# -- clocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("speed", [1, 2, 0.5])
def test_a_clock_of_the_gpu_with_another_speed_is_told(speed: float, cli: Cli) -> None:
    """The GPU works for 72 of each 100 ms; the host waits for that until 83."""
    trace = KinetoTrace()
    for step, at in enumerate(FIVE_STEPS):
        trace.annotation(f"ProfilerStep#{step}", at, at + 95 * MS)
        for start in range(at + 2 * MS, at + 82 * MS, 10 * MS):
            trace.launch(start - MS, gpu=(int(start * speed), int((start + 9 * MS) * speed)), name="nvjet_tst")
        trace.correlation += 1
        trace.call("cudaDeviceSynchronize", at + 80 * MS, at + 83 * MS, trace.correlation)

    report = cli.analyze(trace)

    expected: dict[float, set[str]] = {1: set(), 2: {"waits_end_early"}, 0.5: {"clocks_differ"}}
    assert codes(report) & {"waits_end_early", "clocks_differ"} == expected[speed]
    if speed == 2:
        # The last wait returns at 483 ms, and its last kernel ends at 2 x 481.
        assert "5 calls" in message(report, "waits_end_early")
        assert "479.0 ms" in message(report, "waits_end_early")


# -- what is whose ---------------------------------------------------------------------------------------------------


def test_copies_and_fills_are_in_the_time_of_their_range(cli: Cli) -> None:
    """Fill and copies take 2 to 14, 40 to 55 ms of each step, the kernel 14 to 44."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in FIVE_STEPS:
        main.push(at, at + 90 * MS, "step")
        main.memcpy(at + MS, gpu=(at + 2 * MS, at + 12 * MS), kind=1)
        main.memset(at + 2 * MS, gpu=(at + 12 * MS, at + 14 * MS))
        main.launch(at + 3 * MS, gpu=(at + 14 * MS, at + 44 * MS), name="nvjet_tst")
        main.memcpy(at + 4 * MS, gpu=(at + 40 * MS, at + 50 * MS), kind=2, stream=9)
        main.memcpy(at + 5 * MS, gpu=(at + 50 * MS, at + 55 * MS), kind=8)

    step = phase(cli.analyze(trace), "step")

    assert (step["gpu_busy_ns"], step["kernel_time_ns"], step["memop_time_ns"]) == (265 * MS, 150 * MS, 135 * MS)
    budget = spent(cli, trace)
    assert (budget["compute"], budget["copy"]) == (150, 115)


@pytest.mark.parametrize("is_hidden", [True, False])
def test_communication_of_a_tenth_of_the_time_is_a_tenth(is_hidden: bool, cli: Cli) -> None:
    trace = KinetoTrace(distributedInfo={"backend": "nccl", "rank": 0, "world_size": 2})
    for step, at in enumerate(FIVE_STEPS):
        trace.annotation(f"ProfilerStep#{step}", at, at + 100 * MS)
        trace.launch(at + MS, gpu=(at + 2 * MS, at + 80 * MS), name="nvjet_tst")
        reduced = at + (40 if is_hidden else 80) * MS
        trace.launch(at + 2 * MS, gpu=(reduced, reduced + 10 * MS), name=ALL_REDUCE, stream=20)
        trace.launch(at + 3 * MS, gpu=(at + 90 * MS, at + 98 * MS), name="adam")

    budget = spent(cli, trace)
    rows, _ = cli.sql(trace, "SELECT count(*) AS steps FROM training_steps")

    assert budget.get("transfer", 0) == (0 if is_hidden else 50)
    assert budget["compute"] == 430
    assert sum(budget.values()) == pytest.approx(500)
    # Each begins in the nanosecond in which the one before it ends, and none holds another.
    assert rows == [{"steps": 5}]


def test_overlap_is_told_of_each_gpu_whatever_its_streams(cli: Cli) -> None:
    """All-reduces end at 90 ms on all GPUs; those of GPU d begin 10 x d ms before the compute ends at 60."""
    trace = TraceBuilder()
    for device in range(4):
        trace.gpu(device)
        main, stream = trace.process(100 + device).thread(), 17 if device else 7
        for at in FIVE_STEPS:
            main.push(at, at + 99 * MS, "step")
            main.launch(at + MS, gpu=(at + 2 * MS, at + 60 * MS), name="nvjet_tst", device=device, stream=stream)
            reduced = (at + (60 - 10 * device) * MS, at + 90 * MS)
            main.launch(at + 2 * MS, gpu=reduced, name=ALL_REDUCE, device=device, stream=20 if device else 7)

    query = """SELECT w.device_id, sum(o.overlapped_ns) / 1e6 AS hidden, sum(o.exposed_ns) / 1e6 AS exposed
        FROM attribute.communication_overlap AS o JOIN attribute.gpu_work AS w USING (op_id) GROUP BY 1 ORDER BY 1"""
    rows, _ = cli.sql(trace, query)

    assert [(row["hidden"], row["exposed"]) for row in rows] == [(0, 150), (50, 150), (100, 150), (150, 150)]
    budget = spent(cli, trace)
    assert budget["compute"] == 4 * 5 * 58
    assert budget.get("transfer", 0) + budget.get("wait", 0) == 4 * 5 * 30


def test_kernels_that_a_replay_launches_beside_its_graph(cli: Cli) -> None:
    """Two fills before each graph of a hundred nodes."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    fill = "void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<long>>"
    for at in range(0, 60 * MS, 10 * MS):
        main.push(at, at + 9 * MS, "decode")
        for start in (at + 300 * US, at + 320 * US):
            main.launch(start, gpu=(start + 20 * US, start + 22 * US), name=fill)
        starts = range(at + 500 * US, at + 2_500 * US, 20 * US)
        main.graph_launch(at + 400 * US, nodes=[(start, start + 15 * US) for start in starts])

    decode = phase(cli.analyze(trace), "decode")
    rows, _ = cli.sql(trace, "SELECT node_count FROM graph_launches")

    assert (decode["kernel_count"], decode["launch_call_count"]) == (6 * 102, 6 * 3)
    assert decode["gpu_busy_ns"] == 6 * (100 * 15 + 2 * 2) * US
    assert [row["node_count"] for row in rows] == [100] * 6


# -- steps and windows -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gpu_ms", [20, 200])
def test_steps_that_the_host_leaves_before_the_gpu_does(gpu_ms: int, cli: Cli) -> None:
    """A step takes 30 ms of the host, and 20 or 200 of the GPU: then the host's time says nothing about it."""
    trace = KinetoTrace()
    for step in range(5):
        at = step * 30 * MS
        trace.annotation(f"ProfilerStep#{step + 2}", at, at + 30 * MS)
        start = 3 * MS + step * max(gpu_ms, 30) * MS
        trace.launch(at + MS, gpu=(start, start + gpu_ms * MS), name="nvjet_tst")

    report = cli.analyze(trace)

    steps = phase(report, "step")
    assert (steps["median_wall_ns"], steps["median_busy_ns"]) == (30 * MS, gpu_ms * MS)
    assert ("work_outlives_range" in codes(report)) == (gpu_ms == 200)


@pytest.mark.parametrize("where", ["in the graph", "before it"])
def test_idle_time_that_recording_a_graph_makes_is_told(where: str, cli: Cli) -> None:
    """28 % between the nodes, or while the graph is launched."""
    trace = KinetoTrace()
    gap, launch = (4 * US, 40 * US) if where == "in the graph" else (0, 1_600 * US)
    for step in range(5):
        at = step * 6 * MS
        trace.annotation("execute_context_0(0)_generation_128(128)", at, at + 5_900 * US)
        trace.correlation += 1
        trace.call("cudaGraphLaunch", at + 20 * US, at + 20 * US + launch, trace.correlation)
        for node in range(400):
            start = at + 30 * US + launch + node * (10 * US + gap)
            trace.kernel("nvjet_tst", start, start + 10 * US, trace.correlation)

    code = "gaps_in_graphs" if where == "in the graph" else "launch_bound_steps"
    (found,) = [one for one in cli.analyze(trace)["findings"] if one["code"] == code]

    assert "nodes" in found["hint"]
    assert "capture --cuda-graph whole` shows by how much" in found["hint"]


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
