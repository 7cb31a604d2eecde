"""Sizes that no request has, and names that no phase may have, are refused before they do harm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nsys_pipeline import markers
from nsys_pipeline.analyze import analyze
from nsys_pipeline.errors import UsageError
from nsys_pipeline.inputs import AnalysisOptions, RequestShape
from nsys_pipeline.model import load_model
from nsys_pipeline.records import MAX_BATCH, MAX_TOKENS
from nsys_pipeline.rules.phases import PhaseRule, classify
from nsys_pipeline.trace import TraceOptions, open_trace
from nsys_pipeline.workload.options import Shape
from tests.cli.run import run
from tests.support.trace_builder import TraceBuilder


@pytest.mark.parametrize(
    "text",
    ["1x99999999999999", "99999999x5", "1x5+99999999", "1x99999999999999999999", "0x5", "1x0", "1x-5", "٣x"],
)
def test_shapes_that_no_request_has_are_refused(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        RequestShape.parse(text)
    assert raised.value.hint == "write BATCHxPROMPT+NEW, as in 8x512+32"
    with pytest.raises(ValueError, match="is no shape"):
        Shape.parse(text)


def test_the_largest_shape_is_taken() -> None:
    assert str(RequestShape.parse(f"{MAX_BATCH}x{MAX_TOKENS}+{MAX_TOKENS}")) == f"{MAX_BATCH}x{MAX_TOKENS}+{MAX_TOKENS}"
    with pytest.raises(UsageError, match=r"batch 65,537 is past .* at most 65,536"):
        RequestShape(MAX_BATCH + 1, 1)


@pytest.mark.parametrize(
    "step", [{"q": 1, "b": 10**12}, {"q": 10**15, "b": 1}, {"q": [1, 2], "kv": [0, 10**9]}, {"q": 1, "b": 65_537}]
)
def test_marks_of_absurd_size_are_no_steps(step: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not a step"):
        markers.decode_step(json.dumps(step))


def test_flops_that_do_not_fit_are_unknown_and_not_wrong(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    trace.process().thread().push(0, 1_000, "prefill").launch(10, gpu=(20, 900))
    options = AnalysisOptions(model=load_model("llama-3.1-405b"), shapes=(RequestShape(MAX_BATCH, MAX_TOKENS),))

    with open_trace(trace.write(tmp_path / "trace.sqlite"), TraceOptions(use_cache=False)) as opened:
        report = analyze(opened, options)

    assert report.phases[0].flops is None
    assert report.phases[0].mfu_busy is None
    assert "no_estimate" in {notice.code for notice in report.warnings}


def test_token_counts_in_range_texts_that_no_batch_has_are_unknown() -> None:
    role = classify("", "execute_context_1(99999999999999999999999)_generation_0(0)")
    assert role is not None
    assert (role.phase, role.new_tokens) == ("prefill", None)


@pytest.mark.parametrize("option", ["--batch", "--prompt-tokens", "--context"])
def test_flops_of_absurd_sizes_are_refused(capsys: pytest.CaptureFixture[str], option: str) -> None:
    given = {"--prompt-tokens": "5", option: "99999999999"}
    arguments = [part for pair in given.items() for part in pair]
    code, out, err = run(capsys, "flops", "tiny-llama", *arguments)
    assert (code, out) == (2, "")
    assert f"{option} 99,999,999,999 is past what llmperf estimates" in err


@pytest.mark.parametrize("name", ["outside", "Outside", "unattributed", "warmup", "Warm-Up", "warm_up", "request"])
def test_names_that_mean_something_else_are_no_phases(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a phase") as raised:
        PhaseRule.from_option(f"{name}=^x")
    assert raised.value.hint


@pytest.mark.parametrize("name", ["prefill", "outside_world", "requests", "warmup2"])
def test_names_that_only_resemble_them_are(name: str) -> None:
    assert PhaseRule.from_option(f"{name}=^x").phase == name
