"""Parallel degrees that the trace cannot have, and encoders that are said to decode."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nsys_pipeline import markers
from nsys_pipeline.analyze import analyze
from nsys_pipeline.inputs import AnalysisOptions, RequestShape
from nsys_pipeline.model import Conventions, load_model
from nsys_pipeline.records import Report
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.trace_builder import TraceBuilder


def report_of(
    trace: TraceBuilder, folder: Path, *, model: str = "tiny-llama", tp: int = 1, pp: int = 1, shape: str = "1x16+1"
) -> Report:
    options = AnalysisOptions(
        model=load_model(model), shapes=(RequestShape.parse(shape),), conventions=Conventions(tp=tp, pp=pp)
    )
    with open_trace(trace.write(folder / "trace.sqlite"), TraceOptions(use_cache=False)) as opened:
        return analyze(opened, options)


def trace_on(gpus: int) -> TraceBuilder:
    trace = TraceBuilder()
    for gpu in range(gpus):
        trace.gpu(gpu)
    main = trace.process().thread()
    main.push(0, 1_000, "prefill")
    for gpu in range(gpus):
        main.launch(10 + gpu, gpu=(20, 900), device=gpu)
    main.push(2_000, 3_000, "decode")
    for gpu in range(gpus):
        main.launch(2_010 + gpu, gpu=(2_020, 2_900), device=gpu)
    return trace


def mismatches(report: Report) -> list[str]:
    return [notice.message for notice in report.warnings if notice.code == "parallel_degree_mismatch"]


@pytest.mark.parametrize(("gpus", "tp", "pp"), [(1, 2, 1), (2, 4, 1), (1, 1, 2)])
def test_a_degree_of_more_gpus_than_the_trace_has_is_told(tmp_path: Path, gpus: int, tp: int, pp: int) -> None:
    (message,) = mismatches(report_of(trace_on(gpus), tmp_path, tp=tp, pp=pp))
    assert f"the trace has work on only {gpus}" in message


@pytest.mark.parametrize(("gpus", "tp"), [(1, 1), (2, 2), (2, 1)])
def test_a_degree_that_the_trace_can_have_is_not(tmp_path: Path, gpus: int, tp: int) -> None:
    assert not mismatches(report_of(trace_on(gpus), tmp_path, tp=tp))


@pytest.mark.parametrize(("tp", "told"), [(1, 0), (2, 0), (4, 1)])
def test_a_report_of_one_rank_that_says_so_is_right(tmp_path: Path, tp: int, told: int) -> None:
    trace = trace_on(1)
    trace.process().thread().mark(5, f"{markers.RUN_MARK} {json.dumps({'tp': 2})}")
    assert len(mismatches(report_of(trace, tmp_path, tp=tp))) == told


@pytest.mark.parametrize(("model", "shape"), [("bert-base", "1x16+1"), ("vit-base", "1x197+1")])
def test_an_encoder_has_no_flops_in_decode_and_the_report_says_why(tmp_path: Path, model: str, shape: str) -> None:
    report = report_of(trace_on(1), tmp_path, model=model, shape=shape)
    prefill, decode = report.phases
    assert prefill.flops
    assert (decode.name, decode.flops, decode.mfu_busy, decode.mbu_busy) == ("decode", None, None, None)
    assert all(row.flops is None for row in decode.shapes)
    (notice,) = (notice for notice in report.warnings if notice.code == "encoder_has_no_decode")
    assert f"`{model}` is an encoder" in notice.message


def test_a_decoder_has_flops_in_decode_and_no_such_notice(tmp_path: Path) -> None:
    report = report_of(trace_on(1), tmp_path)
    assert report.phases[1].flops
    assert "encoder_has_no_decode" not in {notice.code for notice in report.warnings}
