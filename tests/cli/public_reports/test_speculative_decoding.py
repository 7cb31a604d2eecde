"""Speculative decoding: steps are not tokens, a draft's steps are not the model's, its head is its own."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.public_reports.common import LLAMA, analyzed_steps, codes, marked, pairs, phase
from tests.cli.run import MS, Cli
from tests.support.trace_builder import TraceBuilder


def test_tokens_of_speculative_decoding_are_not_steps(cli: Cli) -> None:
    def trace(tokens: int) -> TraceBuilder:
        made = TraceBuilder().gpu()
        main = made.process().thread().push(0, 600 * MS, "request").push(0, 50 * MS, "prefill")
        main.launch(MS, gpu=(2 * MS, 9 * MS))
        for number in range(1, 5):
            at = 100 * MS * number
            main.push(at, at + 50 * MS, "decode").launch(at + MS, gpu=(at + 2 * MS, at + 9 * MS))
            main.mark(
                at + 1,
                f'llmperf.step {{"b":1,"q":{tokens},"kv":{16 + 3 * number},"logits":{tokens}}}',
                domain="llmperf",
            )
        return made

    plain, guessed = (cli.analyze(trace(tokens))["requests"] for tokens in (1, 4))

    assert [one["tpot_p50_ns"] for one in plain] == [100 * MS]
    # Three of four guesses may have been right, or none.
    assert [one["tpot_p50_ns"] for one in guessed] == [None]


def test_steps_that_check_several_guesses_are_no_tokens(cli: Cli) -> None:
    """Medusa: 64 positions of a tree in each step, of which some are right; its heads are in the config."""
    trace = TraceBuilder().gpu()
    marked(trace, LLAMA | {"medusa_num_heads": 3})
    main = trace.process().thread().push(0, 70 * MS, "request", domain="llmperf")
    for number, (name, tokens, cached) in enumerate((("prefill", 100, 0), ("decode", 64, 100), ("decode", 64, 103))):
        at = 20 * MS * number
        main.push(at, at + 19 * MS, name, domain="llmperf").launch(at + 2, gpu=(at + MS, at + 18 * MS))
        main.mark(at + 1, f'llmperf.step {{"b":1,"q":{tokens},"kv":{cached},"logits":{tokens}}}', domain="llmperf")

    report = cli.analyze(trace)

    (request,) = report["requests"]
    assert (request["ttft_p50_ns"], request["tpot_p50_ns"]) == (19 * MS, None)
    assert "config_not_read" in codes(report)


def test_steps_of_a_draft_model_are_no_decode_steps(cli: Cli) -> None:
    guessed = ["step[DECODE bs=2]", "step[DECODE bs=2]", "step[TARGET_VERIFY bs=2]", "step[DRAFT_EXTEND_V2 bs=2]"]

    report = analyzed_steps(cli, *["step[EXTEND bs=2 toks=12]"] * 2, *guessed * 2)
    plain = analyzed_steps(cli, "step[EXTEND bs=2 toks=12]", "step[DECODE bs=2]")

    assert {one["name"]: one["occurrences"] for one in report["phases"]} == {"prefill": 2, "draft": 6, "verify": 2}
    assert phase(report, "draft")["flops_min"] is None
    # The draft model's prompts are marked like the model's own.
    assert "drafts_like_prompts" in codes(report)
    assert phase(plain, "decode")["occurrences"] == 1
    assert "drafts_like_prompts" not in codes(plain)


def test_heads_of_a_draft_model_have_its_vocabulary(cli: Cli) -> None:
    config = LLAMA | {"num_hidden_layers": 1, "architectures": ["LlamaForCausalLMEagle3"], "draft_vocab_size": 320}

    printed = cli.flops(config, "--prompt-tokens", 64)

    attention, mlp, fused = 1024 * (512 + 2 * 128) + 512 * 512, 3 * 512 * 1024, 3 * 512 * 512
    assert printed["params"] == 1000 * 512 + fused + attention + mlp + 4 * 512 + 320 * 512
    products = 2 * 64 * (fused + attention + mlp) + 2 * 320 * 512
    assert printed["prefill"]["flops"] == products + 4 * 8 * 64 * pairs(64)
    # Of another kind of draft its fields are told.
    other = cli.flops(LLAMA | {"draft_vocab_size": 320}, "--prompt-tokens", 64)
    assert "`draft_vocab_size`" in other["convention"]["notes"][0]


def test_guesses_behind_the_end_of_a_text_are_not_accepted(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    trace.process(100).thread().mark(0, 'llmperf.request {"id":"a","prompt":10,"waited_ms":0}', domain="llmperf")
    worker = trace.process(200).thread()
    steps: list[tuple[str, int, int, dict[str, Any]]]
    steps = [("prefill", 10, 0, {"new": {"0": "a"}}), ("verify", 6, 10, {"drafts": [5]}),
             ("verify", 6, 16, {"drafts": [5]}), ("verify", 6, 19, {"drafts": [5]})]  # fmt: skip
    for number, (name, tokens, cached, more) in enumerate(steps):
        at = 100 + 200 * number
        worker.push(at, at + 100, name, domain="llmperf").launch(at + 2, gpu=(at + 3, at + 105))
        mark = {"q": [tokens], "kv": [cached], "ids": [0], "logits": tokens if number else 1, **more}
        worker.mark(at + 1, f"llmperf.step {json.dumps(mark)}", domain="llmperf")

    rows, _ = cli.sql(trace, "SELECT new_tokens, draft_tokens, accepted_tokens FROM served_requests")

    # One of the prompt, 5 + 1, 2 + 1; of the last step one is certain, and its guesses are nowhere told to be right.
    assert [tuple(row.values()) for row in rows] == [(1 + 6 + 3 + 1, 15, 7)]
