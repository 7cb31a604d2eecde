"""The classes of the time budget on traces small enough to add up by hand."""

from __future__ import annotations

from pathlib import Path

from tests.support.ask import ask, table
from tests.support.trace_builder import TraceBuilder

BUDGET = "SELECT device_id, coalesce(phase, 'outside') AS phase, class, time_ns FROM time_budget ORDER BY ALL"
ALL_REDUCE = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL"


def test_an_idle_gap_is_host_api_launch_and_latency(tmp_path: Path) -> None:
    # Given a step that runs Python until 20, asks for a device until 26, launches from 30 to 34; its kernel runs at 40.
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 50, "decode")
    main.call(20, until=26, api="cudaGetDevice_v3020")
    main.launch(30, until=34, gpu=(40, 60))

    assert ask(trace, BUDGET, tmp_path) == table(
        """
        device_id, phase, class, time_ns
        0, decode, api, 6
        0, decode, compute, 20
        0, decode, host, 24
        0, decode, latency, 6
        0, decode, launch, 4
        """
    )


def test_after_the_last_operation_the_open_phase_and_its_thread_say_why(tmp_path: Path) -> None:
    # Given a step that waits until 50, 10 longer than its kernel, in a request that lasts until 75.
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 75, "request").push(5, 70, "decode")
    main.launch(5, until=10, gpu=(10, 40)).call(12, until=50, api="cudaStreamSynchronize_v3020")

    # The tick 70 still belongs to the range that ends then.
    assert ask(trace, BUDGET, tmp_path) == table(
        """
        device_id, phase, class, time_ns
        0, decode, compute, 30
        0, decode, host, 26
        0, decode, launch, 5
        0, decode, sync, 10
        0, outside, host, 4
        """
    )


def test_work_that_runs_ahead_is_busy_until_it_ends_and_waits_for_nobody(tmp_path: Path) -> None:
    # Given three kernels of a CUDA graph that run long after the step has closed, while the host synchronizes.
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 10, "decode")
    main.graph_launch(0, nodes=[(5, 20), (21, 40), (42, 60)])
    main.call(12, until=65, api="cudaStreamSynchronize_v3020")

    assert ask(trace, BUDGET, tmp_path) == table(
        """
        device_id, phase, class, time_ns
        0, decode, compute, 52
        0, decode, latency, 6
        0, decode, launch, 2
        """
    )


def test_computing_hides_communication_which_hides_copies(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 10, "backward")
    main.memcpy(0, gpu=(0, 20), stream=9)
    main.launch(2, gpu=(10, 40), name=ALL_REDUCE, stream=8).launch(4, gpu=(30, 35), stream=7)

    assert ask(trace, BUDGET, tmp_path) == table(
        """
        device_id, phase, class, time_ns
        0, backward, compute, 5
        0, backward, copy, 10
        0, backward, transfer, 25
        """
    )


def test_overlapping_work_belongs_to_what_started_first(tmp_path: Path) -> None:
    # Given a prefill that decode's kernels overlap: the prefill's has the time until it ends.
    trace = TraceBuilder()
    first, second = (trace.process(pid).thread() for pid in (100, 200))
    first.push(0, 10, "prefill").launch(0, gpu=(2, 30), stream=7)
    second.push(0, 10, "decode").launch(0, gpu=(20, 25), stream=8).launch(5, gpu=(28, 50), stream=8)

    assert ask(trace, BUDGET, tmp_path) == table(
        """
        device_id, phase, class, time_ns
        0, decode, compute, 20
        0, prefill, compute, 28
        0, prefill, launch, 2
        """
    )


def test_warm_up_is_in_no_window(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 50, "warmup").push(5, 40, "decode").launch(5, gpu=(10, 80))
    main.push(70, 100, "decode").launch(70, gpu=(85, 95))

    # The work of warm-up ends at 80; the step that opened before then counts from there.
    assert ask(trace, BUDGET, tmp_path) == table(
        """
        device_id, phase, class, time_ns
        0, decode, compute, 10
        0, decode, host, 5
        0, decode, latency, 5
        """
    )


def test_a_rank_waits_until_the_last_one_has_come(tmp_path: Path) -> None:
    trace = TraceBuilder()
    for device, starts in enumerate((10, 40)):
        main = trace.process(100 + device).thread()
        main.push(0, 60, "decode")
        for step in (0, 100):
            main.launch(step, gpu=(step + starts, step + 55), name=ALL_REDUCE, device=device, until=step + 1)

    assert ask(trace, f"SELECT * FROM ({BUDGET}) WHERE class IN ('wait', 'transfer')", tmp_path) == table(
        """
        device_id, phase, class, time_ns
        0, decode, transfer, 15
        0, decode, wait, 30
        1, decode, transfer, 15
        """
    )


def test_without_phases_everything_from_the_first_launch_is_outside(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    main.call(0, until=5, api="cudaMalloc_v3020")
    main.launch(10, gpu=(15, 20)).launch(30, gpu=(35, 40))

    assert ask(trace, BUDGET, tmp_path) == table(
        """
        device_id, phase, class, time_ns
        0, outside, compute, 10
        0, outside, host, 10
        0, outside, latency, 6
        0, outside, launch, 4
        """
    )


def test_each_occurrence_has_its_own_budget(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    for start in (0, 100):
        main.push(start, start + 50, "decode").launch(start + 10, until=start + 12, gpu=(start + 12, start + 50))

    assert ask(
        trace, "SELECT phase, occurrence, class, time_ns FROM occurrence_budget ORDER BY ALL", tmp_path
    ) == table(
        """
        phase, occurrence, class, time_ns
        decode, 0, compute, 38
        decode, 0, host, 10
        decode, 0, launch, 2
        decode, 1, compute, 38
        decode, 1, host, 10
        decode, 1, launch, 2
        """
    )
