"""The words and formulas of a report, for readers who meet it alone."""

from __future__ import annotations

from nsys_pipeline.records import Detail, Report
from nsys_pipeline.report.document import Column, Depth, Note, Notes, Section, Table

TERMS = {
    "phase": "what an NVTX range marks on the launching thread, or what its launches tell: prefill, decode, or "
    "another. A GPU operation belongs to the phase that was open when its launching call was entered, however late it "
    "runs",
    "wall": "host time inside the phase's ranges, or inside what was inferred to be the phase",
    "busy": "union of the intervals in which the phase's GPU work ran, over all streams of a GPU, added up over GPUs",
    "busy %": "busy / (open time of the phase × GPUs)",
    "model FLOPs": "what the config requires: 2·m·n·k for each product, causal attention exact, no recomputation",
    "minimum bytes": "weights touched once for each pass, and the KV cache read and written",
    "MFU": "model FLOPs / (dense peak × time). MFU wall is what a user gets, MFU busy what the kernels reach; "
    "MFU wall = MFU busy × busy share",
    "MBU": "minimum bytes / (peak bandwidth × time)",
    "speed of light": "max(model FLOPs / peak, minimum bytes / bandwidth): no kernel can be faster",
    "roofline": "attainable FLOP/s = min(peak, FLOPs per byte × bandwidth). Left of the ridge bytes limit, right of it "
    "FLOPs",
    "bound": "the largest part of the budget; for kernels, the limit that alone explains half of the busy time, else "
    "kernel-bound",
    "TTFT": "time to first token: from the start of a request to the end of its prefill, on the host or on the GPU, "
    "and of the sampling behind it, whichever is latest",
    "TPOT": "time per output token: (last token - first token) / decode steps",
    "launch": "the host call that put an operation on a stream. One launch of a CUDA graph starts many operations",
    "warm-up": "requests that are marked not to count: left out of every number but the row that says so",
    "cold": "occurrences several times slower than steady ones: the first of their kind or length, or those that set "
    "up graphs, modules or memory. Left out like warm-up, unless --keep-cold counts them",
    "outside": "GPU work in no phase; its time is a sum of durations (Σ), not a union",
}


def glossary_section(report: Report) -> Section:
    """Each term with its definition."""
    del report
    return Section("glossary", (Notes([Note(term, text) for term, text in TERMS.items()]),), depth=Depth.page)


def environment_section(detail: Detail) -> Section | None:
    """Where the trace was recorded."""
    if not detail.environment:
        return None
    names, values = zip(*detail.environment, strict=True)
    columns = [Column.text("what", names), Column.text("value", values)]
    return Section("environment", (Table(columns),), depth=Depth.page)
