"""Recipes against a brute-force count of the raw rows, on random traces, some of whose work has no times."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.query.recipes import find_recipe
from nsys_pipeline.query.session import Session
from nsys_pipeline.trace import TraceOptions, open_trace
from nsys_pipeline.trace.window import Window
from tests.support.examples import examples
from tests.support.recipe_reference import Recipes, Row
from tests.support.reference import attribute
from tests.support.strategies import property_test, traces, windows
from tests.support.trace_builder import TraceBuilder
from tests.support.window_reference import Kept, is_request

WIDTH = 16
COLUMNS = {
    "api_calls_by_phase": "phase name count time_ns max_ns",
    "between_steps": "after_phase before_phase count total_ns max_ns",
    "busy_over_time": "device_id start_ns busy_ns",
    "communication_overlap": "device_id communication_ns hidden_ns exposed_ns",
    "copy_bandwidth": "count bytes time_ns bytes_per_s",
    "device_balance": "phase device_id kernel_count kernel_time_ns compute_ns",
    "first_and_later_steps": "phase name first_count later_count first_time_ns later_time_ns",
    "graph_and_eager": "phase graph_launches graph_time_ns eager_launches eager_time_ns",
    "hidden_copies": "device_id copy_ns hidden_ns exposed_ns",
    "launch_bound_ranges": "phase occurrence gpu_busy_ns",
    "launch_latency": "phase count min p50",
    "launches_per_token": "phase occurrences launches_per_range",
    "range_gpu_times": "domain name range_count own_gpu_ns gpu_time_ns",
    "stalling_synchronizations": "phase range_name name count time_ns max_ns",
    "streams": "device_id process_id stream_id op_count time_ns busy_ns",
    "time_to_first_kernel": "phase count min max",
}
PARAMETERS: dict[str, Any] = {"top": 10**6, "width_ns": WIDTH}
#: Rows without any time: a bucket in which nothing runs, communication that has no times.
EMPTY = {"busy_over_time": 2, "communication_overlap": 1}

#: Of a window, ranges that are no phases are those that touch it.
OF_RANGES = ("range_gpu_times",)


def rounded(rows: list[Row], recipe: str) -> Counter[Row]:
    first = EMPTY.get(recipe, 0)
    return Counter(
        tuple(round(value, 6) if isinstance(value, float) else value for value in row)
        for row in rows
        if not first or any(row[first:])
    )


def of_window(path: Path, window: Window) -> Recipes:
    """What `window` leaves of the trace at `path`."""
    attribution, reference = attribute(path), Recipes(path)
    kept = Kept.of(window, attribution, reference.ranges)
    numbered = {one: replace(one, index=number) for one, number in kept.numbers.items()}
    reference.work = [replace(item, occurrence=numbered.get(item.occurrence)) for item in kept.work]  # type: ignore[arg-type]
    reference.occurrences = sorted(
        numbered.values(), key=lambda one: (one.range.start, one.range.thread, one.range.row)
    )
    reference.ranges = [one for one in reference.ranges if not is_request(one) or kept.has_range(one)]
    launching = {(item.work.process, item.work.correlation) for item in kept.work if item.call}
    reference.calls = [
        call
        for call in reference.calls
        if (call.thread >> 24, call.correlation) in launching
        or kept.has_call(call.thread, call.start, call.correlation)
    ]
    return reference


def differences(path: Path, window: Window | None = None) -> dict[str, tuple[Counter[Row], Counter[Row]]]:
    """Recipe → (rows that it has and should not, rows that it should have)."""
    reference, found = of_window(path, window) if window else Recipes(path), {}
    trace = open_trace(path, TraceOptions(use_cache=False, infers=False, window=window))
    with Session.of(trace, AnalysisOptions(keep_cold=True)) as session:
        for name, columns in COLUMNS.items():
            if window and name in OF_RANGES:
                continue
            recipe = find_recipe(name)
            given = {p.name: PARAMETERS[p.name] for p in recipe.parameters if p.name in PARAMETERS}
            with session.query(recipe.sql, recipe.arguments(given)) as result:
                rows = [tuple(row[column] for column in columns.split()) for row in result.records()]
            right = getattr(reference, name)(*([WIDTH] if name == "busy_over_time" else []))
            got, want = rounded(rows, name), rounded(list(right), name)
            if got != want:
                found[name] = (got - want, want - got)
    return found


@settings(property_test, max_examples=examples(8))
@given(traces(), windows())
def test_window_of_a_random_trace_has_the_answers_of_the_count(trace: TraceBuilder, window: Window) -> None:
    with TemporaryDirectory() as folder:
        path = trace.write(Path(folder) / "trace.sqlite")
        if of_window(path, window).occurrences:
            assert differences(path, window) == {}


@settings(property_test, max_examples=examples(6))
@given(traces(), st.integers(0, 9))
def test_random_trace_has_the_answers_of_the_count(trace: TraceBuilder, seed: int) -> None:
    random = Random(seed)
    for kind in ("KERNEL", "MEMCPY", "MEMSET", "GRAPH_TRACE"):
        for row in trace._rows.get(f"CUPTI_ACTIVITY_KIND_{kind}", []):
            if seed % 2 and random.random() < 0.15:
                row["start"] = row["end"] = 0
    with TemporaryDirectory() as folder:
        assert differences(trace.write(Path(folder) / "trace.sqlite")) == {}
