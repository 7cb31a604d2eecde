"""What a report says of inferred phases: it agrees with the rows that it stands beside, and with the trace."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline import open as open_trace_of
from nsys_pipeline.analyze import analyze
from nsys_pipeline.errors import UsageError
from nsys_pipeline.infer import infer
from nsys_pipeline.records import Report
from nsys_pipeline.report.formats import ReportFormat, render_report
from nsys_pipeline.rules.phases import PhaseRule
from nsys_pipeline.trace import TraceOptions, open_trace
from nsys_pipeline.trace.window import Window
from tests.cli.run import run
from tests.support.real_traces import unpack_by_name, without_ranges
from tests.support.trace_builder import TraceBuilder
from tests.unit.analysis.test_inferred_phases import NAMES, convolutions, passes
from tests.unit.infer.lanes import Lane, merged


def reported(path: Path, **options: object) -> Report:
    with open_trace(path, TraceOptions(use_cache=False, **options)) as trace:  # type: ignore[arg-type]
        return analyze(trace)


def rows_of(path: Path, relation: str, columns: str, **options: object) -> list[tuple[Any, ...]]:
    """A relation of its own: a report takes ten times as long."""
    with open_trace(path, TraceOptions(use_cache=False, **options)) as trace:  # type: ignore[arg-type]
        trace.build(relation)
        return trace.connection.execute(f"SELECT {columns} FROM {relation} ORDER BY ALL").fetchall()


def rendered(report: Report, form: ReportFormat) -> str:
    stream = StringIO()
    render_report(report, stream, form)
    return stream.getvalue()


def counts_of(evidence: str) -> list[int]:
    """The numbers of occurrences that a line of evidence names."""
    return [int(number.replace(",", "")) for number in re.findall(r"([\d,]+) ×", evidence)]


def two_threads(path: Path) -> Path:
    trace = TraceBuilder().gpu()
    process = trace.process()
    passes(process.thread(), 12)
    passes(process.thread(101), 9)
    # Another process runs another model.
    passes(trace.process(2).thread(201), 8, layers=5)
    return trace.write(path)


@pytest.mark.parametrize("window", [None, Window(first_step=1, end_step=4)])
def test_evidence_is_of_all_threads_and_kinds_of_a_row(tmp_path: Path, window: Window | None) -> None:
    ((evidence, occurrences),) = rows_of(
        two_threads(tmp_path / "t.sqlite"), "views.phase_summary", "evidence, occurrences", window=window
    )

    assert sum(counts_of(evidence)) == occurrences == (29 if window is None else 6)
    assert "(3 attention kernels, then arg-max or sampling)" in evidence
    assert "(5 attention kernels, then arg-max or sampling)" in evidence


def test_evidence_of_a_real_trace_adds_up_in_every_output(tmp_path: Path) -> None:
    report = reported(without_ranges(unpack_by_name("h100_cuda_graph_whole", tmp_path)))
    shown = {form: rendered(report, form) for form in ReportFormat}

    phases = json.loads(shown.pop(ReportFormat.json))["phases"]
    assert phases
    for phase in phases:
        evidence = phase["evidence"]
        assert sum(counts_of(evidence)) == phase["occurrences"], evidence
        assert ("left out as cold" in evidence) is (phase["cold_occurrences"] > 0)
        assert all(f"inferred: {evidence}" in " ".join(text.split()) for text in shown.values())
    (finding,) = [one for one in report.findings if one.code == "inferred_phases"]
    assert next(one["evidence"] for one in phases if one["name"] == "decode").startswith(
        "32 × (one CUDA graph); after a prefill, again and again; and 3 × (8 attention kernels, then arg-max"
    )
    # Three steps before the recording are the warm-up that no range marks.
    assert [row.requests for row in report.requests] == [1]
    assert finding.message.endswith("37 steps < 2 requests; requests that are not measured: 1 cold")


def test_steps_whose_gradients_add_up_have_numbers_of_their_own(tmp_path: Path) -> None:
    names = {
        "loss": "void at::native::nll_loss_forward_reduce_cuda_kernel_2d<float>(T1)",
        "backward": "void at::native::cunn_SoftMaxBackwardSmem<float>(T1)",
        "optimizer": "void at::native::multi_tensor_apply_kernel<FusedAdamMathFunctor<float>>(T1)",
        "lookup": "void at::native::vectorized_gather_kernel<16, long>(T1)",
    }
    trace = TraceBuilder().gpu()
    thread = trace.process().thread()
    for step in range(4):
        kernels = ["lookup", "attention", "gemm", "attention", "loss", "backward", "backward"] * 2 + ["optimizer"]
        for index, name in enumerate(kernels):
            start = 100_000 * (step + 1) + 100 * index
            thread.launch(start, gpu=(start + 20, start + 80), name=({**NAMES, **names})[name])

    rows = rows_of(trace.write(tmp_path / "t.sqlite"), "attribute.phase_sources", "phase, evidence")

    assert {phase: counts_of(evidence) for phase, evidence in rows} == {
        "forward": [8],
        "backward": [8],
        "optimizer": [4],
    }


def test_what_makes_up_the_whole_trace_is_said_to_be_of_it(tmp_path: Path) -> None:
    ((occurrences, levels),) = rows_of(
        two_threads(tmp_path / "t.sqlite"), "findings.inferred_phases", "occurrence_count, levels",
        window=Window(first_step=1, end_step=4),
    )  # fmt: skip

    assert occurrences == 6
    assert levels == "; in the whole trace 3 attention kernels or 5 attention kernels < 29 steps"


def test_a_window_without_any_step_says_that_they_are_elsewhere(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    thread = trace.process().thread()
    passes(thread, 10)
    thread.launch(3_000_000_000, gpu=(3_000_000_010, 3_000_000_020), name="late")

    path = trace.write(tmp_path / "t.sqlite")
    rows = rows_of(path, "findings.no_nvtx", "not_inferred", window=Window(from_ns=2_000_000_000))

    assert rows == [("; none is inferred: what is inferred of the whole trace does not lie in the window",)]


def test_warm_up_that_is_marked_alone_is_left_out_of_what_is_inferred(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    thread = trace.process().thread()
    passes(thread, 12)
    thread.push(9_000, 13_000, "warmup")

    (row,) = rows_of(
        trace.write(tmp_path / "t.sqlite"), "views.phase_summary", "phase, occurrences, warmup_occurrences, evidence"
    )

    assert row[:3] == ("decode", 12, 3)
    assert row[3].endswith("; left out as warm-up: 3")


def test_softmax_is_not_called_attention(tmp_path: Path) -> None:
    names = {**NAMES, "attention": "void softmax_warp_forward<float, float, float, 7, false, false>(float*)"}
    trace = TraceBuilder().gpu()
    thread = trace.process().thread()
    for step in range(10):
        for index, name in enumerate(["gemm", "attention", "gemm", "activation"] * 3 + ["gemm", "sample"]):
            start = 10_000 * (step + 1) + 20 * index
            thread.launch(start, gpu=(start + 5, start + 15), name=names[name])

    ((evidence, levels),) = rows_of(
        trace.write(tmp_path / "t.sqlite"),
        "findings.inferred_phases",
        "(SELECT unit FROM attribute._inferred_phases LIMIT 1), levels",
    )

    assert evidence == "3 softmax kernels, then arg-max or sampling"
    assert levels == "; 3 softmax kernels < 10 steps"


RANGES = re.compile(
    r"\branges? (?:is|are|of|says?|that|alone|inside)\b|phase's range|\b(?:its|every|no|a) range\b(?! `warmup`)"
)


def test_a_trace_without_ranges_has_no_words_about_them(tmp_path: Path) -> None:
    report = reported(convolutions(12).write(tmp_path / "t.sqlite"))

    for form in (ReportFormat.table, ReportFormat.markdown, ReportFormat.html):
        text = re.sub(r"<script.*?</script>|<style.*?</style>", "", rendered(report, form), flags=re.DOTALL)
        shown = " ".join(text.split())
        assert "there are no NVTX ranges: 12 occurrences of repeat A are inferred" in shown
        told = shown.replace("what an NVTX range marks", "").replace("inside the phase's ranges, or", "")
        assert not RANGES.findall(told)


def marked(path: Path) -> Path:
    trace = TraceBuilder().gpu()
    thread = trace.process().thread()
    passes(thread, 10)
    thread.push(10_000, 15_000, "prefill").push(15_000, 20_000, "decode")
    return trace.write(path)


def test_infer_on_a_marked_trace_says_what_it_does(tmp_path: Path) -> None:
    rows = rows_of(
        marked(tmp_path / "t.sqlite"), "findings.inferred_phases", "ground, occurrence_count, advice", infers=True
    )

    assert rows == [
        ("--infer heeds none of the ranges that are phases", 10, "without --infer the ranges say what the phases are")
    ]


def test_infer_that_finds_nothing_does_not_say_that_no_range_is_a_phase(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    thread = trace.process().thread()
    thread.push(0, 100, "decode").push(10, 90, "decode").launch(5, gpu=(6, 8)).launch(20, gpu=(30, 40))
    path = trace.write(tmp_path / "t.sqlite")

    rows = rows_of(path, "findings.no_phases", "ground, advice", infers=True)

    assert rows == [
        ("--infer heeds none of the ranges that are phases", "without --infer the ranges say what the phases are")
    ]
    assert len(rows_of(path, "findings.loops", "phase")) == 1
    assert rows_of(path, "findings.loops", "phase", infers=True) == []


def test_rules_of_ranges_beside_infer_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = marked(tmp_path / "t.sqlite")
    for option in (("--phase", "a=prefill"), ("--range", "prefill"), ("--list-ranges",)):
        status, _, err = run(capsys, "analyze", path, "--infer", *option)
        assert status == 2
        assert "with `--infer`" in err
    with pytest.raises(UsageError):
        open_trace_of(path, infer=True, ranges="prefill")
    rule = PhaseRule.of_ranges("prefill")
    assert rows_of(path, "attribute.phase_ranges", "phase", infers=False, phase_rules=(rule,)) == [("prefill",)]
    # It says what is no request and no warm-up, too.
    TraceOptions(infers=True, phase_rules=(PhaseRule.excluding("prefill"),))


def test_without_launches_the_reason_is_that_there_are_none(tmp_path: Path) -> None:
    path = convolutions(12).write(tmp_path / "t.sqlite")
    for statement, reason in (
        (
            "UPDATE CUPTI_ACTIVITY_KIND_RUNTIME SET correlationId = -5",
            "no GPU operation has the CUDA call that launched it",
        ),
        (
            "DROP TABLE CUPTI_ACTIVITY_KIND_RUNTIME",
            "no CUDA call was recorded, so nothing says what launched the GPU's work",
        ),
        ("DELETE FROM CUPTI_ACTIVITY_KIND_KERNEL", "no kernel and no whole CUDA graph was recorded"),
    ):
        with closing(sqlite3.connect(path)) as con, con:
            con.execute(statement)
        ((told,),) = rows_of(path, "findings.no_nvtx", "not_inferred")
        assert told.startswith(f"; none is inferred: {reason}")


def generation(path: Path, *, marks: bool) -> Path:
    """Three requests of a prompt and four steps."""
    trace = TraceBuilder().gpu()
    thread = trace.process().thread()
    at = 10_000
    for _ in range(3):
        begin = at
        for step in range(5):
            tokens = 64 if step == 0 else 1
            kernels = ["lookup", *["gemm", "cache", "attention", "gemm", "activation"] * 3, "gemm", "sample"]
            for index, name in enumerate(kernels):
                start = at + 20 * index
                blocks = {"activation": 8 * tokens, "sample": 1}.get(name, 4)
                thread.launch(start, gpu=(start + 5, start + 15), name=NAMES[name], gridX=blocks, gridY=1, gridZ=1)
            at += 1_000
        if marks:
            thread.push(begin - 5, at - 5, "request")
    return trace.write(path)


@pytest.mark.parametrize("marks", [True, False])
def test_requests_of_a_window_are_those_that_are_whole_in_it(tmp_path: Path, marks: bool) -> None:
    path = generation(tmp_path / "t.sqlite", marks=marks)

    # A prefill of the last request, and steps of the first one.
    assert rows_of(path, "attribute.request_times", "1", window=Window(first_step=2, end_step=4), infers=True) == []
    with open_trace(path, TraceOptions(use_cache=False, window=Window(skip=1), infers=True)) as trace:
        trace.build("attribute.request_times", "attribute._inferred_requests")
        requests = trace.connection.execute("SELECT decode_steps FROM attribute.request_times").fetchall()
        firsts = trace.connection.execute("SELECT is_first FROM attribute._inferred_requests").fetchall()

    assert requests == [(4,), (4,)]
    # The first one of the trace, which may be the warm-up, is outside; none takes its place.
    assert firsts == ([] if marks else [(False,), (False,)])


def test_the_first_of_several_requests_of_a_thread_may_be_its_warm_up() -> None:
    found = infer(merged(Lane(1).request(500, 6).request(80, 4), Lane(2).request(500, 6)))
    assert [one.is_first for one in found.requests] == [True, False, False]
