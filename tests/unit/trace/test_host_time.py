"""Samples of Python stacks against the time budget: with one in each nanosecond of each thread they are the budget."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings

from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.budget_reference import budget
from tests.support.examples import examples
from tests.support.strategies import property_test, traces
from tests.support.trace_builder import TraceBuilder
from tests.unit.trace.test_host_samples import add_samples, payload

IDLE = ("launch", "latency", "sync", "api", "host")


def on_one_gpu(trace: TraceBuilder) -> None:
    """All work on one GPU, without that whose launch nobody knows."""
    for kind in ("KERNEL", "MEMCPY", "MEMSET", "GRAPH_TRACE"):
        rows = trace._rows.get(f"CUPTI_ACTIVITY_KIND_{kind}", [])
        rows[:] = [row | {"deviceId": 0} for row in rows if row["correlationId"] not in (None, 1_000_000)]


@settings(property_test, max_examples=examples(8))
@given(traces(schemas=("2025.3",), most_processes=1))
def test_samples_of_every_nanosecond_are_the_budget(trace: TraceBuilder) -> None:
    on_one_gpu(trace)
    trace.process(500).thread().push(0, 1, "load data")  # so that there is a table of ranges
    rows = [row for table in trace._rows.values() for row in table]
    threads = {row["globalTid"] for row in rows if "globalTid" in row}
    end = max(row.get("end") or row.get("start") or 0 for row in rows)
    stack = payload([(trace.string("plan"), trace.string("a.py"), 1)])
    with TemporaryDirectory() as folder:
        path = trace.write(Path(folder) / "trace.sqlite")
        add_samples(path, [(at, thread, stack) for thread in threads for at in range(end + 1)])
        with open_trace(path, TraceOptions(use_cache=False, infers=False)) as opened:
            opened.describe(AnalysisOptions(keep_cold=True))
            opened.build("attribute.host_samples")
            found = opened.connection.execute(
                "SELECT phase, counts_as, count(*) FROM attribute.host_samples WHERE counts_as <> 'busy' GROUP BY ALL"
            ).fetchall()
        right: Counter[tuple[str | None, str]] = Counter()
        for (_, phase, name), time in budget(path).by_phase().items():
            if name in IDLE:
                right[phase, name] += time

    assert {row[:2]: row[2] for row in found} == right
