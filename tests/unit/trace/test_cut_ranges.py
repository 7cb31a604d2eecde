"""Ranges of a process that was killed: nsys 2024.2 gives the moment in which it stopped as their end."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsys_pipeline.duck import records
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.trace_builder import TraceBuilder


@pytest.mark.parametrize("stopped_at", [9000, None])
def test_a_range_that_was_open_at_the_stop_ends_with_the_last_event_of_its_process(
    tmp_path: Path, stopped_at: int | None
) -> None:
    # given a request that was killed in its second decode step, and another process that went on
    trace = TraceBuilder().session(9000)
    killed = trace.process().thread()
    killed.push(100, 9000, "request").push(110, 200, "prefill").push(210, 260, "decode").push(270, 9000, "decode")
    killed.launch(280, gpu=(300, 340))
    trace.process(200).thread().push(100, 8000, "prefill")
    if stopped_at is not None:
        trace.diagnostic("Profiling has stopped.", at=stopped_at)

    with open_trace(trace.write(tmp_path / "trace.sqlite"), TraceOptions(use_cache=False)) as opened:
        opened.build("load.nvtx_ranges", "attribute.request_times")
        ranges = records(
            opened.connection, "SELECT name, start_ns, end_ns, is_closed FROM load.nvtx_ranges ORDER BY 2, 3"
        )
        times = records(opened.connection, "SELECT ttft_ns, tpot_ns, decode_steps FROM attribute.request_times")
        last_call = records(opened.connection, "SELECT max(end_ns) AS ns FROM load.api_calls")[0]["ns"]

    # then what is known stays: the time per token is that of the steps whose end was recorded
    assert last_call < 300
    end = 9000 if stopped_at is None else last_call
    assert sorted((row["name"], row["start_ns"], row["end_ns"], row["is_closed"]) for row in ranges) == [
        ("decode", 210, 260, True),
        ("decode", 270, end, stopped_at is None),
        ("prefill", 100, 8000, True),
        ("prefill", 110, 200, True),
        ("request", 100, end, stopped_at is None),
    ]
    expected = {"ttft_ns": 100, "tpot_ns": 60.0, "decode_steps": 1}
    if stopped_at is None:
        # nothing tells that end from a recorded one
        expected = {"ttft_ns": 100, "tpot_ns": 4400.0, "decode_steps": 2}
    assert times == [expected]


@pytest.mark.parametrize(
    ("note", "is_closed"), [("Not all NVTX events might have been collected.", False), ("CUDA was used.", True)]
)
def test_a_cut_range_is_known_by_an_end_after_the_recording_where_ranges_may_be_lost(
    tmp_path: Path, note: str, is_closed: bool
) -> None:
    # given a report that does not say when nsys stopped
    trace = TraceBuilder().session(9000)
    trace.process().thread().push(100, 9500, "request").push(110, 150, "prefill").push(120, 9000, "other")
    trace.diagnostic(note, at=50)

    with open_trace(trace.write(tmp_path / "trace.sqlite"), TraceOptions(use_cache=False)) as opened:
        opened.build("load.nvtx_ranges")
        ranges = records(opened.connection, "SELECT name, end_ns, is_closed FROM load.nvtx_ranges ORDER BY name")

    # then one that ends with the recording has a recorded end
    assert [tuple(row.values()) for row in ranges] == [
        ("other", 9000, True),
        ("prefill", 150, True),
        ("request", 9500 if is_closed else 9000, is_closed),
    ]
