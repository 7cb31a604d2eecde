"""What is not counted makes lower bounds of a phase's numbers, and what may be too much upper ones, whoever asks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.model import load_model
from tests.support.ask import ask, report_of, table
from tests.support.trace_builder import TraceBuilder

MS = 1_000_000

TINY = AnalysisOptions(model=load_model("tiny-llama"), keep_cold=True)
LOWER = "SELECT phase, occurrence, is_lower_bound, is_upper_bound FROM phases ORDER BY start_ns"


def passes(*marked: tuple[str, str]) -> TraceBuilder:
    """Passes of a millisecond one after the other, with what their step marks say beside the shape."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for place, (phase, more) in enumerate(marked):
        at = place * MS
        main.push(at, at + MS - 10, phase, domain="llmperf").launch(at + 20, gpu=(at + 40, at + MS // 2))
        if phase != "backward":
            main.mark(at + 1, f'llmperf.step {{"q":8,"kv":0,"b":2,"logits":0{more}}}', domain="llmperf")
    return trace


@pytest.mark.parametrize("head", ["unknown", "apart"])
def test_a_head_that_is_left_out_makes_lower_bounds_of_forward_and_backward(head: str, tmp_path: Path) -> None:
    without = f',"head":"{head}"'
    trace = passes(("forward", without), ("backward", ""), ("forward", ""), ("backward", ""), ("forward", without))
    # The last pass trains nothing: a model without a head may have none.
    assert ask(trace, LOWER, tmp_path, options=TINY) == table(f"""
        phase,    occurrence, is_lower_bound, is_upper_bound
        forward,  0,          true,           false
        backward, 0,          true,           false
        forward,  1,          false,          false
        backward, 1,          false,          false
        forward,  2,          {str(head == "unknown").lower()},          false
    """)


def test_adapters_of_some_requests_make_lower_bounds_of_their_steps(tmp_path: Path) -> None:
    trace = passes(("prefill", ',"ids":[0,1],"adapters":1'), ("prefill", ',"ids":[2,3]'))
    assert ask(trace, LOWER, tmp_path, options=TINY) == table("""
        phase,   occurrence, is_lower_bound, is_upper_bound
        prefill, 0,          true,           false
        prefill, 1,          false,          false
    """)


def test_adapters_of_inference_make_lower_bounds(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    run = {"v": 1, "model": dict(load_model("tiny-llama").config), "dtype": "bfloat16", "adapters": 4}
    main.mark(0, f"llmperf.run {json.dumps(run)}", domain="llmperf").push(10, 90, "decode", domain="llmperf")
    main.mark(11, 'llmperf.step {"q":1,"kv":9,"b":2,"logits":2}', domain="llmperf").launch(20, gpu=(30, 60))
    (phase,) = report_of(trace, tmp_path).phases
    assert (phase.is_lower_bound, phase.is_upper_bound) == (True, False)
    assert [shape.is_lower_bound for shape in phase.shapes] == [True]


# Llama 3.1 8B reads 15.0 GB of weights in a step, and 8 x 8,000 tokens of 131,072 bytes: 8.4 GB. At 3.35 TB/s this
# takes 4.5 and 2.5 of the 8 ms.
@pytest.mark.parametrize(
    ("more", "said"),
    [
        # Of padding that nobody read a program may leave out the cache, but not the weights.
        ('"unread":true', "bytes 56–87%"),
        # Behind its end a sequence is computed all the same.
        ('"request":1,"written":1', "bytes 87%"),
    ],
)
def test_padding_takes_no_verdict_away_that_weights_or_what_ran_decide(more: str, said: str, tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    main.push(0, 9 * MS, "decode", domain="llmperf").launch(10, gpu=(100, 100 + 8 * MS))
    main.mark(1, f'llmperf.step {{"q":1,"kv":7999,"b":8,"logits":8,{more}}}', domain="llmperf")
    (phase,) = report_of(trace, tmp_path, AnalysisOptions(model=load_model("llama-3.1-8b"))).phases
    assert (phase.is_upper_bound, phase.bound) == (True, "memory-bound")
    assert said in (phase.bound_detail or "")
    assert [shape.bound for shape in phase.shapes] == ["memory-bound"]
