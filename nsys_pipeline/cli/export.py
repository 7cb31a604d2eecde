"""`llmperf export`: an .nsys-rep as SQLite or Parquet."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from nsys_pipeline.capture import export_parquet, export_sqlite, find_nsys, inspect_trace, scrub_environment
from nsys_pipeline.errors import TraceError, UsageError

_FORMATS = ("sqlite", "parquet")


def export(
    report: Annotated[Path, typer.Argument(metavar="REPORT.nsys-rep", help="What nsys wrote.")],
    *,
    output_format: Annotated[
        str, typer.Option("--format", help="sqlite (a file) or parquet (a directory).")
    ] = "sqlite",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Default: beside the report.")] = None,
    keep_environment: Annotated[
        bool, typer.Option("--keep-environment", help="Leave environment variables in the SQLite.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    nsys: Annotated[str | None, typer.Option(help="The nsys to use.")] = None,
) -> None:
    """Export a report to SQLite or Parquet and print the path; environment variables are removed from the SQLite."""
    if output_format not in _FORMATS:
        raise UsageError(f"`{output_format}` is not one of {', '.join(_FORMATS)}")
    if not report.is_file():
        raise TraceError(f"`{report}` is not a file", hint="give the .nsys-rep that nsys wrote")
    found = find_nsys(nsys)
    if output_format == "parquet":
        sys.stderr.write("note: the Parquet files hold the environment variables of the profiled processes\n")
        sys.stdout.write(f"{export_parquet(found, report, output or report.with_suffix('.parquet'), force=force)}\n")
        return
    trace = export_sqlite(
        found, report, output or report.with_suffix(".sqlite"), force=force, finish=None if keep_environment else _scrub
    )
    for finding in inspect_trace(trace).findings:
        if finding.severity == "error":
            sys.stderr.write(f"{finding.severity}: {finding.message}\n")
    sys.stdout.write(f"{trace}\n")


def _scrub(trace: Path) -> None:
    scrub_environment(trace)
