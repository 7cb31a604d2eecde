"""The engine against the brute-force references: one analysis of a trace, and what each reference says about it.

Attribution is compared operation by operation, the time budget class by class to the nanosecond, cold occurrences one
by one. What is about one of them alone is in tests/unit/budget.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given

from nsys_pipeline.duck import records
from nsys_pipeline.trace import Trace, TraceOptions, open_trace
from tests.support import real_traces
from tests.support.edge_traces import EDGE_TRACES
from tests.support.engine import attribution_differences, budget_differences, cold_differences, disagreements
from tests.support.examples import some
from tests.support.reference import attribute, summarize
from tests.support.strategies import property_test, traces
from tests.support.trace_builder import TraceBuilder


@pytest.mark.parametrize("name", EDGE_TRACES)
def test_edge_trace_is_what_the_references_say(name: str, tmp_path: Path) -> None:
    path = EDGE_TRACES[name]().write(tmp_path / "trace.sqlite")

    with open_trace(path, TraceOptions(use_cache=False)) as trace:
        assert disagreements(trace) == {}


# Those in which one thread works for another; elsewhere a few show that nothing else changes.
WORK_OF_OTHER_THREADS = (
    "autograd_thread", "helper_with_a_range", "libraries_on_another_thread", "autograd_by_name_and_by_range",
    "checkpointed_forward", "start_end_range_that_ends_on_another_thread",
)  # fmt: skip


def test_edge_traces_with_work_of_other_threads_are_known(tmp_path: Path) -> None:
    paths = {name: make().write(tmp_path / f"{name}.sqlite") for name, make in EDGE_TRACES.items()}

    found = {
        name for name, path in paths.items() if summarize(attribute(path)) != summarize(attribute(path, strict=True))
    }
    assert found == set(WORK_OF_OTHER_THREADS)


@pytest.mark.parametrize("name", dict.fromkeys((*WORK_OF_OTHER_THREADS, *some(EDGE_TRACES, 3))))
def test_edge_trace_without_work_of_other_threads(name: str, tmp_path: Path) -> None:
    path = EDGE_TRACES[name]().write(tmp_path / "trace.sqlite")

    with open_trace(path, TraceOptions(use_cache=False, is_strict=True)) as trace:
        assert attribution_differences(trace) == {}
        assert budget_differences(trace) == {}


@property_test
@given(traces())
def test_random_trace_is_what_the_references_say(trace: TraceBuilder) -> None:
    with (
        TemporaryDirectory() as folder,
        open_trace(trace.write(Path(folder) / "trace.sqlite"), TraceOptions(use_cache=False)) as opened,
    ):
        assert disagreements(opened) == {}


@pytest.mark.parametrize("name", real_traces.NAMES)
def test_real_trace_is_what_the_references_say(name: str, tmp_path: Path) -> None:
    path = real_traces.unpack_by_name(name, tmp_path)

    with open_trace(path, TraceOptions(use_cache=False)) as trace:
        sums_are_those_of_the_reference(trace, "default", name)
        if name in real_traces.QUICK:
            assert budget_differences(trace) == {}
            assert cold_differences(trace) == {}


@pytest.mark.parametrize("name", real_traces.NAMES)
def test_real_trace_without_work_of_other_threads(name: str) -> None:
    path = real_traces.TRACES / f"{name}{real_traces.SUFFIX}"

    with open_trace(path, TraceOptions(use_cache=False, is_strict=True)) as trace:
        sums_are_those_of_the_reference(trace, "strict", name)


def sums_are_those_of_the_reference(trace: Trace, mode: str, name: str) -> None:
    expected = real_traces.golden(name)[mode]
    trace.build("attribute.phase_devices", "attribute.phase_walls", "attribute.work_totals")
    devices = records(trace.connection, "SELECT * FROM attribute.phase_devices")
    walls = {row["phase"]: row for row in records(trace.connection, "FROM attribute.phase_walls")}
    totals = records(trace.connection, "FROM attribute.work_totals")[0]

    found = {(row.pop("phase"), row.pop("process_key") & 0xFFFFFF, row.pop("device_id")): row for row in devices}
    assert totals == expected["totals"]
    assert found == {
        (phase, device.pop("process_id"), device.pop("device_id")): device
        for phase, sums in expected["phases"].items()
        for device in sums["devices"]
    }
    for phase, sums in expected["phases"].items():
        for key in ("occurrences", "warmup_occurrences", "wall_ns"):
            assert walls[phase][key] == sums[key], (phase, key)
