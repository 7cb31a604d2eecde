"""The synthetic traces that benchmarks measure: they hold what the benchmark checks in the report."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.report.json import render_json
from nsys_pipeline.trace import TraceOptions, open_trace
from scripts import bench_counters, bench_ranks


def report_of(path: Path) -> str:
    with open_trace(path, TraceOptions(use_cache=False)) as trace:
        stream = io.StringIO()
        render_json(analyze(trace), stream)
        return stream.getvalue()


def test_samples_of_the_benchmark_are_those_of_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = report_of(bench_counters.write_trace(tmp_path / "trace.sqlite", 10_000))

    assert bench_counters.check(text) is None
    monkeypatch.setattr(bench_counters, "TENSOR_PERCENT", 38)
    assert bench_counters.check(text) == "tensor activity is 0.3700, not 38 %"
    assert "no measured phase" in str(bench_counters.check(json.dumps({"phases": []})))


def test_ranks_of_the_benchmark_are_those_of_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_ranks, "STEP_KERNELS", 100)
    monkeypatch.setattr(bench_ranks, "LATE", 1)
    monkeypatch.setattr(bench_ranks, "HOST_GPUS", 2)

    folder, kernels = bench_ranks.write_job(tmp_path, 4, 300, 1)
    text = report_of(folder)

    assert bench_ranks.problem(text, 4, kernels, 1) is None
    assert "kernels of" in str(bench_ranks.problem(text, 4, kernels + 1, 1))
