"""Requests for several texts of one prompt, each of which an engine runs as a request of its own."""

from __future__ import annotations

import json

import pytest

from tests.cli.run import MS, Cli
from tests.support.trace_builder import TraceBuilder


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (
            ["0_chatcmpl-a", "1_chatcmpl-a", "2_chatcmpl-a", "chatcmpl-b"],
            "3 of 4 served requests are runs of 1 requests",
        ),
        (["0_5-9f2b", "1_5-9f2b", "0_6-77aa", "1_6-77aa"], "4 of 4 served requests are runs of 2 requests"),
        # One of which the others are not in the trace, and numbers that clients give.
        (["0_a", "b", "c", "d"], None),
        (["7_a", "8_a", "c", "d"], None),
        (["0_a", "0_b", "0_c", "0_d"], None),
    ],
)
def test_samples_of_vllm_are_told(names: list[str], told: str | None, cli: Cli) -> None:
    _, err = cli.sql(served(names, prompts=[10] * 4), "SELECT requests FROM served_summary")

    assert (told in err) if told else ("are runs of" not in err)


def test_samples_of_transformers_are_told(cli: Cli) -> None:
    names = ["req_0", "req_0__child#0", "req_0__child#1", "req_1", "req_1__child#0", "req_2"]

    _, err = cli.sql(served(names, prompts=[10] * 6), "SELECT requests FROM served_summary")

    assert "5 of 6 served requests are runs of 2 requests" in err


def test_names_of_other_prompts_are_no_samples(cli: Cli) -> None:
    _, err = cli.sql(served(["0_user", "1_user"], prompts=[10, 30]), "SELECT requests FROM served_summary")

    assert "are runs of" not in err


def test_samples_of_sglang_are_told(cli: Cli) -> None:
    """Two requests with n = 2, for each of which the prompt runs once before the two texts."""
    names = ["a", "b", "c", "d", "e", "f"]

    rows, err = cli.sql(
        served(names, prompts=[10] * 6, samples=2), "SELECT code FROM findings WHERE code LIKE '%_as_requests'"
    )

    assert [row["code"] for row in rows] == ["samples_as_requests"]
    assert "6 of 6 served requests are runs of 2 requests for several texts each" in err


def served(names: list[str], *, prompts: list[int], samples: int | None = None) -> TraceBuilder:
    """A prompt and two tokens of each request, all in the same steps."""
    trace = TraceBuilder().gpu()
    server, main = trace.process(100).thread(), trace.process(200).thread()
    for name, prompt in zip(names, prompts, strict=True):
        arrival = {"id": name, "prompt": prompt, "waited_ms": 0, **({"samples": samples} if samples else {})}
        server.mark(0, f"llmperf.request {json.dumps(arrival)}", domain="llmperf")
    ids = list(range(len(names)))
    for step in range(3):
        at = 10 * MS * (step + 1)
        mark = {
            "q": [1] * len(names) if step else prompts,
            "kv": [prompt + step - 1 if step else 0 for prompt in prompts],
            "ids": ids,
            "logits": len(names),
            **({} if step else {"new": {str(number): name for number, name in enumerate(names)}}),
        }
        main.push(at, at + 9 * MS, "decode" if step else "prefill", domain="llmperf")
        main.launch(at + 2, gpu=(at + MS, at + 8 * MS))
        main.mark(at + 1, f"llmperf.step {json.dumps(mark)}", domain="llmperf")
    return trace
