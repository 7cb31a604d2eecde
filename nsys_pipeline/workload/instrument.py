"""Finer ranges inside a pass: one for each attention and MLP block, or one for each operator with its shapes."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nsys_pipeline import markers
from nsys_pipeline.workload.describe import ranks
from nsys_pipeline.workload.options import check_without_gpu

_ATTENTION = re.compile(r"(^|\.)(self_)?(attn|attention)$|(^|\.)linear_attn$|(^|\.)mixer$")
_MLP = re.compile(r"(^|\.)(mlp|feed_forward|block_sparse_moe|moe|ffn)$")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.(.+)$")


def block_names(model: Any) -> dict[str, Any]:
    """Return the attention and MLP blocks of a decoder by the name of their range, `layer.<i>.<part>`."""
    blocks = {}
    for name, module in model.named_modules():
        match = _LAYER.search(name)
        if match is None or "." in match[2]:
            continue
        part = "attn" if _ATTENTION.search(match[2]) else "mlp" if _MLP.search(match[2]) else None
        if part is not None:
            blocks[f"layer.{match[1]}.{part}"] = module
    return blocks


def mark_layers(model: Any) -> None:
    """Put a range around each attention and MLP block of `model`, in place. A CUDA graph replays without them."""
    for name, module in block_names(model).items():
        module.forward = _in_range(name, module.forward)


def _in_range(name: str, forward: Any) -> Any:
    def marked(*args: Any, **kwargs: Any) -> Any:
        with markers.phase(name):
            return forward(*args, **kwargs)

    return marked


@contextlib.contextmanager
def operator_ranges(*, enabled: bool) -> Iterator[None]:
    """While open, have torch put a range around every operator, named with its shapes (default NVTX domain).

    If LLMPERF_TORCH_TRACE names a file, torch.profiler records instead, and writes it at the end: operators in any
    case, their shapes if `enabled`. Raises UsageError without a GPU: torch emits NVTX ranges through CUDA.
    """
    if trace := os.environ.get(markers.TORCH_TRACE_VARIABLE):
        with _torch_profiler(Path(trace), has_shapes=enabled):
            yield
        return
    if not enabled:
        yield
        return
    import torch

    if not torch.cuda.is_available():
        check_without_gpu(nvtx_ops=True)
    with torch.autograd.profiler.emit_nvtx(record_shapes=True):
        yield


@contextlib.contextmanager
def _torch_profiler(trace: Path, *, has_shapes: bool) -> Iterator[None]:
    """Record with torch.profiler; each of several ranks writes a file of its own, whole or not at all."""
    recorder = TorchRecorder(trace, has_shapes=has_shapes)
    recorder.start()
    try:
        yield
    finally:
        # After a Ctrl-C, too.
        recorder.finish()


class TorchRecorder:
    """torch.profiler with a file for its trace, one for each rank of a job."""

    def __init__(self, trace: Path, *, has_shapes: bool, all_threads: bool = False) -> None:
        import torch
        from torch.profiler import ProfilerActivity, profile

        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
        of_job = ranks()
        self.is_alone = of_job["world"] <= 1
        if not self.is_alone:
            trace = trace.with_name(trace.name.replace("trace", f"trace-rank{of_job['rank']}", 1))
        self.trace = trace
        options: dict[str, Any] = {}
        if all_threads:
            # Else only those of the thread that starts it; older versions of torch cannot.
            with contextlib.suppress(ImportError, TypeError):
                from torch._C._profiler import _ExperimentalConfig

                options["experimental_config"] = _ExperimentalConfig(profile_all_threads=True)
        self._profiler = profile(activities=activities, record_shapes=has_shapes, **options)

    def start(self) -> None:
        """Begin to record."""
        self._profiler.start()

    def stop(self) -> None:
        """End recording; what the GPU still has to do is waited for."""
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._profiler.stop()

    def finish(self) -> None:
        """End recording, and write the trace whole or not at all."""
        self.stop()
        partial = self.trace.with_name(f".partial-{self.trace.name}")
        self._profiler.export_chrome_trace(str(partial))
        partial.replace(self.trace)
