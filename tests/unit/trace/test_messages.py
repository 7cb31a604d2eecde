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
    path = trace.write(folder / "trace.sqlite")
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
