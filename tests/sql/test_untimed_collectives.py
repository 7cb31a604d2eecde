"""A communication kernel without times, from 0 to 0, shifts no other collective: its place is that of its launch."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsys_pipeline.inputs import AnalysisOptions
from tests.support.ask import ask, ask_session, open_session, report_of, table
from tests.support.trace_builder import TraceBuilder

MS = 1_000_000
ALL_REDUCE = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)"
KEEP_COLD = AnalysisOptions(keep_cold=True)


def two_ranks(untimed: set[tuple[int, int]], *, steps: int = 100, known: bool = True) -> TraceBuilder:
    """Step n of rank 1 comes n µs later than rank 0's and both end 1 ms after rank 0's start.

    `untimed`: pairs of rank and step whose kernel has no times. `known`: whether launches were recorded.
    """
    trace = TraceBuilder()
    for rank in range(2):
        process = trace.gpu(rank).process(100 + rank)
        main = process.thread()
        main.mark(0, f'llmperf.run {{"v": 1, "rank": {rank}, "world": 2}}')
        for n in range(1, steps + 1):
            start = 10 * n * MS
            gpu = (0, 0) if (rank, n) in untimed else (start + rank * n * 1_000, start + MS)
            main.push(start - 2 * MS, start + MS, "forward")
            main.launch(start - MS, gpu=(start - MS + 10, start - MS // 2), name="gemm", device=rank)
            if known:
                main.launch(start - MS // 2, gpu=gpu, name=ALL_REDUCE, device=rank, stream=20)
            else:
                process.kernel(gpu, correlation=None, name=ALL_REDUCE, device=rank, stream=20)
    return trace


@pytest.mark.parametrize("untimed", [{(0, 3)}, {(1, 100)}, {(1, 2), (0, 3), (0, 50), (1, 50)}])
def test_one_without_times_stands_where_it_was_launched(untimed: set[tuple[int, int]], tmp_path: Path) -> None:
    trace = two_ranks(untimed)
    whole = [n for n in range(1, 101) if {(0, n), (1, n)}.isdisjoint(untimed)]

    query = "SELECT number, device_id, wait_ns, transfer_ns FROM collectives WHERE wait_ns IS NOT NULL ORDER BY ALL"
    with open_session(trace, tmp_path, KEEP_COLD) as session:
        rows = [tuple(map(int, row.split(","))) for row in ask_session(session, query).splitlines()[1:]]

    expected = [(n, rank, 0 if rank else n * 1_000, MS - n * 1_000) for n in whole for rank in range(2)]
    assert rows == expected
    report = report_of(tmp_path / "trace.sqlite", options=KEEP_COLD)
    assert report.ranks[0].wait_ns == report.ranks[1].blamed_ns == sum(whole) * 1_000


def test_in_a_graph_nobody_knows_its_place(tmp_path: Path) -> None:
    """Two graphs of two collectives each; one node of rank 0's second has no times: the first graph's are known."""
    trace = TraceBuilder()
    for rank in range(2):
        process = trace.gpu(rank).process(100 + rank)
        main = process.thread().push(0, 9_000, "decode")
        for step in range(2):
            at = 1_000 + 4_000 * step
            graph = main.call(at, api="cudaGraphLaunch_v10000")
            for node in range(2):
                start = at + 500 + 1_000 * node
                gpu = (0, 0) if (rank, step, node) == (0, 1, 1) else (start + 10 * rank, start + 100)
                process.kernel(gpu, correlation=graph, name=ALL_REDUCE, device=rank, graphNodeId=1 << 32 | node)

    query = "SELECT device_id, wait_ns FROM collectives WHERE start_ns > 0 ORDER BY start_ns"

    assert ask(trace, query, tmp_path, options=KEEP_COLD) == table("""
        device_id, wait_ns
        0,         10
        1,         0
        0,         10
        1,         0
        0,
        1,
        1,
    """)


def test_without_launches_no_place_is_known(tmp_path: Path) -> None:
    query = "SELECT count(*), count(wait_ns) FROM collectives WHERE device_id = 0"
    for untimed, expected in ((set(), "9,9"), ({(0, 4)}, "9,0")):
        folder = tmp_path / expected
        folder.mkdir()
        assert ask(two_ranks(untimed, steps=9, known=False), query, folder).splitlines()[1] == expected
