"""`llmperf fleet`: many traces as one dataset."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
import typer

from nsys_pipeline.cli.common import (
    AnalysisArguments,
    ForceOption,
    OutputOption,
    check_output,
    expanded,
    output_file,
    progress,
)
from nsys_pipeline.cli.messages import print_warning
from nsys_pipeline.errors import TraceError, UsageError
from nsys_pipeline.report.formats import ReportFormat, format_of

if TYPE_CHECKING:
    from nsys_pipeline.fleet.work import Result
    from nsys_pipeline.inputs import AnalysisOptions
    from nsys_pipeline.trace import TraceOptions

_SHOWN_FAILURES = 10


_TOLD = (
    "model", "shape", "dtype", "tp", "images", "image_patches", "image_size", "audio_seconds", "phase", "not_phase",
    "memory_limit", "nsys",
)  # fmt: skip


@expanded
def fleet(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE…",
            help="Folders, patterns ('runs/*/trace.sqlite') or files; also s3://…, gs://…. Without --out: a dataset.",
            show_default=False,
        ),
    ],
    *,
    out: Annotated[
        str | None, typer.Option("--out", metavar="DATASET", help="The folder or bucket to put the rows into.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes of this machine [one for each processor].")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A Dask cluster that does the work, as in tcp://10.0.0.1:8786."),
    ] = None,
    told: Annotated[AnalysisArguments, _TOLD],
    format: Annotated[  # noqa: A002
        ReportFormat | None, typer.Option("--format", help="How to print the report [by FILE's name, else table].")
    ] = None,
    output: OutputOption = None,
    force: ForceOption = False,
) -> None:  # fmt: skip
    """Analyze every trace in SOURCE once into DATASET; or, without --out, report what the dataset SOURCE says.

    Kept are phases, budgets, requests, kernels by name and findings, as Parquet files that `llmperf sql DATASET` asks.
    The same command again analyzes what is new or has changed, goes on where a killed one stopped, and tries again what
    failed. A trace that cannot be read is a row of `failures`. --memory-limit is that of each worker: by default all of
    them together use at most 80 % of this machine's memory, and none more than 1500MB. The report has
    changes over time, late ranks, and times over ranks, hosts, days and versions.
    """
    if out is None:
        _report(sources, format or format_of(output), output, force=force)
        return
    if workers is not None and scheduler is not None:
        raise UsageError("--workers are processes of this machine, and --scheduler has workers of its own")
    if output is not None or format is not None:
        raise UsageError("--output and --format are of the report", hint=f"llmperf fleet {out}")
    options = told.analysis_options()
    from nsys_pipeline.fleet.local import cores
    from nsys_pipeline.fleet.local import memory_limit as default_limit

    limit = told.memory_limit or (default_limit(workers or cores()) if scheduler is None else None)
    opening = attrs.evolve(told, cache=False, memory_limit=limit).trace_options()
    _update(sources, out, opening, options, workers, scheduler)
    sys.stdout.write(f"{out}\n")


def _update(
    sources: list[str],
    out: str,
    opening: TraceOptions,
    options: AnalysisOptions,
    workers: int | None,
    scheduler: str | None,
) -> None:
    """Bring the dataset up to date, and say on stderr what became of the traces."""
    from nsys_pipeline.fleet.dataset import Dataset
    from nsys_pipeline.fleet.places import find_traces
    from nsys_pipeline.fleet.run import update

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


def _report(sources: list[str], kind: ReportFormat, output: Path | None, *, force: bool) -> None:
    """Print what the dataset says."""
    from nsys_pipeline.fleet.dataset import VIEWS
    from nsys_pipeline.fleet.query import open_dataset
    from nsys_pipeline.fleet.summary import summarize
    from nsys_pipeline.query.statement import Relation
    from nsys_pipeline.report.fleet import render_fleet

    if len(sources) > 1:
        raise UsageError("a report is of one dataset", hint="llmperf fleet SOURCE… --out DATASET makes one")
    if output is not None:
        check_output(output, force=force)
    with open_dataset(sources[0]) as session:
        report = summarize(session)
        for finding in session.findings_about([Relation("", "", table) for table in VIEWS]):
            print_warning(finding.message, finding.hint)
    with output_file(output, force=force) as stream:
        render_fleet(report, sources[0], stream, kind)
