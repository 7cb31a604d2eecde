"""What `host_bound_steps` says of each launch is the host's time, however many GPUs wait meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ask import report_of
from tests.support.trace_builder import TraceBuilder

US = 1_000


@pytest.mark.parametrize(
    ("gpus", "told"), [(1, "10 launches a step, and 90.2 µs"), (2, "20 launches a step, and 45.1 µs")]
)
def test_host_code_for_each_launch(gpus: int, told: str, tmp_path: Path) -> None:
    """101 µs of code before each launch of kernels of 11 µs: (59 × 90 + 101) / 60 µs; the first one waits longer."""
    trace = TraceBuilder().gpu(0).gpu(1)
    main, at = trace.process().thread(), 0
    for _ in range(6):
        start = at
        for _ in range(10):
            at += 101 * US
            for device in range(gpus):
                main.launch(at + device, until=at + device, gpu=(at + 2, at + 11 * US), name="gemm", device=device)
        main.push(start, at + 2, "decode")
        at += 3

    (found,) = [one for one in report_of(trace, tmp_path).findings if one.code == "host_bound_steps"]

    assert told in found.message
