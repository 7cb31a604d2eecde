"""`llmperf fleet`: many traces as one dataset."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from nsys_pipeline.cli.common import (
    DtypeOption,
    MemoryOption,
    ModelOption,
    NotPhaseOption,
    NsysOption,
    PhaseOption,
    ShapeOption,
    TpOption,
    analysis_options,
    progress,
    trace_options,
)
from nsys_pipeline.cli.messages import print_warning
from nsys_pipeline.errors import TraceError, UsageError

if TYPE_CHECKING:
    from nsys_pipeline.fleet.work import Result

_SHOWN_FAILURES = 10


def fleet(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE…", help="Folders, patterns ('runs/*/trace.sqlite') or files; also s3://… and gs://….",
            show_default=False,
        ),
    ],
    *,
    out: Annotated[
        str, typer.Option("--out", metavar="DATASET", help="The folder or bucket to put the rows into.")
    ],
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes of this machine [one for each processor].")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A Dask cluster that does the work, as in tcp://10.0.0.1:8786."),
    ] = None,
    model: ModelOption = None,
    shape: ShapeOption = None,
    dtype: DtypeOption = None,
    tp: TpOption = None,
    phase: PhaseOption = None,
    not_phase: NotPhaseOption = None,
    memory_limit: MemoryOption = None,
    nsys: NsysOption = None,
) -> None:  # fmt: skip
    """Analyze every trace in SOURCE once, and keep phases, budgets, requests, kernels by name and findings of each.

    The dataset is a folder of Parquet files that `llmperf sql DATASET` asks. The same command again analyzes what is
    new or has changed, goes on where a killed one stopped, and tries again what failed. A trace that cannot be read is
    a row of `failures`. --memory-limit is that of each worker.
    """
    from nsys_pipeline.fleet.dataset import Dataset
    from nsys_pipeline.fleet.places import find_traces
    from nsys_pipeline.fleet.run import update

    if workers is not None and scheduler is not None:
        raise UsageError("--workers are processes of this machine, and --scheduler has workers of its own")
    options = analysis_options(
        model=model, shape=shape, batch=None, prompt_tokens=None, new_tokens=None, dtype=dtype, tp=tp
    )
    opening = trace_options(phase=phase, not_phase=not_phase, cache=False, memory_limit=memory_limit, nsys=nsys)
    places = find_traces(sources, leave_out=out)
    dataset = Dataset.create(out)
    with progress() as on_progress:

        def tell(number: int, count: int, result: Result) -> None:
            if on_progress:
                on_progress(f"{number:,} of {count:,} traces: {result.place.url}")

        outcome = update(dataset, places, opening, options, workers=workers, scheduler=scheduler, on_result=tell)
    for failure in outcome.failures[:_SHOWN_FAILURES]:
        print_warning(failure.error or "", failure.hint)
    known = f", {outcome.kept:,} were known" if outcome.kept else ""
    failed = f", {len(outcome.failures):,} failed: see the table `failures`" if outcome.failures else ""
    traces = "1 trace" if len(places) == 1 else f"{len(places):,} traces"
    sys.stderr.write(f"{traces}: {outcome.analyzed:,} analyzed{known}{failed}\n")
    if not outcome.analyzed and not outcome.kept:
        raise TraceError("no trace could be analyzed", hint=f'llmperf sql {out} "from failures"')
    sys.stdout.write(f"{out}\n")
