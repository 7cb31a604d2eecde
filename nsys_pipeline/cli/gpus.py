"""`llmperf gpus`: peaks of GPUs, with their sources."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import attrs
import typer

from nsys_pipeline.errors import HardwareError, UsageError
from nsys_pipeline.hardware import Gpu, all_gpus, describe_known, find_gpu, gpus_like, gpus_named
from nsys_pipeline.hardware.measured import Measured, load_measured


def gpus(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A GPU, as CUDA reports it or part of it.")
    ] = None,
    *,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Run a large GEMM and a large copy on this machine's GPU and keep the result."),
    ] = False,
    device: Annotated[int, typer.Option(min=0, help="CUDA device to measure.")] = 0,
    output_format: Annotated[str, typer.Option("--format", metavar="table|json", help="Output.")] = "table",
) -> None:
    """List dense peaks and memory bandwidth of GPUs, each with the document it comes from.

    Peaks are with FP32 accumulation and without sparsity. A measured ceiling is shown beside them, never instead.
    """
    if output_format not in ("table", "json"):
        raise UsageError(f"`{output_format}` is not an output format", hint="choose one of: table, json")
    if measure:
        if name is not None:
            raise UsageError("--measure takes the GPU of this machine, not a name", hint="choose it with --device")
        from nsys_pipeline.hardware.measure import measure_gpu
        from nsys_pipeline.hardware.measured import store_measured

        result = measure_gpu(device)
        path = store_measured(result)
        sys.stderr.write(f"stored in {path}\n")
        name = result.name
    found = list(all_gpus()) if name is None else gpus_named(name)
    measured = load_measured()
    if not found and (name is None or name not in measured):
        near = gpus_like(name or "")
        hint = f"known by a similar name: {describe_known(near)}" if near else f"known GPUs: {describe_known()}"
        raise HardwareError(f"no GPU named `{name}` is known", hint=hint)
    data = _json(found, [entry for key, entry in measured.items() if name is None or key == name or _same(key, found)])
    if output_format == "json":
        json.dump(data, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        from nsys_pipeline.report.gpus import gpus_document
        from nsys_pipeline.report.terminal import render_document

        render_document(gpus_document(data), sys.stdout)


def _same(reported: str, found: list[Gpu]) -> bool:
    return find_gpu(reported) in found


def _json(found: list[Gpu], measured: list[Measured]) -> dict[str, Any]:
    return {
        "schema": "llmperf.gpus/1",
        "gpus": [
            {
                "name": gpu.name,
                "label": gpu.label,
                "sm_count": gpu.sm_count,
                "compute_capability": gpu.compute_capability,
                "memory": gpu.memory,
                "peaks_flops_per_s": dict(gpu.peaks_flops_per_s),
                "bandwidth_bytes_per_s": gpu.bandwidth_bytes_per_s,
                "source": gpu.source,
            }
            for gpu in found
        ],
        "measured": [attrs.asdict(entry) for entry in measured],
    }
