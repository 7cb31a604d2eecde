"""A file that torch.profiler wrote on a GPU, held against what nsys recorded of the same workload on the same machine.

`llmperf capture --model L4 --shape 2x512+3 --repeats 2 --warmup 1`, once with `--backend torch`, on an H200: a Llama of
four layers, torch 2.11. Left out of the file are flows, which are not read, and the id of the run.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from nsys_pipeline.duck import records
from nsys_pipeline.trace import TraceOptions, open_trace

FILE = Path(__file__).resolve().parents[2] / "kineto" / "h200_llama_4_layers.json.gz"
# Of the nsys trace: occurrences, kernels, memsets, ns of kernels, FLOPs.
NSYS = {
    "prefill": (2, 546, 14, 4_606_137, 1_014_170_124_288),
    "decode": (6, 1710, 0, 4_786_106, 7_613_448_192),
}
MATRICES = 4 * (2048 * (2048 + 2 * 512) + 2048 * 2048 + 3 * 2048 * 8192)
HEAD = 2048 * 32000


def test_phases_are_those_of_nsys() -> None:
    with open_trace(FILE, TraceOptions(use_cache=False)) as trace:
        trace.build("views.phase_summary", "views.operators", "views.trace_checks")
        phases = records(trace.connection, "SELECT * FROM views.phase_summary")
        products = records(
            trace.connection,
            "SELECT phase, sum(calls)::INT AS calls FROM views.operators WHERE operator = 'aten::mm' GROUP BY ALL",
        )
        failed = records(trace.connection, "SELECT * FROM views.trace_checks WHERE NOT passed")

    assert {row["phase"] for row in phases if row["measured_occurrences"]} == set(NSYS)
    for row in phases:
        occurrences, kernels, memsets, kernel_ns, flops = NSYS[row["phase"]]
        assert (row["measured_occurrences"], row["kernel_count"], row["memop_count"]) == (occurrences, kernels, memsets)
        assert row["kernel_time_ns"] == pytest.approx(kernel_ns, rel=0.002)
        assert row["flops"] == flops
    assert not failed
    # Seven products of each layer and the LM head, in each pass; marked or not, warm-up has as many.
    assert {row["phase"]: row["calls"] for row in products}["decode"] == 6 * (7 * 4 + 1)


def test_flops_are_those_of_a_count_by_hand() -> None:
    prefill = 2 * (2 * 2 * 512 * MATRICES + 2 * 2 * HEAD + 4 * 4 * 2048 * 2 * 512 * 513 // 2)
    decode = 2 * sum(2 * 2 * (MATRICES + HEAD) + 4 * 4 * 2048 * 2 * (512 + step) for step in (1, 2, 3))
    assert (prefill, decode) == (NSYS["prefill"][4], NSYS["decode"][4])
