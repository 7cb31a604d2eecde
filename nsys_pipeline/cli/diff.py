"""`llmperf diff`: what changed between runs, and a gate for CI."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import typer

from nsys_pipeline.cli.common import (
    AnalysisArguments,
    ForceOption,
    OutputOption,
    check_output,
    dataset_at,
    expanded,
    output_file,
    progress,
)
from nsys_pipeline.cli.gate import FailIfOption, RulesOption, check_rules, rules_of
from nsys_pipeline.errors import UsageError
from nsys_pipeline.report.formats import ReportFormat, format_of

if TYPE_CHECKING:
    from nsys_pipeline.compare.difference import Run
    from nsys_pipeline.records import Report


@expanded
def diff(
    traces: Annotated[
        list[Path],
        typer.Argument(metavar="BASE NEW…", help="Traces, as for `analyze`; more than two make a table of a sweep."),
    ],
    *,
    fail_if: FailIfOption = None,
    rules: RulesOption = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="CONDITION",
            help="Which traces of a dataset of a fleet, as in \"run = 'a'\"; once for both sides, or for each.",
        ),
    ] = None,
    force_compare: Annotated[
        bool, typer.Option("--force-compare", help="Compare runs of different GPUs, models or shapes, too.")
    ] = False,
    top: Annotated[int, typer.Option(min=1, help="Kernels and families to show for each phase.")] = 5,
    format: Annotated[  # noqa: A002
        ReportFormat | None, typer.Option("--format", help="How to print it [by FILE's name, else table].")
    ] = None,
    output: OutputOption = None,
    force: ForceOption = False,
    told: AnalysisArguments,
) -> None:
    """Say what changed from BASE to NEW: times, kernel families, kernels and findings, per occurrence of each phase.

    A change counts if it is larger than the noise between occurrences: Welch's t-test, one false alarm in a hundred.
    Runs of another GPU, model or shape are refused. With --fail-if, a rule that holds ends it with exit code 1.
    Two datasets of fleets, or one with --where given twice, compare run by run.
    """
    kind = format or format_of(output)
    if output is not None:
        check_output(output, force=force)
    if datasets := _datasets(traces):
        if fail_if or rules:
            raise UsageError("rules are about single traces", hint="llmperf diff BASE NEW")
        _diff_datasets(datasets, where or [], output, kind, top=top, force=force, force_compare=force_compare)
        return
    if where:
        raise UsageError("--where chooses traces of a dataset of a fleet", hint="llmperf fleet DIR --out DATASET")
    if len(traces) < 2:
        raise UsageError("a comparison needs a base and at least one other run", hint="llmperf diff BASE NEW")
    given = rules_of(fail_if, rules)
    if given and len(traces) > 2:
        raise UsageError("rules compare two runs", hint="run `llmperf diff` once for each NEW")
    options = told.analysis_options()
    with progress() as on_progress:
        opening = told.trace_options(on_progress)
        sides = [_side(path, opening, options, is_sweep=len(traces) > 2) for path in traces]
    with output_file(output, force=force) as stream:
        if len(sides) > 2:
            from nsys_pipeline.compare.fields import numbers
            from nsys_pipeline.report.diff import render_sweep

            reports = [(str(path), attrs.asdict(report)) for path, (report, _) in zip(traces, sides, strict=True)]
            render_sweep([(name, report, numbers(report)) for name, report in reports], stream, kind)
        else:
            from nsys_pipeline.compare.difference import difference
            from nsys_pipeline.report.diff import render_diff

            base, new = (run for _, run in sides if run is not None)
            render_diff(difference(base, new, force=force_compare).as_json(), stream, kind, top=top)
    if given:
        sys.stdout.flush()
        check_rules(given, sides[1][0], base=attrs.asdict(sides[0][0]))


def _datasets(traces: list[Path]) -> list[str]:
    """Where the datasets of fleets are, if that is what `traces` are. Raises UsageError for a mixture."""
    datasets = [url for path in traces if (url := dataset_at(path))]
    if datasets and len(datasets) < len(traces):
        raise UsageError("a dataset of a fleet compares with another dataset", hint="llmperf diff LAKE LAKE --where …")
    return datasets


def _diff_datasets(
    datasets: list[str],
    where: list[str],
    output: Path | None,
    kind: ReportFormat,
    *,
    top: int,
    force: bool,
    force_compare: bool,
) -> None:
    """Compare two groups of traces of one dataset or of two."""
    from nsys_pipeline.compare.difference import difference
    from nsys_pipeline.fleet.query import open_dataset
    from nsys_pipeline.fleet.sides import sides_of
    from nsys_pipeline.report.diff import render_diff

    if len(datasets) == 1 and len(where) == 2:
        datasets = datasets * 2
    if len(datasets) != 2 or len(where) > 2:
        raise UsageError(
            "a comparison of datasets has two sides",
            hint="""llmperf diff LAKE --where "run = 'a'" --where "run = 'b'", or llmperf diff LAKE OTHER""",
        )
    conditions = where * (2 // len(where)) if where else ["true", "true"]
    with ExitStack() as stack:
        sessions = {url: stack.enter_context(open_dataset(url)) for url in dict.fromkeys(datasets)}
        base, new = sides_of([sessions[url] for url in datasets], datasets, conditions)
    found = difference(base, new, force=force_compare)
    with output_file(output, force=force) as stream:
        render_diff(found.as_json(), stream, kind, top=top)


def _side(path: Path, opening: Any, options: Any, *, is_sweep: bool) -> tuple[Report, Run | None]:
    """The report of a trace; and its occurrences, which a sweep does not look at."""
    from nsys_pipeline.analyze import analyze
    from nsys_pipeline.compare.load import run_of
    from nsys_pipeline.query.session import Session
    from nsys_pipeline.trace import open_trace

    with Session.of(open_trace(path, opening), options, close_off=False) as session:
        provider = session.provider
        with provider.lock:
            report = analyze(provider.trace, provider.options)
        return report, None if is_sweep else run_of(path, session, report)
