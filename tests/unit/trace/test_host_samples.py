"""Samples of Python's stacks: payloads read by the schema that the export has, and what they say of idle time."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.ask import ask
from tests.support.trace_builder import TraceBuilder

DOMAIN, STACK, FRAME, OTHER = 7, 901, 902, 903


def payload(frames: list[tuple[int, int, int]], *, swapped: bool = False, count: int | None = None) -> bytes:
    """A stack as nsys lays it out; `swapped`: fields of a frame in another order, the list eight bytes later."""
    order = "<QQIxxxx" if not swapped else "<IxxxxQQ"
    packed = b"".join(
        struct.pack(order, *(frame if not swapped else (frame[2], frame[0], frame[1]))) for frame in frames
    )
    head = struct.pack("<QII", 1, 0, len(frames) if count is None else count) + bytes(8 if swapped else 0)
    data = head + packed
    return struct.pack("<QQQQ", 1, STACK, len(data), 32) + data


def add_samples(path: Path, samples: list[tuple[int, int, bytes | None]], *, swapped: bool = False) -> None:
    """Put (instant, thread, payload) into the export, and the schema of the payloads."""
    with sqlite3.connect(path) as con:
        con.execute(
            "CREATE TABLE IF NOT EXISTS NVTX_PAYLOAD_SCHEMAS (domainId INT, schemaId INT, name TEXT, payloadSize INT)"
        )
        con.execute(
            "CREATE TABLE IF NOT EXISTS NVTX_PAYLOAD_SCHEMA_ENTRIES "
            "(domainId INT, schemaId INT, idx INT, type INT, name TEXT, offset INT)"
        )
        con.executemany(
            "INSERT INTO NVTX_PAYLOAD_SCHEMAS VALUES (?, ?, ?, ?)",
            [(DOMAIN, STACK, "Python Periodic Sampling", None), (DOMAIN, FRAME, None, 24), (DOMAIN, OTHER, "x", 8)],
        )
        at = {"Function": 0, "File": 8, "Line": 16} if not swapped else {"Line": 0, "Function": 8, "File": 16}
        fields = [(STACK, 18, "Thread state ID", None), (STACK, 1, "Thread state", 8), (STACK, 16, "Frames count", 12)]
        fields += [(STACK, FRAME, "Frames", 24 if swapped else 16)]
        fields += [(FRAME, 80, name, offset or None) for name, offset in at.items()]
        con.executemany(
            "INSERT INTO NVTX_PAYLOAD_SCHEMA_ENTRIES VALUES (?, ?, ?, ?, ?, ?)",
            [(DOMAIN, schema, index, kind, name, offset) for index, (schema, kind, name, offset) in enumerate(fields)],
        )
        con.executemany(
            "INSERT INTO NVTX_EVENTS (start, eventType, globalTid, domainId, binaryData) VALUES (?, 34, ?, ?, ?)",
            [(at_ns, thread, DOMAIN, data) for at_ns, thread, data in samples],
        )


def built(folder: Path, before: Sequence[str] = ()) -> tuple[Path, int, dict[str, int]]:
    """A decode of 100 ns whose GPU works from 60 to 80; its thread, and ids of names."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    # a call from 40 to 50 launches the kernel
    main.push(0, 100, "decode").launch(40, gpu=(60, 80), until=50)
    for index, name in enumerate(before):
        trace.string(f"{name}{index}")
    names = {name: trace.string(name) for name in ("plan", "&lt;module&gt;", "a.py", "b.py")}
    return trace.write(folder / "trace.sqlite"), main.global_tid, names


@pytest.mark.parametrize("swapped", [False, True])
def test_frames_are_read_by_the_schema(tmp_path: Path, swapped: bool) -> None:
    path, thread, names = built(tmp_path)
    stack = [(names["plan"], names["a.py"], 12), (names["&lt;module&gt;"], names["b.py"], 70_000)]
    add_samples(path, [(10, thread, payload(stack, swapped=swapped))], swapped=swapped)

    answer = ask(path, "SELECT at_ns, phase, part, function, file, line, depth FROM host_samples", tmp_path)
    assert answer.splitlines()[1:] == ["10,decode,host,plan,a.py,12,2"]
    # what is on the stack counts for all of it, what runs for itself
    answer = ask(path, "SELECT function, line, self_samples, samples FROM host_time ORDER BY ALL", tmp_path)
    assert answer.splitlines()[1:] == ["<module>,70000,0,1", "plan,12,1,1"]


def test_what_the_thread_does_for_the_gpu(tmp_path: Path) -> None:
    path, thread, names = built(tmp_path)
    one = payload([(names["plan"], names["a.py"], 1)])
    add_samples(path, [(at_ns, thread, one) for at_ns in (0, 39, 40, 49, 50, 59, 60, 79, 80, 200)])

    answer = ask(path, "SELECT at_ns, coalesce(phase, ''), part FROM host_samples ORDER BY at_ns", tmp_path)
    assert answer.splitlines()[1:] == [
        "0,decode,host", "39,decode,host", "40,decode,launch", "49,decode,launch", "50,decode,host", "59,decode,host",
        "60,decode,busy", "79,decode,busy", "80,decode,host", "200,,host",
    ]  # fmt: skip


def test_times_are_the_budgets_by_share(tmp_path: Path) -> None:
    path, thread, names = built(tmp_path)
    one, two = (payload([(names["plan"], names["a.py"], line)]) for line in (1, 2))
    add_samples(path, [(5, thread, one), (15, thread, one), (25, thread, one), (35, thread, two)])

    # 40 ns of host code, 10 in the launching call, 10 of latency, 20 of the kernel, 20 of host code: 70 by 4 samples
    answer = ask(path, "SELECT line, self_ns, time_ns, time_error_ns FROM host_time ORDER BY line", tmp_path)
    assert answer.splitlines()[1:] == ["1,52,52,12", "2,18,18,12"]


def test_a_damaged_payload_has_the_frames_that_are_there(tmp_path: Path) -> None:
    path, thread, names = built(tmp_path)
    good = [(names["plan"], names["a.py"], 3)]
    add_samples(
        path,
        [(5, thread, payload(good, count=9)), (6, thread, b""), (7, thread, payload(good)[:40]), (8, thread, None),
         (9, thread, payload([(2**40, 2**40, 5)]))],
    )  # fmt: skip
    answer = ask(path, "SELECT at_ns, function, line, depth FROM host_samples ORDER BY at_ns", tmp_path)
    assert answer.splitlines()[1] == "5,plan,3,1"
    assert {line.split(",")[0] for line in answer.splitlines()[1:]} == {"5", "9"}


def test_an_export_without_payloads_has_no_samples(tmp_path: Path) -> None:
    path, _, _ = built(tmp_path)
    assert ask(path, "SELECT count(*) AS n FROM host_samples", tmp_path) == "n\n0"
    assert ask(path, "SELECT count(*) AS n FROM host_time", tmp_path) == "n\n0"


def test_names_of_each_file_of_a_job_are_its_own(tmp_path: Path) -> None:
    job = tmp_path / "job"
    for rank, extra in enumerate(("x", "y", "z")):
        folder = tmp_path / str(rank)
        folder.mkdir()
        path, thread, names = built(folder, before=[extra] * rank)
        add_samples(path, [(10 + rank, thread, payload([(names["plan"], names["a.py"], rank)]))])
        job.mkdir(exist_ok=True)
        path.rename(job / f"trace-rank{rank}.sqlite")

    answer = ask(job, "SELECT function, file, line FROM host_samples ORDER BY line", tmp_path)
    assert answer.splitlines()[1:] == ["plan,a.py,0", "plan,a.py,1", "plan,a.py,2"]
