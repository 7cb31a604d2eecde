"""Serving: whose tokens they are: dummies, replicas, preempted requests, guesses, prompts in the cache."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.cli.public_reports.common import (
    LLAMA,
    codes,
    lm_head,
    marked,
    message,
    one_pass,
    pairs,
    phase,
    projections,
)
from tests.cli.run import MS, Cli
from tests.support.trace_builder import TraceBuilder

Pass = tuple[str, int, dict[str, Any]]


@pytest.mark.parametrize(
    ("busy", "idle", "is_shared"),
    [
        ("1 ctx reqs, 512 ctx tokens, 0 gen reqs", "1 ctx reqs, 1 ctx tokens, 0 gen reqs", False),
        ("0 ctx reqs, 0 ctx tokens, 8 gen reqs", "0 ctx reqs, 0 ctx tokens, 1 gen reqs", False),
        ("1 ctx reqs, 1 ctx tokens, 0 gen reqs", "1 ctx reqs, 1 ctx tokens, 0 gen reqs", True),
        ("1 ctx reqs, 512 ctx tokens, 0 gen reqs", "1 ctx reqs, 64 ctx tokens, 0 gen reqs", True),
    ],
)
def test_passes_that_may_be_dummies_are_told(busy: str, idle: str, is_shared: bool, cli: Cli) -> None:
    trace = TraceBuilder().gpu(0).gpu(1)
    for rank, batch in enumerate((busy, idle)):
        main = trace.process(100 + rank).thread()
        for number in range(6):
            at = 20 * MS * number
            main.push(at, at + 18 * MS, f"[Executor] _forward_step {number}: {batch}")
            main.launch(at + MS, gpu=(at + 2 * MS, at + 16 * MS), device=rank, name="nvjet_tst")

    report = cli.analyze(trace, "--model", cli.config(LLAMA), "--dp", 2)

    assert ("dummies_possible" in codes(report)) == (not is_shared)
    if not is_shared:
        name = "decode" if " 8 gen" in busy else "prefill"
        assert message(report, "dummies_possible").startswith(f"6 passes of {name} have one request of one token")
        assert phase(report, name)["tokens"] == (None if name == "decode" else 6 * 513)


def served(passes: Sequence[Pass], arrivals: Sequence[tuple[float, str, int]], *, pid: int = 100) -> TraceBuilder:
    """An engine's passes, one behind the other from 10 ms on, and requests with their time (ms), name and prompt."""
    trace = TraceBuilder().gpu()
    add_engine(trace, passes, arrivals, pid=pid)
    return trace


def add_engine(
    trace: TraceBuilder,
    passes: Sequence[Pass],
    arrivals: Sequence[tuple[float, str, int]],
    *,
    pid: int = 100,
    device: int = 0,
    **degrees: int,
) -> None:
    front, worker = trace.process(pid + 50).thread(), trace.process(pid).thread()
    run = {"v": 1, "rank": 0, "world": 1, "tp": 1, "framework": "vllm", "model": LLAMA} | degrees
    worker.mark(0, f"llmperf.run {json.dumps(run)}", domain="llmperf")
    for at_ms, name, prompt in arrivals:
        text = json.dumps({"id": name, "prompt": prompt, "waited_ms": 0})
        front.mark(int(at_ms * MS), f"llmperf.request {text}", domain="llmperf")
    at = 10 * MS
    for name, length, mark in passes:
        end = at + length * MS
        worker.push(at, end, name, domain="llmperf")
        worker.launch(at + 2, gpu=(at + MS, end - MS), device=device, name="nvjet_tst")
        worker.mark(at + 1, f"llmperf.step {json.dumps({'logits': len(mark['q'])} | mark)}", domain="llmperf")
        at = end


def test_replicas_of_an_engine_are_gpus_that_work(cli: Cli) -> None:
    """Two of them, each on a GPU: three requests of 100 tokens, one behind the other, with ten new ones each."""
    trace = TraceBuilder().gpu(0).gpu(1)
    passes: list[Pass] = []
    for number in range(3):
        passes.append(("prefill", 20, {"q": [100], "kv": [0], "ids": [number]}))
        passes += [("decode", 10, {"q": [1], "kv": [100 + token], "ids": [number]}) for token in range(9)]
    for replica in range(2):
        named: list[Pass] = []
        for name, length, mark in passes:
            (number,) = mark["ids"]
            new = {"new": {str(number): f"{replica}-{number}"}} if name == "prefill" else {}
            named.append((name, length, mark | new))
        arrivals = [(9 + 110 * number, f"{replica}-{number}", 100) for number in range(3)]
        add_engine(trace, named, arrivals, pid=100 + replica, device=replica, world=2, dp=2, rank=replica)

    report = cli.analyze(trace)

    found = report["served"]
    assert (found["requests"], found["new_tokens"]) == (6, 60)
    assert found["new_tokens_per_s"] == pytest.approx(60 / 0.331)
    prefill = phase(report, "prefill")
    whole = 6 * (projections(LLAMA, 100) + 4 * 4 * 512 * pairs(100) + lm_head(LLAMA))
    assert (prefill["flops"], prefill["measured_wall_ns"]) == (whole, 6 * 20 * MS)
    assert prefill["mfu_wall"] == pytest.approx(whole / 0.12 / 989.4e12)


@pytest.mark.parametrize("new_tokens", [1, 2, 3])
def test_time_per_token_of_a_few_tokens(new_tokens: int, cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    marked(trace, LLAMA, source="auto")
    main, at = trace.process().thread(), 0
    for _ in range(4):
        start, at = at, one_pass(main, at, "prefill", 50, '{"b":2,"q":128,"kv":0,"logits":2}')
        for cached in range(128, 127 + new_tokens):
            at = one_pass(main, at, "decode", 10, f'{{"b":2,"q":1,"kv":{cached},"logits":2}}')
        at += 3 * MS
        main.push(start, at, "request", domain="llmperf")

    (request,) = cli.analyze(trace)["requests"]

    tpot = 10 * MS if new_tokens > 1 else None
    assert (request["requests"], request["ttft_p50_ns"], request["tpot_p50_ns"]) == (4, 50 * MS, tpot)


def test_the_wait_of_a_preempted_request_is_in_its_time_per_token(cli: Cli) -> None:
    """Two prompts of 100 tokens; after six tokens one waits for 60 ms, and is computed again with what it wrote."""
    both = [("decode", 10, {"q": [1, 1], "kv": [100 + n] * 2, "ids": [0, 1]}) for n in range(5)]
    alone = [("decode", 10, {"q": [1], "kv": [105 + n], "ids": [1]}) for n in range(6)]
    behind = [("decode", 10, {"q": [1, 1], "kv": [106 + n, 112 + n], "ids": [2, 1]}) for n in range(3)]
    passes: list[Pass] = [
        ("prefill", 20, {"q": [100, 100], "kv": [0, 0], "ids": [0, 1], "new": {"0": "a", "1": "b"}}),
        *both, *alone,
        ("mixed", 20, {"q": [106, 1], "kv": [0, 111], "ids": [2, 1], "new": {"2": "a"}}),
        *behind,
    ]  # fmt: skip

    rows, _ = cli.sql(
        served(passes, [(0, "a", 100), (0, "b", 100)]),
        "SELECT request, ttft_ns, tpot_ns * (new_tokens - 1) AS decoding_ns, new_tokens, reused_tokens, preemptions "
        "FROM served_requests ORDER BY request",
    )

    decoding = (50 + 60 + 20 + 30) * MS
    assert [tuple(row.values()) for row in rows] == [
        ("a", 30 * MS, pytest.approx(decoding, abs=20), 10, 0, 1),
        ("b", 30 * MS, pytest.approx(decoding, abs=20), 16, 0, 0),
    ]


def test_tokens_of_an_engine_are_not_chunks_of_its_answer(cli: Cli) -> None:
    """Five passes check three guesses each, of which 3, 0, 2, 3 and 1 are right; one token behind them."""
    passes: list[Pass] = [("prefill", 30, {"q": [100], "kv": [0], "ids": [0], "new": {"0": "a"}})]
    cached = 100
    for accepted in (3, 0, 2, 3, 1):
        passes.append(("verify", 12, {"q": [4], "kv": [cached], "ids": [0], "drafts": [3], "logits": 4}))
        cached += accepted + 1
    passes.append(("decode", 10, {"q": [1], "kv": [cached], "ids": [0]}))

    rows, _ = cli.sql(
        served(passes, [(0, "a", 100)]),
        "SELECT ttft_ns, tpot_ns, new_tokens, draft_tokens, accepted_tokens FROM served_requests",
    )

    assert [tuple(row.values()) for row in rows] == [(40 * MS, pytest.approx(70 * MS / 15, abs=1), 16, 15, 9)]


def test_the_rate_of_a_prompt_is_of_what_is_computed(cli: Cli) -> None:
    """Three times the same prompt of 2,410 tokens: nothing, all but one, and 1,536 of them are in the cache."""
    passes: list[Pass] = []
    chunks = [[(2410, 0, 128)], [(1, 2409, 12)], [(512, 1536, 60), (362, 2048, 40)]]
    for number, parts in enumerate(chunks):
        for part, (tokens, cached, length) in enumerate(parts):
            new = {} if part else {"new": {str(number): "abc"[number]}}
            is_last = part == len(parts) - 1
            mark = {"q": [tokens], "kv": [cached], "ids": [number], "logits": int(is_last)} | new
            passes.append(("prefill", length, mark))
        passes += [("decode", 10, {"q": [1], "kv": [2410 + token], "ids": [number]}) for token in range(4)]
    trace = served(passes, [(0, "a", 2410), (175, "b", 2410), (227, "c", 2410)])

    report = cli.analyze(trace)
    rows, _ = cli.sql(trace, "SELECT ttft_ns / 1e6 AS ms, reused_tokens FROM served_requests ORDER BY request")

    prefill = phase(report, "prefill")
    attended = pairs(2410) + 2410 + (pairs(2048) - pairs(1536)) + (pairs(2410) - pairs(2048))
    assert (prefill["tokens"], prefill["wall_ns"]) == (2410 + 1 + 512 + 362, 240 * MS)
    assert prefill["flops"] == projections(LLAMA, 3285) + 4 * 4 * 512 * attended + 3 * lm_head(LLAMA)
    assert report["served"]["prompt_tokens_per_s"] == pytest.approx(3285 / 0.37)
    assert [tuple(row.values()) for row in rows] == [(138, 0), (15, 2409), (103, 1536)]
