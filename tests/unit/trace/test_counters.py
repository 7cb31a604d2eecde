"""Samples of hardware counters joined to phases, against a brute force that looks at each nanosecond."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsys_pipeline.duck import records
from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.ask import ask, open_session
from tests.support.examples import examples
from tests.support.real_traces import SUFFIX, TRACES
from tests.support.strategies import property_test
from tests.support.trace_builder import TraceBuilder

TENSOR, ACTIVE, CLOCK = range(3)
NAMES = ("Tensor Active [Throughput %]", "SMs Active [Throughput %]", "GPC Clock Frequency [MHz]")
PERIOD = 40
SOURCE = 1 << 48

Kernel = tuple[str, int, int, int]  # phase, device, start, end


def build(
    kernels: list[Kernel], samples: list[tuple[int, int, int]], *, names: tuple[str, ...] = NAMES
) -> TraceBuilder:
    """One range for each kernel, and `samples` as (device, index of the sample, percent)."""
    trace = TraceBuilder().gpu(0).gpu(1)
    main = trace.process().thread()
    for index, (phase, device, start, end) in enumerate(kernels):
        main.push(10 * index, 10 * index + 9, phase)
        main.launch(10 * index + 1, gpu=(start, end), device=device)
    for device in {device for device, _, _ in samples}:
        for metric, name in enumerate(names):
            trace.row(
                "TARGET_INFO_GPU_METRICS", typeId=SOURCE + device, sourceId=SOURCE, metricId=metric, metricName=name
            )
    for device, index, percent in samples:
        for metric, value in ((TENSOR, percent), (ACTIVE, 100 - percent), (CLOCK, 1_980_000_000)):
            trace.row("GPU_METRICS", timestamp=PERIOD * index, typeId=SOURCE + device, metricId=metric, value=value)
    return trace


def by_brute_force(
    kernels: list[Kernel], samples: list[tuple[int, int, int]]
) -> dict[tuple[str, int], dict[str, float | None]]:
    """Means over samples whose stamp lies in busy time, and sums of samples shared by busy nanoseconds."""
    busy: dict[tuple[str, int], set[int]] = defaultdict(set)
    for phase, device, start, end in kernels:
        busy[phase, device] |= set(range(start, end))
    ends = {key: {end for p, d, _, end in kernels if (p, d) == key} for key in busy}
    answer = {}
    for (phase, device), instants in busy.items():
        own = [sample for sample in samples if sample[0] == device]
        indices = sorted(index for _, index, _ in own)
        periods = sorted(PERIOD * (b - a) for a, b in pairwise(indices))
        if not periods:
            continue
        middle = len(periods) // 2
        typical = round((periods[middle] + periods[~middle]) / 2)
        stamped = [p / 100 for _, i, p in own if PERIOD * i in instants | ends[phase, device]]
        total, covered, error = 0.0, 0, 0.0
        for position, (_, index, percent) in enumerate(sorted(own, key=lambda sample: sample[1])):
            start = PERIOD * index
            following = PERIOD * indices[position + 1] if position + 1 < len(indices) else start + typical
            window = set(range(start, min(following, start + 2 * typical)))
            shares = Counter({key: len(other & window) for key, other in busy.items() if key[1] == device})
            mine = shares[phase, device]
            if mine:
                length = len(window) * mine / shares.total()
                total += max(percent / 100 - 0.005, 0) * length
                error += 0.005 * length
                covered += mine
        if covered:
            answer[phase, device] = {
                "samples": len(stamped),
                "tensor_active_ratio": fmean(stamped) if stamped else None,
                "sampled_busy_ns": covered,
                "tensor_active_busy_ratio": total / covered,
                "busy_ratio_error": error / covered,
            }
    return answer


def by_sql(trace: TraceBuilder, folder: Path) -> dict[tuple[str, int], dict[str, Any]]:
    query = (
        "SELECT phase, device_id, samples, tensor_active_ratio, sampled_busy_ns, tensor_active_busy_ratio, "
        "busy_ratio_error FROM phase_counters"
    )
    # Of random occurrences, some are slow enough to be cold.
    with open_session(trace, folder, AnalysisOptions(keep_cold=True)) as session:
        rows = session.frame(query).rows(named=True)
    return {(row.pop("phase"), row.pop("device_id")): row for row in rows}


def kernels_of(rows: list[tuple[str, int, int, int]]) -> list[Kernel]:
    return [(phase, device, start, start + length) for phase, device, start, length in rows]


@settings(property_test, max_examples=examples(10))
@given(
    st.lists(
        st.tuples(st.sampled_from(["prefill", "decode"]), st.integers(0, 1), st.integers(0, 300), st.integers(1, 90)),
        min_size=1, max_size=12,
    ).map(kernels_of),
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 9), st.integers(0, 100)),
        min_size=2, max_size=14, unique_by=lambda sample: sample[:2],
    ),
)  # fmt: skip
def test_random_samples_agree_with_brute_force(kernels: list[Kernel], samples: list[tuple[int, int, int]]) -> None:
    with TemporaryDirectory() as folder:
        found = by_sql(build(kernels, samples), Path(folder))

    expected = by_brute_force(kernels, samples)
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert found[key] == pytest.approx(row), key


def test_a_sample_of_one_gpu_never_counts_for_another(tmp_path: Path) -> None:
    kernels = [("prefill", 0, 0, 80), ("decode", 1, 0, 80)]
    samples = [(0, 0, 100), (0, 1, 100), (1, 0, 0), (1, 1, 0)]

    answer = ask(
        build(kernels, samples),
        "SELECT phase, device_id, samples, tensor_active_ratio, round(tensor_active_busy_ratio, 6), sm_clock_hz "
        "FROM phase_counters ORDER BY ALL",
        tmp_path,
    )

    assert answer.splitlines()[1:] == ["decode,1,2,0.0,0.0,1980000000.0", "prefill,0,2,1.0,0.995,1980000000.0"]


@pytest.mark.parametrize(
    "name",
    ["Tensor Active / FP16 Active [Throughput %]", "SM Tensor Active [Throughput %]", "tensor active [Throughput %]"],
)
def test_older_names_of_a_counter_are_known(name: str, tmp_path: Path) -> None:
    trace = build([("prefill", 0, 0, 80)], [(0, 0, 50), (0, 1, 50)], names=(name, "Something Else [%]", "X"))

    answer = ask(trace, "SELECT tensor_active_ratio, sm_active_ratio, sm_clock_hz FROM phase_counters", tmp_path)

    assert answer.splitlines()[1:] == ["0.5,,"]


def test_without_samples_there_is_no_row(tmp_path: Path) -> None:
    trace = build([("prefill", 0, 0, 80)], [])

    assert ask(trace, "SELECT count(*) AS n FROM phase_counters", tmp_path).splitlines()[1:] == ["0"]


def test_counters_of_a_real_prefill_agree_with_its_estimate() -> None:
    # Llama of four layers, 2×1024 tokens: 1.032 TFLOP of model FLOPs by hand (docs/flops.md) in 2.954 ms. The prefill
    # before it, the first one, is cold.
    with open_trace(TRACES / f"h100_gpu_metrics{SUFFIX}", TraceOptions(use_cache=False)) as trace:
        trace.build("attribute.phase_counters")
        rows = records(trace.connection, "FROM attribute.phase_counters WHERE phase = 'prefill'")

    (prefill,) = rows
    flops_per_clock = 132 * 4096
    measured = prefill["tensor_active_busy_ratio"] * flops_per_clock * prefill["sm_clock_hz"]
    assert measured == pytest.approx(1.032e12 / 2.954e-3, rel=0.10)
    assert prefill["busy_ratio_error"] < 0.02


def test_counters_of_a_dense_prefill_agree_with_ncu_and_the_estimate() -> None:
    # given three prefills of 8×2048 tokens through four layers on an H200; ncu counted 8.760 TFLOP in one of them, the
    # estimate is 8.523 (docs/counters.md)
    path = Path(__file__).resolve().parents[2] / "counters" / f"h200_dense_prefill{SUFFIX}"
    with open_trace(path, TraceOptions(use_cache=False)) as trace:
        trace.build("attribute.phase_counters")
        (prefill,) = records(trace.connection, "FROM attribute.phase_counters WHERE phase = 'prefill'")

    active = prefill["tensor_active_busy_ratio"] * 132 * 4096 * prefill["sm_clock_hz"]
    executed = 3 * 8.760e12 / (prefill["sampled_busy_ns"] / 1e9)
    # The pipe is active for longer than the products need at its full rate.
    assert 1.0 < active / executed < 1.10
    # Long kernels one after another: both ways to join a sample agree.
    assert prefill["tensor_active_ratio"] == pytest.approx(prefill["tensor_active_busy_ratio"], rel=0.02)
    assert prefill["busy_ratio_error"] < 0.006
