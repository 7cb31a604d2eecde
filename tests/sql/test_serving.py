"""Requests and steps of an engine, from the marks of its workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.cli.gate import check_rules
from nsys_pipeline.compare.rules import Rule
from nsys_pipeline.errors import RuleBrokenError, UsageError
from nsys_pipeline.inputs import AnalysisOptions, GoodputLimits
from nsys_pipeline.query.recipes import find_recipe
from nsys_pipeline.records import Report
from nsys_pipeline.report.document import Note, Notes
from nsys_pipeline.report.sections import report_document
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.ask import ask, findings_of, open_session, report_of, table
from tests.support.trace_builder import TraceBuilder

OWN = "llmperf"


def step(thread: Any, at: int, end: int, phase: str, **mark: Any) -> None:
    """A marked step whose work on the GPU ends 5 ns after its range."""
    thread.push(at, end, phase, domain=OWN).mark(at + 1, f"llmperf.step {json.dumps(mark)}", domain=OWN)
    thread.launch(at + 2, gpu=(at + 3, end + 5))


def arrive(thread: Any, at: int, request: str, prompt: int, waited_ns: int = 0) -> None:
    text = json.dumps({"id": request, "prompt": prompt, "waited_ms": waited_ns / 1e6})
    thread.mark(at, f"llmperf.request {text}", domain=OWN)


def served() -> TraceBuilder:
    """A long prompt in two chunks, then one that finds 8 of its 10 tokens in the cache; the first one generates on."""
    trace = TraceBuilder().gpu()
    core = trace.process(100).thread()
    arrive(core, 1_000, "long", 20, waited_ns=400)
    arrive(core, 1_900, "short", 10)
    worker = trace.process(200).thread()
    step(worker, 1_500, 1_700, "prefill", q=[16], kv=[0], ids=[0], new={"0": "long"}, logits=1)
    step(worker, 2_000, 2_100, "mixed", q=[4, 2], kv=[16, 8], ids=[0, 1], new={"1": "short"}, logits=2)
    step(worker, 2_200, 2_300, "decode", q=1, kv=[20, 10], ids=[0, 1], logits=2)
    step(worker, 2_400, 2_500, "decode", q=1, kv=21, b=1, ids=[0], logits=1)
    return trace


def test_what_became_of_each_request(tmp_path: Path) -> None:
    query = (
        "SELECT request, waiting_ns, ttft_ns, tpot_ns, latency_ns, prompt_tokens AS prompt, reused_tokens AS reused, "
        "new_tokens AS new, prefill_steps AS chunks, steps FROM served_requests ORDER BY arrived_ns"
    )
    assert ask(served(), query, tmp_path) == table("""
        request, waiting_ns, ttft_ns, tpot_ns, latency_ns, prompt, reused, new, chunks, steps
        long,    900,        1505,    200.0,   1905,       20,     0,      3,   2,      4
        short,   100,        205,     200.0,   405,        10,     8,      2,   1,      2
    """)


def test_a_request_that_was_given_up_has_the_tokens_of_steps_that_were_done(tmp_path: Path) -> None:
    # given a request of three prompt tokens, which its client gives up while its third step runs; work ends 5 ns late
    trace = TraceBuilder()
    worker = trace.process().thread()
    arrive(worker, 5, "a", 3)
    step(worker, 10, 20, "prefill", q=3, kv=0, b=1, logits=1, ids=[0], new={"0": "a"})
    step(worker, 30, 40, "decode", q=1, kv=3, b=1, logits=1, ids=[0])
    step(worker, 50, 60, "decode", q=1, kv=4, b=1, logits=1, ids=[0])
    worker.mark(55, 'llmperf.request {"id":"a","given_up":true}', domain=OWN)

    columns = "request, arrived_ns, steps, new_tokens, last_token_ns"
    assert ask(trace, f"SELECT {columns} FROM served_requests", tmp_path) == table(
        """
        request,arrived_ns,steps,new_tokens,last_token_ns
        a,5,3,2,45
        """
    )


def test_a_request_that_was_given_up_before_its_first_token_has_none(tmp_path: Path) -> None:
    # given a request whose client leaves after 30 ms, while its prompt is computed; another has its token after 5 ms
    ms = 1_000_000
    trace = TraceBuilder()
    worker = trace.process().thread()
    arrive(worker, 0, "a", 3)
    arrive(worker, 20 * ms, "b", 3)
    step(worker, 20 * ms, 25 * ms, "prefill", q=3, kv=0, b=1, logits=1, ids=[1], new={"1": "b"})
    worker.mark(30 * ms, 'llmperf.request {"id":"a","given_up":true}', domain=OWN)
    step(worker, 28 * ms, 40 * ms, "prefill", q=3, kv=0, b=1, logits=1, ids=[0], new={"0": "a"})
    step(worker, 50 * ms, 90 * ms, "decode", q=1, kv=3, b=1, logits=1, ids=[1])

    columns = "request, ttft_ns // 1000000 AS ttft_ms, new_tokens, steps"
    assert ask(trace, f"SELECT {columns} FROM served_requests ORDER BY request", tmp_path) == table(
        """
        request,ttft_ms,new_tokens,steps
        a,,0,1
        b,5,2,2
        """
    )
    findings = report_of(tmp_path / "trace.sqlite", tmp_path).findings
    (told,) = [one for one in findings if one.code == "requests_unserved"]
    assert told.message.startswith("1 of 2 requests had no first token")
    assert "after up to 30 ms" in told.message


def test_a_batch_of_sglang_is_the_marked_pass_in_it(tmp_path: Path) -> None:
    """Its own range, of another domain, closes before the mark of the pass that it launched."""
    trace = TraceBuilder().gpu()
    worker = trace.process(200).thread()
    for at in (1_000, 2_000):
        worker.push(at, at + 100, "scheduler.run_batch")
        step(worker, at + 20, at + 110, "decode", q=1, kv=5, b=1, ids=[0], logits=1)
    # One that is not marked stays a step.
    worker.push(3_000, 3_100, "scheduler.run_batch").launch(3_010, gpu=(3_020, 3_050))
    query = "SELECT phase, count(*) AS n, sum(kernel_count) AS kernels FROM phases GROUP BY ALL ORDER BY ALL"
    assert ask(trace, query, tmp_path) == table("""
        phase,  n, kernels
        decode, 2, 2
        step,   1, 1
    """)


def test_batches_and_queue_over_time(tmp_path: Path) -> None:
    query = (
        "SELECT phase, requests, prefill_requests AS prefills, prefill_tokens, decode_tokens, cached_tokens, "
        "waiting_requests AS waiting, waiting_tokens, (tokens_per_s / 1e6)::INT AS rate FROM served_steps "
        "ORDER BY start_ns"
    )
    assert ask(served(), query, tmp_path) == table("""
        phase,   requests, prefills, prefill_tokens, decode_tokens, cached_tokens, waiting, waiting_tokens, rate
        prefill, 1,        1,        16,             0,             0,             1,       20,             78
        mixed,   2,        2,        6,              0,             24,            1,       14,             57
        decode,  2,        0,        0,              2,             30,            0,       0,              19
        decode,  1,        0,        0,              1,             21,            0,       0,              10
    """)


def test_ranks_of_a_job_serve_the_same_requests(tmp_path: Path) -> None:
    trace = served()
    other = trace.process(300).thread()
    step(other, 1_502, 1_704, "prefill", q=[16], kv=[0], ids=[0], new={"0": "long"}, logits=1)
    step(other, 2_002, 2_104, "mixed", q=[4, 2], kv=[16, 8], ids=[0, 1], new={"1": "short"}, logits=2)
    step(other, 2_202, 2_304, "decode", q=1, kv=[20, 10], ids=[0, 1], logits=2)
    step(other, 2_402, 2_504, "decode", q=1, kv=21, b=1, ids=[0], logits=1)
    query = "SELECT request, process_id, steps, new_tokens, ttft_ns FROM served_requests ORDER BY arrived_ns"
    # a token is there when the slowest rank has it
    assert ask(trace, query, tmp_path) == table("""
        request, process_id, steps, new_tokens, ttft_ns
        long,    300,        4,     3,          1509
        short,   300,        2,     2,          209
    """)


def test_of_each_step_the_last_rank_to_be_done_counts(tmp_path: Path) -> None:
    """One rank is the last with the prompt, the other with the last token; a preempted step comes twice."""
    trace = TraceBuilder().gpu()
    arrive(trace.process(100).thread(), 0, "a", 4)
    for pid, late in ((200, (50, 40, 0, 0)), (300, (0, 0, 0, 7))):
        worker = trace.process(pid).thread()
        for index, (phase, q, kv) in enumerate(
            (("prefill", 4, 0), ("decode", 1, 4), ("prefill", 4, 0), ("decode", 2, 4))
        ):
            at = 100 + 200 * index
            named = {"new": {"0": "a"}} if index == 0 else {}
            step(worker, at, at + 100 + late[index], phase, q=[q], kv=[kv], ids=[0], logits=1, **named)
    query = "SELECT request, steps, new_tokens, ttft_ns, latency_ns FROM served_requests"
    assert ask(trace, query, tmp_path) == table("""
        request, steps, new_tokens, ttft_ns, latency_ns
        a,       4,     3,          255,     812
    """)


def test_guesses_are_right_as_far_as_the_next_step_shows(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    arrive(trace.process(100).thread(), 0, "a", 10)
    worker = trace.process(200).thread()
    step(worker, 100, 200, "prefill", q=[10], kv=[0], ids=[0], new={"0": "a"}, logits=1)
    # two of three are right, then none of three, then the last token
    step(worker, 300, 400, "verify", q=[4], kv=[10], ids=[0], drafts=[3], logits=4)
    step(worker, 500, 600, "verify", q=[4], kv=[13], ids=[0], drafts=[3], logits=4)
    step(worker, 700, 800, "decode", q=[1], kv=[14], ids=[0], logits=1)
    query = "SELECT new_tokens, steps, draft_tokens, accepted_tokens, tpot_ns FROM served_requests"
    # 10 of the prompt make the first, positions 10, 11, 12 and 13 three more and one, position 14 the last
    assert ask(trace, query, tmp_path) == table("""
        new_tokens, steps, draft_tokens, accepted_tokens, tpot_ns
        6,          4,     6,            2,               120.0
    """)


def test_guesses_that_an_engine_counts_before_it_knows(tmp_path: Path) -> None:
    """It schedules a step while the one before runs, as if all guesses were right; the step after says which were."""
    trace = TraceBuilder().gpu()
    arrive(trace.process(100).thread(), 0, "a", 10)
    worker = trace.process(200).thread()
    step(worker, 100, 200, "prefill", q=[10], kv=[0], ids=[0], new={"0": "a"}, logits=1, ahead=True)
    step(worker, 300, 400, "verify", q=[4], kv=[10], ids=[0], drafts=[3], logits=4, ahead=True)
    # one of three was right: 12 are cached, not 14
    step(worker, 500, 600, "verify", q=[4], kv=[14], ids=[0], drafts=[3], logits=4, ahead=True)
    # and here no step after says it
    step(worker, 700, 800, "decode", q=[1], kv=[16], ids=[0], logits=1, ahead=True)
    query = "SELECT phase, cached_tokens FROM served_steps ORDER BY start_ns"
    assert ask(trace, query, tmp_path) == table("""
        phase,   cached_tokens
        prefill, 0
        verify,  10
        verify,  12
        decode,  13
    """)
    with open_trace(tmp_path / "trace.sqlite", TraceOptions(use_cache=False)) as opened:
        con = opened.connection
        report = analyze(opened, AnalysisOptions())
        shapes = con.execute("SELECT label FROM input.shapes JOIN input.occurrence_shapes USING (shape_id)").fetchall()
    assert {label for (label,) in shapes} == {"1x10 @0", "1x4 @10", "1x4 @12", "1x1 @13"}
    assert {phase.name: phase.tokens for phase in report.phases} == {"prefill": 10, "verify": 8, "decode": 1}


def test_adapters_are_said_not_to_be_counted(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    worker = trace.process(200).thread()
    step(worker, 100, 200, "prefill", q=[10, 9], kv=[0, 0], ids=[0, 1], logits=2, adapters=1)
    step(worker, 300, 400, "decode", q=1, kv=[10, 9], ids=[0, 1], logits=2, adapters=1)
    with open_trace(trace.write(tmp_path / "trace.sqlite"), TraceOptions(use_cache=False)) as opened:
        found = {finding.code: finding.message for finding in findings_of(opened)}
    assert found["adapters_not_counted"].startswith("2 sequences in 2 steps run through LoRA adapters")


def test_a_preempted_request_is_prefilled_again(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    arrive(trace.process(100).thread(), 0, "a", 4)
    worker = trace.process(200).thread()
    step(worker, 100, 200, "prefill", q=[4], kv=[0], ids=[0], new={"0": "a"}, logits=1)
    step(worker, 300, 400, "decode", q=[1], kv=[4], ids=[0], logits=1)
    step(worker, 500, 600, "prefill", q=[6], kv=[0], ids=[0], logits=1)
    step(worker, 700, 800, "decode", q=[1], kv=[6], ids=[0], logits=1)
    query = "SELECT preemptions, prompt_tokens, new_tokens, ttft_ns FROM served_requests"
    assert ask(trace, query, tmp_path) == table("""
        preemptions, prompt_tokens, new_tokens, ttft_ns
        1,           4,             4,          205
    """)


def test_a_request_that_began_before_the_recording(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    worker = trace.process(200).thread()
    step(worker, 100, 200, "decode", q=1, kv=[40], ids=[7], logits=1)
    step(worker, 300, 400, "decode", q=1, kv=[41], ids=[7], logits=1)
    query = "SELECT request, arrived_ns, ttft_ns, waiting_ns, new_tokens, steps FROM served_requests"
    answer = ask(trace, query, tmp_path).splitlines()[1].split(",")
    # its name was told before; how long its prompt was is not known
    assert (answer[0], answer[1:4], answer[5]) == ("200/7", ["", "", ""], "2")


def test_marks_that_contradict_themselves_are_left_out(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    worker = trace.process(200).thread()
    step(worker, 100, 200, "decode", q=[1, 1, 1], kv=[40], ids=[7], logits=1)
    step(worker, 300, 400, "decode", q=1, kv="x", ids=[7], logits=1)
    step(worker, 500, 600, "decode", q=1, kv=[3], ids={"a": 1}, logits=1)
    worker.push(700, 800, "decode", domain=OWN).mark(701, 'llmperf.step {"ids":[', domain=OWN)
    worker.mark(801, 'llmperf.request {"id":3,"waited_ms":1e999}', domain=OWN)
    worker.mark(802, "llmperf.request {", domain=OWN)
    assert ask(trace, "SELECT count(*) AS n FROM served_requests", tmp_path) == "n\n0"


def test_warm_up_is_said(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    worker = trace.process(200).thread()
    worker.push(50, 250, "warmup", domain=OWN)
    step(worker, 100, 200, "prefill", q=[4], kv=[0], ids=[0], new={"0": "_warmup_"}, logits=1)
    step(worker, 300, 400, "prefill", q=[4], kv=[0], ids=[1], new={"1": "real"}, logits=1)
    assert ask(trace, "SELECT request, is_warmup FROM served_requests ORDER BY 1", tmp_path) == table("""
        request,  is_warmup
        _warmup_, true
        real,     false
    """)


def test_goodput(tmp_path: Path) -> None:
    recipe = find_recipe("goodput")
    names = "requests, good_requests, ttft_misses, tpot_misses"
    query = f"SELECT {names} FROM ({recipe.sql})"
    for ttft_ns, tpot_ns, expected in ((2_000, 300, "2,2,0,0"), (1_000, 300, "2,1,1,0"), (1_000, 100, "2,0,1,2")):
        folder = tmp_path / f"{ttft_ns}-{tpot_ns}"
        folder.mkdir()
        limits = recipe.arguments({"ttft_ms": ttft_ns / 1e6, "tpot_ms": tpot_ns / 1e6})
        assert ask(served(), query, folder, limits).splitlines()[1] == expected


@pytest.mark.parametrize(
    ("limits", "good"),
    [
        # By hand: TTFT 1,505 and 205 ns, TPOT 200 ns, end to end 1,905 and 405 ns.
        ("ttft:0.002,tpot:1", 2), ("ttft:0.001,e2el:0.5us", 1), ("tpot:0.000199", 0),
    ],
)  # fmt: skip
def test_goodput_of_the_report(limits: str, good: int, tmp_path: Path) -> None:
    query = "SELECT good_requests AS good, (goodput_per_s * 1905 / 1e9)::INT AS rate FROM served_summary"
    found = ask(served(), query, tmp_path, options=AnalysisOptions(goodput=GoodputLimits.parse(limits)))
    assert found == f"good,rate\n{good},{good}"


def test_the_batch_over_time(tmp_path: Path) -> None:
    recipe = find_recipe("batch_over_time")
    numbers = "steps, requests, prefill_tokens AS prefill, decode_tokens AS decode, cached_tokens AS cached"
    waiting = "waiting_requests AS waiting, waiting_tokens, (tokens_per_s / 1e6)::INT AS rate"
    query = f"SELECT start_ns, {numbers}, {waiting}, stepping_ratio * 503 AS running FROM ({recipe.sql})"
    # 1,005 ns in two slices of 503: steps run in 205 + 3 ns of the first one, and in 102 + 105 + 105 of the second.
    assert ask(served(), query, tmp_path, recipe.arguments({"slices": 2})) == table("""
        start_ns, steps, requests, prefill, decode, cached, waiting, waiting_tokens, rate, running
        1500,     2,     1.5,      22,      0,      24,     1,       20,             44,   208.0
        2003,     2,     1.5,      0,       3,      30,     0,       0,              6,    312.0
    """)
    # Fewer than one slice is one.
    whole = ask(
        tmp_path / "trace.sqlite", f"SELECT steps FROM ({recipe.sql})", tmp_path, recipe.arguments({"slices": 0})
    )
    assert whole == table("""
        steps
        4
    """)


def test_steps_that_overlap_run_once(tmp_path: Path) -> None:
    """The second step begins and ends while the GPU still computes the first."""
    trace = TraceBuilder().gpu()
    worker = trace.process(200).thread()
    for index, (at, end) in enumerate(((1_000, 1_100), (1_110, 1_140), (1_500, 1_600))):
        mark = json.dumps({"q": 1, "kv": [20 + index], "ids": [0], "logits": 1})
        worker.push(at, end, "decode", domain=OWN).mark(at + 1, f"llmperf.step {mark}", domain=OWN)
        worker.launch(at + 2, gpu=(at + 3, (1_300, 1_200, 1_605)[index]))
    recipe = find_recipe("batch_over_time")
    query = f"SELECT start_ns, steps, (stepping_ratio * 303)::INT AS running FROM ({recipe.sql})"
    # 605 ns in two slices of 303: 300 ns run of the first one, and 105 of the second.
    assert ask(trace, query, tmp_path, recipe.arguments({"slices": 2})) == table("""
        start_ns, steps, running
        1000,     2,     300
        1303,     1,     105
    """)


def test_what_was_served_in_all(tmp_path: Path) -> None:
    """By hand: 30 prompt tokens, of which 8 were cached, in three chunks; 3 + 2 new tokens; from 600 to 2,505 ns."""
    query = (
        "SELECT requests, span_ns, new_tokens AS new, prompt_tokens AS prompt, reused_tokens AS reused, "
        "prefill_steps AS chunks, (new_tokens_per_s * span_ns / 1e9)::INT AS new_rate, "
        "(prompt_tokens_per_s * span_ns / 1e9)::INT AS prompt_rate, "
        "(requests_per_s * span_ns / 1e9)::INT AS rate, reused_ratio * 15 AS ratio FROM served_summary"
    )
    assert ask(served(), query, tmp_path) == table("""
        requests, span_ns, new, prompt, reused, chunks, new_rate, prompt_rate, rate, ratio
        2,        1905,    5,   30,     8,      3,      5,        22,          2,    4.0
    """)


def test_what_was_served_without_arrivals_or_beginnings(tmp_path: Path) -> None:
    """A request that began before the recording has no prompt in it, and the span begins with its first step."""
    trace = TraceBuilder().gpu()
    worker = trace.process(200).thread()
    step(worker, 1_000, 1_100, "decode", q=1, kv=20, b=1, ids=[0], new={"0": "early"}, logits=1)
    step(worker, 1_200, 1_300, "decode", q=1, kv=21, b=1, ids=[0], logits=1)
    query = (
        "SELECT requests, span_ns, prompt_tokens AS prompt, reused_tokens AS reused, reused_ratio FROM served_summary"
    )
    assert ask(trace, query, tmp_path) == table("""
        requests, span_ns, prompt, reused, reused_ratio
        1,        305,     ,       ,
    """)


def test_embeddings_are_no_tokens(tmp_path: Path) -> None:
    """A model that embeds computes no logits: its requests have a result, and neither a token nor a TTFT."""
    trace = TraceBuilder().gpu()
    core, worker = trace.process(100).thread(), trace.process(200).thread()
    arrive(core, 1_000, "one", 16)
    arrive(core, 1_000, "two", 20)
    step(worker, 1_100, 1_200, "prefill", q=[16, 16], kv=[0, 0], ids=[0, 1], new={"0": "one", "1": "two"}, logits=0)
    step(worker, 1_300, 1_400, "prefill", q=[4], kv=[16], ids=[1], logits=0)
    with open_trace(trace.write(tmp_path / "trace.sqlite"), TraceOptions(use_cache=False)) as opened:
        report = analyze(opened, AnalysisOptions(goodput=GoodputLimits.parse("e2el:0.3us")))
    served = report.served
    assert served is not None
    assert (served.requests, served.new_tokens, served.prompt_tokens, served.good_requests) == (2, 0, 36, 1)
    assert served.latency_p50_ns == (205 + 405) // 2
    assert report.requests[0].ttft_p50_ns is None
    assert "requests_unserved" not in {finding.code for finding in report.findings}
    notes = {note.label: note.text for note in notes_of_requests(report)}
    assert notes["latency"] == "p50 305 ns, from arrival to the result: no token was generated"
    assert "new tokens/s" not in notes["served"]


def test_requests_of_a_worker_whose_last_step_is_open_may_have_gone_on(tmp_path: Path) -> None:
    """nsys may lose the mark of the open step, too; a worker that closes its last step has served its requests."""
    trace = served()
    for pid, is_marked in ((300, True), (400, False)):
        worker = trace.process(pid).thread()
        step(worker, 2_600, 2_700, "prefill", q=[4], kv=[0], ids=[0], new={"0": f"of {pid}"}, logits=1)
        worker.push(2_800, None, "decode", domain=OWN)
        if is_marked:
            mark = json.dumps({"q": 1, "kv": 4, "b": 1, "ids": [0]})
            worker.mark(2_801, f"llmperf.step {mark}", domain=OWN)
    # An open range that is no step says nothing about steps.
    trace.process(200).thread().push(2_900, None, "poll")
    query = "SELECT request_count AS cut, of FROM findings.requests_cut_short"
    assert ask(trace, query, tmp_path) == "cut,of\n2,4"


def test_requests_with_cold_steps_count_in_rates_and_latencies_alike(tmp_path: Path) -> None:
    """The first of three requests waits for a step that compiles: left out of the phases, not of what clients saw."""
    trace = TraceBuilder().gpu()
    core, worker = trace.process(100).thread(), trace.process(200).thread()
    for number in range(3):
        at, took = 100_000_000 * number, 60_000_000 if number == 0 else 2_000_000
        arrive(core, at, f"r{number}", 4)
        named = {"new": {str(number): f"r{number}"}}
        step(worker, at + 1_000_000, at + 1_000_000 + took, "prefill", q=[4], kv=[0], ids=[number], logits=1, **named)
        for index in range(3):
            begin = at + 70_000_000 + 3_000_000 * index
            step(worker, begin, begin + 2_000_000, "decode", q=[1], kv=[4 + index], ids=[number], logits=1)
    with open_trace(trace.write(tmp_path / "trace.sqlite"), TraceOptions(use_cache=False)) as opened:
        report = analyze(opened, AnalysisOptions())
    (prefill,) = (phase for phase in report.phases if phase.name == "prefill")
    (row,), served = report.requests, report.served
    assert served is not None
    assert prefill.cold_occurrences == 1
    assert (row.requests, served.requests, served.cold_requests) == (3, 3, 1)
    # Arrival to the end of the prefill's work on the GPU: 61, 3 and 3 ms.
    assert row.ttft_p50_ns == 3_000_005
    (section,) = (one for one in report_document(report).sections if one.name == "requests")
    assert section.title is not None
    assert section.title.endswith("; served: cold steps counted")
    notes = {note.label: note.text for note in notes_of_requests(report)}
    assert notes["cold"].startswith("1 of 3 requests had a step")


def notes_of_requests(report: Report) -> list[Note]:
    (section,) = (one for one in report_document(report).sections if one.name == "requests")
    return [note for block in section.blocks if isinstance(block, Notes) for note in block.notes]


@pytest.fixture(scope="module")
def served_report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("served")
    (folder / "run.json").write_text('{"load_s": 2.5}')
    return report_of(served(), folder)


def with_served(report: Report, **changes: Any) -> Report:
    assert report.served is not None
    return attrs.evolve(report, served=attrs.evolve(report.served, **changes))


def test_the_report_says_what_was_served(served_report: Report) -> None:
    assert served_report.served is not None
    told = served_report.served
    assert (told.requests, told.new_tokens, told.load_ns, told.good_requests) == (2, 5, 2_500_000_000, None)
    notes = {note.label: note.text for note in notes_of_requests(served_report)}
    assert notes == {
        "served": "2 requests in 1.905 µs, from the first arrival or step to the last token: 2,624,672 new tokens/s, "
        "1,049,869 requests/s, 11,548,556 tokens/s of prompts computed",
        "cached": "8 of 30 prompt tokens (26.7%) were found in the cache; the others took 3 chunks",
        "clocks": "the load ran 2.5 s by its own clock, and the trace has requests for 1.905 µs: the difference is "
        "the load's start and end, and the way to the server and back",
    }


def test_rules_about_what_was_served(served_report: Report) -> None:
    # As with `--goodput ttft:0.001`: one request within 1,905 ns.
    report = with_served(served_report, good_requests=1, goodput_per_s=1e9 / 1905)
    rules = (
        "served.ttft_p50 > 0.8us",
        "served.tpot_p50_ns > 199",
        "served.new_tokens_per_s < 3M",
        "served.reused_ratio < 30%",
    )
    check_rules([Rule.parse("served.goodput_per_s < 1")], report)
    for rule in (*rules, "served.goodput_per_s < 1M"):
        with pytest.raises(RuleBrokenError):
            check_rules([Rule.parse(rule)], report)
    with pytest.raises(UsageError, match="is not known") as caught:
        check_rules([Rule.parse("served.goodput_per_s < 1")], served_report)
    assert "--goodput ttft:" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="no number called") as caught:
        check_rules([Rule.parse("served.throughput < 1")], served_report)
    hint = caught.value.hint or ""
    assert hint.startswith("`served` has accepted_tokens, cold_requests,")
    assert all(name in hint for name in ("goodput_per_s", "new_tokens_per_s", "ttft_p90_ns", "tpot_p99_ns"))


def test_what_is_no_name_of_an_engine_throws_no_tokens_away(tmp_path: Path) -> None:
    trace = served()
    trace.process(400).thread().mark(1_400, 'llmperf.run {"framework":["sglang"]}', domain=OWN)
    told = report_of(trace, tmp_path).served
    assert told is not None
    assert not told.may_count_discarded


def test_tokens_that_sglang_throws_away_are_said_to_count(tmp_path: Path) -> None:
    trace = served()
    trace.process(400).thread().mark(1_400, 'llmperf.run {"framework":"sglang"}', domain=OWN)
    told = report_of(trace, tmp_path)
    assert [
        sum("which nobody gets" in note.text for note in notes_of_requests(one))
        for one in (told, with_served(told, may_count_discarded=False))
    ] == [1, 0]


def test_requests_of_others_are_said_to_be_in_the_trace(served_report: Report) -> None:
    """The load ran for 1.5 µs, and the trace has requests for 1.905 µs."""
    notes = {note.label: note.text for note in notes_of_requests(with_served(served_report, load_ns=1_500))}
    assert notes["clocks"].endswith(
        "for 1.905 µs: requests that the load did not wait for, or those of others, are in the trace, and all rates "
        "include them"
    )


def unmarked() -> TraceBuilder:
    trace = TraceBuilder().gpu()
    trace.process(200).thread().push(0, 90, "execute_context_1(7)_generation_0(0)").launch(10, gpu=(20, 80))
    return trace


def test_what_texts_of_engines_say_of_a_batch(tmp_path: Path) -> None:
    """Requests and tokens of each kind, cached ones from sums alone; nothing of guesses or queues."""
    texts = (
        "execute_context_1(7)_generation_2(2)",
        # Contexts of 4 + 3 and 0 + 3 tokens, one request that generates with 9 in the cache.
        "execute_7_context_2(sq6sk10sqsq18sqsk30)_generation_1(sq1sk10sqsq1sqsk10)",
        "[Executor] _forward_step 3: 1 ctx reqs, 5 ctx tokens, 4 gen reqs",
        "step[MIXED bs=3 toks=9]",
        "step[TARGET_VERIFY bs=2]",
        "scheduler.run_batch",
    )
    trace = TraceBuilder().gpu()
    worker = trace.process(200).thread()
    for index, text in enumerate(texts):
        worker.push(1_000 * index, 1_000 * index + 500, text).launch(
            1_000 * index + 10, gpu=(1_000 * index + 20, 1_000 * index + 80)
        )
    query = (
        "SELECT phase, requests AS n, prefill_requests AS prefills, prefill_tokens AS prompt, decode_tokens AS decode, "
        "draft_tokens AS drafts, cached_tokens AS cached, waiting_requests AS waiting, waiting_tokens AS wait, "
        "(tokens_per_s / 2e6)::INT AS rate FROM served_steps ORDER BY start_ns"
    )
    assert ask(trace, query, tmp_path) == table("""
        phase,  n, prefills, prompt, decode, drafts, cached, waiting, wait, rate
        mixed,  3, 1,        7,      2,      ,       ,       ,        ,     9
        mixed,  3, 2,        6,      1,      ,       13,     ,        ,     7
        mixed,  5, 1,        5,      ,       ,       ,       ,        ,
        mixed,  3, ,         ,       ,       ,       ,       ,        ,     9
        verify, 2, 0,        0,      ,       ,       ,       ,        ,
    """)


def test_marks_win_over_texts_of_engines(tmp_path: Path) -> None:
    trace = served()
    worker = trace.process(200).thread()
    worker.push(1_490, 1_710, "execute_context_1(16)_generation_0(0)")
    worker.push(2_600, 2_700, "execute_context_0(0)_generation_2(2)").launch(2_610, gpu=(2_620, 2_650))
    query = (
        "SELECT phase, requests, cached_tokens AS cached, waiting_tokens AS wait FROM served_steps ORDER BY start_ns"
    )
    assert ask(trace, query, tmp_path) == table("""
        phase,   requests, cached, wait
        prefill, 1,        0,      20
        mixed,   2,        24,     14
        decode,  2,        30,     0
        decode,  1,        21,     0
        decode,  2,        ,
    """)


def test_the_batch_over_time_of_texts(tmp_path: Path) -> None:
    """A slice with a step whose tokens nobody says has no tokens, rather than those of the others."""
    trace = TraceBuilder().gpu()
    worker = trace.process(200).thread()
    for at, text in (
        (0, "execute_context_1(7)_generation_2(2)"),
        (1_000, "[Executor] _forward_step: 1 ctx reqs, 4 gen reqs"),
    ):
        worker.push(at, at + 500, text).launch(at + 10, gpu=(at + 20, at + 80))
    recipe = find_recipe("batch_over_time")
    query = (
        f"SELECT steps, prefill_tokens AS prefill, decode_tokens AS decode, waiting_tokens AS wait FROM ({recipe.sql})"
    )
    assert ask(trace, query, tmp_path, recipe.arguments({"slices": 2})) == table("""
        steps, prefill, decode, wait
        1,     7,       2,
        1,     ,        ,
    """)


def test_why_nothing_is_known_of_requests(tmp_path: Path) -> None:
    with open_session(unmarked(), tmp_path, None) as session:
        assert session.findings("FROM phases") == []
        (found,) = session.findings("FROM served_steps")
        assert (found.code, found.severity) == ("requests_not_marked", "info")
        assert found.message.startswith("1 steps of an engine do not say which requests they serve")
        assert found.hint is not None
        assert "`--profile`" in found.hint
        # Told once, and only to those who ask for requests.
        assert session.findings("FROM served_requests") == []
    with open_trace(tmp_path / "trace.sqlite", TraceOptions(use_cache=False)) as trace:
        report = analyze(trace, AnalysisOptions())
    assert "requests_not_marked" in {finding.code for finding in report.findings}
    assert report.served is None


def test_marked_steps_need_no_reason(tmp_path: Path) -> None:
    with open_session(served(), tmp_path, None) as session:
        assert session.findings("FROM served_steps") == []


def test_the_report_has_their_latency(served_report: Report) -> None:
    (row,) = served_report.requests
    assert (row.shape, row.requests, row.ttft_p50_ns, row.tpot_p50_ns) == ("served", 2, 855, 200)
