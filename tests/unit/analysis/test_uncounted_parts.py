"""Parts of passes that run and that no estimate counts: LoRA adapters of inference, heads fused with a loss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline.model import load_model
from tests.support.ask import ask, report_of, table
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


def test_a_head_that_only_the_gpu_knows_of_is_told(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at, head in ((0, ',"head":"unknown"'), (100, ',"head":"unknown"'), (200, "")):
        main.push(at, at + 40, "forward", domain="llmperf").push(at + 50, at + 90, "backward", domain="llmperf")
        main.mark(at + 1, f'llmperf.step {{"q":8,"kv":0,"b":2,"logits":0{head}}}', domain="llmperf")
        main.launch(at + 2, gpu=(at + 10, at + 30))
    assert ask(trace, "SELECT phase, at_stake_ns, pass_count FROM findings.head_not_counted", tmp_path) == table("""
        phase,   at_stake_ns, pass_count
        forward, 80,          2
    """)


def test_a_head_that_the_program_may_run_itself_is_told(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    # the second pass evaluates
    for at, head in ((0, ',"head":"apart","pass":1'), (100, ',"head":"apart","pass":2'), (200, ',"pass":3')):
        main.push(at, at + 40, "forward", domain="llmperf")
        main.mark(at + 1, f'llmperf.step {{"q":8,"kv":0,"b":2,"logits":0{head}}}', domain="llmperf")
        main.launch(at + 2, gpu=(at + 10, at + 30))
    main.push(300, 390, "backward", domain="llmperf").mark(389, 'llmperf.backward {"of":[1,3]}', domain="llmperf")
    assert ask(trace, "SELECT phase, at_stake_ns, pass_count FROM findings.head_apart", tmp_path) == table("""
        phase,   at_stake_ns, pass_count
        forward, 40,          1
    """)


@pytest.mark.parametrize(
    ("said", "phase", "is_told"),
    [({"drops_layers": True}, "forward", True), ({"drops_layers": True}, "decode", False), ({}, "forward", False)],
)
def test_layers_left_out_in_training_are_told(said: dict[str, Any], phase: str, is_told: bool, tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    run = {"v": 1, "model": dict(load_model("tiny-llama").config), "dtype": "bfloat16", **said}
    main.mark(0, f"llmperf.run {json.dumps(run)}", domain="llmperf").push(10, 90, phase, domain="llmperf")
    main.launch(20, gpu=(30, 60))
    codes = [finding.code for finding in report_of(trace, tmp_path).findings]
    assert ("layers_dropped" in codes) == is_told
