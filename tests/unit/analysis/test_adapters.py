"""LoRA adapters that passes run and no estimate counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline.model import load_model
from tests.support.ask import report_of
from tests.support.trace_builder import TraceBuilder


@pytest.mark.parametrize(
    ("said", "phase", "is_told"),
    [({"adapters": 4}, "decode", True), ({}, "decode", False), ({"adapters": 4}, "forward", False)],
)
def test_adapters_of_inference_are_told(said: dict[str, Any], phase: str, is_told: bool, tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    run = {"v": 1, "model": dict(load_model("tiny-llama").config), "dtype": "bfloat16", **said}
    main.mark(0, f"llmperf.run {json.dumps(run)}", domain="llmperf").push(10, 90, phase, domain="llmperf")
    main.mark(11, 'llmperf.step {"q":1,"kv":9,"b":2,"logits":2}', domain="llmperf").launch(20, gpu=(30, 60))
    codes = [finding.code for finding in report_of(trace, tmp_path).findings]
    assert ("adapters_not_counted" in codes) == is_told
