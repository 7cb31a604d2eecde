"""Samples of hardware counters joined to kernels and layers, against a brute force that looks at each nanosecond."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import pairwise
from math import ceil
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest

from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.query.session import Session
from nsys_pipeline.trace import TraceOptions, open_trace
from nsys_pipeline.trace.window import Window
from tests.support.ask import open_session
from tests.support.trace_builder import TraceBuilder

PERIOD = 40
SOURCE = 1 << 48
TENSOR, CLOCK = range(2)
NAMES = ("Tensor Active [Throughput %]", "GPC Clock Frequency [MHz]")
CLOCK_HZ = 1_980_000_000

Group = tuple[str | int, ...]  # what a row is about, its GPU last


class Kernel(NamedTuple):
    name: str
    layer: int | None
    device: int
    start: int
    end: int
    is_warmup: bool


class Sample(NamedTuple):
    device: int
    slot: int
    percent: int


class Share(NamedTuple):
    sampled_busy_ns: int
    alone_ratio: float
    busy_ratio: float
    low_ratio: float
    high_ratio: float


def build(kernels: list[Kernel], samples: list[Sample]) -> TraceBuilder:
    """A decode range for each kernel, in warm-up and in a layer if it says so; each kernel on a stream of its own."""
    trace = TraceBuilder().gpu(0).gpu(1)
    main = trace.process().thread()
    for index, one in enumerate(kernels):
        at = 100 * index
        if one.is_warmup:
            main.push(at, at + 99, "warmup", domain="llmperf")
        main.push(at + 1, at + 98, "decode", domain="llmperf")
        if one.layer is not None:
            main.push(at + 2, at + 97, f"layer.{one.layer}.attn", domain="llmperf")
        main.launch(at + 3, gpu=(one.start, one.end), name=one.name, device=one.device, stream=7 + index)
    for device in {sample.device for sample in samples}:
        for metric, name in enumerate(NAMES):
            trace.row(
                "TARGET_INFO_GPU_METRICS", typeId=SOURCE + device, sourceId=SOURCE, metricId=metric, metricName=name
            )
    for sample in samples:
        for metric, value in ((TENSOR, sample.percent), (CLOCK, CLOCK_HZ)):
            at = PERIOD * sample.slot
            trace.row("GPU_METRICS", timestamp=at, typeId=SOURCE + sample.device, metricId=metric, value=value)
    return trace


def windows_of(samples: list[Sample]) -> list[tuple[int, range, int]]:
    """Device, nanoseconds and value of each sample: to the next one, or as long as most where that is far away."""
    found = []
    for device in {one.device for one in samples}:
        own = sorted(one for one in samples if one.device == device)
        periods = sorted(PERIOD * (b.slot - a.slot) for a, b in pairwise(own))
        if not periods:
            continue
        typical = round((periods[len(periods) // 2] + periods[~(len(periods) // 2)]) / 2)
        ends = [PERIOD * one.slot for one in own[1:]] + [PERIOD * own[-1].slot + typical]
        for one, end in zip(own, ends, strict=True):
            start = PERIOD * one.slot
            found.append((device, range(start, min(end, start + 2 * typical)), one.percent))
    return found


def by_brute_force(busy: Mapping[Group, set[int]], samples: list[Sample]) -> dict[Group, Share]:
    """Each sample shared by busy nanoseconds; bounds are what is left if all others, or none of them, had it."""
    parts: dict[Group, list[tuple[int, int, float, float, float]]] = defaultdict(list)
    for device, window, percent in windows_of(samples):
        inside = Counter({key: len(set(window) & when) for key, when in busy.items() if key[-1] == device})
        for key, own in inside.items():
            others = inside.total() - own
            if own:
                length = len(window)
                share = max(percent / 100 - 0.005, 0) * length * own / (own + others)
                low = max(0.0, (percent - 1) / 100 * length - others)
                parts[key].append((own, others, min(share, own), min(low, own), min(percent / 100 * length, own)))
    shares = {}
    for key, rows in parts.items():
        total = sum(own for own, *_ in rows)
        alone = sum(own for own, others, *_ in rows if not others) / total
        share, low, high = (sum(row[column] for row in rows) / total for column in (2, 3, 4))
        shares[key] = Share(total, alone, share, low, high)
    return shares


def ask_shares(trace: TraceBuilder, *views: tuple[str, str]) -> list[dict[Group, Share]]:
    """What each view says of the tensor pipe, by its keys and the GPU."""
    answers = []
    # Of random occurrences, some are slow enough to be cold.
    with TemporaryDirectory() as folder, open_session(trace, Path(folder), AnalysisOptions(keep_cold=True)) as session:
        for view, keys in views:
            columns = f"{keys}, device_id, {', '.join(Share._fields)}, sm_clock_hz"
            rows = session.frame(f"SELECT {columns} FROM {view} WHERE counter = 'tensor_active'").rows()
            assert {row[-1] for row in rows} <= {CLOCK_HZ}
            count = keys.count(",") + 2
            answers.append({row[:count]: Share(*row[count:-1]) for row in rows})
    return answers


def busy_of(kernels: list[Kernel], keys: list[Group | None]) -> dict[Group, set[int]]:
    """Busy nanoseconds of each key; work without a key is one group that nobody asks for."""
    busy: dict[Group, set[int]] = defaultdict(set)
    for kernel, key in zip(kernels, keys, strict=True):
        busy[key or ("", kernel.device)] |= set(range(kernel.start, kernel.end))
    return busy


@pytest.mark.parametrize("seed", range(2))
def test_random_samples_agree_with_brute_force(seed: int) -> None:
    # given kernels of two GPUs that overlap, and samples of which some are missing
    random = Random(seed)
    kernels = [
        Kernel(
            random.choice("abc"), random.choice((None, 0, 1)), random.randrange(2), at := random.randrange(2000),
            at + random.randint(1, 90), random.random() < 0.2,
        )
        for _ in range(60)
    ]  # fmt: skip
    samples = [
        Sample(device, index, random.randint(0, 100))
        for device in range(2)
        for index in range(52)
        if random.random() < 0.8
    ]

    views = (("kernel_counters", "name"), ("layer_counters", "layer, part"))
    of_kernels, of_layers = ask_shares(build(kernels, samples), *views)

    by_name = busy_of(kernels, [None if k.is_warmup else (k.name, k.device) for k in kernels])
    by_layer = busy_of(
        kernels, [None if k.is_warmup or k.layer is None else (k.layer, "attn", k.device) for k in kernels]
    )
    for found, busy in ((of_kernels, by_name), (of_layers, by_layer)):
        expected = {key: one for key, one in by_brute_force(busy, samples).items() if key[0] != ""}
        assert found.keys() == expected.keys()
        for key, one in expected.items():
            assert found[key] == pytest.approx(one, abs=1e-6), key


@pytest.mark.parametrize("seed", range(2))
def test_the_truth_lies_between_the_bounds(seed: int) -> None:
    # given kernels that keep the tensor pipe active for a known part of their time, and samples that nsys rounds up
    random = Random(seed)
    kernels, at = [], 0
    for _ in range(40):
        at += random.choice((0, 0, 5, 30))
        length = random.randint(5, 120)
        kernels.append(Kernel(random.choice("abc"), None, 0, at, at + length, False))
        at += length
    chance = {"a": 0.0, "b": 0.5, "c": 0.95}
    active = {ns: random.random() < chance[one.name] for one in kernels for ns in range(one.start, one.end)}
    samples = [
        Sample(0, i, ceil(100 * sum(active.get(ns, False) for ns in range(PERIOD * i, PERIOD * (i + 1))) / PERIOD))
        for i in range(ceil(at / PERIOD))
    ]

    (found,) = ask_shares(build(kernels, samples), ("kernel_counters", "name"))

    busy = busy_of(kernels, [(one.name, 0) for one in kernels])
    for key, when in busy.items():
        truth = sum(active[ns] for ns in when) / len(when)
        assert found[key].low_ratio <= truth <= found[key].high_ratio
        assert found[key].low_ratio <= found[key].busy_ratio <= found[key].high_ratio
    assert found["c", 0].low_ratio > found["a", 0].busy_ratio


def test_a_kernel_that_fills_its_windows_is_known_to_a_per_cent() -> None:
    trace = build([Kernel("gemm", None, 0, 0, 80, False)], [Sample(0, 0, 60), Sample(0, 1, 60)])

    (found,) = ask_shares(trace, ("kernel_counters", "name"))

    assert found["gemm", 0] == pytest.approx(Share(80, 1.0, 0.595, 0.59, 0.6))


def test_a_counter_that_was_not_sampled_is_null(tmp_path: Path) -> None:
    trace = build([Kernel("gemm", 0, 0, 0, 80, False)], [Sample(0, 0, 60), Sample(0, 1, 60)])

    with open_session(trace, tmp_path) as session:
        for view in ("kernel_counters", "layer_counters"):
            rows = session.frame(f"SELECT counter, busy_ratio, low_ratio, high_ratio FROM {view} ORDER BY ALL").rows()
            names = ["dram_read", "dram_write", "nvlink_rx", "nvlink_tx", "pcie_rx", "pcie_tx"]
            assert [row[0] for row in rows] == [*names, "sm_active", "sm_issue", "tensor_active"]
            assert [row[1:] for row in rows[:8]] == [(None, None, None)] * 8


def test_work_that_a_window_leaves_out_has_its_share_of_a_sample(tmp_path: Path) -> None:
    """Three decode steps of 20 ns, in a layer each; the first two are in one sample, and the first is cut away."""
    kernels = [Kernel("gemm", 0, 0, 20 * index, 20 * index + 20, False) for index in range(3)]
    path = build(kernels, [Sample(0, 0, 100), Sample(0, 1, 100)]).write(tmp_path / "trace.sqlite")
    options = TraceOptions(use_cache=False, window=Window(first_step=1))

    with Session.of(open_trace(path, options), AnalysisOptions(keep_cold=True)) as session:
        (whole,) = session.frame("SELECT sampled_busy_ns, tensor_active_busy_ratio FROM phase_counters").rows()
        parts = [
            session.frame(
                f"SELECT sampled_busy_ns, alone_ratio, busy_ratio FROM {view} WHERE counter = 'tensor_active'"
            ).rows()
            for view in ("kernel_counters", "layer_counters")
        ]

    # of the first sample half of its 40 ns, of the second one the 20 ns that are left of it
    assert whole == (40, pytest.approx((19.9 + 2 * 19.9) / 40))
    assert parts == [[(40, 0.5, pytest.approx((19.9 + 20) / 40))]] * 2


def test_a_window_begins_in_a_sample_of_each_gpu(tmp_path: Path) -> None:
    """The other GPU is sampled 10 ns later; the window begins at 20 ns, in the samples of 0 and of 10."""
    kernels = [Kernel("gemm", None, 0, 20 * index, 20 * index + 20, False) for index in range(3)]
    trace = build(kernels, [Sample(0, 0, 100), Sample(0, 1, 100)])
    other = {"typeId": SOURCE + 1, "metricId": TENSOR}
    trace.row("TARGET_INFO_GPU_METRICS", sourceId=SOURCE, metricName=NAMES[TENSOR], **other)
    for at in (10, 10 + PERIOD):
        trace.row("GPU_METRICS", timestamp=at, value=50, **other)
    path = trace.write(tmp_path / "trace.sqlite")
    options = TraceOptions(use_cache=False, window=Window(first_step=1))

    with Session.of(open_trace(path, options), AnalysisOptions(keep_cold=True)) as session:
        shares = session.frame(
            "SELECT device_id, sampled_busy_ns, busy_ratio FROM kernel_counters WHERE counter = 'tensor_active'"
        ).rows()

    assert shares == [(0, 40, pytest.approx((19.9 + 20) / 40))]
