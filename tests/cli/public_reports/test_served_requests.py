"""Requests of engines: their names and tokens, those that several engines serve, those without an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.run import MS, Cli
from tests.support.trace_builder import ProcessBuilder, TraceBuilder


def arrive(process: ProcessBuilder, at: int, name: str) -> None:
    process.thread().mark(at, f'llmperf.request {{"id":"{name}","prompt":10,"waited_ms":0}}', domain="llmperf")


def serve(process: ProcessBuilder, at: int, name: str, *, number: int = 0, device: int = 0) -> None:
    """A prompt of 10 tokens and two decode steps, of 100 ns each, one after the other from `at` on."""
    thread = process.thread()
    for step in range(3):
        start = at + 100 * step
        thread.push(start, start + 90, "decode" if step else "prefill", domain="llmperf")
        thread.launch(start + 2, gpu=(start + 3, start + 80), device=device)
        mark: dict[str, Any] = {"q": [1 if step else 10], "kv": [9 + step if step else 0], "ids": [number], "logits": 1}
        if not step:
            mark["new"] = {str(number): name}
        thread.mark(start + 1, f"llmperf.step {json.dumps(mark)}", domain="llmperf")


def test_requests_that_are_never_served_are_told(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    server, worker = trace.process(100), trace.process(200)
    for number, name in enumerate(("a", "b", "c")):
        arrive(server, 10 * number, name)
        if name != "b":
            serve(worker, 1_000 * MS * (number + 1), name, number=number)
    # It had not waited for as long as the others do.
    arrive(server, 3_000 * MS - 50, "d")

    report = cli.analyze(trace)

    (found,) = [one for one in report["findings"] if one["code"] == "requests_unserved"]
    assert found["message"].startswith(
        "1 of 4 requests had no first token when the recording ended or their client gave them up, after up to 3,000 ms"
    )
    assert report["requests"][0]["requests"] == 2


def test_engines_may_give_requests_the_same_names(cli: Cli) -> None:
    trace = TraceBuilder().gpu(0).gpu(1)
    for engine in range(2):
        worker = trace.process(100 + engine)
        worker.thread().mark(0, 'llmperf.run {"v":1,"rank":0,"world":1,"tp":1}', domain="llmperf")
        for number in range(2):
            at = 1_000 * (number + 1) + 10 * engine
            arrive(worker, at, str(number))
            serve(worker, at + 20 + 5 * engine, str(number), number=number, device=engine)

    rows, err = cli.sql(trace, "SELECT request, process_id, ttft_ns, new_tokens FROM served_requests ORDER BY ALL")

    expected = [(str(number), 100 + engine, 110 + 5 * engine, 3) for number in range(2) for engine in range(2)]
    assert [tuple(row.values()) for row in rows] == expected
    assert "have one name" not in err


def test_names_that_two_clients_give_are_told(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    worker = trace.process(100)
    for number in range(2):
        arrive(worker, 1_000 * number, "id")
        serve(worker, 1_000 * number + 20, "id", number=number)

    _, err = cli.sql(trace, "FROM served_requests")

    # `same_request_names`
    assert "several requests have one name, 1 such names in all" in err


def test_an_engine_that_computes_prompts_for_another(cli: Cli) -> None:
    trace = TraceBuilder().gpu(0).gpu(1)
    first, second = trace.process(100), trace.process(101)
    for worker in (first, second):
        worker.thread().mark(0, 'llmperf.run {"v":1,"rank":0,"world":1,"tp":1}', domain="llmperf")
    arrive(first, 0, "a")
    for worker, device, at, step in (
        (first, 0, 100, {"q": [10], "kv": [0], "new": {"0": "a"}}),
        (second, 1, 300, {"q": [1], "kv": [10], "new": {"0": "a"}}),
        (second, 1, 500, {"q": [1], "kv": [11]}),
    ):
        worker.thread().push(at, at + 90, "decode", domain="llmperf").launch(at + 2, (at + 3, at + 80), device=device)
        worker.thread().mark(at + 1, f"llmperf.step {json.dumps({'ids': [0], 'logits': 1} | step)}", domain="llmperf")

    rows, _ = cli.sql(trace, "SELECT request, process_id, arrived_ns, reused_tokens FROM served_requests")

    assert [tuple(row.values()) for row in rows] == [("a", 101, 0, 0)]


def test_the_wait_at_the_second_of_two_engines_is_in_the_ttft(cli: Cli) -> None:
    """A prompt of 100 tokens in two chunks, from 10 ms on; the other engine begins at 500."""
    trace = TraceBuilder().gpu(0).gpu(1)
    first, second = trace.process(100), trace.process(101)
    for worker in (first, second):
        worker.thread().mark(0, 'llmperf.run {"v":1,"rank":0,"world":1,"tp":1}', domain="llmperf")
    for worker, at in ((first, 0), (second, 25 * MS)):
        worker.thread().mark(at, 'llmperf.request {"id":"a","prompt":100,"waited_ms":0}', domain="llmperf")
    steps = [(first, 0, 10, 64, 0), (first, 0, 20, 36, 64)] + [(second, 1, 500 + 10 * n, 1, 99 + n) for n in range(4)]
    for worker, device, at, tokens, cached in steps:
        start = at * MS
        worker.thread().push(start, start + 9 * MS, "decode" if device else "prefill", domain="llmperf")
        worker.thread().launch(start + 2, (start + MS, start + 8 * MS), device=device)
        mark: dict[str, Any] = {"q": [tokens], "kv": [cached], "ids": [0], "logits": 1}
        if cached in (0, 99):
            mark["new"] = {"0": "a"}
        worker.thread().mark(start + 1, f"llmperf.step {json.dumps(mark)}", domain="llmperf")

    (request,), err = cli.sql(
        trace,
        "SELECT process_id, waiting_ns / 1e6 AS waiting, ttft_ns / 1e6 AS ttft, tpot_ns / 1e6 AS tpot, reused_tokens, "
        "new_tokens, prefill_steps FROM served_requests",
    )
    (summary,), _ = cli.sql(trace, "SELECT requests, prompt_tokens_per_s, span_ns / 1e6 AS span FROM served_summary")

    assert request == {
        "process_id": 101, "waiting": 10, "ttft": 509, "tpot": 10, "reused_tokens": 0, "new_tokens": 4,
        "prefill_steps": 3,
    }  # fmt: skip
    assert summary == {"requests": 1, "prompt_tokens_per_s": pytest.approx(100 / 0.539), "span": 539}
    assert "had no first token" not in err


@pytest.mark.parametrize("does_decode", [False, True])
def test_a_cache_that_another_engine_gets_in_blocks(does_decode: bool, cli: Cli) -> None:
    """Of a prompt of 100 tokens, 96 are sent in blocks of 16; the engine that decodes computes four."""
    trace = TraceBuilder().gpu(0).gpu(1)
    first, second = trace.process(100), trace.process(101)
    for worker, at in ((first, 0), (second, 55 * MS)):
        worker.thread().mark(0, 'llmperf.run {"v":1,"rank":0,"world":1,"tp":1}', domain="llmperf")
        worker.thread().mark(at, 'llmperf.request {"id":"a","prompt":100,"waited_ms":0}', domain="llmperf")
    steps = [
        (first, 0, 10, "prefill", 0, 100, 0),
        *([(first, 0, 30, "decode", 1, 1, 70)] if does_decode else []),
        (second, 1, 80, "prefill", 0, 4, 96),
        *((second, 1, 100 + 10 * n, "decode", 0, 1, 100 + n) for n in range(3)),
    ]
    for worker, device, at, name, number, tokens, cached in steps:
        start = at * MS
        worker.thread().push(start, start + 9 * MS, name, domain="llmperf")
        worker.thread().launch(start + 2, (start + MS, start + 8 * MS), device=device)
        mark: dict[str, Any] = {"q": [tokens], "kv": [cached], "ids": [number], "logits": 1}
        if cached in (0, 70, 96):
            mark["new"] = {str(number): "b" if number else "a"}
        worker.thread().mark(start + 1, f"llmperf.step {json.dumps(mark)}", domain="llmperf")

    rows, _ = cli.sql(
        trace,
        "SELECT process_id, ttft_ns / 1e6 AS ttft, new_tokens, reused_tokens FROM served_requests WHERE request = 'a' "
        "ORDER BY ALL",
    )

    # An engine that decodes, too, may have had another request of that name.
    others = [{"process_id": 100, "ttft": 19, "new_tokens": 1, "reused_tokens": 0}]
    apart = [*others, {"process_id": 101, "ttft": 34, "new_tokens": 4, "reused_tokens": 96}]
    assert rows == (apart if does_decode else [{"process_id": 101, "ttft": 89, "new_tokens": 4, "reused_tokens": 0}])


def served(*steps: tuple[str, int, int, dict[str, Any]]) -> TraceBuilder:
    """Steps of one request of 10 tokens: phase, new and cached tokens, and what else its mark says."""
    trace = TraceBuilder().gpu()
    trace.process(100).thread().mark(0, 'llmperf.request {"id":"a","prompt":10,"waited_ms":0}', domain="llmperf")
    worker = trace.process(200).thread()
    for number, (name, tokens, cached, more) in enumerate(steps):
        at = 100 + 200 * number
        worker.push(at, at + 100, name, domain="llmperf").launch(at + 2, gpu=(at + 3, at + 105))
        mark = {"q": [tokens], "kv": [cached], "ids": [0], "logits": 1, **more}
        worker.mark(at + 1, f"llmperf.step {json.dumps(mark)}", domain="llmperf")
    return trace


def test_each_chunk_of_a_prompt_has_its_own_tokens(cli: Cli) -> None:
    first = {"new": {"0": "a"}, "logits": 0}
    trace = served(
        ("prefill", 4, 0, first), ("prefill", 4, 4, {"logits": 0}), ("prefill", 2, 8, {}), ("decode", 1, 10, {})
    )

    rows, _ = cli.sql(trace, "SELECT prefill_tokens, decode_tokens FROM served_steps ORDER BY start_ns")

    assert [tuple(row.values()) for row in rows] == [(4, 0), (4, 0), (2, 0), (0, 1)]


def test_what_is_computed_again_was_not_found_in_the_cache(cli: Cli) -> None:
    again = ("prefill", 4, 8, {"ids": [1], "new": {"1": "a"}})
    trace = served(
        ("prefill", 10, 0, {"new": {"0": "a"}}), ("decode", 1, 10, {}), again, ("decode", 1, 12, {"ids": [1]})
    )

    rows, _ = cli.sql(trace, "SELECT prompt_tokens, reused_tokens, new_tokens, preemptions FROM served_requests")

    assert [tuple(row.values()) for row in rows] == [(10, 0, 4, 1)]


@pytest.mark.parametrize("is_search", [True, False])
def test_beams_that_a_server_runs_as_requests_are_told(is_search: bool, cli: Cli) -> None:
    """A search for three tokens over two beams: six requests of a token each, of which a text has three."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for step in range(3):
        at = 10 * MS * step
        names = [f"cmpl-{step}-beam-{beam}-9f2ab61c" if is_search else f"cmpl-{step}-{beam}" for beam in range(2)]
        ids = [2 * step, 2 * step + 1]
        new = {str(number): name for number, name in zip(ids, names, strict=True)}
        mark = {"q": [1, 1], "kv": [99 + step] * 2, "ids": ids, "new": new, "logits": 2}
        main.push(at, at + 9 * MS, "decode", domain="llmperf").launch(at + 2, gpu=(at + MS, at + 8 * MS))
        main.mark(at + 1, f"llmperf.step {json.dumps(mark)}", domain="llmperf")

    (summary,), err = cli.sql(trace, "SELECT new_tokens FROM served_summary")

    assert summary == {"new_tokens": 6}
    assert ("6 of 6 served requests are beams of a search" in err) == is_search  # `beams_as_requests`


def test_requests_that_only_keep_ranks_company_have_no_tokens(cli: Cli) -> None:
    trace = TraceBuilder().gpu(0).gpu(1)
    for rank, requests in enumerate((8, 1)):
        main = trace.process(100 + rank).thread()
        main.push(0, 18 * MS, f"[Executor] _forward_step 4: 0 ctx reqs, 0 ctx tokens, {requests} gen reqs")
        main.launch(MS, gpu=(2 * MS, 17 * MS), device=rank)

    rows, _ = cli.sql(trace, "SELECT tokens, flops FROM phase_summary", "--model", "tiny-llama", "--dp", 2)

    # One of them is a dummy, which the text does not say.
    assert rows == [{"tokens": None, "flops": None}]
