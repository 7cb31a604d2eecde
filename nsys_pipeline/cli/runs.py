"""`llmperf runs`: the runs of a folder side by side."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from nsys_pipeline.cli.common import ForceOption, OutputOption, check_output, output_file
from nsys_pipeline.report.formats import ReportFormat, format_of, render_document

SCHEMA = "llmperf.runs/1"


def runs(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="A folder of run directories.")] = Path("runs"),
    *,
    format: Annotated[  # noqa: A002
        ReportFormat | None, typer.Option("--format", help="How to print it [by FILE's name, else table].")
    ] = None,
    output: OutputOption = None,
    force: ForceOption = False,
) -> None:
    """List the runs of a folder: model, GPU, requests, latency and what bounds each phase, the newest run first.

    They come from what each capture left in its directory; no trace is opened. `-o DIR/index.html` makes a page with a
    link to the page of each run.
    """
    import attrs

    from nsys_pipeline.capture.runs import list_runs
    from nsys_pipeline.report.runs import runs_document
    from nsys_pipeline.trace.identify import local_path

    kind = format or format_of(output)
    if output is not None:
        check_output(output, force=force)
    folder = local_path(folder, hint="copy it")
    found = list_runs(folder)
    with output_file(output, force=force) as stream:
        if kind is ReportFormat.json:
            json.dump({"schema": SCHEMA, "runs": [attrs.asdict(run) for run in found]}, stream, indent=2)
            stream.write("\n")
        else:
            way = os.path.relpath(folder, output.parent if output else folder)
            render_document(runs_document(found, str(folder), way=Path(way).as_posix()), stream, kind)
