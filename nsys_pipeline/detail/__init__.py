"""What a page shows beyond the report: the timeline, every step and request, all kernels, sampled counters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nsys_pipeline.detail.timeline import read_timeline
from nsys_pipeline.records import Detail

if TYPE_CHECKING:
    from nsys_pipeline.trace import Trace

__all__ = ["read_detail", "read_timeline"]


def read_detail(trace: Trace) -> Detail:
    """Everything of an analyzed `trace` that a page shows beyond its report."""
    return Detail(timeline=read_timeline(trace))
