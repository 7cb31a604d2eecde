"""A time that no generation can have fails a check."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.small_trace import comparable_report
from tests.support.trace_builder import TraceBuilder

DOMAIN = "llmperf"


def check(trace: TraceBuilder, folder: Path) -> tuple[bool, str]:
    report = comparable_report(trace.write(folder / "trace.sqlite"))
    (found,) = (each for each in report["checks"] if each["name"] == "times.possible")
    return found["passed"], found["detail"]


def detail(requests: int, *, ttft: int = 0, tpot: int = 0, reversed_: int = 0, wall: int = 0) -> str:
    return (
        f"{requests} request(s): {ttft} negative TTFT, {tpot} negative TPOT, {reversed_} with a prefill after a decode "
        f"step; {wall} range(s) of negative wall time"
    )


@pytest.mark.parametrize("domain", [DOMAIN, None])
def test_a_prompt_in_chunks_and_its_steps_are_possible(tmp_path: Path, domain: str | None) -> None:
    trace = TraceBuilder()
    thread = trace.process().thread().push(0, 100, "request", domain=domain)
    for start, name in ((10, "prefill"), (20, "prefill"), (30, "decode"), (40, "decode")):
        thread.push(start, start + 8, name, domain=domain).launch(start + 1, gpu=(start + 5, start + 9))
    assert check(trace, tmp_path) == (True, detail(1))


def test_decode_steps_that_are_called_prefill(tmp_path: Path) -> None:
    # what transformers 5.24 made of one request of five tokens, when its cache was not found
    trace = TraceBuilder()
    thread = trace.process().thread().push(0, 100, "request", domain=DOMAIN)
    for start, name in ((10, "prefill"), (20, "decode"), (30, "prefill"), (40, "prefill"), (50, "prefill")):
        thread.push(start, start + 8, name, domain=DOMAIN)
    assert check(trace, tmp_path) == (False, detail(1, reversed_=1))


def test_a_chat_in_one_range_of_somebody_else(tmp_path: Path) -> None:
    trace = TraceBuilder()
    thread = trace.process().thread().push(0, 100, "request")
    for start, name in ((10, "prefill"), (20, "decode"), (30, "prefill"), (40, "decode")):
        thread.push(start, start + 8, name)
    assert check(trace, tmp_path) == (True, detail(1))


def test_a_prefill_that_ends_on_the_gpu_after_the_last_step(tmp_path: Path) -> None:
    # given decode steps whose own GPU work was lost
    trace = TraceBuilder()
    thread = trace.process().thread().push(0, 50, "request", domain=DOMAIN)
    thread.push(10, 18, "prefill", domain=DOMAIN).launch(11, gpu=(15, 90))
    thread.push(20, 28, "decode", domain=DOMAIN)
    assert check(trace, tmp_path) == (False, detail(1, tpot=1))


def test_a_range_that_ends_before_it_starts(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.process().thread().push(10, 20, "prefill").push(30, 25, "decode").launch(12, gpu=(15, 18))
    assert check(trace, tmp_path) == (False, detail(0, wall=1))
