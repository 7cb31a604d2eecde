"""GPUs: the peak of the very one that ran, parts of one, several at once, and their counters."""

from __future__ import annotations

import pytest

from nsys_pipeline.hardware import find_gpu
from tests.cli.public_reports.common import FIVE_STEPS, LLAMA, codes, marked, message, phase
from tests.cli.run import MS, Cli
from tests.support.kineto import KinetoTrace, gpu
from tests.support.trace_builder import TraceBuilder


@pytest.mark.parametrize(
    ("name", "bf16"),
    [("NVIDIA H100 80GB HBM3", 989.4), ("NVIDIA H100 PCIe", 756), ("NVIDIA H100 NVL", 835.5), ("NVIDIA H200", 989.5)],
)
def test_peaks_are_without_sparsity(name: str, bf16: float) -> None:
    gpu = find_gpu(name)

    assert gpu is not None
    assert gpu.peaks_flops_per_s["bf16"] == bf16 * 1e12


@pytest.mark.parametrize(
    ("name", "bf16"), [("NVIDIA B300 SXM6 AC", 2250e12), ("NVIDIA A100-SXM4-40GB", 312e12), ("NVIDIA XA100", None)]
)
def test_a_newer_gpu_has_not_the_peak_of_an_older_one(name: str, bf16: float | None) -> None:
    found = find_gpu(name)

    assert (found and found.peaks_flops_per_s["bf16"]) == bf16


def test_a_gpu_is_no_other_one_of_the_same_chip() -> None:
    found = [find_gpu(name) for name in ("NVIDIA H100 80GB HBM3", "NVIDIA H200", "NVIDIA GH200 144G HBM3e")]

    assert [one and one.bandwidth_bytes_per_s for one in found] == [3350e9, 4800e9, 4900e9]


@pytest.mark.parametrize(
    ("name", "bf16", "bytes_per_s"),
    [
        ("NVIDIA GB200", 2500e12, 8000e9),
        ("NVIDIA B200", 2250e12, 7700e9),
        ("NVIDIA A100-SXM4-40GB", 312e12, 1555e9),
        ("NVIDIA A100-SXM4-80GB", 312e12, 2039e9),
    ],
)
def test_variants_of_a_gpu_have_their_own_peaks(name: str, bf16: float, bytes_per_s: float) -> None:
    found = find_gpu(name)

    assert found is not None
    assert (found.peaks_flops_per_s["bf16"], found.bandwidth_bytes_per_s) == (bf16, bytes_per_s)


@pytest.mark.parametrize(("variant", "bf16"), [("", 503.8e12), ("Max-Q ", 438.9e12)])
def test_variants_of_a_workstation_gpu_have_their_own_peaks(variant: str, bf16: float) -> None:
    found = find_gpu(f"NVIDIA RTX PRO 6000 Blackwell {variant}Workstation Edition")

    assert found is not None
    assert found.peaks_flops_per_s["bf16"] == bf16


def test_unlike_gpus_of_one_pass_have_the_sum_of_their_peaks(cli: Cli) -> None:
    """Layers of one process on two GPUs: steps of 18 ms, of which the first GPU works for 4 and the second for 10."""
    trace = TraceBuilder().gpu(0, name="NVIDIA GeForce RTX 5090", sm_count=170, compute=(12, 0))
    trace.gpu(1, name="NVIDIA GeForce RTX 3090", sm_count=82, compute=(8, 6))
    main = trace.process().thread()
    for at in range(0, 80 * MS, 20 * MS):
        main.push(at, at + 18 * MS, "prefill", domain="llmperf")
        main.mark(at + 1, 'llmperf.step {"b":1,"q":2048,"kv":0,"logits":1}', domain="llmperf")
        main.launch(at + MS, gpu=(at + 2 * MS, at + 6 * MS), device=0)
        main.launch(at + 2 * MS, gpu=(at + 7 * MS, at + 17 * MS), device=1)
    marked(trace, LLAMA)

    report = cli.analyze(trace)

    found, peaks = phase(report, "prefill"), 209.5e12 + 71e12
    assert found["peak_flops_per_s"] == pytest.approx(peaks)
    assert found["mfu_wall"] == pytest.approx(found["flops"] / (peaks * 4 * 18e-3))
    assert found["mfu_busy"] == pytest.approx(found["flops"] / (peaks / 2 * 4 * 14e-3))
    assert found["mbu_wall"] == pytest.approx(found["bytes"] / ((1792e9 + 936e9) * 4 * 18e-3))
    assert "unlike_gpus" in codes(report)


def test_parts_of_an_amd_gpu_have_no_peak(cli: Cli) -> None:
    partition = gpu(0, "AMD Instinct MI300X") | {"numSms": 38}
    trace = KinetoTrace(deviceProperties=[partition])
    trace.annotation("decode", 0, 90_000)
    trace.launch(10_000, gpu=(20_000, 45_000), name="Cijk_Alik_Bljk")

    rows, err = cli.sql(trace, "SELECT mfu_busy FROM phase_summary", "--model", "tiny-llama", "--shape", "1x16+1")

    assert rows == [{"mfu_busy": None}]
    assert "no cited peak for `AMD Instinct MI300X`" in err


@pytest.mark.parametrize("name", ["NVIDIA A100-SXM4-80GB MIG 3g.40gb", "NVIDIA A100-SXM4-80GB"])
def test_a_slice_is_no_whole_gpu(name: str, cli: Cli) -> None:
    trace = TraceBuilder().gpu(name=name, sm_count=42, compute=(8, 0))
    trace.process().thread().push(0, 50 * MS, "prefill").launch(MS, gpu=(5 * MS, 9 * MS))

    report = cli.analyze(trace, "--model", "tiny-llama", "--shape", "1x16+0")

    assert phase(report, "prefill")["mfu_busy"] is None
    assert "partial_gpu" in codes(report)


def test_green_contexts_have_a_part_of_the_gpu(cli: Cli) -> None:
    def trace(is_green: int) -> TraceBuilder:
        made = TraceBuilder().gpu()
        made.row("TARGET_INFO_CUDA_CONTEXT_INFO", processId=100, deviceId=0, contextId=2, isGreenContext=is_green)
        main = made.process().thread().push(0, 50 * MS, "prefill")
        main.launch(MS, gpu=(5 * MS, 9 * MS), contextId=1, greenContextId=2 * is_green)
        return made

    model = ("--model", "tiny-llama", "--shape", "1x16+0")

    (found,) = [one for one in cli.analyze(trace(1), *model)["findings"] if one["code"] == "green_contexts"]
    assert found["message"].startswith("1 green contexts were made")
    _, err = cli.sql(trace(1), "SELECT mfu_busy FROM phase_summary", *model)
    assert "green contexts" in err
    assert "green_contexts" not in codes(cli.analyze(trace(0), *model))


def test_products_faster_than_the_hardware_have_no_utilization(cli: Cli) -> None:
    """16 products of 5 µs are a step of a model whose weights alone take 2 ms to read."""
    model = LLAMA | {
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
    }
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in range(0, 120 * MS, 20 * MS):
        main.push(at, at + 18 * MS, "decode", domain="llmperf")
        main.mark(at + 1, 'llmperf.step {"b":32,"q":1,"kv":1024,"logits":32}', domain="llmperf")
        for start in range(at + MS, at + 17 * MS, MS):
            main.launch(start, gpu=(start + 50, start + 5050), name="ampere_fp16_s16816gemm")
    marked(trace, model)

    report = cli.analyze(trace, code=1)

    found = phase(report, "decode")
    assert (found["mfu_busy"], found["mbu_busy"]) == (None, None)
    assert "impossible_utilization" in codes(report)


@pytest.mark.parametrize(("cache", "is_told"), [(75_497_472, True), (6_291_456, False), (None, True)])
def test_weights_that_stay_in_the_l2_cache_are_told(cache: int | None, is_told: bool, cli: Cli) -> None:
    """19 MB in 30 µs are 63 % of an RTX 4090's bandwidth, and it has 75 MB of cache, if nobody says another size."""
    trace = TraceBuilder().gpu(name="NVIDIA GeForce RTX 4090", l2_cache_bytes=cache)
    marked(trace, LLAMA)
    main = trace.process().thread()
    for at in range(0, 600_000, 100_000):
        main.push(at, at + 60_000, "decode", domain="llmperf")
        main.mark(at + 1, 'llmperf.step {"b":1,"q":1,"kv":100,"logits":1}', domain="llmperf")
        main.launch(at + 10_000, gpu=(at + 20_000, at + 50_000))

    report = cli.analyze(trace)

    assert phase(report, "decode")["mbu_busy"] == pytest.approx(19_066_880 / 30e-6 / 1008e9, rel=1e-4)
    told = [one["message"] for one in report["findings"] if one["code"] == "weights_in_cache"]
    assert [message[:30] for message in told] == ["a pass of decode reads 19.1 MB"] * is_told


def test_clocks_above_31_bits_are_not_negative(cli: Cli) -> None:
    trace = TraceBuilder().gpu(clock_hz=2_520_000_000)
    trace.process().thread().push(0, 50 * MS, "prefill").launch(MS, gpu=(2 * MS, 40 * MS))
    trace.row("TARGET_INFO_GPU_METRICS", typeId=256, metricId=0, metricName="GPC Clock Frequency [MHz]")
    for at in range(-2, 50):
        trace.row("GPU_METRICS", timestamp=at * MS, typeId=256, metricId=0, value=2_500_000_000 - (1 << 32))

    (row,), _ = cli.sql(trace, "SELECT sm_clock_hz FROM phase_counters")

    assert row["sm_clock_hz"] == 2.5e9
    assert "clocks_below_boost" not in codes(cli.analyze(trace))


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
