"""Charts hold the numbers of the records, in the units of their axes."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.detail import read_detail
from nsys_pipeline.detail.curves import MAX_POINTS
from nsys_pipeline.inputs import AnalysisOptions, RequestShape
from nsys_pipeline.model import load_model
from nsys_pipeline.records import CounterSample, Detail, Report, RequestTime, StepTime
from nsys_pipeline.report.charts import counters_section, latency_section, roofline_section, steps_section
from nsys_pipeline.report.document import Chart, Depth, Section, Table
from nsys_pipeline.report.sections import report_document
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.real_traces import SUFFIX, TRACES
from tests.support.trace_builder import TraceBuilder


def charts(section: Section | None) -> list[Chart]:
    return [block for block in section.blocks if isinstance(block, Chart)] if section else []


def opened(name: str, options: AnalysisOptions | None = None) -> tuple[Report, Detail]:
    with open_trace(TRACES / f"{name}{SUFFIX}", TraceOptions(use_cache=False)) as trace:
        return analyze(trace, options), read_detail(trace)


@pytest.fixture(scope="module")
def layers() -> tuple[Report, Detail]:
    return opened("h100_deepseek_layers")


def test_operators_lie_below_the_roof_of_their_gpu(layers: tuple[Report, Detail]) -> None:
    (chart,) = charts(roofline_section(layers[0]))
    roof, *points = chart.series

    assert (chart.x.is_log, chart.y.is_log, roof.is_line, points[0].is_line) == (True, True, True, False)
    assert sum(len(series.xs) for series in points) == sum(bool(row.flops_per_byte) for row in layers[0].operators)
    # By hand, from the datasheet of an H100 SXM.
    assert roof.ys[1] == pytest.approx(989.4)
    assert roof.xs[1] == pytest.approx(989.4e12 / 3.35e12, rel=1e-4)
    for series in points:
        for x, y, label in zip(series.xs, series.ys, series.labels, strict=True):
            assert x is not None
            assert y is not None
            rows = [row for row in layers[0].operators if row.phase == series.name]
            ratios = {f"{row.operator} {row.shape}": row.roofline_ratio for row in rows}
            assert y / min(989.4, x * 3.35) == pytest.approx(ratios[label], rel=1e-3)


def test_without_layers_the_shapes_of_phases_are_the_points() -> None:
    shapes = tuple(map(RequestShape.parse, ("1x128+4", "1x2048+32", "8x512+32", "1x128+64")))
    report, _ = opened("h100_llama1b", AnalysisOptions(model=load_model("llama-3.2-1b"), shapes=shapes))

    (chart,) = charts(roofline_section(report))

    _, prefill, _ = chart.series
    assert prefill.name == "prefill"
    by_shape = {row.shape: row for row in report.phases[0].shapes}
    for x, y, label in zip(prefill.xs, prefill.ys, prefill.labels, strict=True):
        row = by_shape[label]
        assert row.flops
        assert row.bytes
        assert row.mfu_busy
        assert x == pytest.approx(row.flops / row.bytes, rel=1e-5)
        assert y == pytest.approx(row.mfu_busy * 989.4, rel=1e-3)


def test_without_a_model_there_is_no_roofline() -> None:
    report, _ = opened("h100_gpu_metrics")
    assert roofline_section(report) is None


def test_steps_over_time_and_by_context() -> None:
    steps = [StepTime("decode", n, 10**9 * n, 2_000_000 + 1000 * n, 1_000_000, 1, 100 - n) for n in range(5)]
    steps.append(StepTime("prefill", 0, 0, 1, 1, 1, 0))

    over_time, by_context = charts(steps_section(Detail(steps=steps)))

    wall, busy = over_time.series
    assert wall.xs == (0, 1, 2, 3, 4)
    assert wall.ys == tuple(pytest.approx(2 + n / 1e3) for n in range(5))
    assert busy.ys == (1,) * 5
    assert by_context.series[0].xs == (96, 97, 98, 99, 100)
    assert not by_context.series[0].is_line


def test_half_of_the_requests_took_at_most_the_median() -> None:
    requests = [RequestTime(0, time * 10**6, None) for time in (30, 10, 20, 40)]

    (ttft,) = charts(latency_section(Detail(requests=requests)))

    assert ttft.series[0].xs == (10, 20, 30, 40)
    assert ttft.series[0].ys == (25, 50, 75, 100)


def test_counters_that_were_not_sampled_are_not_drawn() -> None:
    samples = [CounterSample(gpu, at, 0.5, None, None, 0.25, *[None] * 5) for gpu in (1, 0) for at in (0, 10**9)]

    first, second = charts(counters_section(Detail(counters=samples)))

    assert (first.title, second.title) == ("GPU 0", "GPU 1")
    assert [(series.name, series.xs, series.ys) for series in first.series] == [
        ("tensor pipe active", (0, 1), (50, 50)), ("DRAM read", (0, 1), (25, 25)),
    ]  # fmt: skip


def test_links_have_a_chart_of_their_own() -> None:
    samples = [CounterSample(0, at, 0.5, None, None, None, None, 0.1, 0.2, None, 0.75) for at in (0, 10**9)]

    _, links = charts(counters_section(Detail(counters=samples)))

    assert links.title == "GPU 0: PCIe and NVLink"
    assert [(series.name, series.ys) for series in links.series] == [
        ("PCIe received", (10, 10)), ("PCIe sent", (20, 20)), ("NVLink sent", (75, 75)),
    ]  # fmt: skip


def test_what_a_real_trace_has_is_read_once(layers: tuple[Report, Detail]) -> None:
    _, detail = opened("h100_gpu_metrics")

    assert 100 < len(detail.counters) <= MAX_POINTS + 2
    assert any(sample.tensor_active_ratio is not None for sample in detail.counters)
    assert len(layers[1].steps) == sum(phase.counted_occurrences for phase in layers[0].phases)
    assert len(layers[1].requests) == sum(row.requests for row in layers[0].requests)


def test_the_environment_is_told_without_paths_and_command_lines(layers: tuple[Report, Detail]) -> None:
    environment = dict(layers[1].environment)

    assert environment["GPU 0"].startswith("NVIDIA H100 80GB HBM3 · 132 SMs")
    assert environment["nsys"].startswith("2025.3")
    assert not any("/" in value or "python" in value for value in environment.values())


def test_a_trace_of_nothing_makes_a_document(tmp_path: Path) -> None:
    with open_trace(TraceBuilder().write(tmp_path / "empty.sqlite"), TraceOptions(use_cache=False)) as trace:
        document = report_document(analyze(trace), read_detail(trace))

    names = {section.name for section in document.sections}
    assert {"phases", "checks", "findings", "glossary"} <= names
    assert not names & {"timeline", "roofline", "steps", "latency", "counters over time"}
    (phases,) = [section for section in document.sections if section.name == "phases"]
    assert all(isinstance(block, Table) for block in phases.blocks)
    assert [section.depth for section in document.sections if section.name == "glossary"] == [Depth.page]
