"""Steps, requests and counters of a trace, one record each, as many as a chart can show."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, TypeVar

from nsys_pipeline.duck import records, scalar
from nsys_pipeline.records import CounterSample, RequestTime, StepTime

if TYPE_CHECKING:
    from nsys_pipeline.trace import Trace

#: Points of one curve: more than a screen has pixels.
MAX_POINTS = 2_000
_T = TypeVar("_T")


def read_steps(trace: Trace) -> list[StepTime]:
    """Measured occurrences of phases, by start; at most MAX_POINTS of each phase, evenly chosen."""
    trace.build("views.phases")
    rows = records(
        trace.connection,
        "SELECT phase, occurrence, start_ns, wall_ns, gpu_busy_ns, batch, cached_tokens // nullif(batch, 0) AS context "
        "FROM views.phases WHERE is_measured ORDER BY start_ns, occurrence_id",
    )
    by_phase: dict[str, list[StepTime]] = defaultdict(list)
    for row in rows:
        by_phase[row["phase"]].append(StepTime(**row))
    return [step for steps in by_phase.values() for step in _thinned(steps)]


def read_requests(trace: Trace) -> list[RequestTime]:
    """Requests, warm-up and cold ones left out, by start; at most MAX_POINTS, evenly chosen."""
    trace.build("views._measured_requests")
    rows = records(trace.connection, "SELECT start_ns, ttft_ns, tpot_ns FROM views._measured_requests ORDER BY ALL")
    return _thinned([RequestTime(**row) for row in rows])


def read_counters(trace: Trace) -> list[CounterSample]:
    """Counters of each GPU, by time: means over stretches of a MAX_POINTS-th of the sampled time."""
    trace.build("load.counter_samples", "macros.counter_curves")
    con = trace.connection
    span = scalar(con, "SELECT max(start_ns) - min(start_ns) FROM load.counter_samples")
    if span is None:
        return []
    rows = records(
        con,
        "SELECT lane AS device_id, * EXCLUDE (lane) FROM macros.counter_curves('load.counter_samples', ?) "
        "ORDER BY lane, at_ns",
        [max(1, span // MAX_POINTS)],
    )
    return [CounterSample(**row) for row in rows]


def _thinned(points: list[_T]) -> list[_T]:
    """At most MAX_POINTS of `points`, evenly spread, the first and the last among them."""
    last = len(points) - 1
    if last < MAX_POINTS:
        return points
    return [points[index * last // (MAX_POINTS - 1)] for index in range(MAX_POINTS)]
