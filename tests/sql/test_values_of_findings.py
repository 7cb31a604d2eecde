"""What findings count and weigh: idle time of a GPU after waits, kernels with times, ranges that are open at once."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from nsys_pipeline.records import Finding
from tests.support.ask import report_of
from tests.support.planted_causes import SMALL, STEP_KERNELS, US, Loop
from tests.support.trace_builder import TraceBuilder


def told(trace: TraceBuilder, code: str, folder: Path) -> list[Finding]:
    return [one for one in report_of(trace, folder).findings if one.code == code]


def test_waits_for_events_of_long_ago_cost_nothing(tmp_path: Path) -> None:
    """Each step asks for two old events while the GPU has 1.5 ms of work, and idles for 0.4 ms at its end."""

    def body(loop: Loop) -> None:
        for index in range(STEP_KERNELS):
            loop.kernel(100 * US)
            if index in (5, 10):
                loop.call(3 * US, "cudaEventSynchronize_v3020")
        loop.host_ns = loop.gpu_ns
        loop.python(400 * US)

    assert told(Loop(Random(0)).steps(body), "synchronizing_calls", tmp_path) == []


@pytest.mark.parametrize("has_nodes", [False, True])
def test_time_between_steps_is_not_theirs(has_nodes: bool, tmp_path: Path) -> None:
    """Two waits, each with 200 µs of Python behind it; between the steps 5 ms of other code run.

    `has_nodes`: the work is a CUDA graph, whose first node ends the idle time.
    """
    loop, idle_ns = Loop(Random(0)), 0
    for step in range(4):
        start = loop.host_ns
        for _ in range(2):
            if has_nodes:
                loop.nodes(100 * US, 0, 5)
            else:
                loop.kernel(500 * US)
            loop.synchronize()
            loop.python(200 * US)
        loop.main.push(start, loop.host_ns, "decode")
        loop.python(5_000 * US)
        # 10 µs until each wait returns, 200 µs of Python, and 7 µs until the next kernel starts: the last step has none
        idle_ns += 2 * 10 * US + (2 if step < 3 else 1) * (200 + 7) * US

    (found,) = told(loop.trace, "synchronizing_calls", tmp_path)

    assert found.at_stake_ns == idle_ns


@pytest.mark.parametrize(("length", "expected"), [(4 * US, ["30 kernels a step take 4.0 µs each"]), (8 * US, [])])
def test_kernels_without_times_are_not_short(length: int, expected: list[str], tmp_path: Path) -> None:
    def body(loop: Loop) -> None:
        for _ in range(30):
            loop.kernel(length, SMALL, call_ns=US, latency_ns=US)
            loop.main.launch(loop.host_ns, until=loop.host_ns + US, gpu=(0, 0), name=SMALL)
            loop.host_ns += US

    found = told(Loop(Random(0)).steps(body), "small_kernels", tmp_path)

    assert [one.message.removeprefix("in decode ").split(" and do")[0] for one in found] == expected


def test_a_warm_up_that_ended_hides_none_that_is_open(tmp_path: Path) -> None:
    """The thread's own warm-up lies inside that of another one."""
    trace = TraceBuilder().gpu()
    process = trace.process()
    process.thread().push(0, 1_000, "warmup")
    worker = process.thread(222).push(100, 200, "warmup").launch(110, gpu=(120, 130))
    for start in (300, 400, 1_400):
        worker.push(start, start + 50, "prefill").launch(start + 10, gpu=(start + 20, start + 30))

    (found,) = told(trace, "warmup_of_another_thread", tmp_path)

    assert (found.phase, found.at_stake_ns) == ("prefill", 2 * 50)


def test_work_beside_a_phase_is_counted_if_a_later_range_of_it_has_closed(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    process = trace.process()
    process.thread(101).push(0, 1_000, "decode")
    process.thread(102).push(100, 900, "decode")
    worker = process.thread(103).push(0, 2_000, "sampling")
    for start in (200, 400, 920, 1_200):
        worker.launch(start, gpu=(start + 10, start + 30))

    (found,) = told(trace, "phases_of_other_threads", tmp_path)

    assert found.at_stake_ns == 3 * 20


def test_calls_that_are_recorded_twice_count_once(tmp_path: Path) -> None:
    """`--cudabacktrace` writes calls a second time: of four launches of graphs none is lost, of nine kernels one is."""
    trace = TraceBuilder().gpu()
    process = trace.process()
    main = process.thread()
    for step in range(4):
        at = 10_000 * US * step + US
        graph = main.call(at, until=at + 20 * US, api="cudaGraphLaunch_v10000", backtrace=True)
        process.kernel((at + 30 * US, at + 50 * US), correlation=graph, graphNodeId=1 << 32, graphId=1)
        for place in range(2):
            main.launch(at + (60 + 10 * place) * US, gpu=(at + 90 * US, at + 100 * US), backtrace=True)
        main.call(at + 110 * US, until=at + 5_110 * US, api="cudaDeviceSynchronize_v3020", backtrace=True)
    main.call(40_000 * US, backtrace=True)
    main.push(0, 41_000 * US, "decode")

    report = report_of(trace, tmp_path)
    messages = {one.code: one.message for one in report.findings}

    assert "untraced_graphs" not in messages
    assert messages["nsys_lost_work"].startswith("1 of 9 calls that launch kernels have none")
    assert messages["waits_without_work"].startswith("in decode the host waits 20.0 ms for the GPU in 4 calls")


def test_a_phase_without_operators_has_all_its_time_outside_of_them(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    main.push(0, 1_000, "prefill")
    main.push(10, 100, "aten::mm, seq = 1, sizes = [[4, 8], [8, 2]]").launch(20, gpu=(30, 500))
    main.push(2_000, 3_000, "decode").graph_launch(2_010, nodes=[(2_100, 2_400), (2_500, 2_600)])

    (found,) = told(trace, "work_without_operators", tmp_path)

    assert (found.phase, found.at_stake_ns) == ("decode", 400)
    assert "in decode 100 % of the GPU time was launched outside every operator of torch, 100 % by" in found.message


@pytest.mark.parametrize("has_nodes", [False, True])
def test_waits_that_end_early_are_known_by_nsys_names_of_calls(has_nodes: bool, tmp_path: Path) -> None:
    """nsys writes `cudaDeviceSynchronize_v3020`; the second wait returns 2 ms before the work that it waits for."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for start, early in ((US, 0), (20_000 * US, 2_000 * US)):
        end = start + 5_000 * US
        nodes = [(start + 50 * US, end), (start + 60 * US, start + 80 * US)]
        if has_nodes:
            main.graph_launch(start, nodes=nodes)
        else:
            main.launch(start, gpu=nodes[0])
        main.call(start + 100 * US, until=end - early, api="cudaDeviceSynchronize_v3020")

    (found,) = told(trace, "waits_end_early", tmp_path)

    assert found.message.startswith(
        "1 calls that wait for the GPU return before work that they wait for ends, by up to 2.0 ms"
    )


def test_time_of_work_whose_call_is_recorded_twice_counts_once(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    process = trace.process()
    main = process.thread().push(0, 1_000, "decode")
    main.push(10, 100, "decode").launch(20, gpu=(30, 90)).push(200, 300, "decode").launch(220, gpu=(230, 290))
    main.launch(400, gpu=(410, 450), backtrace=True)
    process.thread(222).push(1_190, 1_400, "sampling").launch(1_210, gpu=(1_220, 1_250), backtrace=True)
    main.push(1_200, 1_500, "prefill").launch(1_300, gpu=(1_310, 1_320))

    (loop,) = told(trace, "loops", tmp_path)
    (own,) = [one for one in report_of(tmp_path / "trace.sqlite").findings if one.code == "own_ranges"]

    assert (loop.at_stake_ns, own.at_stake_ns) == (40, 30)
    assert loop.message.startswith("1 operations ")
    assert own.message.startswith("1 operations ")
