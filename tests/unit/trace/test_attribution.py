"""The SQL engine against the brute-force reference, operation by operation."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given

from nsys_pipeline.duck import records
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support import real_traces
from tests.support.edge_traces import EDGE_TRACES
from tests.support.engine import differences
from tests.support.strategies import property_test, traces
from tests.support.trace_builder import TraceBuilder


@pytest.mark.parametrize("strict", [False, True], ids=["default", "strict"])
@pytest.mark.parametrize("name", EDGE_TRACES)
def test_edge_trace_matches_the_reference(name: str, strict: bool, tmp_path: Path) -> None:
    path = EDGE_TRACES[name]().write(tmp_path / "trace.sqlite")

    assert differences(path, strict=strict) == {}


@property_test
@given(traces())
def test_random_trace_matches_the_reference(trace: TraceBuilder) -> None:
    with TemporaryDirectory() as folder:
        path = trace.write(Path(folder) / "trace.sqlite")

        assert differences(path) == {}


@pytest.mark.parametrize("mode", ["default", "strict"])
@pytest.mark.parametrize("name", real_traces.NAMES)
def test_real_trace_matches_the_reference(name: str, mode: str) -> None:
    expected = real_traces.golden(name)[mode]

    with open_trace(
        real_traces.TRACES / f"{name}.sqlite.xz", TraceOptions(use_cache=False, is_strict=mode == "strict")
    ) as trace:
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
