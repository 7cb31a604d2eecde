"""Ask a small trace a query and get CSV, so that trace, query and answer stand on one screen."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nsys_pipeline.analyze import analyze
from nsys_pipeline.duck import records
from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.query.session import Session
from nsys_pipeline.query.write import write_csv
from nsys_pipeline.records import Finding, Report
from nsys_pipeline.trace import Trace, TraceOptions, open_trace
from tests.support.trace_builder import TraceBuilder


def open_session(
    trace: TraceBuilder | Path, folder: Path, options: AnalysisOptions | None = None, *, close_off: bool = True
) -> Session:
    """A session over `trace`, written to `folder` first where it is a builder; nothing is cached."""
    path = trace if isinstance(trace, Path) else trace.write(folder / "trace.sqlite")
    return Session.of(open_trace(path, TraceOptions(use_cache=False)), options, close_off=close_off)


def ask_session(session: Session, query: str, parameters: Mapping[str, Any] | None = None) -> str:
    """The answer as CSV, without the last line break."""
    stream = io.StringIO()
    with session.query(query, parameters) as result:
        write_csv(result, stream)
    return stream.getvalue().rstrip("\n")


def ask(
    trace: TraceBuilder | Path,
    query: str,
    folder: Path,
    parameters: Mapping[str, Any] | None = None,
    options: AnalysisOptions | None = None,
) -> str:
    """The answer of a trace that is opened for this one query."""
    with open_session(trace, folder, options) as session:
        return ask_session(session, query, parameters)


def report_of(trace: TraceBuilder | Path, folder: Path | None = None, options: AnalysisOptions | None = None) -> Report:
    """The report of `trace`, written to `folder` first where it is a builder; nothing is cached."""
    path = trace if isinstance(trace, Path) else trace.write((folder or Path()) / "trace.sqlite")
    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        return analyze(opened, options)


def findings_of(trace: Trace, options: AnalysisOptions | None = None) -> list[Finding]:
    """The findings of an open trace, as its report has them; nothing else of that is made."""
    trace.describe(options or AnalysisOptions())
    trace.build("views.findings")
    return [Finding(**row) for row in records(trace.connection, "FROM views.findings")]


def table(text: str) -> str:
    """CSV as it is written in a test: indented, with blanks around the commas."""
    lines = [line.strip() for line in text.strip().splitlines()]
    return "\n".join(",".join(cell.strip() for cell in line.split(",")) for line in lines)
