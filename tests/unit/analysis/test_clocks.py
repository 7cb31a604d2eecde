"""Wall, elapsed and busy time, and what utilization is of, where ranges overlap or only some have a shape: by hand."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.inputs import AnalysisOptions, RequestShape
from nsys_pipeline.model import load_model
from nsys_pipeline.records import Phase, Report
from nsys_pipeline.report.formats import ReportFormat, render_report
from nsys_pipeline.report.phrases import legend
from nsys_pipeline.rules.phases import PhaseRule
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.trace_builder import TraceBuilder


def report_of(trace: TraceBuilder, folder: Path, *shapes: str, rule: str | None = None) -> Report:
    options = AnalysisOptions(
        model=load_model("tiny-llama") if shapes else None, shapes=tuple(RequestShape.parse(text) for text in shapes)
    )
    rules = (PhaseRule.from_option(rule),) if rule else ()
    path = trace.write(folder / f"trace-{len(shapes)}.sqlite")
    with open_trace(path, TraceOptions(use_cache=False, phase_rules=rules)) as opened:
        return analyze(opened, options)


def codes(report: Report) -> list[str]:
    return [notice.code for notice in report.warnings]


def clocks(phase: Phase) -> tuple[int, int, int, float | None]:
    return phase.wall_ns, phase.elapsed_ns, phase.gpu_open_ns, phase.busy_ratio


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def text_of(report: Report) -> str:
    stream = io.StringIO()
    render_report(report, stream)
    return stream.getvalue()


def row_of(report: Report, phase: str) -> list[str]:
    table = text_of(report).partition("\nphases, ")[2]
    return next(line.split() for line in table.splitlines() if line.startswith(phase))


# -- overlapping ranges ----------------------------------------------------------------------------------------------


def test_threads_that_share_a_gpu_add_up_their_wall_but_not_its_time(tmp_path: Path) -> None:
    trace = TraceBuilder()
    process = trace.process()
    process.thread().push(0, 100, "decode").launch(10, gpu=(20, 60))
    process.thread(101).push(50, 150, "decode").launch(60, gpu=(80, 130))

    report = report_of(trace, tmp_path)

    (decode,) = report.phases
    assert clocks(decode) == (200, 150, 150, pytest.approx(90 / 150))
    assert "open_at_once" in codes(report)
    assert "added up over threads" in text_of(report)


def test_threads_with_a_gpu_each_need_no_word_about_it(tmp_path: Path) -> None:
    trace = TraceBuilder()
    for pid, device in ((100, 0), (200, 1)):
        trace.process(pid).thread().push(0, 100, "decode").launch(10, gpu=(20, 60), device=device)

    report = report_of(trace, tmp_path)

    assert clocks(report.phases[0]) == (200, 100, 200, pytest.approx(80 / 200))
    assert "open_at_once" not in codes(report)


def test_a_thread_with_two_gpus_is_open_on_both(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread().push(0, 100, "decode")
    main.launch(10, gpu=(20, 90), device=0).launch(20, gpu=(30, 80), device=1)

    report = report_of(trace, tmp_path)

    # 120 ns of work in 100 ns of wall is no work that outlasts its range.
    assert clocks(report.phases[0]) == (100, 100, 200, pytest.approx(120 / 200))
    assert "work_outlives_range" not in codes(report)


def test_the_range_that_the_user_names_is_the_phase_and_not_one_inside(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread().push(0, 100, "request 1").push(10, 50, "prefill")
    main.launch(20, gpu=(30, 40)).launch(60, gpu=(70, 80))

    report = report_of(trace, tmp_path, rule="prefill=^request")

    (prefill,) = report.phases
    assert (prefill.occurrences, prefill.kernel_count) == (1, 2)
    assert clocks(prefill) == (100, 100, 100, pytest.approx(20 / 100))


def test_a_phase_around_itself_is_a_loop_and_its_own_work_is_told(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread().push(0, 100, "prefill").push(10, 50, "prefill")
    main.launch(20, gpu=(30, 40)).launch(60, gpu=(70, 80))

    report = report_of(trace, tmp_path)

    (prefill,) = report.phases
    assert (prefill.occurrences, prefill.kernel_count) == (1, 1)
    assert clocks(prefill) == (40, 40, 40, pytest.approx(10 / 40))
    assert report.unattributed.kernel_count == 1
    assert "nested_phases" not in codes(report)
    (loop,) = [finding for finding in report.findings if finding.code == "loops"]
    assert loop.message.startswith(
        "1 operations are in no phase: ranges of prefill that enclose other ranges of prefill"
    )


def test_a_phase_inside_another_one_is_warned_of(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread().push(0, 100, "request 1").push(10, 50, "prefill")
    main.launch(20, gpu=(30, 40)).launch(60, gpu=(70, 80))

    report = report_of(trace, tmp_path, rule="serve=^request")

    assert [(phase.name, phase.occurrences, phase.kernel_count) for phase in report.phases] == [
        ("prefill", 1, 1),
        ("serve", 1, 1),
    ]
    (nested,) = [finding for finding in report.findings if finding.code == "nested_phases"]
    assert nested.hint is not None
    assert "--not-phase" in nested.hint


def test_a_step_around_phases_has_the_rest_of_their_time(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread().push(0, 100, "step").push(10, 50, "forward").push(60, 80, "backward")
    main.launch(20, gpu=(30, 40)).launch(90, gpu=(100, 130))

    report = report_of(trace, tmp_path)

    (step,) = [phase for phase in report.phases if phase.name == "step"]
    assert (step.occurrences, step.kernel_count, step.kernel_time_ns) == (1, 1, 30)
    assert clocks(step) == (40, 40, 40, pytest.approx(30 / 40))
    assert "nested_phases" not in codes(report)


def test_overlapping_ranges_of_start_and_end_count_once_in_utilization(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    main.start_end(0, 1_000_000, "prefill").start_end(400_000, 2_000_000, "prefill")
    main.launch(10, gpu=(20, 300_000)).launch(450_000, gpu=(500_000, 900_000))

    report = report_of(trace, tmp_path, "1x16")

    (prefill,) = report.phases
    assert prefill.wall_ns == 2_000_000
    if prefill.measured_occurrences == 2:
        assert prefill.measured_wall_ns == 2_000_000


def test_warmup_is_not_in_the_time_that_busy_is_a_share_of(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 1_000, "warmup").push(10, 990, "decode").launch(20, gpu=(30, 900))
    main.push(2_000, 2_100, "decode").launch(2_010, gpu=(2_020, 2_040))

    (decode,) = report_of(trace, tmp_path).phases

    assert decode.warmup_wall_ns == 980
    assert clocks(decode) == (1_080, 1_080, 100, pytest.approx(20 / 100))


def test_a_phase_without_gpu_work_is_busy_for_nothing_of_its_time(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread().push(0, 100, "prefill").launch(10, gpu=(20, 30))
    main.push(200, 300, "decode")

    phases = {phase.name: phase for phase in report_of(trace, tmp_path).phases}

    assert phases["decode"].busy_ratio == 0.0
    assert not phases["decode"].outlives_ranges


def test_work_that_outlasts_the_ranges_has_no_share_and_says_so(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread().push(0, 1_000_000, "prefill").launch(10, gpu=(20, 9_000_020))
    main.launch(30, gpu=(40, 900_040), stream=8)

    report = report_of(trace, tmp_path)

    (prefill,) = report.phases
    assert (prefill.busy_ratio, prefill.outlives_ranges) == (None, True)
    assert "work_outlives_range" in codes(report)
    assert row_of(report, "prefill")[5] == ">100"
    assert "GPU work goes on after its range is closed" in text_of(report)
    assert (
        "ms",
        "kernels that run at the same time count each: their sum is 110% of the busy time of prefill",
    ) in legend(report)
    markdown = io.StringIO()
    render_report(report, markdown, ReportFormat.markdown)
    assert "| \\>100 |" in markdown.getvalue()


# -- occurrences of known shape --------------------------------------------------------------------------------------


def some_with_shape() -> TraceBuilder:
    """Two requests of one decode step and one of two: `1x16+1` fits the first two."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    at = 0
    for decodes, busy in ((1, 400_000), (1, 500_000), (2, 900_000)):
        main.push(at, at + 1_000_000, "prefill").launch(at + 10, gpu=(at + 20, at + 20 + busy))
        for _ in range(decodes):
            at += 2_000_000
            main.push(at, at + 1_000_000, "decode").launch(at + 10, gpu=(at + 20, at + 20 + busy))
        at += 2_000_000
    return trace


def test_utilization_is_of_exactly_the_occurrences_whose_flops_are_known(tmp_path: Path) -> None:
    report = report_of(some_with_shape(), tmp_path, "1x16+1")

    prefill = report.phases[0]
    assert (prefill.counted_occurrences, prefill.measured_occurrences, prefill.is_partly_measured) == (3, 2, True)
    assert (prefill.wall_ns, prefill.gpu_busy_ns) == (3_000_000, 1_800_000)
    assert (prefill.measured_wall_ns, prefill.measured_busy_ns) == (2_000_000, 900_000)
    assert prefill.tokens == 32
    assert prefill.compute_ns is not None
    assert prefill.mfu_wall == pytest.approx(prefill.compute_ns / 2_000_000, rel=1e-12)
    assert prefill.mfu_busy == pytest.approx(prefill.compute_ns / 900_000, rel=1e-12)
    only = report_of(some_with_shape(), tmp_path, "1x16+1", "1x16+1", "1x16+2")
    assert only.phases[0].tokens == 48
    assert not only.phases[0].is_partly_measured


def test_the_tables_say_which_occurrences_utilization_is_of(tmp_path: Path) -> None:
    report = report_of(some_with_shape(), tmp_path, "1x16+1")

    text = text_of(report)
    heading = next(line for line in text.splitlines() if line.startswith("phase "))
    assert "kernels  with shape  tokens" in heading
    line = "tokens, TFLOP, MFU and MBU: only the 2 of 3 occurrences of known shape, no phase inside "
    line += "(2.00 ms wall, 0.900 ms busy)"
    assert f"prefill {line}" in " ".join(text.split())
    assert row_of(report, "prefill")[6:8] == ["2", "32"]
    markdown = io.StringIO()
    render_report(report, markdown, ReportFormat.markdown)
    assert f"**prefill** {line}" in markdown.getvalue()


def test_where_every_shape_is_known_the_table_says_nothing_of_it(tmp_path: Path) -> None:
    text = text_of(report_of(some_with_shape(), tmp_path, "1x16+1", "1x16+1", "1x16+2"))
    assert "with shape" not in text
    assert "of known shape" not in text
