"""What findings say is at stake leaves out warm-up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.model import load_model
from tests.support.ask import report_of
from tests.support.trace_builder import TraceBuilder

MS = 1_000_000
MODEL = load_model("tiny-llama")


def trained(*, head: str, backwards_of: list[list[int]] | None = None) -> TraceBuilder:
    """Three steps of a forward of 10 ms and a backward of 20; the first one warms up, and takes ten times as long."""
    trace = TraceBuilder().gpu()
    main, at = trace.process().thread(), 0
    for step in range(3):
        scale = 10 if step == 0 else 1
        start = at
        for phase, length, kernel in (("forward", 10, "gemm"), ("backward", 20, "gemm"), ("optimizer", 1, "adam")):
            end = at + length * scale * MS
            main.push(at, end, phase, domain="llmperf")
            if phase == "forward":
                mark = {"q": [16], "kv": [0], "logits": 16, "pass": step + 1, **({"head": head} if head else {})}
                main.mark(at + 1, f"llmperf.step {json.dumps(mark, separators=(',', ':'))}", domain="llmperf")
            main.launch(at + 2, gpu=(at + 3, end - MS // 2), name=kernel)
            if phase == "backward" and backwards_of is not None:
                main.mark(end - 1, f'llmperf.backward {{"of":{json.dumps(backwards_of[step])}}}', domain="llmperf")
            at = end
        if step == 0:
            main.push(start, at, "warmup", domain="llmperf")
    return trace


@pytest.mark.parametrize(
    ("code", "head", "of", "stake_ns"),
    [
        ("head_not_counted", "unknown", None, 2 * 10 * MS),
        ("head_apart", "apart", None, 2 * 10 * MS),
        ("backward_of_others", "", [[], [], [3]], 20 * MS),
    ],
)
def test_passes_of_warm_up_are_not_at_stake(
    code: str, head: str, of: list[list[int]] | None, stake_ns: int, tmp_path: Path
) -> None:
    report = report_of(trained(head=head, backwards_of=of), tmp_path, AnalysisOptions(model=MODEL))

    assert [one.at_stake_ns for one in report.findings if one.code == code] == [stake_ns]


def test_busy_time_of_warm_up_is_not_at_stake(tmp_path: Path) -> None:
    """Two ranks reduce in each decode, and nobody says whether they share it: 8 ms of each are measured, 80 are not."""
    trace = TraceBuilder().gpu(0).gpu(1)
    for rank in range(2):
        main = trace.process(100 + rank).thread().push(0, 100 * MS, "warmup", domain="llmperf")
        for at, scale in ((0, 10), (100 * MS, 1)):
            main.push(at, at + 10 * scale * MS, "decode", domain="llmperf")
            main.mark(at + 1, 'llmperf.step {"q":[1],"kv":[16],"logits":1}', domain="llmperf")
            end = at + 8 * scale * MS
            main.launch(at + 2, gpu=(at + 3, end), name="ncclDevKernel_AllReduce_Sum_bf16_RING_LL", device=rank)

    report = report_of(trace, tmp_path, AnalysisOptions(model=MODEL))

    (told,) = [one.at_stake_ns for one in report.findings if one.code == "parallel_degree_unknown"]
    assert told == 2 * (8 * MS - 3)
