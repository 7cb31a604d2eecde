"""Times that cannot be: other clocks, missing or doubled times, ends before starts, kernels inside kernels."""

from __future__ import annotations

import pytest

from tests.cli.public_reports.common import FIVE_STEPS, US, codes, decode_of_torch, message, phase, steps_of
from tests.cli.run import MS, Cli, run
from tests.support.kineto import KinetoTrace, Raw
from tests.support.trace_builder import TraceBuilder


def test_times_of_the_gpu_before_those_of_the_host(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    trace.process().thread().push(0, 50 * MS, "prefill").launch(MS, gpu=(-5 * MS, -MS)).launch(
        2 * MS, gpu=(3 * MS, 9 * MS)
    )

    report = cli.analyze(trace)

    # Nothing is lost, and what compares the clocks is said to be off.
    prefill = phase(report, "prefill")
    assert (prefill["kernel_count"], prefill["kernel_time_ns"]) == (2, 10 * MS)
    (found,) = [one for one in report["findings"] if one["code"] == "clocks_differ"]
    assert found["message"].startswith("1 GPU operations start before the call that launched them, by up to 6.0 ms")


def test_kernels_that_seem_to_start_before_their_launch(cli: Cli) -> None:
    """NCCL's sends on an idle GPU start 3 µs before they are launched, and no arrow leads to them."""
    trace = KinetoTrace()
    for at in range(0, 4 * MS, MS):
        for name, start in (("forward", at), ("backward", at + 500 * US)):
            trace.annotation(name, start, start + 500 * US)
        trace.launch(at + 10 * US, gpu=(at + 20 * US, at + 400 * US))
        for call in range(at + 500 * US, at + 580 * US, 10 * US):
            gpu = (call - 3 * US, call + 4 * US)
            trace.launch(call, gpu=gpu, name="ncclDevKernel_SendRecv(ncclDevKernelArgsStorage<4096ul>)", stream=20)

    report = cli.analyze(trace)

    backward = phase(report, "backward")
    assert (backward["kernel_count"], backward["gpu_busy_ns"]) == (32, 32 * 7 * US)
    assert backward["budget"]["transfer_ns"] == 32 * 7 * US
    (told,) = [one["message"] for one in report["findings"] if one["code"] == "clocks_differ"]
    assert told.startswith("32 GPU operations start before the call that launched them, by up to 3.0 µs")


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


def test_kernels_without_times_are_in_no_span(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(100 * MS, 200 * MS, "decode")
    main.launch(101 * MS, gpu=(102 * MS, 110 * MS)).launch(111 * MS, gpu=(0, 0))
    main.push(201 * MS, 210 * MS, "prefill").launch(202 * MS, gpu=(0, 0))

    report = cli.analyze(trace)

    decode, prefill = phase(report, "decode"), phase(report, "prefill")
    assert (decode["kernel_count"], decode["gpu_busy_ns"], decode["gpu_span_ns"]) == (2, 8 * MS, 8 * MS)
    assert (decode["idle_gap_ns"], prefill["kernel_count"], prefill["gpu_span_ns"]) == (0, 1, 0)
    (found,) = [one for one in report["findings"] if one["code"] == "untimed_work"]
    assert found["message"].startswith("2 GPU operations were recorded without their times")


def test_kernels_at_the_start_of_the_epoch_are_in_no_span(cli: Cli) -> None:
    trace = decode_of_torch()
    trace.call("cudaLaunchKernel", 50_000, 52_000, 2)
    trace.kernel("gemm", 0, 0, 2)
    trace.events[-1] |= {"ts": Raw("0"), "dur": Raw("0")}

    report = cli.analyze(trace)

    decode = phase(report, "decode")
    assert (decode["kernel_count"], decode["gpu_span_ns"], decode["idle_gap_ns"]) == (2, 25_000, 0)
    assert report["trace"]["duration_ns"] == 90_000
    assert "untimed_work" in codes(report)


@pytest.mark.parametrize(
    ("time", "is_refused"), [(-(2**63), True), (2**63 - 1, True), (-1_700_000_000 * 10**9, False), (-10 * MS, False)]
)
def test_kernels_whose_time_is_a_mark_for_none_are_told(time: int, is_refused: bool, cli: Cli) -> None:
    trace = TraceBuilder().gpu().session(50 * MS)
    main = trace.process().thread()
    for at in range(0, 40 * MS, 10 * MS):
        main.push(at, at + 10 * MS, "decode")
        main.launch(at + 1, gpu=(at + MS, at + 4 * MS), name="gemm")
        main.launch(at + 2, gpu=(time, time) if at == 20 * MS else (at + 4 * MS, at + 5 * MS), name="gemm")

    code, _, err = run(cli.capsys, "analyze", cli.write(trace), "--no-cache", "--format", "json")

    assert code == (1 if is_refused else 0)
    if is_refused:
        assert "holds values that no nsys export has" in err
    else:
        report = cli.analyze(trace)
        assert "untimed_work" in codes(report)
        assert phase(report, "decode")["gpu_busy_ns"] == 15 * MS


def test_events_without_times_are_told(cli: Cli) -> None:
    trace = KinetoTrace()
    for step in range(4):
        at, first = step * 100_000, len(trace.events)
        trace.annotation("decode", at, at + 90_000)
        trace.op("aten::mm", at + 9_000, at + 13_000, [[4, 8], [8, 2]])
        trace.launch(at + 10_000, gpu=(at + 20_000, at + 45_000))
        if step >= 2:
            for event in trace.events[first:]:
                event |= {"ts": Raw("0.000"), "dur": Raw("0.000")}

    report = cli.analyze(trace)

    decode = phase(report, "decode")
    assert (decode["occurrences"], decode["kernel_count"], decode["gpu_span_ns"]) == (2, 2, 125_000)
    assert report["trace"]["duration_ns"] == 190_000
    assert report["unattributed"]["kernel_count"] == 2
    (found,) = [one for one in report["findings"] if one["code"] == "untimed_host_events"]
    # A range, an operator and a call in each of two steps.
    assert (found["severity"], found["message"][:2]) == ("error", "6 ")
    assert "untimed_work" in codes(report)


def test_an_end_that_is_years_away_is_told(cli: Cli) -> None:
    def trace(end: int) -> KinetoTrace:
        made = decode_of_torch()
        made.launch(50_000, gpu=(60_000, end))
        made.launch(60_000, gpu=(70_000, 75_000))
        return made

    report = cli.analyze(trace(3_600_000 * MS))

    (found,) = [one for one in report["findings"] if one["code"] == "kernels_inside_kernels"]
    assert found["at_stake_ns"] == 3_600_000 * MS - 70_000
    path = trace(7_450_000_000_000_000_000).write(cli.folder / "centuries.json")
    code, out, err = run(cli.capsys, "analyze", path, "--no-cache")
    assert (code, out) == (1, "")
    assert "holds values that no trace of torch.profiler has: Out of Range" in err
    assert "hint: record it again" in err


def test_an_end_before_the_start_fails_a_check(cli: Cli) -> None:
    trace = decode_of_torch()
    trace.launch(50_000, gpu=(60_000, 55_000))

    code, _, err = run(cli.capsys, "analyze", trace.write(cli.folder / "trace.json"), "--no-cache")

    assert code == 1
    assert "work.ends_after_start" in err


def test_durations_that_overlap_in_a_stream_are_busy_once(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 2_000 * MS, "decode").launch(MS, gpu=(5 * MS, 1_605 * MS))
    main.launch(2 * MS, gpu=(15 * MS, 20 * MS)).launch(3 * MS, gpu=(20 * MS, 20 * MS))

    report = cli.analyze(trace)

    decode = phase(report, "decode")
    assert (decode["kernel_count"], decode["gpu_busy_ns"]) == (3, 1_600 * MS)
    assert "kernels_inside_kernels" in codes(report)


def test_kernels_that_start_before_the_one_before_ends(cli: Cli) -> None:
    trace = KinetoTrace()
    trace.annotation("decode", 0, 90_000)
    for number in range(3):
        # Programmatic dependent launch: each starts 2 µs before the one before it has ended.
        trace.launch(1_000 * number, gpu=(10_000 + 8_000 * number, 20_000 + 8_000 * number))

    rows, err = cli.sql(trace, "SELECT kernel_count, kernel_time_ns, gpu_busy_ns FROM phase_summary")

    assert rows == [{"kernel_count": 3, "kernel_time_ns": 30_000, "gpu_busy_ns": 26_000}]
    assert "inside another kernel" not in err


def test_kernels_that_are_recorded_twice_are_told(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    process = trace.process()
    process.thread().push(0, 50 * MS, "decode").launch(MS, gpu=(2 * MS, 10 * MS)).launch(2 * MS, gpu=(12 * MS, 20 * MS))
    process.kernel((12 * MS, 20 * MS), correlation=2)

    rows, err = cli.sql(trace, "SELECT gpu_busy_ns FROM phase_summary")

    assert rows == [{"gpu_busy_ns": 16 * MS}]
    assert "the times of 1 kernels are wrong or recorded twice, of which the longest takes 8.0 ms" in err


def test_kernels_of_less_than_a_microsecond(cli: Cli) -> None:
    trace = KinetoTrace()
    trace.annotation("decode", 0, 90_000)
    trace.launch(10_000, gpu=(20_700, 20_900))
    trace.launch(12_000, gpu=(20_950, 21_050))

    decode = phase(cli.analyze(trace), "decode")

    assert (decode["kernel_time_ns"], decode["gpu_busy_ns"], decode["gpu_span_ns"]) == (300, 300, 350)


def test_times_of_sixteen_digits_keep_their_nanoseconds(cli: Cli) -> None:
    trace = KinetoTrace(baseTimeNanoseconds=0)
    for name, start, end in (("prefill", 0, 34_670), ("decode", 34_719, 90_000)):
        trace.annotation(name, start, end)
        trace.launch(start + 1, gpu=(start + 2_101, start + 2_204))
    # A double of this size tells no times apart that are less than 250 ns from each other.
    for event in trace.events:
        if event["ph"] == "X":
            whole, _, digits = event["ts"].partition(".")
            event["ts"] = Raw(f"{int(whole) + 1_727_076_000_000_000}.{digits}")

    rows, _ = cli.sql(trace, "SELECT phase, wall_ns, kernel_time_ns FROM phases ORDER BY start_ns")

    assert [tuple(row.values()) for row in rows] == [("prefill", 34_670, 103), ("decode", 55_281, 103)]


def test_the_unit_of_times_is_not_the_one_to_show_them_in(cli: Cli) -> None:
    trace = steps_of(["decode"])
    trace.head["displayTimeUnit"] = "ns"

    assert phase(cli.analyze(trace), "decode")["gpu_busy_ns"] == 25_000
