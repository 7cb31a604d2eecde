"""Ranks that share routed experts: what each is charged where nobody says which of them have batches of their own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.run import Cli, run
from tests.support.trace_builder import TraceBuilder

WIDTH, HIDDEN, LAYERS, VOCABULARY, TOKENS = 64, 128, 2, 96, 16
MIXTRAL: dict[str, Any] = {
    "model_type": "mixtral", "hidden_size": WIDTH, "intermediate_size": HIDDEN, "num_hidden_layers": LAYERS,
    "num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": VOCABULARY, "num_local_experts": 8,
    "num_experts_per_tok": 2, "sliding_window": None, "torch_dtype": "bfloat16",
}  # fmt: skip
# Projections, a router and two experts in each layer; a query sees itself and all before it; a head for the last token.
WEIGHTS_OF_A_TOKEN = LAYERS * (4 * WIDTH**2 + 8 * WIDTH + 2 * 3 * WIDTH * HIDDEN)
ATTENTION = LAYERS * 4 * WIDTH * TOKENS * (TOKENS + 1) // 2
WHOLE = 2 * TOKENS * WEIGHTS_OF_A_TOKEN + ATTENTION + 2 * WIDTH * VOCABULARY
# Sixteen tokens of which each chooses two of eight experts meet 7.92 of them; norms, and the rows of a table.
DENSE_WEIGHTS = LAYERS * (4 * WIDTH**2 + 8 * WIDTH) + (2 * LAYERS + 1) * WIDTH + WIDTH * VOCABULARY + TOKENS * WIDTH


def prefill(**run: object) -> TraceBuilder:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    if run:
        main.mark(0, f"llmperf.run {json.dumps({'v': 1, 'model': MIXTRAL, **run})}", domain="llmperf")
    main.push(100, 9_000, "prefill", domain="llmperf")
    main.mark(101, f'llmperf.step {{"q":[{TOKENS}],"kv":[0],"logits":1}}', domain="llmperf")
    main.launch(110, gpu=(120, 8_000))
    return trace


@pytest.mark.parametrize(
    ("told", "flops"),
    [
        (["--ep", 8], WHOLE),
        (["--ep", 8, "--dp", 8], WHOLE),
        (["--ep", 8, "--tp", 2], WHOLE // 2),
        (["--ep", 8, "--tp", 8], WHOLE // 8),
        (["--ep", 2, "--tp", 8], WHOLE // 8),
    ],
)
def test_only_ranks_that_share_a_pass_share_dense_weights(told: list[object], flops: int, cli: Cli) -> None:
    report = cli.analyze(prefill(), "--model", cli.config(MIXTRAL), *told)

    (phase,) = report["phases"]
    assert phase["flops"] == flops
    if flops == WHOLE:
        cached = 2 * LAYERS * WIDTH * TOKENS
        experts = LAYERS * 3 * WIDTH * HIDDEN * 8 * (1 - 0.75**TOKENS)
        assert phase["bytes"] == pytest.approx(2 * (DENSE_WEIGHTS + cached + experts), rel=1e-4)
    found = [one["message"] for one in report["findings"] if one["code"] == "experts_of_other_ranks"]
    assert len(found) == (0 if flops == WHOLE // 8 else 1)
    if "--dp" not in told and found:
        assert "ranks are taken to have batches of their own" in found[0]


@pytest.mark.parametrize(("run", "count"), [({"ep": 8, "tp": 1}, 1), ({"ep": 8, "tp": 8}, 0), ({"tp": 1}, 0)])
def test_a_run_that_says_how_experts_are_spread_is_told(run: dict[str, int], count: int, cli: Cli) -> None:
    report = cli.analyze(prefill(**run))

    (phase,) = report["phases"]
    assert phase["flops"] == WHOLE // run["tp"]
    found = [one for one in report["findings"] if one["code"] == "experts_of_other_ranks"]
    assert len(found) == count
    if found:
        assert found[0]["message"].startswith("8 GPUs share the experts and 1 each pass, so that 8 ranks are taken to")
        assert found[0]["hint"].endswith("pass --tp 8 if all 8 share each pass")


def test_degrees_that_experts_do_not_fit_are_refused(cli: Cli) -> None:
    path = cli.write(prefill())

    code, _, err = run(cli.capsys, "analyze", path, "--model", cli.config(MIXTRAL), "--ep", 8, "--dp", 1)

    assert code == 2
    assert "experts cannot be spread over 8 of 1 GPUs of a stage" in err
