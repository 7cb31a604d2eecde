"""`llmperf doctor`: what works here and what to do about the rest."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import attrs
import typer

from nsys_pipeline.capture.doctor import OK, PROBLEM, Check, examine
from nsys_pipeline.errors import ExitCode, UsageError


def doctor(
    *,
    nsys: Annotated[str | None, typer.Option(help="The nsys to look at.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where runs will be written.")] = None,
    output_format: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
) -> None:
    """Check nsys, its importer, the GPU, permissions, disks and packages.

    Exits with 3 if nsys or its importer is broken, with 1 if anything else is.
    """
    if output_format not in ("table", "json"):
        raise UsageError(f"`{output_format}` is not one of table, json")
    checks = examine(nsys, run_directory=output)
    if output_format == "json":
        sys.stdout.write(json.dumps([attrs.asdict(check) for check in checks], indent=2) + "\n")
    else:
        sys.stdout.writelines(_line(check) for check in checks)
    problems = [check.name for check in checks if check.status == PROBLEM]
    if problems:
        raise typer.Exit(ExitCode.NSYS if {"nsys", "importer"} & set(problems) else ExitCode.DATA)


def _line(check: Check) -> str:
    fix = f"{'':<9}{'':<24}  → {check.fix}\n" if check.fix and check.status != OK else ""
    return f"{check.status:<9}{check.name:<24}  {check.detail}\n{fix}"
