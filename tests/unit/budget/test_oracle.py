"""The time budget of the engine against the brute-force walk, class by class, to the nanosecond."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given

from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support import budget_reference, real_traces
from tests.support.edge_traces import EDGE_TRACES
from tests.support.examples import some
from tests.support.strategies import property_test, traces
from tests.support.trace_builder import TraceBuilder

Times = dict[tuple[Any, ...], int]


def engine_budget(path: Path, *, strict: bool = False) -> tuple[Times, Times, dict[int, int], set[tuple[str, int]]]:
    """(GPU, phase, occurrence, class) → ns; GPU → ns of its window; kernel → until when it waits; cold occurrences."""
    with open_trace(path, TraceOptions(use_cache=False, is_strict=strict)) as trace:
        trace.build("attribute.occurrence_times", "attribute.windows", "attribute.phase_ranges")
        times = trace.connection.execute(
            "SELECT t.device_id, p.phase, p.occurrence, t.class, t.time_ns "
            "FROM attribute.occurrence_times AS t LEFT JOIN attribute.phase_ranges AS p USING (occurrence_id)"
        ).fetchall()
        waits = trace.connection.execute("SELECT op_id, end_ns FROM attribute.collective_waits").fetchall()
        windows = trace.connection.execute(
            "SELECT device_id, sum(end_ns - start_ns)::BIGINT FROM attribute.windows GROUP BY device_id"
        ).fetchall()
        # tests/unit/budget/test_cold.py has the same done twice.
        cold = set(
            trace.connection.execute("SELECT phase, occurrence FROM attribute.occurrences WHERE is_cold").fetchall()
        )
    return {row[:4]: row[4] for row in times}, {(device,): time for device, time in windows}, dict(waits), set(cold)


def differences(path: Path, *, strict: bool = False) -> dict[tuple[Any, ...], tuple[int | None, int | None]]:
    """What engine and walk do not agree on: (ns of the engine, ns of the walk)."""
    times, windows, waits, cold = engine_budget(path, strict=strict)
    walked = budget_reference.budget(
        path, strict=strict, waits=waits, measured=lambda one: (one.phase, one.index) not in cold
    )
    found = times | windows
    right = walked.by_occurrence() | {(device,): time for device, time in walked.window_ns().items()}
    keys = found.keys() | right.keys()
    return {key: (found.get(key), right.get(key)) for key in keys if found.get(key) != right.get(key)}


# What `strict` attributes otherwise is tested with all of them in tests/unit/trace/test_attribution.py.
@pytest.mark.parametrize(
    ("name", "strict"), [*((name, False) for name in EDGE_TRACES), *((name, True) for name in some(EDGE_TRACES, 3))]
)
def test_edge_trace_has_the_budget_of_the_walk(name: str, strict: bool, tmp_path: Path) -> None:
    path = EDGE_TRACES[name]().write(tmp_path / "trace.sqlite")

    assert differences(path, strict=strict) == {}


@property_test
@given(traces())
def test_random_trace_has_the_budget_of_the_walk(trace: TraceBuilder) -> None:
    with TemporaryDirectory() as folder:
        path = trace.write(Path(folder) / "trace.sqlite")

        assert differences(path) == {}


@pytest.mark.parametrize("name", real_traces.QUICK)
def test_real_trace_has_the_budget_of_the_walk(name: str, tmp_path: Path) -> None:
    path = real_traces.unpack_by_name(name, tmp_path)

    assert differences(path) == {}
