"""Engines in contexts where their numbers need a word: requests that are given up, ids that are no clients', …"""

from __future__ import annotations

import json

import pytest

from tests.cli.public_reports.test_served_requests import arrive, serve
from tests.cli.run import MS, Cli, run
from tests.support.trace_builder import TraceBuilder


def test_requests_that_their_clients_give_up_are_told(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    worker = trace.process(100)
    for number, name in enumerate(("a", "b")):
        arrive(worker, 1_000 * number, name)
        serve(worker, 1_000 * number + 20, name, number=number)
    worker.thread().mark(1_300, 'llmperf.request {"id":"b","given_up":true}', domain="llmperf")

    code, out, err = run(cli.capsys, "analyze", cli.write(trace), "--goodput", "ttft:300", "--no-cache")

    assert code == 0, err
    assert "1 of 2 requests were ended by their client, or by the server at a stop string" in " ".join(out.split())


def test_a_request_waits_for_the_first_stage_of_a_pipeline(cli: Cli) -> None:
    """Two stages of 10 ms each; prompts of 10 tokens that come at 0, in batches of their own."""
    trace = TraceBuilder().gpu(0).gpu(1)
    stages = [trace.process(100), trace.process(101)]
    for rank, stage in enumerate(stages):
        stage.thread().mark(0, f'llmperf.run {{"v":1,"rank":{rank},"world":2,"pp":2}}', domain="llmperf")
    for number, name in enumerate("ab"):
        arrive(stages[0], 0, name)
        for rank, stage in enumerate(stages):
            start = 10 * MS * (1 + number + rank)
            stage.thread().push(start, start + 10 * MS, "prefill", domain="llmperf")
            mark = {"q": [10], "kv": [0], "ids": [number], "logits": rank, "new": {str(number): name}}
            stage.thread().mark(start + 1, f"llmperf.step {json.dumps(mark)}", domain="llmperf")

    rows, _ = cli.sql(
        trace, "SELECT waiting_ns / 1e6 AS waiting, ttft_ns / 1e6 AS ttft FROM served_requests ORDER BY ALL"
    )
    steps, _ = cli.sql(trace, "SELECT start_ns / 1e6 AS at, waiting_requests FROM served_steps ORDER BY ALL")

    assert rows == [{"waiting": 10, "ttft": 30}, {"waiting": 20, "ttft": 40}]
    assert [(row["at"], row["waiting_requests"]) for row in steps] == [(10, 2), (20, 1), (20, 1), (30, 0)]


def test_a_prompt_that_the_recording_cuts_is_not_computed_whole(cli: Cli) -> None:
    """A prompt of 100 tokens of which 30 are in the cache and 40 are computed before the end, beside one of 10."""
    trace = TraceBuilder().gpu()
    worker = trace.process(100)
    arrive(worker, 0, "a")
    serve(worker, 0, "a")
    worker.thread().mark(500, 'llmperf.request {"id":"b","prompt":100,"waited_ms":0}', domain="llmperf")
    worker.thread().push(900, 1_000, "prefill", domain="llmperf")
    worker.thread().mark(901, 'llmperf.step {"q":[40],"kv":[30],"ids":[1],"new":{"1":"b"}}', domain="llmperf")

    report = cli.analyze(trace)

    served = report["served"]
    assert [served[name] for name in ("prompt_tokens", "reused_tokens", "computed_tokens")] == [110, 30, 50]
    assert served["prompt_tokens_per_s"] == 50 / 1_000 * 1e9


def test_guesses_of_the_last_step_are_in_no_share(cli: Cli) -> None:
    """Two steps of three guesses each behind a prompt of 10 tokens, of the first of which two were right."""
    trace = TraceBuilder().gpu()
    worker = trace.process(100)
    arrive(worker, 0, "a")
    for at, name, tokens, cached in ((100, "prefill", 10, 0), (200, "verify", 4, 10), (300, "verify", 4, 13)):
        worker.thread().push(at, at + 90, name, domain="llmperf").launch(at + 2, gpu=(at + 3, at + 80))
        guesses = {"drafts": [3]} if cached else {"new": {"0": "a"}}
        mark = {"q": [tokens], "kv": [cached], "ids": [0], "logits": tokens} | guesses
        worker.thread().mark(at + 1, f"llmperf.step {json.dumps(mark)}", domain="llmperf")

    code, out, err = run(cli.capsys, "analyze", cli.write(trace), "--no-cache")
    rows, _ = cli.sql(trace, "SELECT draft_tokens, judged_tokens, accepted_tokens, new_tokens FROM served_requests")

    assert code == 0, err
    assert "2 of 3 guessed tokens (66.7%) were right" in out
    assert "3 more, in the last steps of requests" in " ".join(out.split())
    assert rows == [{"draft_tokens": 6, "judged_tokens": 3, "accepted_tokens": 2, "new_tokens": 5}]


def test_the_forward_inside_a_step_of_tensorrt_llm_is_a_part_of_it(cli: Cli) -> None:
    """Its model engine opens a range of its own inside the executor's, in all steps but replays of CUDA graphs."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for number, (context, generation) in enumerate(((1, 0), (1, 2), (0, 3))):
        at = number * 20 * MS
        text = (
            f"[Executor] _forward_step {number}: {context} ctx reqs, {64 * context} ctx tokens, {generation} gen reqs"
        )
        main.push(at, at + 10 * MS, text).push(at + MS, at + 9 * MS, "_forward_step")
        main.launch(at + 2 * MS, gpu=(at + 3 * MS, at + 8 * MS))

    report = cli.analyze(trace)

    phases = {one["name"]: (one["occurrences"], one["gpu_busy_ns"]) for one in report["phases"]}
    assert phases == dict.fromkeys(("prefill", "mixed", "decode"), (1, 5 * MS))
    assert "nested_phases" not in {one["code"] for one in report["findings"]}


def test_requests_that_go_on_behind_a_window_are_told(cli: Cli) -> None:
    """Three requests one after the other, of a prompt and two steps each, a thousand apart."""
    trace = TraceBuilder().gpu()
    worker = trace.process(100)
    for number, name in enumerate("abc"):
        arrive(worker, 1_000 * number, name)
        serve(worker, 1_000 * number + 100, name, number=number)

    def told(*options: object) -> list[str]:
        report = cli.analyze(trace, *options)
        return [one["message"] for one in report["findings"] if one["code"] == "requests_go_on"]

    assert told() == []
    assert told("--to", 1.5e-6) == []
    (message,) = told("--to", 1.25e-6)
    assert message.startswith("1 of 2 requests go on behind the window")


def test_guesses_that_a_step_ahead_counts_as_cached_are_no_tokens(cli: Cli) -> None:
    """Each mark counts all guesses of the step before; of the first two were right, of the second nothing tells."""
    trace = TraceBuilder().gpu()
    worker = trace.process(100)
    arrive(worker, 0, "a")
    steps = (
        (100, "prefill", 10, 0, 0),
        (200, "verify", 4, 10, 3),
        (300, "verify", 4, 14, 3),
        (400, "verify", 4, 17, 3),
    )
    for at, name, tokens, cached, guesses in steps:
        worker.thread().push(at, at + 90, name, domain="llmperf").launch(at + 2, gpu=(at + 3, at + 80))
        more = {"drafts": [guesses]} if guesses else {"new": {"0": "a"}}
        mark = {"q": [tokens], "kv": [cached], "ids": [0], "logits": tokens, "ahead": True} | more
        worker.thread().mark(at + 1, f"llmperf.step {json.dumps(mark)}", domain="llmperf")

    rows, _ = cli.sql(trace, "SELECT draft_tokens, judged_tokens, accepted_tokens, new_tokens FROM served_requests")

    # One of the prompt, three of the first step, one of each later one; it had counted as eight.
    assert rows == [{"draft_tokens": 9, "judged_tokens": 3, "accepted_tokens": 2, "new_tokens": 6}]


@pytest.mark.parametrize("names", [("x-a0a0a0a0", "x-b1b1b1b1"), ("x-a0a0a0a0", "x-a0a0a0a0"), ("x", "y")])
def test_names_to_which_vllm_adds_random_digits(names: tuple[str, str], cli: Cli) -> None:
    """A prompt of 10 tokens in one engine, its last token and two steps in another, which got the cache."""
    trace = TraceBuilder().gpu(0).gpu(1)
    engines = [trace.process(100), trace.process(101)]
    for number, (engine, name) in enumerate(zip(engines, names, strict=True)):
        engine.thread().mark(0, 'llmperf.run {"v":1,"rank":0,"world":1,"tp":1}', domain="llmperf")
        arrive(engine, 100 * number, name)
    steps = [(0, 10, "prefill", 10, 0), (1, 200, "prefill", 1, 9), (1, 300, "decode", 1, 10), (1, 400, "decode", 1, 11)]
    for number, at, phase, tokens, cached in steps:
        thread = engines[number].thread()
        thread.push(at, at + 90, phase, domain="llmperf").launch(at + 2, gpu=(at + 3, at + 80), device=number)
        mark = {"q": [tokens], "kv": [cached], "ids": [0], "logits": 1}
        if phase == "prefill":
            mark["new"] = {"0": names[number]}
        thread.mark(at + 1, f"llmperf.step {json.dumps(mark)}", domain="llmperf")

    rows, err = cli.sql(trace, "SELECT request, ttft_ns, new_tokens FROM served_requests ORDER BY ALL")
    in_steps, _ = cli.sql(trace, "SELECT count(*) AS n FROM served_steps WHERE requests = 1")

    if names == ("x", "y"):
        assert [row["new_tokens"] for row in rows] == [1, 3]
    else:
        assert rows == [{"request": names[1], "ttft_ns": 290, "new_tokens": 3}]
    assert in_steps == [{"n": 4}]
    assert "had no first token" not in err
