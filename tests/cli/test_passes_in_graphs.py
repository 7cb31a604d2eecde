"""How many passes a step is where its CUDA graphs are recorded as a whole."""

from __future__ import annotations

import pytest

from tests.cli.run import MS, Cli
from tests.support.trace_builder import TraceBuilder

# Graph, and for how many ms it runs, of each launch of a step; 0 is a kernel outside graphs.
WHOLE = [(1, 4)]
PIECES = [(1, 2), (0, 1), (2, 2), (0, 1), (3, 2)]
LAYERS = [(1, 1), (2, 1), (3, 1), (4, 1)]
DRAFT = [(2, 1)]


@pytest.mark.parametrize(
    ("step", "passes"),
    [
        (WHOLE, 1),
        (WHOLE * 2, 2),
        (WHOLE * 8, 8),
        (PIECES, 1),
        (PIECES * 3, 3),
        (LAYERS, 1),
        (LAYERS * 4, 4),
        # Five launches of a draft model for each of the model itself; a sampler beside a step without a graph.
        (DRAFT * 5 + WHOLE, 1),
        ([(0, 4), *DRAFT, *DRAFT], 1),
    ],
    ids=["one", "two", "eight", "pieces", "pieces of three", "layers", "layers of four", "drafts", "sampler"],
)
def test_launches_of_the_same_graph_in_a_step_are_passes(step: list[tuple[int, int]], passes: int, cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    at = 0
    for _ in range(2):
        start = at
        for phase in ("prefill", *["decode"] * 5):
            work = [(0, 5)] if phase == "prefill" else step
            begun, at = at, at + MS
            for graph, length in work:
                end = at + length * MS
                if graph:
                    main.graph_launch(at - MS // 2, gpu=(at, end), graph_id=graph)
                else:
                    main.launch(at - MS // 2, gpu=(at, end), name="flash_fwd_kernel")
                at = end
            main.push(begun, at, phase, domain="llmperf")
        main.push(start, at, "request", domain="llmperf")
        at += MS

    report = cli.analyze(trace)
    rows, _ = cli.sql(trace, "SELECT tpot_ns FROM requests")

    told = [one["message"] for one in report["findings"] if one["code"] == "several_passes"]
    assert [f"runs the layers {passes} times, by the launches of its" in one for one in told] == [True] * (passes > 1)
    assert [row["tpot_ns"] is None for row in rows] == [passes > 1] * 2
