"""The time budget of the engine against the brute-force walk: buckets of traces without phases, and single cases.

`tests/unit/trace/test_oracles.py` compares the budgets of edge, random and real traces.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings

from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support import budget_reference, real_traces
from tests.support.edge_traces import EDGE_TRACES
from tests.support.engine import budget_differences, engine_budget
from tests.support.examples import examples
from tests.support.strategies import property_test, traces
from tests.support.trace_builder import TraceBuilder


def bucket_differences(path: Path) -> dict[tuple[Any, ...], tuple[int | None, int | None]]:
    """Where the buckets of a trace differ from the walk's, cut at their edges: (ns of the engine, ns of the walk)."""
    with open_trace(path, TraceOptions(use_cache=False, infers=False)) as trace:
        trace.build("views.bucket_budget", "attribute.time_buckets", "attribute.collective_waits")
        rows = trace.connection.execute(
            "SELECT device_id, start_ns, end_ns, class, time_ns FROM views.bucket_budget"
        ).fetchall()
        edges = trace.connection.execute(
            "SELECT start_ns, end_ns FROM attribute.time_buckets ORDER BY bucket"
        ).fetchall()
        waits = dict(trace.connection.execute("SELECT op_id, end_ns FROM attribute.collective_waits").fetchall())
    walked = budget_reference.budget(path, waits=waits)
    assert len(edges) <= 20
    right: Counter[tuple[Any, ...]] = Counter()
    for device, name, start, end in walked.stretches:
        for first, last in edges:
            right[device, first, last, name] += max(0, min(end, last) - max(start, first))
    found, expected = {row[:4]: row[4] for row in rows}, {key: time for key, time in right.items() if time}
    if edges:
        assert sum(expected.values()) == sum(walked.window_ns().values())
    return {
        key: (found.get(key), expected.get(key))
        for key in found.keys() | expected.keys()
        if found.get(key) != expected.get(key)
    }


@settings(property_test, max_examples=examples(4))
@given(traces())
def test_random_trace_without_phases_has_the_buckets_of_the_walk(trace: TraceBuilder) -> None:
    with TemporaryDirectory() as folder:
        path = real_traces.without_ranges(trace.write(Path(folder) / "trace.sqlite"))

        assert bucket_differences(path) == {}


def test_two_gpus_that_wait_for_each_other_have_the_buckets_of_the_walk(tmp_path: Path) -> None:
    path = real_traces.without_ranges(real_traces.unpack_by_name("h200x2_auto_torchrun", tmp_path))

    assert bucket_differences(path) == {}


def test_trace_with_phases_has_no_buckets(tmp_path: Path) -> None:
    path = EDGE_TRACES["kernel_ends_after_its_range"]().write(tmp_path / "trace.sqlite")

    with open_trace(path, TraceOptions(use_cache=False)) as trace:
        trace.build("views.bucket_budget")
        assert trace.connection.execute("FROM views.bucket_budget").fetchall() == []


def test_a_warm_up_range_of_no_time_is_warm_up(tmp_path: Path) -> None:
    """A request whose only phase it is has nothing that is measured."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 40, "decode").launch(5, gpu=(10, 30))
    main.push(50, 100, "request", domain="llmperf").push(60, 60, "warmup", domain="llmperf").launch(70, gpu=(75, 90))

    with open_trace(trace.write(tmp_path / "trace.sqlite"), TraceOptions(use_cache=False)) as opened:
        assert budget_differences(opened) == {}
        assert engine_budget(opened)[1] == {(0,): 40}
