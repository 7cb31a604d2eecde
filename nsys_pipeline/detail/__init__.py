"""What a page shows beyond the report: the timeline, every step and request, all kernels, sampled counters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nsys_pipeline.detail.curves import read_counters, read_requests, read_steps
from nsys_pipeline.detail.environment import read_environment
from nsys_pipeline.detail.perfetto import write_perfetto
from nsys_pipeline.detail.stacks import write_stacks
from nsys_pipeline.detail.timeline import read_timeline
from nsys_pipeline.records import Detail

if TYPE_CHECKING:
    from nsys_pipeline.trace import Trace

__all__ = ["read_detail", "read_timeline", "write_perfetto", "write_stacks"]


def read_detail(trace: Trace) -> Detail:
    """Everything of an analyzed `trace` that a page shows beyond its report."""
    with trace.reading():
        return Detail(
            timeline=read_timeline(trace),
            steps=read_steps(trace),
            requests=read_requests(trace),
            counters=read_counters(trace),
            environment=read_environment(trace),
        )
