"""Each trace that lacks, repeats or contradicts something still makes a page, a Markdown and a table."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.detail import read_detail
from nsys_pipeline.report.formats import ReportFormat, render_report
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.edge_traces import EDGE_TRACES
from tests.support.examples import some


@pytest.mark.parametrize("name", some(sorted(EDGE_TRACES), 10))
def test_every_trace_makes_every_format(name: str, tmp_path: Path) -> None:
    path = EDGE_TRACES[name]().write(tmp_path / "trace.sqlite")
    with open_trace(path, TraceOptions(use_cache=False)) as trace:
        report = analyze(trace)
        detail = read_detail(trace)

    for form in ReportFormat:
        stream = io.StringIO()
        render_report(report, stream, form, detail=detail)
        text = stream.getvalue()
        for phase in report.phases:
            assert phase.name in text.replace("\\", "") or not phase.counted_occurrences
    assert (detail.timeline is None) == ("timeline-data" not in text if form is ReportFormat.html else False)
