"""Which request gets which of the shapes that the user gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.errors import UsageError
from nsys_pipeline.inputs import AnalysisOptions, RequestShape
from nsys_pipeline.markers import encode_step
from nsys_pipeline.model import load_model
from nsys_pipeline.records import Report, Step
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.trace_builder import TraceBuilder


@pytest.fixture
def three_requests(tmp_path: Path) -> Path:
    """Two decode steps in each."""
    builder = TraceBuilder().gpu()
    main = builder.process().thread()
    for at in (0, 1000, 2000):
        main.push(at, at + 100, "prefill").launch(at + 10, gpu=(at + 20, at + 90))
        for step in (200, 300):
            main.push(at + step, at + step + 50, "decode").launch(at + step + 10, gpu=(at + step + 20, at + step + 40))
    return builder.write(tmp_path / "trace.sqlite")


def report_of(path: Path, *shapes: str) -> Report:
    options = AnalysisOptions(
        model=load_model("llama-3.2-1b"), shapes=tuple(RequestShape.parse(shape) for shape in shapes)
    )
    with open_trace(path, TraceOptions(use_cache=False)) as trace:
        return analyze(trace, options)


@pytest.mark.parametrize(
    ("shapes", "tokens"), [(["2x8+2"], 48), (["1x8+2", "2x16+2", "4x32+2"], 8 + 32 + 128), (["1x8"], 24)]
)
def test_one_shape_is_for_all_and_several_are_for_each_in_order(
    shapes: list[str], tokens: int, three_requests: Path
) -> None:
    prefill = next(phase for phase in report_of(three_requests, *shapes).phases if phase.name == "prefill")

    assert prefill.tokens == tokens


def test_any_other_number_is_refused(three_requests: Path) -> None:
    # Their decode steps are as many, but that does not make the third request one of these.
    with pytest.raises(UsageError, match="2 shapes for 3 requests"):
        report_of(three_requests, "1x8+2", "2x16+3")


def test_a_shape_with_other_decode_steps_is_not_a_requests(three_requests: Path) -> None:
    report = report_of(three_requests, "1x8+2", "2x16+5", "4x32+2")

    assert next(phase for phase in report.phases if phase.name == "prefill").tokens == 8 + 128
    assert "requests_without_shape" in [notice.code for notice in report.warnings]


def test_the_chunks_of_a_prompt_add_up(tmp_path: Path) -> None:
    """Chunks of one batch are one prompt; unlike batches, ragged ones, and a chunk without a shape are none."""
    chunks: list[list[Step | None]] = [
        [Step.ragged([8, 8], [0, 0], 0), Step.ragged([5, 5], [8, 8], 2)],
        [Step.ragged([13], [0], 1)],
        [Step.ragged([8], [0], 1), Step.ragged([8, 8], [0, 0], 2)],
        [Step.ragged([8, 7], [0, 0], 0), Step.ragged([1, 1], [8, 7], 2)],
        [Step.ragged([8], [0], 0), None],
    ]
    builder = TraceBuilder().gpu()
    main = builder.process().thread()
    for number, steps in enumerate(chunks):
        start = 1000 * number
        main.push(start, start + 900, "request", domain="llmperf")
        for place, step in enumerate(steps):
            at = start + 100 * (place + 1)
            main.push(at, at + 90, "prefill", domain="llmperf")
            if step is not None:
                main.mark(at + 1, encode_step(step), domain="llmperf")
            main.launch(at + 10, gpu=(at + 20, at + 80))
    requests = report_of(builder.write(tmp_path / "trace.sqlite")).requests

    assert [(each.shape, each.requests) for each in requests] == [("1x13", 1), ("2x13", 1), (None, 3)]
