"""What the report takes for the peaks of a GPU: a datasheet, the user's figures, or what a trace lets derive."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.records import Device, Finding, Report
from nsys_pipeline.report.phrases import legend
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.real_traces import unpack_by_name
from tests.support.trace_builder import TraceBuilder

GPU_CODES = {"unknown_gpu", "partial_gpu", "derived_peak", "unknown_bandwidth"}
BF16 = 132 * 1.98e9 * 4096


def trace_of(*rows: dict[str, Any]) -> TraceBuilder:
    """One kernel on each of the GPUs."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 100, "decode")
    for device, row in enumerate(rows):
        trace.gpu(device, **{"name": "NVIDIA Foo 9000", **row})
        main.launch(10, gpu=(20, 30), device=device)
    return trace


def described(
    trace: TraceBuilder, folder: Path, *, file: str = "trace.sqlite", **options: Any
) -> tuple[list[Device], list[Finding]]:
    path = trace.write(folder / file)
    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        report = analyze(opened, AnalysisOptions(**options))
    return report.trace.devices, [notice for notice in report.warnings if notice.code in GPU_CODES]


def test_an_unknown_gpu_has_the_peak_that_its_trace_lets_derive(tmp_path: Path) -> None:
    (device,), (notice,) = described(trace_of({}), tmp_path)

    assert device.peaks_flops_per_s is not None
    assert device.peaks_flops_per_s["bf16"] == pytest.approx(BF16)
    assert device.peak_bandwidth_bytes_per_s == 3_352_320_000_000
    assert device.peaks_source == (
        "derived: 132 SMs × 1.980 GHz × 4096 FLOPs per clock and SM (16-bit); bandwidth as the trace states it"
    )
    assert notice.code == "derived_peak"
    assert "NVIDIA Foo 9000" in notice.message
    assert "boost clock" in notice.message
    assert "MFU is too low, on an H100 by 8 %" in notice.message
    assert notice.hint is not None
    assert "--peak" in notice.hint
    assert "--bandwidth" in notice.hint


def test_the_eight_percent_of_the_warning() -> None:
    from nsys_pipeline.hardware import find_gpu

    h100 = find_gpu("NVIDIA H100 80GB HBM3")
    assert h100 is not None
    assert 1 - h100.peaks_flops_per_s["bf16"] / BF16 == pytest.approx(0.08, abs=0.005)


def test_two_equal_gpus_are_warned_of_once(tmp_path: Path) -> None:
    devices, notices = described(trace_of({}, {}), tmp_path)

    assert [device.peaks_flops_per_s is not None for device in devices] == [True, True]
    assert [notice.code for notice in notices] == ["derived_peak"]


def test_a_datasheet_is_never_replaced_by_a_derived_peak(tmp_path: Path) -> None:
    (device,), notices = described(trace_of({"name": "NVIDIA H100 80GB HBM3"}), tmp_path)

    assert device.peaks_flops_per_s is not None
    assert device.peaks_flops_per_s["bf16"] == pytest.approx(989.4e12)
    assert device.peak_bandwidth_bytes_per_s == 3.35e12
    assert device.peaks_source is not None
    assert device.peaks_source.startswith("datasheet: ")
    assert notices == []


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"sm_count": 0}, "lacks its SM count"),
        ({"clock_hz": 0}, "lacks its clock"),
        ({"clock_hz": None}, "lacks its clock"),
        ({"compute": (None, None)}, "lacks its compute capability"),
        ({"compute": (6, 1)}, "compute capability `6.1`"),
        ({"name": "NVIDIA H20-4e"}, "is not that of its compute capability"),
        ({"name": None}, "does not name GPU 0"),
    ],
)
def test_nothing_is_derived_from_less_than_all(row: dict[str, Any], why: str, tmp_path: Path) -> None:
    (device,), (notice,) = described(trace_of(row), tmp_path)

    assert (device.peaks_flops_per_s, device.peak_bandwidth_bytes_per_s, device.peaks_source) == (None, None, None)
    assert notice.code == "unknown_gpu"
    assert why in notice.message
    assert notice.hint == "pass --peak bf16=TFLOPS and --bandwidth GB/s to get MFU and MBU"


@pytest.mark.parametrize("name", ["NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA Foo 9000 MIG 2g.20gb"])
def test_a_slice_has_no_peak_of_the_whole_gpu(name: str, tmp_path: Path) -> None:
    (device,), (notice,) = described(trace_of({"name": name, "sm_count": 16}), tmp_path)

    assert (device.peaks_flops_per_s, device.peak_bandwidth_bytes_per_s) == (None, None)
    assert (notice.code, "MIG slice" in notice.message) == ("partial_gpu", True)

    (device,), (notice,) = described(
        trace_of({"name": name, "sm_count": 16}), tmp_path, file="given.sqlite", peaks={"bf16": 100e12}
    )
    assert (device.peaks_flops_per_s, device.peak_bandwidth_bytes_per_s) == ({"bf16": 100e12}, None)
    assert (notice.code, "no MBU" in notice.message) == ("unknown_bandwidth", True)


def test_a_slice_of_an_unknown_gpu_that_only_cuda_tells_of(tmp_path: Path) -> None:
    trace = trace_of({})
    path = trace.write(tmp_path / "trace.sqlite")
    with closing(sqlite3.connect(path)) as con, con:
        con.execute("DROP TABLE IF EXISTS TARGET_INFO_CUDA_DEVICE")
        con.execute("CREATE TABLE TARGET_INFO_CUDA_DEVICE (gpuId INT, cudaId INT, pid INT, numMultiprocessors INT)")
        con.execute("INSERT INTO TARGET_INFO_CUDA_DEVICE VALUES (0, 0, 100, 16)")
    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        report = analyze(opened)

    assert report.trace.devices[0].peaks_flops_per_s is None
    assert [notice.code for notice in report.warnings if notice.code in GPU_CODES] == ["partial_gpu"]


def test_a_peak_alone_takes_the_bandwidth_of_the_trace(tmp_path: Path) -> None:
    (device,), notices = described(trace_of({}), tmp_path, peaks={"bf16": 500e12})

    assert device.peaks_flops_per_s == {"bf16": 500e12}
    assert device.peak_bandwidth_bytes_per_s == 3_352_320_000_000
    assert device.peaks_source == "override: --peak bf16; bandwidth as the trace states it"
    assert notices == []


def test_a_peak_alone_without_a_bandwidth_says_what_is_missing(tmp_path: Path) -> None:
    (device,), (notice,) = described(trace_of({"memory_bandwidth": 0}), tmp_path, peaks={"bf16": 500e12})

    assert (device.peak_bandwidth_bytes_per_s, device.peaks_source) == (None, "override: --peak bf16")
    assert notice.code == "unknown_bandwidth"
    assert notice.message == "no bandwidth of `NVIDIA Foo 9000` is known: there is no MBU, no SOL time and no roofline"
    assert notice.hint == "pass --bandwidth GB/s, too"


def test_a_derived_peak_without_a_bandwidth_says_so(tmp_path: Path) -> None:
    (device,), (notice,) = described(trace_of({"memory_bandwidth": 0}), tmp_path)

    assert device.peak_bandwidth_bytes_per_s is None
    assert device.peaks_source is not None
    assert "bandwidth" not in device.peaks_source
    assert "no MBU" in notice.message


def test_a_bandwidth_alone_stands_beside_derived_peaks(tmp_path: Path) -> None:
    (device,), (notice,) = described(trace_of({}), tmp_path, bandwidth_bytes_per_s=3e12)

    assert device.peaks_flops_per_s is not None
    assert device.peaks_flops_per_s["bf16"] == pytest.approx(BF16)
    assert device.peak_bandwidth_bytes_per_s == 3e12
    assert device.peaks_source is not None
    assert device.peaks_source.startswith("override: --bandwidth; otherwise derived: 132 SMs")
    assert notice.hint == "pass --peak bf16=TFLOPS to use the figures of its datasheet"


def test_both_given_need_nothing_else(tmp_path: Path) -> None:
    (device,), notices = described(
        trace_of({"name": "GPU MIG 1g"}), tmp_path, peaks={"bf16": 1e14}, bandwidth_bytes_per_s=1e12
    )

    assert device.peaks_source == "override: --peak and --bandwidth"
    assert notices == []


def test_a_real_trace_of_an_unknown_gpu_has_mfu_and_mbu_below_those_of_its_datasheet(tmp_path: Path) -> None:
    path = unpack_by_name("h100_flash_attention_4", tmp_path)

    def reported() -> Report:
        with open_trace(path, TraceOptions(use_cache=False)) as opened:
            return analyze(opened)

    known = reported()
    with closing(sqlite3.connect(path)) as con, con:
        con.execute("UPDATE TARGET_INFO_GPU SET name = 'NVIDIA Foo 9000'")
    derived = reported()

    for before, after in zip(known.phases, derived.phases, strict=True):
        assert before.mfu_busy is not None
        assert after.mfu_busy == pytest.approx(before.mfu_busy * 989.4e12 / BF16)
        assert before.mbu_busy is not None
        assert after.mbu_busy == pytest.approx(before.mbu_busy * 3350 / 3352.32)
        assert after.sol_ns is not None
    peaks = [text for label, text in legend(derived) if label == "peak"]
    assert peaks == [
        "NVIDIA Foo 9000: 1,070.5 TFLOP/s bf16, 3,352 GB/s (derived: 132 SMs × 1.980 GHz × 4096 FLOPs per clock and "
        "SM (16-bit); bandwidth as the trace states it)"
    ]


def test_an_integrated_gpu_that_cuda_cannot_use_is_not_listed(tmp_path: Path) -> None:
    # given the GPU of a processor beside the card, on a laptop, and that of a Jetson, which CUDA uses
    laptop = trace_of({"name": "NVIDIA GeForce RTX 4090 Laptop GPU"})
    unusable = {"isDiscrete": 0, "smCount": 0, "computeMajor": 0, "computeMinor": 0, "memoryBandwidth": 0}
    laptop.row("TARGET_INFO_GPU", id=1, name="Intel(R) UHD Graphics 770", **unusable)
    jetson = TraceBuilder()
    jetson.row("TARGET_INFO_GPU", id=0, name="Orin", isDiscrete=0, smCount=16, computeMajor=8, computeMinor=7)

    devices, _ = described(laptop, tmp_path)
    assert [device.name for device in devices] == ["NVIDIA GeForce RTX 4090 Laptop GPU"]
    devices, _ = described(jetson, tmp_path, file="jetson.sqlite")
    assert [device.name for device in devices] == ["Orin"]
