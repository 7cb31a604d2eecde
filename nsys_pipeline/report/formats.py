"""The formats of the report, and which of them a file name asks for."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import PurePath
from typing import IO, TYPE_CHECKING, Any

from nsys_pipeline.errors import UsageError

if TYPE_CHECKING:
    from nsys_pipeline.records import Detail, Report
    from nsys_pipeline.report.document import Document


class ReportFormat(StrEnum):
    """Formats of the report."""

    table = "table"
    json = "json"
    markdown = "markdown"
    html = "html"


# What a file name asks for; without a suffix, a table.
SUFFIXES = {
    "": ReportFormat.table,
    ".txt": ReportFormat.table,
    ".log": ReportFormat.table,
    ".json": ReportFormat.json,
    ".md": ReportFormat.markdown,
    ".html": ReportFormat.html,
    ".htm": ReportFormat.html,
}


def format_of(path: PurePath | None) -> ReportFormat:
    """The format that the name of the output asks for, a table without one. Raises UsageError for an unknown suffix."""
    suffix = path.suffix.lower() if path else ""
    if suffix not in SUFFIXES:
        known = ", ".join(filter(None, SUFFIXES))
        raise UsageError(f"`{path}`: no format of the report is called {suffix}", hint=f"use {known}, or --format")
    return SUFFIXES[suffix]


def render_report(
    report: Report, stream: IO[str], form: ReportFormat = ReportFormat.table, *, detail: Detail | None = None
) -> None:
    """Write `report` to `stream`; `detail` is what a page shows beyond it."""
    if form is ReportFormat.json:
        from nsys_pipeline.report.json import render_json

        render_json(report, stream)
        return
    from nsys_pipeline.report.sections import report_document

    render_document(report_document(report, detail), stream, form)


def render_ranges(ranges: Sequence[dict[str, Any]], stream: IO[str], form: ReportFormat = ReportFormat.table) -> None:
    """Write the NVTX ranges of a trace, rows of `list_ranges`, to `stream`."""
    if form is ReportFormat.json:
        from nsys_pipeline.report.json import render_ranges_json

        render_ranges_json(ranges, stream)
        return
    from nsys_pipeline.report.ranges import ranges_document

    render_document(ranges_document(ranges), stream, form)


def render_document(document: Document, stream: IO[str], form: ReportFormat) -> None:
    """Write `document` to `stream` as a table, Markdown or a page."""
    if form is ReportFormat.markdown:
        from nsys_pipeline.report import markdown

        markdown.render_document(document, stream)
    elif form is ReportFormat.html:
        from nsys_pipeline.report import html

        html.render_document(document, stream)
    else:
        from nsys_pipeline.report import terminal

        terminal.render_document(document, stream)
