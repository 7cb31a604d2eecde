"""Collectives matched across ranks: who waits for whom, against a brute force, and what must not be matched."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from nsys_pipeline.duck import records
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.ask import ask
from tests.support.real_traces import SUFFIX, TRACES
from tests.support.trace_builder import TraceBuilder

ALL_REDUCE = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL"
BROADCAST = "ncclDevKernel_Broadcast_RING_LL"
QUERY = """
    SELECT device_id, number, rank_count, wait_ns, transfer_ns, lateness_ns FROM collectives ORDER BY number, device_id
"""

Kernels = list[tuple[str, int, int]]  # name, start, end


def ranks(*lanes: Kernels, stream: int = 7) -> TraceBuilder:
    """One process, thread and GPU for each list of kernels."""
    trace = TraceBuilder()
    for device, kernels in enumerate(lanes):
        trace.gpu(device)
        thread = trace.process(100 + device).thread()
        for name, start, end in kernels:
            thread.launch(start - 1, gpu=(start, end), name=name, device=device, stream=stream)
    return trace


def test_the_early_rank_waits_for_the_late_one(tmp_path: Path) -> None:
    trace = ranks([(ALL_REDUCE, 100, 200), (ALL_REDUCE, 310, 350)], [(ALL_REDUCE, 170, 200), (ALL_REDUCE, 300, 350)])

    assert ask(trace, QUERY, tmp_path).splitlines()[1:] == [
        "0,1,2,70,30,0", "1,1,2,0,30,70", "0,2,2,0,40,10", "1,2,2,10,40,0",
    ]  # fmt: skip


def test_the_root_of_a_broadcast_may_be_done_before_the_others_begin(tmp_path: Path) -> None:
    trace = ranks(
        [(BROADCAST, 10, 20), (ALL_REDUCE, 100, 200), (BROADCAST, 300, 310)],
        [(BROADCAST, 40, 50), (ALL_REDUCE, 150, 200), (BROADCAST, 320, 330)],
    )

    assert ask(trace, QUERY, tmp_path).splitlines()[1:] == [
        "0,1,2,10,0,0", "1,1,2,0,10,30", "0,2,2,50,50,0", "1,2,2,0,50,50", "0,3,2,10,0,0", "1,3,2,0,10,20",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        [(ALL_REDUCE, 600, 700), (ALL_REDUCE, 800, 900)],  # never at the same time
        [(ALL_REDUCE, 100, 200)],  # another number of them
        [("ncclDevKernel_AllGather_RING_LL", 100, 200), (ALL_REDUCE, 300, 350)],  # another collective
        [("gemm", 100, 200), ("gemm", 300, 350)],
    ],
)
def test_what_is_no_partner_is_not_matched(other: Kernels, tmp_path: Path) -> None:
    trace = ranks([(ALL_REDUCE, 100, 200), (ALL_REDUCE, 300, 350)], other)

    rows = ask(trace, "SELECT DISTINCT communicator_id, rank_count, wait_ns FROM collectives", tmp_path).splitlines()[
        1:
    ]

    assert rows == [",,"]


def test_two_groups_of_ranks_are_two_communicators(tmp_path: Path) -> None:
    early = [(ALL_REDUCE, 100 * n, 100 * n + 40) for n in range(1, 9)]
    late = [(ALL_REDUCE, start + 50, end + 50) for _, start, end in early]
    trace = ranks(early, late, early, late)

    rows = ask(
        trace,
        "SELECT device_id, dense_rank() OVER (ORDER BY communicator_id) AS communicator, rank_count "
        "FROM collectives WHERE number = 1 ORDER BY device_id",
        tmp_path,
    )

    assert rows.splitlines()[1:] == ["0,1,2", "1,2,2", "2,1,2", "3,2,2"]


def test_streams_of_one_gpu_are_not_partners(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    thread = trace.process().thread()
    for stream in (7, 8):
        thread.launch(1, gpu=(10, 20), name=ALL_REDUCE, stream=stream)

    assert ask(trace, "SELECT count(communicator_id) AS n FROM collectives", tmp_path).splitlines()[1:] == ["0"]


@pytest.mark.parametrize("seed", range(20))
def test_random_ranks_agree_with_brute_force(seed: int, tmp_path: Path) -> None:
    """A collective ends together, some time after its last rank has come; ranks come when they like before that."""
    random = Random(seed)
    count = random.randint(2, 5)
    lanes: list[Kernels] = [[] for _ in range(count)]
    now = 10
    for _ in range(random.randint(1, 200)):
        starts = [now + random.randint(0, 50) for _ in range(count)]
        end = max(starts) + random.randint(1, 20)
        for lane, start in zip(lanes, starts, strict=True):
            lane.append((ALL_REDUCE, start, end + random.randint(0, 3)))
        now = end + 5

    with open_trace(ranks(*lanes).write(tmp_path / "trace.sqlite"), TraceOptions(use_cache=False)) as trace:
        trace.build("attribute.collectives", "attribute.collective_waits")
        found = {
            (row["device_id"], row["number"]): (row["wait_ns"], row["transfer_ns"], row["rank_count"])
            for row in records(trace.connection, "FROM attribute.collectives")
        }
        waits = records(trace.connection, "SELECT sum(end_ns - start_ns)::BIGINT AS ns FROM attribute.collective_waits")

    expected: dict[tuple[int, int], tuple[int, int, int]] = {}
    for number in range(len(lanes[0])):
        running = [lane[number] for lane in lanes]
        for device, (_, start, end) in enumerate(running):
            waiting = sum(any(other[1] > at for other in running) for at in range(start, end))
            expected[device, number + 1] = (waiting, end - start - waiting, count)
    assert found == expected
    assert (waits[0]["ns"] or 0) == sum(wait for wait, _, _ in expected.values())


SENDS = "ncclDevKernel_SendRecv"


def exchanges(count: int, *late: int) -> list[Kernels]:
    """All-to-alls of NCCL; rank i comes `late[i]` after the first one, and all end 5 after the last."""
    return [[(SENDS, 100 * n + one, 100 * n + max(late) + 5) for n in range(1, count + 1)] for one in late]


def test_all_to_alls_of_nccl_are_matched_alone_where_all_ranks_run_them_together(tmp_path: Path) -> None:
    trace = ranks(*exchanges(20, 0, 30, 10))

    query = (
        "SELECT device_id, rank_count, kind, sum(wait_ns), sum(transfer_ns) FROM collectives GROUP BY ALL ORDER BY ALL"
    )
    assert ask(trace, query, tmp_path).splitlines()[1:] == [
        "0,3,send_recv,600,100", "1,3,send_recv,0,100", "2,3,send_recv,400,100",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "lanes",
    [
        exchanges(12, 0, 30, 10),  # too few to tell
        # two groups: nobody knows of which one a rank is
        exchanges(20, 0, 30) + exchanges(20, 50, 80),
        # a pipeline of three stages: those at the ends send half as much
        [exchanges(20, 0, 30)[0], exchanges(40, 0, 30)[1], exchanges(20, 30, 0)[0]],
    ],
)  # fmt: skip
def test_sends_in_groups_or_pairs_are_not_matched(lanes: list[Kernels], tmp_path: Path) -> None:
    rows = ask(ranks(*lanes), "SELECT DISTINCT communicator_id, wait_ns FROM collectives", tmp_path).splitlines()[1:]

    assert rows == [","]


def test_nearly_all_of_a_real_all_reduce_is_waiting() -> None:
    with open_trace(TRACES / f"h200x2_tensor_parallel{SUFFIX}", TraceOptions(use_cache=False)) as trace:
        trace.build("attribute.collectives", "attribute.phase_ranges")
        rows: list[dict[str, Any]] = records(
            trace.connection,
            "SELECT c.device_id, count(*) AS n, sum(c.wait_ns)::BIGINT AS wait_ns, "
            "sum(c.transfer_ns)::BIGINT AS transfer_ns "
            "FROM attribute.collectives AS c "
            "JOIN attribute.phase_ranges AS p USING (occurrence_id) WHERE p.phase = 'decode' GROUP BY ALL ORDER BY ALL",
        )

    # Both ranks run 416 all-reduces in decode: 1,438 ms in all, of which 9 are transfer.
    assert [row["n"] for row in rows] == [416, 416]
    assert sum(row["wait_ns"] for row in rows) / 1e6 == pytest.approx(1428.5, abs=0.1)
    assert [row["transfer_ns"] / 1e6 for row in rows] == pytest.approx([4.6, 4.6], abs=0.1)


def test_a_rank_that_was_cut_is_matched_if_enough_of_it_fits(tmp_path: Path) -> None:
    whole = [(ALL_REDUCE, 100 * n, 100 * n + 40) for n in range(1, 41)]
    late = [(name, start + 10, end) for name, start, end in whole]
    query = "SELECT device_id, count(communicator_id), sum(wait_ns) FROM collectives GROUP BY ALL ORDER BY ALL"

    (tmp_path / "long").mkdir()
    (tmp_path / "short").mkdir()
    assert ask(ranks(whole, late[:25]), query, tmp_path / "long").splitlines()[1:] == ["0,40,250", "1,25,0"]
    assert ask(ranks(whole, late[:12]), query, tmp_path / "short").splitlines()[1:] == ["0,0,", "1,0,"]
    other = [("ncclDevKernel_AllGather_RING_LL", start, end) for _, start, end in late[:25]]
    assert ask(ranks(whole, other), query, tmp_path).splitlines()[1:] == ["0,0,", "1,0,"]
