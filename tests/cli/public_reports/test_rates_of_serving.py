"""Rates of serving: whose tokens, which steps are between them, who gave up, when a token is there, what was cached."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from tests.cli.public_reports.common import LLAMA, codes
from tests.cli.run import MS, Cli, run
from tests.support.trace_builder import TraceBuilder

#: Phase, length in ms, and of each request its name, its new and its cached tokens.
Pass = tuple[str, int, list[tuple[str, int, int]]]


def served(
    passes: Iterable[Pass],
    arrivals: Mapping[str, tuple[int, int]],
    *,
    given_up: Mapping[str, int] | None = None,
    framework: str = "vllm",
) -> TraceBuilder:
    """An engine whose passes follow each other; `arrivals`: when each request comes, in ms, and its prompt's tokens."""
    trace = TraceBuilder().gpu()
    server, worker = trace.process(100).thread(), trace.process(200).thread()
    described = {"v": 1, "rank": 0, "world": 1, "tp": 1, "framework": framework, "model": LLAMA}
    worker.mark(0, f"llmperf.run {json.dumps(described)}", domain="llmperf")
    numbers = {name: number for number, name in enumerate(arrivals)}
    for name, (at, prompt) in arrivals.items():
        mark = json.dumps({"id": name, "prompt": prompt, "waited_ms": 0})
        server.mark(at * MS, f"llmperf.request {mark}", domain="llmperf")
    for name, at in (given_up or {}).items():
        mark = json.dumps({"id": name, "given_up": True})
        server.mark(at * MS, f"llmperf.request {mark}", domain="llmperf")
    at, known = MS, set[str]()
    for kind, length, batch in passes:
        new = {str(numbers[name]): name for name, _, _ in batch if name not in known}
        known |= set(new.values())
        step: dict[str, Any] = {
            "q": [tokens for _, tokens, _ in batch], "kv": [cached for _, _, cached in batch],
            "ids": [numbers[name] for name, _, _ in batch], "logits": len(batch),
        }  # fmt: skip
        end = at + length * MS
        worker.push(at, end, kind, domain="llmperf").launch(at + 2, gpu=(at + MS // 2, end))
        worker.mark(at + 1, f"llmperf.step {json.dumps(step | ({'new': new} if new else {}))}", domain="llmperf")
        at = end
    return trace


def decoding(names: str, cached: int, steps: int) -> list[Pass]:
    """Steps of 10 ms with a token of each request."""
    return [("decode", 10, [(name, 1, cached + step) for name in names]) for step in range(steps)]


def test_tokens_of_prompts_are_not_among_those_that_are_written(cli: Cli) -> None:
    """Two requests of 800 tokens that get 20: 1,600 and 40 in 270 ms."""
    passes = [("prefill", 80, [("a", 800, 0), ("b", 800, 0)]), *decoding("ab", 800, 19)]
    trace = served(passes, {"a": (1, 800), "b": (1, 800)})

    found = cli.analyze(trace)["served"]
    _, printed, _ = run(cli.capsys, "analyze", cli.write(trace), "--no-cache")

    assert (found["new_tokens"], found["computed_tokens"]) == (40, 1600)
    assert found["new_tokens_per_s"] == pytest.approx(40 / 0.27)
    assert found["prompt_tokens_per_s"] == pytest.approx(1600 / 0.27)
    assert "148 new tokens/s" in printed
    assert "5,926 tokens/s of prompts computed" in " ".join(printed.split())


def test_prompts_between_the_tokens_of_others_slow_them(cli: Cli) -> None:
    """A prompt of 100 ms comes twice between steps of 10: these have 36 tokens in 180 ms, the server 39 in 480."""
    prompts: dict[str, Pass] = {name: ("prefill", 100, [(name, 500, 0)]) for name in "abc"}
    passes = [
        prompts["a"], *decoding("a", 500, 6), prompts["b"],
        *[("decode", 10, [("a", 1, 506 + step), ("b", 1, 500 + step)]) for step in range(6)], prompts["c"],
        *[
            ("decode", 10, [("a", 1, 512 + step), ("b", 1, 506 + step), ("c", 1, 500 + step)]) for step in range(6)
        ],
    ]  # fmt: skip
    trace = served(passes, {"a": (1, 500), "b": (161, 500), "c": (321, 500)}, framework="sglang")

    report = cli.analyze(trace)
    rows, _ = cli.sql(trace, "SELECT request, new_tokens, tpot_ns / 1e6 AS tpot FROM served_requests ORDER BY request")

    (decode,) = [one for one in report["phases"] if one["name"] == "decode"]
    assert (decode["tokens"], decode["measured_wall_ns"]) == (36, 180 * MS)
    assert report["served"]["new_tokens_per_s"] == pytest.approx(39 / 0.48)
    assert [tuple(row.values()) for row in rows] == [
        ("a", 19, pytest.approx(380 / 18)), ("b", 13, pytest.approx(220 / 12)), ("c", 7, pytest.approx(10)),
    ]  # fmt: skip


def test_requests_that_clients_give_up_count_with_what_they_had(cli: Cli) -> None:
    """One is given up in its fourth step, one while its prompt is computed, one before anything of it is."""
    passes = [
        ("prefill", 40, [("a", 600, 0), ("b", 600, 0)]), *decoding("ab", 600, 4), *decoding("a", 604, 4),
        ("mixed", 40, [("a", 1, 608), ("c", 511, 0)]), *decoding("a", 609, 10),
    ]  # fmt: skip
    arrivals = {"a": (1, 600), "b": (1, 600), "c": (110, 1200), "d": (125, 600)}
    trace = served(passes, arrivals, given_up={"b": 80, "c": 150, "d": 160})

    found = cli.analyze(trace)["served"]
    rows, _ = cli.sql(trace, "SELECT request, new_tokens, tpot_ns FROM served_requests ORDER BY request")

    assert (found["requests"], found["given_up_requests"]) == (3, 2)
    assert (found["prompt_tokens"], found["computed_tokens"], found["new_tokens"]) == (2400, 1711, 20 + 4)
    assert [(row["request"], row["new_tokens"]) for row in rows] == [("a", 20), ("b", 4), ("c", 0)]
    assert {row["request"]: row["tpot_ns"] for row in rows}["b"] == 10 * MS


@pytest.mark.parametrize("domain", ["llmperf", None])
def test_a_token_is_there_when_it_is_sampled(domain: str | None, cli: Cli) -> None:
    """A prompt that waits for 20 ms, runs until 80 and is sampled until 83; then steps of 7 ms and 3 of sampling."""
    trace, at = TraceBuilder().gpu(), MS
    main = trace.process().thread()
    for _ in range(3):
        begin = at
        for name, host, end, sampled in [
            ("prefill", 20, 80, 83),
            *(("decode", t, t + 7, t + 10) for t in (83, 93, 103)),
        ]:
            start = begin + host * MS
            main.push(start, start + 5 * MS, name, domain=domain)
            main.launch(start + 10, gpu=(start + MS, begin + end * MS), name="nvjet_tst")
            main.launch(start + 6 * MS, gpu=(begin + end * MS, begin + sampled * MS), name="sampling_kernel")
        # What is launched behind the request, or does not sample, is no part of it.
        main.launch(begin + 111 * MS, gpu=(begin + 113 * MS, begin + 120 * MS), name="copy_kernel")
        main.push(begin, begin + 113 * MS, "request", domain=domain)
        main.launch(begin + 114 * MS, gpu=(begin + 120 * MS, begin + 130 * MS), name="sampling_kernel")
        at += 140 * MS

    rows, _ = cli.sql(trace, "SELECT ttft_ns, tpot_ns FROM requests")

    assert rows == [{"ttft_ns": 83 * MS, "tpot_ns": 10 * MS}] * 3


def test_prompts_are_looked_up_once_in_the_cache(cli: Cli) -> None:
    """Of four like prompts of 170 tokens, three find 160; they wait for two steps before the scheduler takes them."""
    names = "bcd"
    passes = [
        ("prefill", 40, [("a", 128, 0)]), ("prefill", 40, [("a", 42, 128)]),
        ("mixed", 20, [("a", 1, 170), *((name, 10, 160) for name in names)]), *decoding("a", 171, 1),
        *decoding(names, 170, 3),
    ]  # fmt: skip
    trace = served(passes, dict.fromkeys("abcd", (1, 170)))

    found = cli.analyze(trace)["served"]

    assert (found["prompt_tokens"], found["reused_tokens"], found["computed_tokens"]) == (680, 480, 200)
    assert found["reused_ratio"] == pytest.approx(480 / 680)
    assert found["prefill_steps"] == 5


@pytest.mark.parametrize("loads", [True, False])
def test_a_step_that_compiles_is_in_no_time_per_token(loads: bool, cli: Cli) -> None:
    """Warm-up wrote too few tokens: the third step of the first of five requests takes 5 s, the others 31 ms."""
    trace, at = TraceBuilder().gpu(), MS
    main = trace.process().thread()
    for request in range(5):
        begin = at
        for step in range(12):
            length = 5_000 if (request, step) == (0, 3) else 31
            start, end = at + (length - 30) * MS, at + length * MS
            if loads and length > 31:
                main.call(start - 9 * MS, until=start - MS, api="cuModuleLoadDataEx")
            main.push(at, end, "decode" if step else "prefill").launch(start, gpu=(start + MS, end), name="nvjet_tst")
            at = end
        main.push(begin, at, "request")

    report = cli.analyze(trace)

    (times,) = report["requests"]
    assert (times["ttft_p50_ns"], times["tpot_p50_ns"]) == (31 * MS, 31 * MS)
    assert "cold_first_occurrence" in codes(report)
    (decode,) = [one for one in report["phases"] if one["name"] == "decode"]
    assert decode["median_wall_ns"] == 31 * MS
    assert decode["cold_occurrences"] == 1
