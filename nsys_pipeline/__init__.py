"""llmperf says where the GPU time of a language model went, and how far it is from what the hardware can do.

From Python::

    import nsys_pipeline as llmperf

    with llmperf.open("trace.sqlite") as trace:
        trace.phases                                  # a Polars frame; so is every public view
        trace.sql("SELECT phase, count(*) FROM kernels GROUP BY phase")
        trace.flops("llama-3.2-1b", shapes="4x1024+64")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nsys_pipeline.api import TraceReader
    from nsys_pipeline.model import Model

__version__ = "0.1.0"
__all__ = ["__version__", "open"]


def open(  # noqa: A001
    path: str | Path,
    *,
    model: str | Model | None = None,
    shapes: str | Sequence[str] = (),
    phases: Mapping[str, str] | None = None,
    not_phases: str | Sequence[str] = (),
    ranges: str | Sequence[str] = (),
    peaks: Mapping[str, float | str] | None = None,
    bandwidth: float | str | None = None,
    dtype: str | None = None,
    weight_dtype: str | None = None,
    kv_dtype: str | None = None,
    tp: int | None = None,
    pp: int | None = None,
    ep: int | None = None,
    dp: int | None = None,
    cp: int | None = None,
    train_only: str | None = None,
    lora: int | None = None,
    max_context: int | None = None,
    images: int | None = None,
    image_patches: str | Sequence[str] = (),
    image_size: str | Sequence[str] = (),
    audio_seconds: str | float | Sequence[float] | None = None,
    strict: bool = False,
    infer: bool | None = None,
    keep_cold: bool = False,
    goodput: str | None = None,
    cache: bool = True,
    memory_limit: str = "1500MB",
) -> TraceReader:
    """Open a trace: a run directory, an nsys export (SQLite, packed or not, or a Parquet folder) or an .nsys-rep.

    - `model`: a preset, config.json, model directory or hub id, where the trace does not describe its own.
    - `shapes`: what the requests were, as BATCHxPROMPT+NEW: one for all, or one for each in order.
    - `phases`: further phases, name → regular expression that is searched in `domain:text` of NVTX ranges.
    - `not_phases`: such expressions of ranges that are no phase.
    - `ranges`: such expressions of the ranges that alone are phases, each called as its text.
    - `peaks`: dense peaks instead of the datasheet's, dtype → FLOP/s: ``{"bf16": 989e12}``; a string is read as the
      command line reads it, in TFLOP/s: ``{"bf16": "989"}``. Dtypes: fp32, tf32, bf16, fp16, fp8, int8, fp4.
    - `bandwidth`: of memory, instead of the datasheet's: bytes per second, or a string in GB/s.
    - `dtype`: of activations and plain weights, instead of the model config's.
    - `weight_dtype`: of quantized weights (fp8, int8, int4, mxfp4, …), `kv_dtype`: of the KV cache, instead of what the
      model config says.
    - `tp`: tensor-parallel GPUs that share each pass, `pp`: pipeline stages, `ep`: GPUs that experts are spread over,
      `dp`: ranks with a batch of their own, `cp`: ranks that each sequence is split over, where the trace does not say.
    - `train_only`: an expression that finds the weights that training updates, `lora`: the rank of the adapters that it
      updates instead; default: all weights.
    - `images`, `image_patches` ("56x56"), `image_size` (pixels): images of each request, as `--images` and its kin.
    - `audio_seconds`: seconds of each clip of sound of a request, as `--audio-seconds`.
    - `max_context`: tokens of an engine's longest sequence, where its ranges leave lengths open; default: the model's.
    - `strict`: leave work of threads without a phase unattributed.
    - `infer`: infer phases from the launches, and ranges are no phases then; default: if no range is a phase.
    - `keep_cold`: count cold occurrences; without, they are left out like warm-up.
    - `goodput`: limits of an engine's good requests, which are counted, as in "ttft:500,tpot:50" (ms).
    - `cache`: keep the prepared tables for the next time.
    - `memory_limit`: of the process; work spills to disk past it.

    Raises TraceError where `path` is no usable trace, ModelError and UsageError for options that cannot be.
    """
    from nsys_pipeline.api import open_reader

    return open_reader(
        path,
        model=model,
        shapes=shapes,
        phases=phases,
        not_phases=not_phases,
        ranges=ranges,
        peaks=peaks,
        bandwidth=bandwidth,
        dtype=dtype,
        weight_dtype=weight_dtype,
        kv_dtype=kv_dtype,
        tp=tp,
        pp=pp,
        ep=ep,
        dp=dp,
        cp=cp,
        train_only=train_only,
        lora=lora,
        max_context=max_context,
        images=images,
        image_patches=image_patches,
        image_size=image_size,
        audio_seconds=audio_seconds,
        strict=strict,
        infer=infer,
        keep_cold=keep_cold,
        goodput=goodput,
        cache=cache,
        memory_limit=memory_limit,
    )
