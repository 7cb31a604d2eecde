"""Calls that allocate or load cost what the GPU is idle in them, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ask import report_of
from tests.support.trace_builder import TraceBuilder

MS = 1_000_000


@pytest.mark.parametrize(
    ("api", "code"), [("cudaMalloc_v3020", "allocations_in_steps"), ("cuLibraryLoadData", "loading_in_steps")]
)
@pytest.mark.parametrize(("idle_ms", "told_ms"), [(0, None), (1, None), (3, 3), (4, 4)])
def test_a_call_costs_what_the_gpu_is_idle_in_it(
    api: str, code: str, idle_ms: int, told_ms: int | None, tmp_path: Path
) -> None:
    """Five steps: a kernel of 10 ms, the call of 4 ms around its end, 1 ms of host code, then 6 ms of another call."""
    trace = TraceBuilder().gpu()
    main, at = trace.process().thread(), 0
    for _ in range(5):
        main.launch(at, gpu=(at + 5, at + 5 + 10 * MS), name="gemm")
        end = at + 5 + 10 * MS + idle_ms * MS
        main.call(end - 4 * MS, until=end, api=api)
        main.call(end + MS, until=end + 7 * MS, api="cudaStreamIsCapturing_v10000")
        main.push(at, end + 7 * MS, "decode")
        at = end + 7 * MS + 1

    stakes = {one.code: one.at_stake_ns for one in report_of(trace, tmp_path).findings}

    assert stakes.get(code) == (None if told_ms is None else 5 * told_ms * MS)
    assert stakes["calls_in_steps"] == 5 * 6 * MS
