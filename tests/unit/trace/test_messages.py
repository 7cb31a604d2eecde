"""Sizes of NCCL's messages, which payloads of its ranges hold, and the bus bandwidth that follows."""

from __future__ import annotations

import sqlite3
import struct
from pathlib import Path

import pytest

from tests.support.ask import ask
from tests.support.trace_builder import TraceBuilder

MB = 1_000_000
CALL, START = 77, 78
#: kernel, message of each rank in bytes, what nccl-tests' factor makes of it with 2 and with 4 ranks
KINDS = {
    "ncclDevKernel_AllReduce_Sum_bf16_RING_LL": (1.0, 1.5),
    "ncclDevKernel_AllGather_RING_LL": (1.0, 3.0),
    "ncclDevKernel_ReduceScatter_Sum_bf16_RING_LL": (1.0, 3.0),
}


def payload(schema: int, data: bytes) -> bytes:
    """A payload as nsys lays it out: how many, schema, length and offset of the data, then the data."""
    return struct.pack("<QQQQ", 1, schema, len(data), 32) + data


def with_payloads(path: Path, events: list[tuple[int, int, bytes]]) -> Path:
    """Give ranges of the export their payloads, as (start, thread, payload), and the schemas that explain them."""
    with sqlite3.connect(path) as export:
        export.execute("CREATE TABLE NVTX_PAYLOAD_SCHEMAS (domainId INT, schemaId INT, name TEXT, payloadSize INT)")
        export.execute(
            "CREATE TABLE NVTX_PAYLOAD_SCHEMA_ENTRIES"
            " (domainId INT, schemaId INT, idx INT, type INT, name TEXT, offset INT)"
        )
        (domain,) = export.execute("SELECT max(domainId) FROM NVTX_EVENTS").fetchone()
        fields = [(START, 0, 18, "NCCL communicator ID", None), (START, 1, 5, "No. of ranks", 8)]
        fields += [(CALL, 0, 18, "NCCL communicator ID", None), (CALL, 1, 22, "Message size [bytes]", 8)]
        export.executemany(
            "INSERT INTO NVTX_PAYLOAD_SCHEMA_ENTRIES VALUES (?, ?, ?, ?, ?, ?)", [(domain, *one) for one in fields]
        )
        export.executemany(
            "UPDATE NVTX_EVENTS SET binaryData = ? WHERE start = ? AND globalTid = ?",
            [(data, start, thread) for start, thread, data in events],
        )
    return path


def job(folder: Path, name: str, ranks: int, *, stated: int | None = None, message: int = 8 * MB) -> Path:
    """A collective on `ranks` GPUs of a host, 100 µs of transfer on each; `stated`: ranks that the communicator has."""
    trace = TraceBuilder()
    events = []
    for rank in range(ranks):
        trace.gpu(rank, name="NVIDIA H200")
        main = trace.process(100 + rank).thread()
        main.push(0, 900_000, "forward")
        main.push(10 + rank, 20 + rank, "ncclCommInitRank", domain="NCCL")
        events.append(
            (10 + rank, main.global_tid, payload(START, struct.pack("<Qiiii", 0xABCD, stated or ranks, rank, rank, 0)))
        )
        main.push(1000 + rank, 1100 + rank, name[:12], domain="NCCL")
        events.append((1000 + rank, main.global_tid, payload(CALL, struct.pack("<QQQ", 0xABCD, message, 0))))
        main.launch(1010 + rank, gpu=(2_000 + rank, 2_000 + ranks - 1 + 100_000), name=name, device=rank)
    return with_payloads(trace.write(folder / "trace.sqlite"), events)


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("name", KINDS)
def test_bus_bandwidth_is_what_links_carry_over_the_transfer(name: str, ranks: int, tmp_path: Path) -> None:
    path = job(tmp_path, name, ranks)

    answer = ask(path, "SELECT message_bytes, bus_bytes_per_s / 1e9, link_ratio FROM collective_summary", tmp_path)

    message, rate, share = (float(each) for each in answer.splitlines()[1].split(","))
    expected = 8 * MB * KINDS[name][ranks // 4] / 100e-6 / 1e9
    assert message == ranks * 8 * MB
    assert rate == pytest.approx(expected, rel=1e-4)
    # NVLink of an H200: 450 GB/s in each direction
    assert share == pytest.approx(expected / 450, rel=1e-4)


def test_ranks_that_are_not_in_the_trace_leave_the_bus_bandwidth_unknown(tmp_path: Path) -> None:
    path = job(tmp_path, "ncclDevKernel_AllGather_RING_LL", 2, stated=8)

    answer = ask(path, "SELECT message_bytes, bus_bytes_per_s, link_ratio FROM collective_summary", tmp_path)

    assert answer.splitlines()[1] == f"{16 * MB},,"


@pytest.mark.parametrize(
    "data", [b"", b"\xff" * 7, payload(CALL, b""), b"\xff" * 64, struct.pack("<QQQQ", 1, CALL, 24, 2**31) + bytes(24)]
)
def test_a_payload_that_is_cut_or_nonsense_says_nothing(data: bytes, tmp_path: Path) -> None:
    path = job(tmp_path, "ncclDevKernel_AllGather_RING_LL", 2)
    with sqlite3.connect(path) as export:
        export.execute("UPDATE NVTX_EVENTS SET binaryData = ? WHERE start > 1 AND binaryData IS NOT NULL", [data])

    answer = ask(path, "SELECT message_bytes, bus_bytes_per_s FROM collective_summary", tmp_path)

    assert answer.splitlines()[1] == ","


def grouped(folder: Path, *, says: bool, cut: int = 0) -> Path:
    """Four ranks whose one stream serves two communicators in turn: neighbours share one, ranks of one parity another.

    Rank r comes r ns late to each. `says`: NCCL tells which communicator a kernel is of. `cut`: kernels that the last
    rank lacks at its end.
    """
    trace, events = TraceBuilder(), []
    for rank in range(4):
        trace.gpu(rank, name="NVIDIA H200")
        main = trace.process(100 + rank).thread().push(0, 900_000, "forward")
        for number in range(8 - (cut if rank == 3 else 0)):
            group = 0xA0 + rank // 2 if number % 2 == 0 else 0xB0 + rank % 2
            # Each pair at a time of its own, so that the others can be told by when they run, too.
            at = 1_000 + 1_000 * number
            main.push(at, at + 20, "ncclAllReduce", domain="NCCL")
            main.launch(at + 5, gpu=(at + 100 + rank, at + 200), name=next(iter(KINDS)), device=rank)
            if says:
                events.append((at, main.global_tid, payload(CALL, struct.pack("<QQQ", group, 64, 0))))
    return with_payloads(trace.write(folder / "trace.sqlite"), events)


def test_communicators_that_share_a_stream_are_told_apart_by_what_nccl_says(tmp_path: Path) -> None:
    query = "SELECT device_id, number, rank_count, wait_ns FROM collectives ORDER BY start_ns, device_id"
    wait = {0: {0: 1, 1: 0, 2: 1, 3: 0}, 1: {0: 2, 1: 2, 2: 0, 3: 0}}

    said = ask(grouped(tmp_path, says=True), query, tmp_path)

    assert said.splitlines()[1:] == [
        f"{rank},{number // 2 + 1},2,{wait[number % 2][rank]}" for number in range(8) for rank in range(4)
    ]


def test_without_that_a_stream_is_one_communicator(tmp_path: Path) -> None:
    answer = ask(grouped(tmp_path, says=False), "SELECT DISTINCT rank_count FROM collectives", tmp_path)

    assert answer.splitlines()[1:] == ["4"]


def test_a_rank_that_was_cut_is_matched_as_far_as_it_goes(tmp_path: Path) -> None:
    query = "SELECT device_id, count(*), count(communicator_id) FROM collectives GROUP BY ALL ORDER BY ALL"

    answer = ask(grouped(tmp_path, says=True, cut=3), query, tmp_path)

    assert answer.splitlines()[1:] == ["0,8,8", "1,8,8", "2,8,8", "3,5,5"]
