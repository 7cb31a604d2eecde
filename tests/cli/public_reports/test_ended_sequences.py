"""Reports about what is padded behind the end of a sequence."""

from __future__ import annotations

from tests.cli.public_reports.common import LLAMA, lm_head, marked, messages, phase, projections
from tests.cli.run import MS, Cli
from tests.support.trace_builder import TraceBuilder

WRITTEN = [1, 2, 4, 4, 7, 9, 10, 10]


def generated(*, is_told: bool) -> TraceBuilder:
    """Eight sequences in `generate`, ten tokens of the longest; `--auto` marks that (tests/unit/workload)."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    marks = [
        '{"b":8,"q":64,"kv":0,"logits":8}',
        *(f'{{"b":8,"q":1,"kv":{63 + k},"logits":8,"request":1,"written":{k}}}' for k in range(1, 10)),
    ]
    for step, mark in enumerate(marks):
        at = step * 10 * MS
        main.push(at, at + 10 * MS, "decode" if step else "prefill", domain="llmperf")
        main.mark(at + 1, f"llmperf.step {mark}", domain="llmperf").launch(at + MS, gpu=(at + 2 * MS, at + 8 * MS))
    main.push(0, 100 * MS, "request", domain="llmperf")
    if is_told:
        main.push(101 * MS, 103 * MS, "llmperf", domain="llmperf")
        main.memcpy(102 * MS, gpu=(102 * MS + 1_000, 102 * MS + 3_000))
        main.mark(103 * MS + 1, f'llmperf.written {{"request":1,"tokens":{WRITTEN}}}', domain="llmperf")
    marked(trace, LLAMA, source="auto")
    return trace


def test_what_is_padded_behind_the_end_of_a_sequence_is_no_token(cli: Cli) -> None:
    report = cli.analyze(generated(is_told=True))

    decode = phase(report, "decode")
    # The prompt makes the first token of each.
    assert decode["tokens"] == sum(WRITTEN) - 8 == 39
    attention = 4 * 4 * 512
    seen = sum(64 + step for total in WRITTEN for step in range(1, total))
    assert decode["flops"] == projections(LLAMA, 39) + attention * seen + 39 * lm_head(LLAMA)
    run = sum(64 + step for step in range(1, 10))
    assert decode["executed_flops"] == projections(LLAMA, 72) + attention * 8 * run + 72 * lm_head(LLAMA)
    assert "(33 of 72)" in messages(report, "padding")
    assert messages(report, "ends_unknown") == messages(report, "padding_unknown") == ""
    # What llmperf itself reads, behind the request, is in none of the program's phases.
    own = phase(report, "llmperf")
    assert (own["memcpy_count"], own["warmup_occurrences"], decode["memcpy_count"]) == (1, 1, 0)
    assert not any(own["budget"].values())
    assert all(finding["phase"] != "llmperf" for finding in report["findings"])

    # The recording stopped before the request did.
    cut = cli.analyze(generated(is_told=False))
    assert phase(cut, "decode")["tokens"] == 72
    names = ("is_lower_bound", "is_upper_bound", "is_tokens_upper_bound", "is_hfu_upper_bound")
    assert [phase(cut, "decode")[name] for name in names] == [False, True, True, False]
    assert [phase(report, "decode")[name] for name in names] == [False] * 4
    assert messages(cut, "ends_unknown").startswith("9 of 9 passes of decode run for a batch in `generate`")
