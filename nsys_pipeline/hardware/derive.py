"""Peaks from SM count × clock × rate per SM: a labelled fallback for GPUs without a cited datasheet."""

from __future__ import annotations

import re

from nsys_pipeline.errors import HardwareError
from nsys_pipeline.hardware.gpu import Gpu

#: Dense FLOPs per clock and SM, FP32 accumulation: (fp32, 16-bit tensor). Tensor rates of 7.x are fp16 only.
#: Source: CUDA C++ Programming Guide, "Arithmetic Instructions", and NVIDIA's architecture whitepapers.
_RATES: dict[tuple[int, int], tuple[int, int]] = {
    (7, 0): (128, 1024),
    (7, 5): (128, 1024),
    (8, 0): (128, 2048),
    (8, 6): (256, 1024),
    (8, 9): (256, 1024),
    (9, 0): (256, 4096),
    (10, 0): (256, 8192),
    (10, 3): (256, 8192),
    (12, 0): (256, 1024),
}
#: Parts whose tensor cores run FP16 with FP32 accumulation at half the rate.
_HALVED = re.compile(r"geforce|\bl40\b|\ba10g\b", re.IGNORECASE)
#: Parts whose rate per SM is below that of their compute capability, by how much the trace does not say: variants for
#: export and for mining, Turing without tensor cores. A virtual GPU is given a share of the time or of the SMs.
_CUT = re.compile(r"\b(h20|l20|l2|5090 d|6000d|cmp|gtx|mx\d+|t\d{3,4}|grid)\b|-\d+[abcq](me)?$", re.IGNORECASE)


def derive_gpu(
    name: str, *, compute_capability: str, sm_count: int, clock_hz: float, bandwidth_bytes_per_s: float | None = None
) -> Gpu:
    """Peaks of a GPU from what a trace says about it. Never used silently: its `label` is ``derived``.

    `clock_hz` is usually the boost clock, above what datasheets assume, so that the result is too high by up to 10 %
    (H100: 1070 against 989 TFLOP/s). Raises HardwareError for a compute capability without a known rate, for parts
    whose rate is cut (H20: to less than a quarter) or that are virtual, and for impossible counts.
    """
    if _CUT.search(name):
        raise HardwareError(
            f"the rate per SM of `{name}` is not that of its compute capability",
            hint="pass --peak bf16=TFLOPS and --bandwidth GB/S",
        )
    match = re.fullmatch(r"(\d+)\.(\d+)", compute_capability)
    key = (int(match[1]), int(match[2])) if match else None
    if key not in _RATES:
        raise HardwareError(
            f"no rate per SM is known for compute capability `{compute_capability}` ({name})",
            hint="pass --peak bf16=TFLOPS and --bandwidth GB/S",
        )
    if sm_count <= 0 or clock_hz <= 0:
        raise HardwareError(f"`{name}` reports {sm_count} SMs at {clock_hz} Hz")
    fp32, tensor = _RATES[key]
    if _HALVED.search(name):
        tensor //= 2
    per_second = sm_count * clock_hz
    peaks = {"fp32": fp32 * per_second, "fp16": tensor * per_second}
    if key >= (8, 0):
        peaks |= {"bf16": tensor * per_second, "tf32": tensor / 2 * per_second}
    if key >= (8, 9):
        peaks["fp8"] = 2 * tensor * per_second
    return Gpu(
        name=name,
        peaks_flops_per_s=peaks,
        bandwidth_bytes_per_s=bandwidth_bytes_per_s,
        source=f"{sm_count} SMs × {clock_hz / 1e9:.3f} GHz × {tensor} FLOPs per clock and SM (16-bit)",
        label="derived",
        sm_count=sm_count,
        compute_capability=compute_capability,
    )


def clock_of_peaks(gpu: Gpu, name: str | None, compute_capability: str | None, sm_count: int | None) -> float | None:
    """Clock of the SMs at which `gpu` has its peaks: that of 16-bit products / (SMs × FLOPs per clock and SM), in Hz.

    Peaks scale with the clock, so what a measured clock allows is peak × measured / this. That of an H100's datasheet
    is 1.83 GHz. None if the rate of the GPU is not known.
    """
    if not (name and compute_capability and sm_count):
        return None
    try:
        per_hz = derive_gpu(name, compute_capability=compute_capability, sm_count=sm_count, clock_hz=1.0)
    except HardwareError:
        return None
    peak = gpu.peaks_flops_per_s.get("fp16")
    return peak / per_hz.peaks_flops_per_s["fp16"] if peak else None
