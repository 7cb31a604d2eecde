"""Requests that a window leaves out are not taken for requests that nobody served."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsys_pipeline.trace import TraceOptions, open_trace
from nsys_pipeline.trace.window import Window
from tests.sql.test_serving import arrive, step
from tests.support.ask import findings_of
from tests.support.trace_builder import TraceBuilder

MS = 1_000_000


@pytest.mark.parametrize(
    ("window", "unserved"),
    [
        (None, "1 of 7 requests"),
        (Window.parse(from_s=0.03), "1 of 4 requests"),
        # the second request has decode steps in it, and began before
        (Window.parse(steps="2:4"), "1 of 3 requests"),
    ],
)
def test_what_a_window_cuts_was_served(window: Window | None, unserved: str, tmp_path: Path) -> None:
    """Six requests, 10 ms apart, each with a prefill and two decode steps, and one that comes at 5 ms and has none."""
    trace = TraceBuilder().gpu()
    main = trace.process(200).thread()
    arrive(main, 5 * MS, "never", 20)
    for number in range(6):
        at = number * 10 * MS
        arrive(main, at, f"r{number}", 20)
        step(main, at + MS, at + 2 * MS, "prefill", q=[20], kv=[0], ids=[number], new={str(number): f"r{number}"})
        for index in (0, 1):
            start = at + (3 + 2 * index) * MS
            step(main, start, start + MS, "decode", q=1, kv=[20 + index], ids=[number])

    options = TraceOptions(use_cache=False, window=window)
    with open_trace(trace.write(tmp_path / "trace.sqlite"), options) as opened:
        (told,) = [one for one in findings_of(opened) if one.code == "requests_unserved"]

    assert told.message.startswith(unserved)
