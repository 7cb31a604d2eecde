"""Requests of an engine in a window of the trace, which cuts some of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.run import MS, Cli
from tests.support.trace_builder import TraceBuilder


def engine() -> TraceBuilder:
    """Two requests come at once, and the second waits for the first: a prompt and four decode steps, of 10 ms each."""
    trace = TraceBuilder().gpu()
    main = trace.process(200).thread()
    for name in "ab":
        main.mark(1, f'llmperf.request {{"id":"{name}","prompt":100,"waited_ms":0}}', domain="llmperf")
    for number in range(10):
        request, turn = divmod(number, 5)
        at = number * 10 * MS + 10
        main.push(at, at + 9 * MS, "decode" if turn else "prefill", domain="llmperf")
        main.launch(at + 1000, gpu=(at + MS, at + 10 * MS))
        mark: dict[str, Any] = {
            "q": [1 if turn else 100],
            "kv": [99 + turn if turn else 0],
            "ids": [request],
            "logits": 1,
        }
        if not turn:
            mark["new"] = {str(request): "ab"[request]}
        main.mark(at + 500, f"llmperf.step {json.dumps(mark)}", domain="llmperf")
    return trace


@pytest.mark.parametrize(
    ("window", "tokens"),
    [(("--from", "0.0105"), {"a": 3, "b": 5}), (("--from", "0.021"), {"a": 2, "b": 5}), ((), {"a": 5, "b": 5})],
)
def test_a_window_cuts_requests(window: tuple[str, ...], tokens: dict[str, int], cli: Cli) -> None:
    columns = "request, prompt_tokens, reused_tokens, new_tokens, round(ttft_ns / 1e6) AS ttft, tpot_ns / 1e6 AS tpot"

    rows, err = cli.sql(engine(), f"SELECT {columns} FROM served_requests ORDER BY request", *window)
    (summary,), _ = cli.sql(engine(), "SELECT requests, new_tokens, new_tokens_per_s FROM served_summary", *window)

    first = {"reused_tokens": None, "ttft": None} if window else {"reused_tokens": 0, "ttft": 10}
    assert rows == [
        {"request": "a", "prompt_tokens": 100, "new_tokens": tokens["a"], "tpot": 10} | first,
        {"request": "b", "prompt_tokens": 100, "new_tokens": 5, "ttft": 60, "tpot": 10, "reused_tokens": 0},
    ]
    # A step of 10 ms makes one token, whatever the window.
    assert summary == {
        "requests": 2,
        "new_tokens": sum(tokens.values()),
        "new_tokens_per_s": pytest.approx(100, rel=1e-3),
    }
    # `requests_unserved`: its first token came before the window.
    assert "had no first token" not in err
