"""A model that its program changes: the passes of the state that ran most are counted, and the others have no FLOPs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.model import Conventions, Estimator, load_model
from nsys_pipeline.records import Report, Step
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.trace_builder import TraceBuilder


def traced(numbers: list[int], second: dict[str, object], folder: Path) -> Report:
    """A decode of each of `numbers`: 0 ran in fp32, and 1 is what `second` says."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    first = {"v": 1, "model": load_model("tiny-llama").config, "dtype": "float32"}
    for at, run in enumerate((first, first | {"run": 1} | second)):
        main.mark(at + 1, f"llmperf.run {json.dumps(run)}", domain="llmperf")
    for place, number in enumerate(numbers):
        at = 1000 * (place + 1)
        main.push(at, at + 900, "decode", domain="llmperf")
        main.launch(at + 100, gpu=(at + 200, at + 700), name="gemm")
        of = f',"run":{number}' if number else ""
        main.mark(at + 1, f'llmperf.step {{"q":1,"kv":8,"b":2,"logits":2{of}}}', domain="llmperf")
    with open_trace(trace.write(folder / "trace.sqlite"), TraceOptions(use_cache=False)) as opened:
        return analyze(opened, AnalysisOptions(keep_cold=True))


@pytest.mark.parametrize(
    ("numbers", "second", "dtype", "counted"),
    [
        ([0, 1, 1, 1], {"dtype": "bfloat16"}, "bf16", 3),
        ([0, 0, 0, 1], {"dtype": "bfloat16"}, "fp32", 3),
        ([0, 0, 0, 0], {"dtype": "bfloat16"}, "fp32", 4),
        ([0, 1, 1, 1], {"changed": True}, None, 0),
    ],
)
def test_what_ran_most_is_counted(
    numbers: list[int], second: dict[str, object], dtype: str | None, counted: int, tmp_path: Path
) -> None:
    report = traced(numbers, second, tmp_path)
    (phase,) = report.phases
    found = [one.message for one in report.findings if one.code == "model_changes"]
    assert "other_runs" not in {one.code for one in report.findings}
    assert (report.model.dtype if report.model else None) == dtype
    flops = Estimator(load_model("tiny-llama"), Conventions()).estimate(Step.uniform(batch=2, q_tokens=1, kv_tokens=8))
    assert phase.flops == (counted * flops.flops or None)
    assert len(found) == (set(numbers) == {0, 1})
    if counted == 3:
        assert "the 1 passes of others have no FLOPs" in found[0]
