"""A scaled trace is the same work K times over: every sum is K times the sum, every join finds its own copy."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from scripts.scale_trace import scale
from tests.support import real_traces
from tests.support.edge_traces import EDGE_TRACES
from tests.support.reference import attribute, occurrence_rows, summarize
from tests.support.trace_builder import TraceBuilder

# Without a single event there is nothing to repeat; a push that is still open at the session's end grows with it.
UNPOPPED = {"pushes_that_were_never_popped", "lost_pop_beside_a_sibling_and_under_another_domain"}
SCALABLE = sorted(set(EDGE_TRACES) - {"nothing_at_all"} - UNPOPPED)


def times(summary: Any, factor: int) -> Any:
    """The sums of `factor` runs, from those of one. A span is no sum, an id is no number."""
    if isinstance(summary, dict):
        kept = {key: value for key, value in summary.items() if key.endswith("_id")}
        return {k: times(v, factor) for k, v in summary.items() if k not in kept and k != "gpu_span_ns"} | kept
    if isinstance(summary, list):
        return [times(item, factor) for item in summary]
    return summary * factor


@pytest.mark.parametrize("name", SCALABLE)
def test_sums_are_multiplied(name: str, tmp_path: Path) -> None:
    one = EDGE_TRACES[name]().write(tmp_path / "one.sqlite")
    scale(one, tmp_path / "three.sqlite", copies=3)

    assert times(summarize(attribute(tmp_path / "three.sqlite")), 1) == times(summarize(attribute(one)), 3)


def test_sums_of_a_real_trace_with_graphs_are_multiplied(tmp_path: Path) -> None:
    one = real_traces.unpack_by_name("h100_cuda_graph_node", tmp_path)
    scale(one, tmp_path / "two.sqlite", copies=2)

    golden = real_traces.golden("h100_cuda_graph_node")["default"]
    assert times(summarize(attribute(tmp_path / "two.sqlite")), 1) == times(golden, 2)


def test_only_the_last_copy_of_an_unpopped_push_stays_open(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.process().thread().push(10, None, "decode").launch(20, gpu=(30, 90))
    scale(trace.write(tmp_path / "one.sqlite"), tmp_path / "two.sqlite", copies=2)

    rows = occurrence_rows(attribute(tmp_path / "two.sqlite"))

    # One copy lasts from 10 to 90; the gap between copies is a millisecond.
    assert [(row["start_ns"], row["wall_ns"], row["kernel_count"]) for row in rows] == [(10, 80, 1), (1_000_090, 80, 1)]


def test_what_nsys_counted_and_the_session_grow_along(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.process().thread().push(0, 50, "decode").launch(20, gpu=(30, 90))
    trace.diagnostic("Number of CUDA events collected: \t2.")
    scale(trace.write(tmp_path / "one.sqlite"), tmp_path / "four.sqlite", copies=4)

    with closing(sqlite3.connect(tmp_path / "four.sqlite")) as db:
        assert db.execute("SELECT text FROM DIAGNOSTIC_EVENT").fetchall() == [
            ("Number of CUDA events collected: \t8.",)
        ]
        assert db.execute("SELECT duration FROM ANALYSIS_DETAILS").fetchone() == (3 * 1_000_090 + 90,)
        assert db.execute("SELECT stopTime - startTime - duration FROM ANALYSIS_DETAILS").fetchone() == (0,)
        assert db.execute("SELECT max(end) FROM CUPTI_ACTIVITY_KIND_KERNEL").fetchone() == (3 * 1_000_090 + 90,)
        ids = [row[0] for row in db.execute("SELECT correlationId FROM CUPTI_ACTIVITY_KIND_KERNEL ORDER BY start")]
        assert ids == [1, 3, 5, 7]
