"""Which range a kernel belongs to: threads, calls, crossed and unclosed ranges, XLA, the profiler's own work."""

from __future__ import annotations

import pytest

from tests.cli.public_reports.common import (
    ALL_REDUCE,
    FIVE_STEPS,
    MODULE,
    US,
    codes,
    decode_of_torch,
    message,
    outside,
    phase,
    spent,
)
from tests.cli.run import MS, Cli
from tests.support.kineto import KinetoTrace
from tests.support.trace_builder import TraceBuilder


def test_start_end_ranges_are_phases(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().start_end(0, 50 * MS, "prefill").start_end(60 * MS, 80 * MS, "decode")
    main.launch(MS, gpu=(2 * MS, 40 * MS)).launch(61 * MS, gpu=(62 * MS, 70 * MS)).launch(
        55 * MS, gpu=(56 * MS, 57 * MS)
    )

    report = cli.analyze(trace)

    assert [(one["name"], one["kernel_time_ns"]) for one in report["phases"]] == [
        ("prefill", 38 * MS),
        ("decode", 8 * MS),
    ]
    assert report["unattributed"]["kernel_count"] == 1
    assert "crossed_phases" not in codes(report)


def test_start_end_ranges_that_cross_are_told(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().start_end(0, 50 * MS, "prefill").start_end(30 * MS, 80 * MS, "decode")
    main.launch(MS, gpu=(2 * MS, 10 * MS)).launch(40 * MS, gpu=(41 * MS, 45 * MS)).launch(
        60 * MS, gpu=(62 * MS, 70 * MS)
    )

    report = cli.analyze(trace)

    (found,) = [one for one in report["findings"] if one["code"] == "crossed_phases"]
    assert (found["phase"], found["at_stake_ns"]) == ("prefill", 20 * MS)


def test_ranges_with_equal_ends_have_no_negative_time(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 50 * MS, "step").push(0, 50 * MS, "forward").push(0, 50 * MS, "layer")
    main.launch(MS, gpu=(5 * MS, 9 * MS))

    rows, _ = cli.sql(trace, "SELECT phase, wall_ns FROM phases ORDER BY phase")

    assert rows == [{"phase": "forward", "wall_ns": 50 * MS}]


def test_ranges_that_are_never_popped_are_told(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in (0, 10 * MS, 20 * MS):
        main.push(at, None, f"decode_{at}").launch(at + MS, gpu=(at + 2 * MS, at + 5 * MS))

    report = cli.analyze(trace)

    assert {"unclosed_ranges", "loops"} <= codes(report)
    assert phase(report, "decode")["kernel_count"] + report["unattributed"]["kernel_count"] == 3


def test_ranges_that_begin_together_nest_whichever_is_written_first(cli: Cli) -> None:
    trace = KinetoTrace()
    for name, end in (("prefill", 40_000), ("request", 90_000)):
        trace.annotation(name, 0, end)
    trace.launch(1_000, gpu=(10_000, 30_000))
    trace.launch(50_000, gpu=(60_000, 80_000))

    rows, _ = cli.sql(trace, "SELECT range_name, phase FROM kernels ORDER BY start_ns")

    assert [tuple(row.values()) for row in rows] == [("prefill", "prefill"), ("request", None)]


def test_ranges_that_end_behind_their_parent(cli: Cli) -> None:
    trace = KinetoTrace()
    for step in range(3):
        at = step * 1_000_000
        trace.annotation(f"ProfilerStep#{step}", at, at + 900_000)
        for name, start, end in (("forward", 0, 400), ("backward", 400, 700), ("optimizer", 700, 900)):
            trace.annotation(name, at + start * 1_000, at + end * 1_000 + (3 if name == "optimizer" else 0))
            trace.launch(at + start * 1_000 + 10_000, gpu=(at + start * 1_000 + 20_000, at + start * 1_000 + 45_000))
        # An operator of the step before that ends in this one.
        trace.op("aten::_local_scalar_dense", at + 890_000, at + 1_000_500)

    report = cli.analyze(trace)

    found = {one["name"]: (one["kernel_count"], one["wall_ns"]) for one in report["phases"]}
    assert found == {"forward": (3, 1_200_000), "backward": (3, 900_000), "optimizer": (3, 600_009)}
    assert report["unattributed"]["kernel_count"] == 0


@pytest.mark.parametrize("inner", ["step_{0}::op{1}", "aten::step_{0}_mul", "step_{0} add {1}", "step_{0}_attention"])
def test_ranges_that_contain_the_name_of_a_step_are_none(inner: str, cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for step in range(4):
        at = 100 * MS * step
        main.push(at, at + 90 * MS, f"step_{step}")
        for op in range(5):
            main.push(at + (1 + 4 * op) * MS, at + (2 + 4 * op) * MS, inner.format(step, op))
            main.launch(at + (1 + 4 * op) * MS + 1, gpu=(at + (2 + 4 * op) * MS, at + (4 + 4 * op) * MS))

    rows, _ = cli.sql(trace, "SELECT phase, occurrences, gpu_busy_ns, wall_ns FROM phase_summary")

    assert rows == [{"phase": "step", "occurrences": 4, "gpu_busy_ns": 4 * 5 * 2 * MS, "wall_ns": 4 * 90 * MS}]


def test_ranges_of_libraries_are_no_iterations(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in range(0, 30 * MS, 10 * MS):
        main.launch(at, gpu=(at + MS, at + 9 * MS))
    for number, name in enumerate(["cub::DeviceRadixSort", "cub::DeviceReduce::Sum", "cub::DeviceSelect::Flagged"]):
        at = (30 + 10 * number) * MS
        main.push(at, at + 10 * MS, name, domain="CCCL").launch(at + MS, gpu=(at + 2 * MS, at + 9 * MS))

    report = cli.analyze(trace)

    assert [one["name"] for one in report["phases"]] == []
    assert "no_phases" in codes(report)


def test_one_call_that_launches_on_two_gpus(cli: Cli) -> None:
    trace = TraceBuilder().gpu(0).gpu(1)
    main = trace.process().thread().push(0, 50 * MS, "forward")
    call = main.call(MS, api="cudaLaunchCooperativeKernelMultiDevice_v9000")
    main.process.kernel((2 * MS, 10 * MS), correlation=call).kernel((3 * MS, 20 * MS), correlation=call, device=1)

    forward = phase(cli.analyze(trace), "forward")

    assert (forward["kernel_count"], forward["gpu_busy_ns"]) == (2, 25 * MS)
    assert [one["gpu_busy_ns"] for one in forward["devices"]] == [8 * MS, 17 * MS]


@pytest.mark.parametrize("api", ["cuLaunchKernelEx", "cudaLaunchKernelExC_v11060", "cuLaunchKernelEx_ptsz"])
def test_kernels_that_the_driver_launches_are_of_their_step(api: str, cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in range(0, 40 * MS, 10 * MS):
        main.push(at, at + 10 * MS, "decode")
        call = main.call(at + 1, api=api)
        main.process.kernel((at + MS, at + 9 * MS), correlation=call, name="nvjet_tst")

    report = cli.analyze(trace)

    assert (phase(report, "decode")["kernel_count"], phase(report, "decode")["gpu_busy_ns"]) == (4, 32 * MS)
    assert codes(report) == {"no_model"}


def test_work_that_runs_behind_all_ranges_is_of_its_own(cli: Cli) -> None:
    trace = KinetoTrace()
    for step in range(4):
        at = step * 100_000
        trace.annotation("step[DECODE bs=2]", at, at + 50_000)
        trace.launch(at + 1_000, gpu=(1_000_000 + step * 30_000, 1_020_000 + step * 30_000))

    rows, _ = cli.sql(trace, "SELECT gpu_busy_ns FROM phases ORDER BY start_ns")

    assert [row["gpu_busy_ns"] for row in rows] == [20_000] * 4


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


def test_a_backward_that_runs_on_a_thread_of_autograd(cli: Cli) -> None:
    """The range is on the main thread, the launches are on another one, which has no range."""
    trace = TraceBuilder().gpu()
    process = trace.process()
    main, autograd = process.thread(), process.thread(tid=101)
    for at in range(0, 200 * MS, 50 * MS):
        main.push(at, at + 10 * MS, "forward path").launch(at + 1, gpu=(at + MS, at + 10 * MS))
        main.push(at + 10 * MS, at + 35 * MS, "backward path")
        autograd.launch(at + 11 * MS, gpu=(at + 12 * MS, at + 34 * MS))

    rows, _ = cli.sql(trace, "SELECT phase, gpu_busy_ns FROM phase_summary ORDER BY phase")

    assert rows == [{"phase": "backward", "gpu_busy_ns": 4 * 22 * MS}, {"phase": "forward", "gpu_busy_ns": 4 * 9 * MS}]


def test_work_of_autograd_is_in_the_step_that_waits_for_it(cli: Cli) -> None:
    """The GPU's copy of the step's annotation ends with the forward; kernels of the backward are in the step."""
    trace = KinetoTrace()
    trace.meta("thread_name", 4711, 9, name="thread 9 (pt_autograd_0)")
    for step in range(3):
        at = step * 200 * US
        trace.annotation(f"ProfilerStep#{22 + step}", at, at + 180 * US)
        trace.launch(at + 5 * US, gpu=(at + 10 * US, at + 30 * US), name="flash_fwd_kernel")
        trace.op("ScaledDotProductCudnnAttentionBackward0", at + 60 * US, at + 100 * US, tid=9)
        trace.launch(at + 65 * US, gpu=(at + 70 * US, at + 150 * US), name="cudnn_generated_fort_native_sdpa", tid=9)
        trace.event("gpu_user_annotation", f"ProfilerStep#{22 + step}", at + 10 * US, at + 30 * US, 0, 7)

    report = cli.analyze(trace)

    (step_row,) = report["phases"]
    assert (step_row["kernel_count"], step_row["gpu_busy_ns"]) == (6, 3 * 100 * US)
    assert (step_row["other_thread_count"], step_row["other_thread_time_ns"]) == (3, 3 * 80 * US)
    assert "other_thread" in codes(report)


def test_kernels_of_a_data_loader_are_not_the_models(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    process = trace.process()
    main, loader = process.thread(), process.thread(222)
    main.push(0, 50 * MS, "forward")
    for number in range(3):
        at = MS + number * 10 * MS
        main.launch(at, gpu=(at + MS, at + 2 * MS))
        loader.push(at + 3 * MS, at + 8 * MS, "Executor run", domain="DALI")
        loader.launch(at + 4 * MS, gpu=(at + 5 * MS, at + 8 * MS), stream=9)

    report = cli.analyze(trace)

    assert phase(report, "forward")["kernel_count"] == 3
    assert (report["unattributed"]["kernel_count"], "own_ranges" in codes(report)) == (3, True)


def test_thunks_of_xla_without_a_module_are_outside(cli: Cli) -> None:
    """An all-reduce that another thread starts while the module is open, and one that starts behind its end."""
    trace = TraceBuilder().gpu()
    process = trace.process()
    main, other = process.thread(), process.thread(200)
    for at in range(0, 500 * MS, 100 * MS):
        main.push(at, at + 50 * MS, MODULE, domain="TSL")
        main.push(at + MS, at + 2 * MS, "Thunk:#name=gemm_fusion_dot.1,hlo_op=gemm_fusion_dot.1#", domain="TSL")
        main.launch(at + MS + 10, gpu=(at + 2 * MS, at + 42 * MS), name="gemm_fusion_dot_1")
        other.push(at + 5 * MS, at + 6 * MS, "Thunk:#name=all-reduce-start,unique_hlo_op_id=77#", domain="TSL")
        other.launch(at + 5 * MS + 10, gpu=(at + 42 * MS, at + 49 * MS), name=ALL_REDUCE, stream=9)
        main.push(at + 51 * MS, at + 52 * MS, "Thunk:#name=all-reduce-start,unique_hlo_op_id=78#", domain="TSL")
        main.launch(at + 51 * MS + 10, gpu=(at + 61 * MS, at + 70 * MS), name=ALL_REDUCE, stream=9)

    report = cli.analyze(trace)

    assert phase(report, "step")["gpu_busy_ns"] == 5 * 47 * MS
    assert outside(cli, trace) == 5
    assert "5 operations of step were launched by threads" in message(report, "other_thread")


def test_correlation_ids_of_several_calls_are_told(cli: Cli) -> None:
    trace = KinetoTrace()
    for number, name in enumerate(("prefill", "decode")):
        at = number * 100_000
        trace.annotation(name, at, at + 90_000)
        trace.call("cudaLaunchKernel", at + 1_000, at + 2_000, 5)
        trace.kernel("gemm", at + 5_000, at + 9_000 + number, 5)

    rows, err = cli.sql(trace, "SELECT phase, kernel_time_ns FROM phases ORDER BY start_ns")

    assert [tuple(row.values()) for row in rows] == [("prefill", 4_000), ("decode", 4_001)]
    assert "1 correlation ids are those of several calls" in err


def test_annotations_on_the_gpu_are_no_work(cli: Cli) -> None:
    trace = decode_of_torch()
    trace.event("gpu_user_annotation", "decode", 20_000, 45_000, 0, 7)

    decode = phase(cli.analyze(trace), "decode")

    assert (decode["kernel_count"], decode["kernel_time_ns"]) == (1, 25_000)


def test_times_of_the_profiler_itself_are_no_work(cli: Cli) -> None:
    trace = KinetoTrace()
    for step in range(3):
        at = step * 100_000
        trace.annotation("decode", at, at + 90_000)
        trace.op("aten::mm", at + 5_000, at + 15_000, [[4, 8], [8, 2]])
        trace.launch(at + 10_000, gpu=(at + 20_000, at + 45_000))
        # As newer ones are written: with the numbers of the operator around them.
        own = {"correlation": trace.correlation, "External id": 1}
        trace.event("overhead", "Instrumentation", at + 11_000, at + 13_000, -1, 0, **own)
        trace.event("overhead", "Command Buffer Full", at + 50_000, at + 80_000, -1, 0)

    report = cli.analyze(trace)

    assert (phase(report, "decode")["kernel_count"], phase(report, "decode")["gpu_busy_ns"]) == (3, 75_000)
    assert len(report["ranks"]) == 1


def test_kernels_of_the_profilers_warm_up_are_in_no_step(cli: Cli) -> None:
    trace = KinetoTrace()
    for number in range(3):
        trace.kernel("gemm", number * 30_000, number * 30_000 + 25_000, 9_000 + number)
    for step in range(2):
        at = 200_000 + step * 200_000
        trace.annotation(f"ProfilerStep#{step + 2}", at, at + 190_000)
        for name, begin, end in (("forward", 0, 100_000), ("backward", 100_000, 180_000)):
            trace.annotation(name, at + begin, at + end)
            trace.launch(at + begin + 5_000, gpu=(at + begin + 10_000, at + end - 10_000))

    report = cli.analyze(trace)

    assert {one["name"]: (one["kernel_count"], one["gpu_busy_ns"]) for one in report["phases"]} == {
        "forward": (2, 160_000),
        "backward": (2, 120_000),
    }
    assert report["unattributed"]["reasons"]["no_api_call"] == {"count": 3, "time_ns": 75_000}
