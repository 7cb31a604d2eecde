"""Work without times, from 0 to 0: it is counted, and is no start, no shortest kernel and no launch latency."""

from __future__ import annotations

from pathlib import Path

from tests.support.ask import ask_session, open_session, table
from tests.support.trace_builder import TraceBuilder


def test_work_without_times_begins_nothing(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(1_000, 2_000, "decode")
    main.graph_launch(1_100, nodes=[(1_150, 1_160), (0, 0), (1_170, 1_180)])
    main.launch(1_200, gpu=(0, 0), name="gemm").launch(1_300, gpu=(1_350, 1_357), name="gemm")
    main.memcpy(1_400, gpu=(0, 0))

    with open_session(trace, tmp_path) as session:
        graphs = "SELECT start_ns, end_ns, dur_ns, node_count, node_time_ns FROM graph_launches"
        assert ask_session(session, graphs) == table("""
            start_ns, end_ns, dur_ns, node_count, node_time_ns
            1150,     1180,   30,     3,          20
        """)
        kernels = "SELECT count, time_ns, min_ns, max_ns FROM kernel_summary WHERE name = 'gemm'"
        assert ask_session(session, kernels) == table("""
            count, time_ns, min_ns, max_ns
            2,     7,       7,      7
        """)
        latencies = "SELECT launch_latency_ns FROM kernels WHERE name = 'gemm' ORDER BY launch_start_ns"
        assert ask_session(session, latencies).splitlines()[1:] == ['""', "48"]
        assert ask_session(session, "SELECT launch_latency_ns FROM memops").splitlines()[1:] == ['""']
