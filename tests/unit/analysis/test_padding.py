"""Batches with padding: what their marks make of tokens, FLOPs, MFU and HFU, by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from nsys_pipeline import markers
from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.model import Conventions, Model
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


def trace_of(*passes: tuple[str, str], behind: Sequence[str] = ()) -> TraceBuilder:
    """Passes one after the other, a microsecond each, all of it busy, and marks behind them."""
    trace = TraceBuilder()
    thread = trace.process().thread()
    for place, (phase, mark) in enumerate(passes):
        at = 2_000 * place
        thread.push(at, at + 1_000, phase, domain="llmperf")
        if mark:
            thread.mark(at + 1, f"llmperf.step {mark}", domain="llmperf")
        thread.launch(at + 10, gpu=(at + 100, at + 1_000), name=KERNELS.get(phase, "gemm"))
    for text in behind:
        thread.mark(2_000 * len(passes) + 1, text, domain="llmperf")
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


def test_ranks_that_share_a_batch_have_its_padding_once(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu(0).gpu(1)
    for rank in range(2):
        thread = trace.process(100 + rank).thread().push(0, 1_000, "prefill", domain="llmperf")
        thread.mark(1, f"llmperf.step {PADDED}", domain="llmperf")
        thread.launch(10, gpu=(100, 900), name="gemm", device=rank)
        thread.launch(20, gpu=(900, 1_000), name="ncclDevKernel_AllReduce_Sum_bf16_RING_LL", device=rank)
    model = Model.from_config(CONFIG)
    options = AnalysisOptions(model=model, conventions=Conventions(tp=2), is_degree_told=True, keep_cold=True)

    report = report_of(trace, tmp_path, options)

    assert report.phases[0].tokens == 15
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
    # Padding is in what ran, known or not.
    (phase,) = report.phases
    assert (phase.is_lower_bound, phase.is_upper_bound) == (False, True)
    assert (phase.is_tokens_upper_bound, phase.is_hfu_upper_bound) == (True, False)


STEPS = [
    ("prefill", '{"q":5,"kv":0,"b":3,"logits":3}'),
    *(("decode", f'{{"q":1,"kv":{4 + k},"b":3,"logits":3,"request":7,"written":{k}}}') for k in (1, 2, 3)),
]


def test_sequences_that_have_ended_are_padding(tmp_path: Path) -> None:
    """Prompts of 5, of which one token, four and three are written: two, two and one sequences go on in the steps."""
    report = analyzed(trace_of(*STEPS, behind=['llmperf.written {"request":7,"tokens":[1,4,3]}']), tmp_path)
    prefill, decode = report.phases
    assert (prefill.tokens, decode.tokens) == (15, 2 + 2 + 1)
    assert decode.flops == by_hand(5, 5, 2 * 6 + 2 * 7 + 8)
    assert decode.executed_flops == by_hand(9, 9, 3 * (6 + 7 + 8))
    assert decode.mfu_busy == pytest.approx(decode.flops / (1e15 * 2700e-9))
    assert decode.hfu_busy == pytest.approx(decode.executed_flops / (1e15 * 2700e-9))
    (finding,) = told(report, "padding")
    assert finding.message.startswith("44% of the tokens that decode computes are padding (4 of 9)")
    assert told(report, "ends_unknown") == told(report, "padding_unknown") == []
    assert [[one.shape for one in phase.shapes] for phase in report.phases] == [["3x5"], ["3x1"]]


def test_what_goes_on_costs_what_it_costs_alone(tmp_path: Path) -> None:
    """Bytes, too: of a sequence that has ended no cache is read."""
    mark = 'llmperf.written {"request":7,"tokens":[1,4,1]}'
    first, second = tmp_path / "ended", tmp_path / "alone"
    first.mkdir()
    second.mkdir()
    ended = analyzed(trace_of(*STEPS, behind=[mark]), first).phases[1]
    steps = [(phase, text.replace('"b":3,"logits":3', '"b":1,"logits":1')) for phase, text in STEPS]
    alone = analyzed(trace_of(*steps, behind=[mark.replace("[1,4,1]", "[4]")]), second).phases[1]
    assert ended.tokens == alone.tokens == 3
    assert (ended.flops, ended.bytes) == (alone.flops, alone.bytes)


def test_padded_prompts_and_several_sequences_for_each(tmp_path: Path) -> None:
    """Two prompts of 2 and 5, padded to 5, and two candidates of each: the first has ended."""
    mark = '{"q":1,"kv":[3,3,6,6],"logits":4,"padded":[1,6,4],"request":1,"written":1}'
    report = analyzed(trace_of(("decode", mark), behind=['llmperf.written {"request":1,"tokens":[1,2]}']), tmp_path)
    (decode,) = report.phases
    assert decode.flops == by_hand(2, 2, 2 * 7)
    assert decode.executed_flops == by_hand(4, 4, 4 * 7)


@pytest.mark.parametrize(
    "behind",
    [
        [],
        ['llmperf.written {"request":8,"tokens":[1,4,3]}'],
        ['llmperf.written {"request":7,"tokens":[1,4]}'],
        ['llmperf.written {"request":7,"tokens":"all"}'],
        ['llmperf.written {"request":7,"tokens":[1,4,3]}', 'llmperf.written {"request":7,"tokens":[3,4,3]}'],
    ],
)
def test_ends_that_nobody_told_of(behind: list[str], tmp_path: Path) -> None:
    report = analyzed(trace_of(*STEPS, behind=behind), tmp_path)
    assert report.phases[1].tokens == 9
    (finding,) = told(report, "ends_unknown")
    assert finding.phase == "decode"
    assert finding.message.startswith("3 of 3 passes of decode run for a batch in `generate`")
    assert told(report, "padding_unknown") == []


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
    assert markers.decode_step(markers.encode_step(step).partition(" ")[2]) == step
    unread = Step((1, 1), (3, 3), 2, is_unread=True)
    assert markers.decode_step(markers.encode_step(unread).partition(" ")[2]) == unread
    assert (step.new_tokens, step.padding_tokens, step.executed.new_tokens) == (15, 6, 21)
