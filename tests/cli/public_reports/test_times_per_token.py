"""TTFT, TPOT and throughput: what is in them, what is padding or warm-up, and when there is no number."""

from __future__ import annotations

import pytest

from tests.cli.public_reports.common import (
    LLAMA,
    codes,
    lm_head,
    marked,
    message,
    messages,
    one_pass,
    pairs,
    phase,
    projections,
)
from tests.cli.run import MS, Cli, run
from tests.support.kineto import KinetoTrace
from tests.support.trace_builder import TraceBuilder

PASS = [*(["nvjet_tst", "flash_fwd_kernel", *["nvjet_tst"] * 3] * 4), "nvjet_tst"]


def test_a_prompt_in_chunks_ends_with_the_last_of_them(cli: Cli) -> None:
    def trace(*passes: tuple[str, int]) -> TraceBuilder:
        made = TraceBuilder().gpu()
        main, at = made.process().thread().push(0, 200 * MS, "request"), MS
        for name, length in passes:
            main.push(at, at + length * MS, name).launch(at + 5, gpu=(at + 100, at + MS))
            at += length * MS
        return made

    report = cli.analyze(trace(("prefill", 20), ("prefill", 30), ("decode", 5), ("decode", 5)))

    assert [(one["ttft_p50_ns"], one["tpot_p50_ns"]) for one in report["requests"]] == [(51 * MS, 5 * MS)]


def test_prefills_between_decode_steps_are_no_time_per_token(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main, at = trace.process().thread().push(0, 200 * MS, "request"), MS
    for name, length in (("prefill", 20), ("decode", 5), ("decode", 5)) * 2:
        main.push(at, at + length * MS, name).launch(at + 5, gpu=(at + 100, at + MS))
        at += length * MS

    report = cli.analyze(trace)

    assert [(one["ttft_p50_ns"], one["tpot_p50_ns"]) for one in report["requests"]] == [(21 * MS, None)]
    assert "several_prompts" in codes(report)


def test_a_prefill_around_a_decode_is_told(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 3_146 * MS, "prefill").launch(MS, gpu=(2 * MS, 49 * MS))
    main.push(55 * MS, 3_140 * MS, "decode").launch(56 * MS, gpu=(60 * MS, 3_100 * MS))

    report = cli.analyze(trace)

    assert phase(report, "prefill")["gpu_busy_ns"] == 47 * MS
    assert "nested_phases" in codes(report)


def test_prompts_have_their_tokens_in_the_throughput_of_a_prefill(cli: Cli) -> None:
    """Four prompts of 128 tokens in 50 ms: 512 tokens, not four."""
    trace = TraceBuilder().gpu()
    marked(trace, LLAMA)
    main = trace.process().thread()
    for at in range(0, 800 * MS, 200 * MS):
        main.push(at, at + 130 * MS, "request", domain="llmperf")
        end = one_pass(main, at, "prefill", 50, '{"b":4,"q":128,"kv":0,"logits":4}')
        for cached in (128, 129):
            end = one_pass(main, end, "decode", 40, f'{{"b":4,"q":1,"kv":{cached},"logits":4}}')

    report = cli.analyze(trace)

    prefill, decode = phase(report, "prefill"), phase(report, "decode")
    assert (prefill["tokens"], prefill["measured_wall_ns"]) == (4 * 512, 4 * 50 * MS)
    assert (decode["tokens"], decode["measured_wall_ns"]) == (8 * 4, 8 * 40 * MS)


def test_a_pass_before_generate_is_not_in_its_times(cli: Cli) -> None:
    """A benchmark times `model(...)` alone, then `generate`, which computes the prompt again: 50 ms, 4 tokens of 10."""
    trace = TraceBuilder().gpu()
    marked(trace, LLAMA)
    main, at = trace.process().thread(), 0
    for _ in range(4):
        start = at = one_pass(main, at, "prefill", 50, '{"b":1,"q":128,"kv":0,"logits":1}')
        at = one_pass(main, at, "prefill", 50, '{"b":1,"q":128,"kv":0,"logits":1}')
        for cached in range(128, 132):
            at = one_pass(main, at, "decode", 10, f'{{"b":1,"q":1,"kv":{cached},"logits":1}}')
        main.push(start, at, "request", domain="llmperf")

    rows, _ = cli.sql(trace, "SELECT ttft_ns, tpot_ns FROM requests")

    assert rows == [{"ttft_ns": 50 * MS, "tpot_ns": 10 * MS}] * 4


def test_the_first_token_is_in_no_time_between_tokens(cli: Cli) -> None:
    """vLLM's annotations: a prompt in 500 ms, then 16 tokens of 20. Which request has which is not in them."""
    trace, at = KinetoTrace(), 0
    for _ in range(3):
        for step in range(17):
            length = (20 if step else 500) * MS
            kind = "execute_context_0(0)_generation_1(1)" if step else "execute_context_1(512)_generation_0(0)"
            trace.annotation(kind, at, at + length)
            trace.launch(at + 10_000, gpu=(at + 20_000, at + length - 10_000))
            at += length

    report = cli.analyze(trace)

    found = {one["name"]: (one["occurrences"], one["median_wall_ns"], one["tokens"]) for one in report["phases"]}
    assert found == {"prefill": (3, 500 * MS, 3 * 512), "decode": (48, 20 * MS, 48)}
    assert report["requests"] == []
    assert "requests_not_marked" in codes(report)


def test_time_per_token_is_not_divided_by_the_batch(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 200 * MS, "request")
    main.push(0, 50 * MS, "prefill").launch(MS, gpu=(2 * MS, 50 * MS))
    for start, end in ((50, 60), (60, 80), (80, 110)):
        main.push(start * MS, end * MS, "decode").launch(start * MS + 1, gpu=(start * MS + 2, end * MS))

    found = cli.analyze(trace, "--model", "tiny-llama", "--shape", "4x16+4")["requests"]

    assert [one["tpot_p50_ns"] for one in found] == [20 * MS]


@pytest.mark.parametrize("passes", [1, 8])
def test_steps_of_several_tokens_have_no_time_per_token(passes: int, cli: Cli) -> None:
    """Two requests of four decode ranges, in each of which the model runs once or eight times, 3 ms each."""
    trace = TraceBuilder().gpu()
    marked(trace, LLAMA)
    main = trace.process().thread()
    at = 0
    for _ in range(2):
        main.push(at, at + (5 + 4 * passes * 3) * MS, "request")
        for tokens in (128, 1, 1, 1, 1):
            times = 1 if tokens > 1 else passes
            end = at + (5 * MS if tokens > 1 else times * 3 * MS)
            main.push(at, end, "decode" if tokens == 1 else "prefill", domain="llmperf")
            main.mark(at + 1, f'llmperf.step {{"b":1,"q":{tokens},"kv":128,"logits":1}}', domain="llmperf")
            for start in range(at, at + times * 3 * MS, 3 * MS):
                for number, name in enumerate(PASS):
                    ran = start + MS // 10 * (number + 1)
                    main.launch(start + 2 + 10 * number, gpu=(ran, ran + MS // 10), name=name)
            at = end

    report = cli.analyze(trace)
    rows, _ = cli.sql(trace, "SELECT tpot_ns FROM requests")

    assert ("several_passes" in codes(report)) == (passes > 1)
    if passes > 1:
        assert "runs the layers 8 times" in message(report, "several_passes")
    # From the end of the first token, whichever of host and GPU is later, to that of the last: 4 x 3 ms.
    assert [row["tpot_ns"] for row in rows] == [None if passes > 1 else 3 * MS] * 2


def test_percentiles_of_few_requests_are_unknown(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for number, step in enumerate((10, 20, 30)):
        at = number * 1_000 * MS
        main.push(at, at + 200 * MS, "request").push(at, at + 50 * MS, "prefill")
        main.launch(at + MS, gpu=(at + 2 * MS, at + 50 * MS))
        for token in range(1, 4):
            start = at + 50 * MS + (token - 1) * step * MS
            main.push(start, start + step * MS, "decode").launch(start + 1, gpu=(start + 2, start + step * MS))

    (found,) = cli.analyze(trace)["requests"]

    assert [found[f"tpot_{name}_ns"] for name in ("p50", "p90", "p99")] == [20 * MS, None, None]


def test_gates_on_times_that_were_not_measured_are_refused(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 95 * MS, "request", domain="llmperf")
    main.push(1, 90 * MS, "prefill", domain="llmperf").launch(MS, gpu=(2 * MS, 80 * MS))
    path = trace.write(cli.folder / "trace.sqlite")

    code, _, err = run(cli.capsys, "analyze", path, "--no-cache", "--fail-if", "decode.tpot_p50 > 50ms")

    assert code == 2
    assert "decode.tpot_p50 is not known in the report" in err


def test_padding_before_a_short_prompt_is_none_of_its_tokens(cli: Cli) -> None:
    """Prompts of 3, 7 and 5 tokens that transformers runs as three of 7, and a step behind them."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    prompt, step = (
        '{"q":[3,7,5],"kv":0,"logits":3,"padded":[7,0,3]}',
        '{"q":1,"kv":[3,7,5],"b":3,"logits":3,"padded":[1,7,3]}',
    )
    for number, (name, mark) in enumerate([("prefill", prompt), ("decode", step)]):
        at = number * 10 * MS
        main.push(at, at + 10 * MS, name, domain="llmperf").launch(at + MS, gpu=(at + 2 * MS, at + 8 * MS))
        main.mark(at + 1, f"llmperf.step {mark}", domain="llmperf")
    marked(trace, LLAMA, source="auto")

    report = cli.analyze(trace)

    attention = 4 * 4 * 512
    prefill, decode = phase(report, "prefill"), phase(report, "decode")
    assert (prefill["tokens"], decode["tokens"]) == (15, 3)
    seen = pairs(3) + pairs(7) + pairs(5)
    assert prefill["flops"] == projections(LLAMA, 15) + attention * seen + 3 * lm_head(LLAMA)
    assert decode["flops"] == projections(LLAMA, 3) + attention * (4 + 8 + 6) + 3 * lm_head(LLAMA)
    assert "(6 of 21)" in messages(report, "padding")


def test_what_starts_as_warm_up_ends_is_measured(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 50 * MS, "warmup").push(0, 50 * MS, "prefill")
    main.launch(MS, gpu=(2 * MS, 40 * MS)).push(50 * MS, 100 * MS, "request").push(50 * MS, 70 * MS, "prefill")
    main.launch(51 * MS, gpu=(52 * MS, 60 * MS))
    main.push(70 * MS, 100 * MS, "decode").launch(71 * MS, gpu=(72 * MS, 90 * MS))
    # Of no request: it starts as that one ends.
    main.push(100 * MS, 120 * MS, "decode").launch(101 * MS, gpu=(102 * MS, 110 * MS))

    rows, _ = cli.sql(trace, "SELECT phase, is_warmup, request_id IS NULL AS alone FROM phases ORDER BY start_ns")
    requests, _ = cli.sql(trace, "SELECT is_warmup, decode_steps, ttft_ns, tpot_ns FROM requests")

    assert [tuple(row.values()) for row in rows] == [
        ("prefill", True, True), ("prefill", False, False), ("decode", False, False), ("decode", False, True)
    ]  # fmt: skip
    assert [tuple(row.values()) for row in requests] == [(False, 1, 20 * MS, 30 * MS)]
    # Nor is that warm-up kept in a part of the trace for the sake of what follows it.
    names = [one["name"] for one in cli.analyze(trace, "--steps", "0:1")["phases"]]
    assert names == ["prefill", "decode"]


def test_warm_up_that_ends_as_a_phase_starts_is_a_phase(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 50 * MS, "warmup").launch(MS, gpu=(2 * MS, 40 * MS))
    main.push(50 * MS, 100 * MS, "prefill").launch(51 * MS, gpu=(52 * MS, 90 * MS))

    report = cli.analyze(trace)

    assert phase(report, "warmup")["kernel_count"] == 1
    assert phase(report, "prefill")["warmup_occurrences"] == 0
    assert report["unattributed"]["kernel_count"] == 0
