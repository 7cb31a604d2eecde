"""Percentiles of requests: none of fewer requests than it takes to tell it from the slowest."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.report.formats import render_report
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.trace_builder import TraceBuilder


@pytest.mark.parametrize(("requests", "known"), [(1, {50}), (9, {50}), (10, {50, 90}), (100, {50, 90, 99})])
def test_percentiles_need_requests(tmp_path: Path, requests: int, known: set[int]) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    for index in range(requests):
        start = index * 1_000_000
        main.push(start, start + 900_000, "request").push(start, start + 100_000 + index, "prefill")
        main.push(start + 200_000, start + 300_000, "decode").launch(start + 10, gpu=(start + 20, start + 30))
    with open_trace(trace.write(tmp_path / "t.sqlite"), TraceOptions(use_cache=False)) as opened:
        report = analyze(opened)

    (row,) = report.requests
    assert row.requests == requests
    for name in ("ttft", "tpot"):
        assert {rank for rank in (50, 90, 99) if getattr(row, f"{name}_p{rank}_ns") is not None} == known
    stream = io.StringIO()
    render_report(report, stream)
    heading = next(line for line in stream.getvalue().splitlines() if "TTFT p50" in line)
    assert {rank for rank in (50, 90, 99) if f"TTFT p{rank}" in heading} == known
