"""`llmperf analyze`: where the GPU time of a trace went."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nsys_pipeline.cli.common import (
    CacheOption,
    ForceOption,
    MemoryOption,
    ModelOption,
    OutputOption,
    PhaseOption,
    StrictOption,
    TraceArgument,
    analysis_options,
    output_file,
    progress,
    trace_options,
)

_SHAPE = "Model and shape"
_TRACE = "Attribution"
_OUTPUT = "Output"


class ReportFormat(StrEnum):
    """Formats of the report."""

    table = "table"
    json = "json"
    markdown = "markdown"


def analyze(
    trace: TraceArgument,
    *,
    model: ModelOption = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(metavar="BxP+N", help="Shape of the requests: one for all, or one for each in order."),
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Sequences per request.")] = None,
    prompt_tokens: Annotated[int | None, typer.Option(min=1, help="Prompt length of each sequence.")] = None,
    new_tokens: Annotated[int | None, typer.Option(min=0, help="Decode steps per request.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Of weights and activations; default: the trace's, the config's.")] = None,
    tp: Annotated[int, typer.Option(min=1, help="Tensor-parallel GPUs that share each pass.")] = 1,
    peak: Annotated[list[str] | None, typer.Option(metavar="DTYPE=TFLOPS", help="Dense peak instead of the datasheet's.")] = None,
    bandwidth: Annotated[str | None, typer.Option(metavar="GB/S", help="Memory bandwidth instead of the datasheet's.")] = None,
    approximate: Annotated[
        bool, typer.Option("--approximate", help="Estimate unknown model types as 2 × active parameters.")
    ] = False,
    phase: PhaseOption = None,
    strict: StrictOption = False,
    list_ranges: Annotated[bool, typer.Option("--list-ranges", help="List the NVTX ranges and what they count as.")] = False,
    top: Annotated[int, typer.Option(min=0, help="Kernels to show for each phase.")] = 5,
    format: Annotated[ReportFormat, typer.Option("--format", help="How to print the report.")] = ReportFormat.table,  # noqa: A002
    output: OutputOption = None,
    force: ForceOption = False,
    cache: CacheOption = True,
    memory_limit: MemoryOption = None,
    nsys: Annotated[str | None, typer.Option(help="The nsys that exports a .nsys-rep and verifies.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare with `nsys stats` on the same trace; exit 1 where they differ for no known reason.")
    ] = False,
) -> None:
    """Attribute every GPU operation of a trace to its phase and say how far each phase is from the hardware's limits."""
    from nsys_pipeline.analysis import analyze as run_analysis
    from nsys_pipeline.trace import open_trace

    options = analysis_options(
        model=model, shape=shape, batch=batch, prompt_tokens=prompt_tokens, new_tokens=new_tokens, dtype=dtype, tp=tp,
        peak=peak, bandwidth=bandwidth, approximate=approximate, top=top,
    )  # fmt: skip
    with progress() as on_progress:
        opening = trace_options(
            phase=phase, strict=strict, cache=cache, memory_limit=memory_limit, nsys=nsys, on_progress=on_progress
        )
        with open_trace(trace, opening) as opened:
            if list_ranges:
                from nsys_pipeline.analysis.ranges import list_ranges as find_ranges

                ranges = find_ranges(opened)
            else:
                report = run_analysis(opened, options)
                if verify:
                    from nsys_pipeline.analysis.verify import verified

                    report = verified(report, opened)
    with output_file(output, force=force) as stream:
        if list_ranges:
            from nsys_pipeline.report.terminal import render_ranges

            render_ranges(ranges, stream)
        elif format is ReportFormat.json:
            from nsys_pipeline.report.json import render_json

            render_json(report, stream)
        elif format is ReportFormat.markdown:
            from nsys_pipeline.report.markdown import render_markdown

            render_markdown(report, stream)
        else:
            from nsys_pipeline.report.terminal import render_report

            render_report(report, stream)
    if list_ranges:
        return
    from nsys_pipeline.errors import CheckError

    sys.stdout.flush()
    if failed := [check for check in report.checks if not check.passed]:
        raise CheckError(f"{len(failed)} trace check(s) failed: {', '.join(check.name for check in failed)}")
    if report.verification and (unexplained := report.verification.unexplained):
        raise CheckError(
            f"{unexplained:,} difference(s) from `nsys stats` for no known reason",
            hint="please report this with the output of --verify --format json",
        )
