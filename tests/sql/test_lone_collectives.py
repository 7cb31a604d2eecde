"""Communication without a known partner: two such kernels at once count once, and what is not measured does not."""

from __future__ import annotations

from pathlib import Path

from tests.support.ask import report_of
from tests.support.trace_builder import TraceBuilder

MS = 1_000_000
ALL_REDUCE, SEND = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL", "ncclDevKernel_SendRecv"


def test_two_sends_at_once_count_once(tmp_path: Path) -> None:
    """Four requests of two ranks: 10 ms compute, 5 ms all-reduce; rank 0 then sends twice, 4 ms side by side.

    Between the requests it sends for 100 ms, outside every phase and request.
    """
    trace = TraceBuilder().gpu(0).gpu(1)
    for rank in range(2):
        main = trace.process(100 + rank).thread()
        for step in range(4):
            at = 200 * MS * step
            main.push(at, at + 20 * MS, "request", domain="llmperf")
            main.push(at + 1, at + 19 * MS, "decode", domain="llmperf")
            main.launch(at + 2, gpu=(at + 9, at + 10 * MS), name="gemm", device=rank)
            main.launch(at + 4, gpu=(at + 10 * MS, at + 15 * MS), name=ALL_REDUCE, device=rank, stream=20)
            if rank == 0:
                main.launch(at + 6, gpu=(at + 15 * MS, at + 19 * MS), name=SEND, stream=21)
                main.launch(at + 8, gpu=(at + 15 * MS, at + 18 * MS), name=SEND, stream=22)
                main.launch(at + 19 * MS + 5, gpu=(at + 19 * MS + 9, at + 20 * MS), name=SEND, stream=21)
                main.launch(at + 30 * MS, gpu=(at + 31 * MS, at + 131 * MS), name=SEND, stream=21)

    told = {(one.code, one.phase): one.message for one in report_of(trace, tmp_path).findings}

    assert "8 kernels of communication" in told["collectives_unmatched", "decode"]
    assert "16.0 ms with no compute beside them" in told["collectives_unmatched", "decode"]
    assert "4 kernels of communication" in told["collectives_unmatched", None]
