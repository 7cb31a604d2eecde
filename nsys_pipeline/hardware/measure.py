"""Measure what this machine's GPU reaches: a large GEMM per dtype and a large copy. Needs torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nsys_pipeline.errors import HardwareError
from nsys_pipeline.hardware.measured import Measured

_SIZE = 8192
_WARMUP, _REPEATS = 3, 10
_COPY_BYTES = 4 << 30


def measure_gpu(device: int = 0) -> Measured:
    """Time an 8192-cubed product in bf16, fp16, tf32 and (where there is one) fp8, and a device-to-device copy.

    Operands are random: products of zeros draw less power and run faster than any real one. Raises HardwareError where
    torch or a GPU is missing.
    """
    try:
        import torch
    except ImportError as error:
        raise HardwareError(
            "measuring needs torch", hint="pip install '.[workload]' in a checkout of llmperf"
        ) from error
    if not torch.cuda.is_available() or device >= torch.cuda.device_count():
        raise HardwareError(f"torch sees no CUDA device {device} on this machine")
    with torch.cuda.device(device):
        rates = {dtype: rate for dtype in ("bf16", "fp16", "tf32", "fp8") if (rate := _gemm(torch, dtype))}
        bandwidth = _copy(torch, device)
    return Measured(
        name=torch.cuda.get_device_name(device),
        flops_per_s=rates,
        bandwidth_bytes_per_s=bandwidth,
        method=f"{_SIZE}^3 GEMM on random data, mean of {_REPEATS} after {_WARMUP}; copy, bytes read + written; torch "
        + str(torch.__version__),
    )


def _seconds(torch: Any, work: Callable[[], object]) -> float:
    for _ in range(_WARMUP):
        work()
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(_REPEATS):
        work()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / 1e3 / _REPEATS


def _gemm(torch: Any, dtype: str) -> float | None:
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(dtype, torch.float32)
    left = torch.randn(_SIZE, _SIZE, device="cuda").to(kind)
    right = torch.randn(_SIZE, _SIZE, device="cuda").to(kind)
    before = torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = True
        seconds = _fp8_seconds(torch, left, right) if dtype == "fp8" else _seconds(torch, lambda: left @ right)
    except (RuntimeError, ValueError, AttributeError):
        # A GPU or a build of torch without this dtype has no rate for it.
        return None
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    return 2 * _SIZE**3 / seconds


def _fp8_seconds(torch: Any, left: Any, right: Any) -> float:
    a, b = left.to(torch.float8_e4m3fn), right.to(torch.float8_e4m3fn).t()
    one = torch.ones((), device="cuda", dtype=torch.float32)
    return _seconds(torch, lambda: torch._scaled_mm(a, b, scale_a=one, scale_b=one, out_dtype=torch.bfloat16))


def _copy(torch: Any, device: int) -> float:
    free, _ = torch.cuda.mem_get_info(device)
    count = min(_COPY_BYTES, free // 4)
    source = torch.empty(count, dtype=torch.uint8, device="cuda").random_()
    target = torch.empty_like(source)
    seconds = _seconds(torch, lambda: target.copy_(source))
    return 2 * int(count) / seconds
