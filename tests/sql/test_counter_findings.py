"""Findings that compare hardware counters with clocks and estimates."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from nsys_pipeline.duck import records
from nsys_pipeline.hardware import clock_of_peaks, find_gpu
from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.model import load_model
from nsys_pipeline.sqlmods import all_modules, sentences_sql
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.ask import ask_session, open_session
from tests.support.real_traces import SUFFIX
from tests.support.trace_builder import TraceBuilder

DENSE = Path(__file__).resolve().parents[1] / "counters" / f"h200_dense_prefill{SUFFIX}"
#: phase, counter, measured, error, estimated, executed, limit, busy ns, tokens of a pass
Check = tuple[str, str, float, float, float, float, str, int, int]


def told(code: str, checks: list[Check], *, not_counted: str | None = None) -> list[tuple[str, str, int]]:
    """Phase, message and time at stake of a finding about `checks`."""
    with duckdb.connect() as con:
        con.execute("CREATE SCHEMA estimate; CREATE SCHEMA input")
        con.execute(
            "CREATE TABLE estimate.counter_checks (phase VARCHAR, counter VARCHAR, measured_ratio DOUBLE, "
            'error_ratio DOUBLE, estimated_ratio DOUBLE, executed_ratio DOUBLE, "limit" VARCHAR, busy_ns BIGINT, '
            "tokens_per_pass DOUBLE)"
        )
        con.executemany("INSERT INTO estimate.counter_checks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", checks)
        con.execute("CREATE TABLE input.model AS SELECT ?::VARCHAR AS not_counted", [not_counted])
        module = all_modules()[f"findings.{code}"]
        return con.execute(
            f"SELECT phase, message, at_stake_ns FROM ({sentences_sql(module)}) ORDER BY phase"
        ).fetchall()


def test_less_activity_than_the_estimate_needs_is_told() -> None:
    checks: list[Check] = [
        ("prefill", "tensor", 0.40, 0.02, 0.60, 0.60, "compute", 1000, 4096),
        ("decode", "dram", 0.50, 0.02, 0.80, 0.80, "memory", 2000, 8),
        # Within the error, or of an estimate that the L2 cache or rounding may explain.
        ("forward", "tensor", 0.40, 0.15, 0.60, 0.60, "compute", 1000, 4096),
        ("mixed", "dram", 0.62, 0.02, 0.80, 0.80, "memory", 1000, 8),
        ("backward", "tensor", 0.00, 0.01, 0.05, 0.05, "memory", 1000, 8),
    ]

    first, second = told("counters_below_estimate", checks)

    assert first == (
        "decode",
        "in decode DRAM was read and written at peak rate for 50 % of the busy time (error 2 %), and the estimate "
        "needs at least 80 %: the model or the shape is larger than what ran, its weights have a smaller dtype, or "
        "they stayed in the L2 cache",
        2000,
    )
    assert second == (
        "prefill",
        "in prefill the tensor pipe was active 40 % of the busy time (error 2 %), and the estimate needs at least "
        "60 %: the model or the shape is larger than what ran, or its products did not use the tensor cores",
        1000,
    )


@pytest.mark.parametrize(
    ("check", "cause"),
    [
        (("decode", "tensor", 0.30, 0.02, 0.05, 0.05, "memory", 1000, 16), "padding: 16 tokens a pass do not fill"),
        (("prefill", "tensor", 0.60, 0.02, 0.20, 0.25, "compute", 1000, 4096), "padding of sequences to one length"),
        (("backward", "tensor", 0.60, 0.02, 0.30, 0.30, "compute", 1000, 4096), "recomputation (checkpointing)"),
        (("decode", "dram", 0.60, 0.02, 0.20, 0.20, "memory", 1000, 16), "copies and casts between kernels"),
        (("prefill", "dram", 0.60, 0.02, 0.01, 0.01, "compute", 1000, 4096), None),  # activations
        (("prefill", "tensor", 0.50, 0.02, 0.30, 0.40, "compute", 1000, 4096), None),  # a full attention mask
        (("decode", "tensor", 0.08, 0.02, 0.01, 0.01, "memory", 1000, 1), None),
    ],
)
def test_more_activity_than_the_estimate_needs_has_a_likely_cause(check: Check, cause: str | None) -> None:
    messages = [message for _, message, _ in told("counters_above_estimate", [check])]

    assert len(messages) == (cause is not None)
    assert all(cause is not None and cause in message for message in messages)
    # Parts of the model that nobody counts explain it.
    assert told("counters_above_estimate", [check], not_counted="vision tower") == []


def test_slow_clocks_say_what_the_clock_allowed() -> None:
    # given an H200 that prefills at 1.790 of 1.980 GHz (docs/counters.md)
    with open_trace(DENSE, TraceOptions(use_cache=False)) as trace:
        trace.describe(AnalysisOptions())
        trace.build("findings.slow_clocks", "findings.counters_below_estimate")
        con = trace.connection
        (clock,) = con.execute(sentences_sql(all_modules()["findings.slow_clocks"])).fetchall()
        checks = {row["counter"]: row for row in records(con, "FROM estimate.counter_checks WHERE phase = 'prefill'")}
        below = sentences_sql(all_modules()["findings.counters_below_estimate"])
        of_the_model = con.execute(below).fetchall()
        trace.describe(AnalysisOptions(model=load_model("llama-3.2-1b")))
        trace.build("findings.counters_below_estimate")
        of_another = con.execute(f"SELECT phase, message FROM ({below})").fetchall()

    assert any(
        "run at 1,790 MHz, 10% below the boost clock of 1,980 MHz (by 5 % or more in 61 % of the samples, 20.346 to "
        "20.422 s into the recording): 42.5 % of the peak FLOP/s, which stand for about 1,830 MHz, are "
        "43.5 % of what the measured clock allowed" in str(cell)
        for cell in clock
    )
    # 8.523 TFLOP a pass (estimate) at 132 SMs x 4,096 FLOPs x 1.790 GHz is 8.81 ms, of 20.25 ms busy.
    assert checks["tensor"]["estimated_ratio"] == pytest.approx(0.435, abs=0.002)
    assert checks["tensor"]["measured_ratio"] == pytest.approx(0.487, abs=0.005)
    assert of_the_model == []
    # Four times the layers: the kernels of a pass say that it is another model, and nothing is estimated of it.
    assert of_another == []


def test_slow_clocks_say_when(tmp_path: Path) -> None:
    # given a phase of one second, of which the clock is at 1,980 MHz for the first 400 ms and at 1,584 from then on
    trace = TraceBuilder().gpu(clock_hz=1_980_000_000)
    trace.process().thread().push(0, 1_000_000_000, "prefill").launch(10, gpu=(20, 1_000_000_000))
    source = 1 << 48
    names = ("SMs Active [Throughput %]", "GPC Clock Frequency [MHz]")
    for metric, name in enumerate(names):
        trace.row("TARGET_INFO_GPU_METRICS", typeId=source, sourceId=source, metricId=metric, metricName=name)
    for at in range(50_000_000, 1_000_000_000, 50_000_000):
        for metric, value in enumerate((100, 1_980_000_000 if at < 400_000_000 else 1_584_000_000)):
            trace.row("GPU_METRICS", timestamp=at, typeId=source, metricId=metric, value=value)

    with open_session(trace, tmp_path) as session:
        (message,) = session.frame("SELECT message FROM findings WHERE code = 'slow_clocks'")["message"]

    # 12 of 19 samples; the mean clock is (7 * 1,980 + 12 * 1,584) / 19
    assert message == (
        "in prefill the SMs run at 1,730 MHz, 13% below the boost clock of 1,980 MHz (by 5 % or more in 63 % of the "
        "samples, 0.400 to 1.000 s into the recording)"
    )


def test_the_clock_of_cited_peaks() -> None:
    # 989.4 TFLOP/s = 132 SMs x 4,096 FLOPs x 1.830 GHz; the A100's 312 = 108 x 2,048 x 1.410 GHz.
    for name, compute_capability, sm_count, clock_hz in (
        ("NVIDIA H100 80GB HBM3", "9.0", 132, 1.830e9),
        ("NVIDIA A100-SXM4-80GB", "8.0", 108, 1.410e9),
    ):
        gpu = find_gpu(name, sm_count=sm_count)
        assert gpu is not None
        assert clock_of_peaks(gpu, name, compute_capability, sm_count) == pytest.approx(clock_hz, rel=1e-3)
        assert clock_of_peaks(gpu, name, "99.0", sm_count) is None
        assert clock_of_peaks(gpu, name, None, sm_count) is None


def test_a_trace_without_samples_has_no_such_finding(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    trace.process().thread().push(0, 1_000_000, "prefill").launch(10, gpu=(20, 900_000))

    with open_session(trace, tmp_path) as session:
        rows = session.frame(
            "SELECT code FROM findings WHERE code IN ('slow_clocks', 'counters_above_estimate', "
            "'counters_below_estimate')"
        ).rows()

    assert rows == []


@pytest.mark.parametrize("sampled", [(0,), (0, 1)])
def test_gpus_without_samples_are_told(sampled: tuple[int, ...], tmp_path: Path) -> None:
    # given a phase on two GPUs, of which one or both have samples of their counters
    trace = TraceBuilder().gpu(0).gpu(1)
    main = trace.process().thread()
    main.push(0, 1_000, "prefill")
    for device in (0, 1):
        main.launch(10 + device, gpu=(20, 900), device=device)
    source = 1 << 48
    for device in sampled:
        name = "Tensor Active [Throughput %]"
        trace.row("TARGET_INFO_GPU_METRICS", typeId=source + device, sourceId=source, metricId=0, metricName=name)
        for at in (0, 400, 800):
            trace.row("GPU_METRICS", timestamp=at, typeId=source + device, metricId=0, value=50)

    with open_session(trace, tmp_path) as session:
        rows = session.frame("SELECT phase, message FROM findings WHERE code = 'gpus_without_counters'").rows()

    message = "hardware counters were sampled on other GPUs alone: those of each phase are without GPU 1"
    assert rows == ([] if len(sampled) == 2 else [(None, message)])


@pytest.mark.parametrize(
    ("copies", "sampled_from", "told_ms"),
    [
        ([(2, 8), (12, 18)], 0, "12.0 ms"),
        ([(2, 8), (2, 8)], 0, None),  # side by side
        ([(2, 8), (5, 13)], 0, "11.0 ms"),
        ([(2, 14), (26, 30)], 20, None),  # most of it before the first sample
    ],
)
def test_a_still_link_is_told_of_ten_sampled_ms_of_copies(
    copies: list[tuple[int, int]], sampled_from: int, told_ms: str | None, tmp_path: Path
) -> None:
    """Samples of 1 ms, by which nothing came over PCIe."""
    ms, trace = 1_000_000, TraceBuilder().gpu()
    main = trace.process().thread().push(0, 45 * ms, "prefill")
    for stream, (start, end) in enumerate(copies):
        main.memcpy(ms + stream, gpu=(start * ms, end * ms), kind=1, stream=20 + stream)
    main.launch(2 * ms, gpu=(14 * ms, 44 * ms))
    source = 1 << 48
    for number, name in enumerate(("SMs Active [Throughput %]", "PCIe RX Throughput [Throughput %]")):
        trace.row("TARGET_INFO_GPU_METRICS", typeId=source, sourceId=source, metricId=number, metricName=name)
        for at in range(sampled_from, 46):
            trace.row("GPU_METRICS", timestamp=at * ms, typeId=source, metricId=number, value=0)

    with open_session(trace, tmp_path) as session:
        query = "SELECT message FROM findings WHERE code = 'links_without_activity'"
        found = ask_session(session, query).splitlines()[1:]

    told_times = [one.partition("copies ran for ")[2].partition(":")[0] for one in found]
    assert told_times == ([] if told_ms is None else [told_ms])
