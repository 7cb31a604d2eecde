"""What the report warns of, on traces made for it."""

from __future__ import annotations

from pathlib import Path

from nsys_pipeline.analyze import analyze
from nsys_pipeline.inputs import AnalysisOptions, RequestShape
from nsys_pipeline.model import load_model
from nsys_pipeline.records import Report
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.trace_builder import TraceBuilder


def report_of(trace: TraceBuilder, folder: Path, *shapes: str) -> Report:
    path = trace.write(folder / "trace.sqlite")
    options = AnalysisOptions(
        model=load_model("tiny-llama"), shapes=tuple(RequestShape.parse(shape) for shape in shapes)
    )
    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        return analyze(opened, options)


def test_a_phase_around_a_phase_has_no_utilization(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 100_000, "prefill").push(20_000, 60_000, "Decode step 1").launch(30_000, gpu=(40_000, 50_000))
    main.launch(70_000, gpu=(80_000, 95_000))

    report = report_of(trace, tmp_path, "1x16+1")

    phases = {phase.name: phase for phase in report.phases}
    assert "nested_phases" in {notice.code for notice in report.warnings}
    assert phases["prefill"].flops is None
    assert phases["decode"].flops is not None


def test_launches_without_any_kernel_are_no_idle_gpu(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 100, "forward").memcpy(10, gpu=(20, 30))
    main.call(40, api="cudaLaunchKernel_v7000")
    main.call(50, api="cuLaunchKernelEx")

    (missing,) = [notice for notice in report_of(trace, tmp_path).warnings if notice.code == "kernels_missing"]

    assert missing.message.startswith("2 kernel launches")


def test_shapes_that_fit_no_occurrence_are_not_said_to_be_in_the_trace(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.process().thread().push(0, 100, "forward").launch(10, gpu=(20, 30))

    report = report_of(trace, tmp_path, "1x16+1")

    assert "shapes_ignored" not in {notice.code for notice in report.warnings}


def test_work_that_outlasts_its_ranges_has_no_utilization_of_wall_time(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.process().thread().push(0, 1_000, "prefill").launch(10, gpu=(20, 9_000_000))

    report = report_of(trace, tmp_path, "1x16")

    assert "work_outlives_range" in {notice.code for notice in report.warnings}
    (phase,) = report.phases
    assert phase.mfu_wall is None
    assert phase.mbu_wall is None
    assert phase.flops
