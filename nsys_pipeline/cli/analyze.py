"""`llmperf analyze`: where the GPU time of a trace went."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from nsys_pipeline.cli.common import (
    AnalysisArguments,
    ForceOption,
    OutputOption,
    TraceArgument,
    check_output,
    expanded,
    output_file,
    progress,
)
from nsys_pipeline.cli.gate import BaseOption, FailIfOption, RulesOption, check_base, check_rules, read_base, rules_of
from nsys_pipeline.errors import UsageError
from nsys_pipeline.report.formats import ReportFormat, format_of, render_ranges, render_report

if TYPE_CHECKING:
    from pathlib import Path

    from nsys_pipeline.records import Detail, Report
    from nsys_pipeline.trace import Trace

_OUTPUT = "Output"
# Kernels of each phase, where nobody says how many: a page sorts and searches them.
_KERNELS, _KERNELS_OF_PAGE = 5, 100


@expanded
def analyze(
    trace: TraceArgument,
    *,
    format: Annotated[  # noqa: A002
        ReportFormat | None,
        typer.Option("--format", help="How to print it [by FILE's name, else table].", rich_help_panel=_OUTPUT),
    ] = None,
    list_ranges: Annotated[
        bool,
        typer.Option(
            "--list-ranges", help="List the NVTX ranges and what they count as, instead.", rich_help_panel=_OUTPUT
        ),
    ] = False,
    top: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Kernels, and operators of torch, to show for each phase [5; on a page 100].",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Compare with `nsys stats` too; exit 1 where they differ for no known reason.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    fail_if: FailIfOption = None,
    rules: RulesOption = None,
    base: BaseOption = None,
    output: OutputOption = None,
    force: ForceOption = False,
    told: AnalysisArguments,
) -> None:
    """Attribute every GPU operation of a trace to its phase, and say how far each phase is from the hardware's limits.

    The shapes of steps come from the marks in the trace, else from these options; without a model there is no MFU.
    """
    from nsys_pipeline.trace import Trace, find_trace
    from nsys_pipeline.trace.kept_report import KeptReport

    given, before = rules_of(fail_if, rules), read_base(base)
    _refuse_to_list(infers=list_ranges and bool(told.infer))
    kind = format or format_of(output)
    if top is None:
        top = _KERNELS_OF_PAGE if kind is ReportFormat.html else _KERNELS
    if output is not None:
        check_output(output, force=force)
    with progress() as on_progress, find_trace(trace, told.trace_options(on_progress)) as found:
        options = told.analysis_options(top=top)
        ranges, report, detail = None, None, None
        kept = KeptReport(found, options)
        if not (list_ranges or verify or kind is ReportFormat.html):
            report = kept.read()
        if report is None:
            # Imported while an archive is being unpacked.
            from nsys_pipeline.analyze import analyze as run_analysis
            from nsys_pipeline.analyze import list_ranges as find_ranges

            with Trace(found) as opened:
                if list_ranges:
                    ranges = find_ranges(opened)
                else:
                    report = run_analysis(opened, options)
                    if opened.is_cached:
                        kept.write(report)
                    detail = _detail(opened) if kind is ReportFormat.html else None
                    if verify:
                        from nsys_pipeline.crosscheck import verified

                        report = verified(report, opened)
    with output_file(output, force=force) as stream:
        if ranges is not None:
            render_ranges(ranges, stream, kind)
        if report is not None:
            render_report(report, stream, kind, detail=detail)
    if report is None:
        return
    sys.stdout.flush()
    _check(report)
    if given:
        check_base(given, report, before)
        check_rules(given, report, before)


def _refuse_to_list(*, infers: bool) -> None:
    if infers:
        raise UsageError(
            "`--list-ranges` says which ranges are phases: with `--infer` none is", hint="drop one of them"
        )


def _check(report: Report) -> None:
    """Raise CheckError where the trace contradicts itself, or `nsys stats`."""
    from nsys_pipeline.errors import CheckError

    if failed := [check for check in report.checks if not check.passed]:
        hint = "the trace contradicts itself: export it again, and believe no number that a failed check is about"
        if any(check.name == "utilization.bounded" for check in failed):
            hint = "more than the hardware can do: check --model, --shape, --dtype, --tp and --peak"
            if any(finding.code == "model_does_not_fit" for finding in report.findings):
                hint = "another model ran than --model says: see the errors above"
        elif any(check.name == "times.possible" for check in failed):
            hint = 'no generation runs so: look at the ranges, `llmperf sql TRACE "from phases order by start_ns"`'
        raise CheckError(f"{len(failed)} trace check(s) failed: {', '.join(check.name for check in failed)}", hint=hint)
    if report.verification and (unexplained := report.verification.unexplained):
        raise CheckError(
            f"{unexplained:,} difference(s) from `nsys stats` for no known reason",
            hint="please report this with the output of --verify --format json",
        )


def keep_reports(trace: Path) -> list[Path]:
    """Write the report of `trace`, which a run directory holds, beside it: as JSON, and as a page.

    Returns the files. Raises the errors of the analysis; what an earlier run left under these names is gone then.
    """
    from nsys_pipeline.analyze import analyze as run_analysis
    from nsys_pipeline.inputs import AnalysisOptions
    from nsys_pipeline.trace import open_trace

    # trace-rank0.sqlite has report-rank0.html.
    stem = trace.name.split(".")[0].replace("trace", "report", 1)
    kept = [trace.with_name(f"{stem}.json"), trace.with_name(f"{stem}.html")]
    for path in kept:
        path.unlink(missing_ok=True)
    with open_trace(trace) as opened:
        report = run_analysis(opened, AnalysisOptions(top_kernels=_KERNELS_OF_PAGE))
        detail = _detail(opened)
    for path in kept:
        with output_file(path, force=True) as stream:
            render_report(report, stream, format_of(path), detail=detail)
    return kept


def _detail(trace: Trace) -> Detail:
    from nsys_pipeline.detail import read_detail

    return read_detail(trace)
