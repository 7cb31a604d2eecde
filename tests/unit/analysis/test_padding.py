"""Batches with padding: what their marks make of tokens, FLOPs, MFU and HFU, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nsys_pipeline import markers
from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.model import Model
from nsys_pipeline.records import Finding, Report, Step
from tests.support.ask import report_of
from tests.support.trace_builder import TraceBuilder

CONFIG = {
    "model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 100, "torch_dtype": "bfloat16",
}  # fmt: skip
# Parameters of a layer's products and of the head: each costs 2 FLOPs a token.
LAYER, HEAD = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64, 32 * 100
# FLOPs of attention for each pair of a query and a key: two products of 4 heads of 8.
PAIR = 2 * 2 * 4 * 8

# As torch names products of a forward and of its backward.
KERNELS = {"forward": "nvjet_128x128_TNT", "backward": "nvjet_128x128_NTT"}


def by_hand(tokens: int, logits: int, pairs: int) -> int:
    return 2 * (2 * tokens * LAYER + pairs * PAIR) + 2 * logits * HEAD


def causal(*lengths: int) -> int:
    return sum(length * (length + 1) // 2 for length in lengths)


def trace_of(*passes: tuple[str, str]) -> TraceBuilder:
    """Passes one after the other, a microsecond each, all of it busy."""
    trace = TraceBuilder()
    thread = trace.process().thread()
    for place, (phase, mark) in enumerate(passes):
        at = 2_000 * place
        thread.push(at, at + 1_000, phase, domain="llmperf")
        if mark:
            thread.mark(at + 1, f"llmperf.step {mark}", domain="llmperf")
        thread.launch(at + 10, gpu=(at + 100, at + 1_000), name=KERNELS.get(phase, "gemm"))
    return trace


def analyzed(trace: TraceBuilder, folder: Path) -> Report:
    options = AnalysisOptions(model=Model.from_config(CONFIG), peaks={"bf16": 1e15}, keep_cold=True)
    return report_of(trace, folder, options)


def told(report: Report, code: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.code == code]


PADDED = '{"q":[3,7,5],"kv":[0,0,0],"logits":3,"padded":[7,0,3]}'


def test_mfu_leaves_padding_out_and_hfu_does_not(tmp_path: Path) -> None:
    report = analyzed(trace_of(("prefill", PADDED)), tmp_path)
    (phase,) = report.phases
    assert phase.tokens == 15
    assert phase.flops == by_hand(15, 3, causal(3, 7, 5))
    assert phase.executed_flops == by_hand(21, 3, 3 * 7 * 7)
    assert phase.mfu_busy == pytest.approx(phase.flops / (1e15 * 900e-9))
    assert phase.hfu_busy == pytest.approx(phase.executed_flops / (1e15 * 900e-9))
    (finding,) = told(report, "padding")
    assert finding.message.startswith("29% of the tokens that prefill computes are padding (6 of 21)")


def test_a_little_padding_is_not_said_to_be_none(tmp_path: Path) -> None:
    mark = '{"q":[300,299],"kv":[0,0],"logits":2,"padded":[300,0,2]}'
    (finding,) = told(analyzed(trace_of(("prefill", mark)), tmp_path), "padding")
    assert finding.message.startswith("less than 1% of the tokens that prefill computes are padding (1 of 600)")


def test_decode_reads_the_cache_of_real_tokens(tmp_path: Path) -> None:
    decode = '{"q":[1,1,1],"kv":[3,7,5],"logits":3,"padded":[1,7,3]}'
    report = analyzed(trace_of(("decode", decode)), tmp_path)
    (phase,) = report.phases
    assert phase.flops == by_hand(3, 3, 4 + 8 + 6)
    assert phase.executed_flops == by_hand(3, 3, 3 * 8)
    assert told(report, "padding") == []


def test_a_mask_that_nobody_read_is_told(tmp_path: Path) -> None:
    whole = '{"q":7,"kv":0,"b":3,"logits":3,"unread":true}'
    known = '{"q":7,"kv":0,"b":3,"logits":3}'
    report = analyzed(trace_of(("prefill", whole), ("prefill", known)), tmp_path)
    (finding,) = told(report, "padding_unknown")
    assert finding.phase == "prefill"
    assert finding.message.startswith("1 of 2 passes of prefill got a mask or positions that only the GPU knows")


def test_training_runs_its_padding_too(tmp_path: Path) -> None:
    """A step requires forward and twice of it in the backward, of 15 tokens; it runs the same of 21."""
    mark = '{"q":[3,7,5],"kv":0,"logits":15,"padded":[7,0,21]}'
    report = analyzed(trace_of(("forward", mark), ("backward", ""), ("optimizer", "")), tmp_path)
    summary = report.training
    assert summary is not None
    required, run = 3 * by_hand(15, 15, causal(3, 7, 5)), 3 * by_hand(21, 21, causal(7, 7, 7))
    assert (summary.tokens, summary.flops) == (15, required)
    assert summary.mfu_wall is not None
    assert summary.hfu_wall == pytest.approx(summary.mfu_wall * run / required)
    assert summary.hfu_busy is not None
    assert summary.hfu_busy == pytest.approx(run / (1e15 * summary.gpu_busy_ns / 1e9))
    assert [(one.phase, one.message.partition(":")[0]) for one in told(report, "padding")] == [
        ("forward", "29% of the tokens that forward computes are padding (6 of 21)")
    ]


@pytest.mark.parametrize("padded", [7, [7, 0], [7, 0, -1], [6, 0, 3], ["7", 0, 3], [True, 0, 3]])
def test_marks_that_cannot_be(padded: object) -> None:
    mark = {"q": [3, 7, 5], "kv": [0, 0, 0], "logits": 3, "padded": padded}
    with pytest.raises(ValueError, match=r"not a step|shorter"):
        markers.decode_step(json.dumps(mark))


def test_a_mark_is_read_back() -> None:
    step = markers.decode_step(PADDED)
    assert step == Step((3, 7, 5), (0, 0, 0), 3, padded=Step.uniform(batch=3, q_tokens=7))
    assert (step.new_tokens, step.padding_tokens, step.executed.new_tokens) == (15, 6, 21)
