"""Samples of Python's stacks: payloads read by the schema that the export has, and what they say of idle time."""

from __future__ import annotations

import io
import json
import sqlite3
import struct
from collections.abc import Sequence
from pathlib import Path

import jsonschema
import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.detail import write_stacks
from nsys_pipeline.report.document import Table
from nsys_pipeline.report.host import host_section
from nsys_pipeline.report.json import render_json
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.cli.run import run
from tests.support.ask import ask, ask_session, open_session
from tests.support.trace_builder import TraceBuilder

SCHEMA = Path(__file__).parents[3] / "docs" / "schemas" / "report-1.json"
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


def rows(path: Path, folder: Path, *queries: str) -> list[list[str]]:
    """The rows of each query as CSV, from one session."""
    with open_session(path, folder) as session:
        return [ask_session(session, query).splitlines()[1:] for query in queries]


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

    samples, times = rows(
        path,
        tmp_path,
        "SELECT at_ns, phase, part, function, file, line, depth FROM host_samples",
        "SELECT function, line, self_samples, samples FROM host_time ORDER BY ALL",
    )
    assert samples == ["10,decode,host,plan,a.py,12,2"]
    # what is on the stack counts for all of it, what runs for itself
    assert times == ["<module>,70000,0,1", "plan,12,1,1"]


def test_what_the_thread_does_for_the_gpu(tmp_path: Path) -> None:
    path, thread, names = built(tmp_path)
    one = payload([(names["plan"], names["a.py"], 1)])
    add_samples(path, [(at_ns, thread, one) for at_ns in (0, 39, 40, 49, 50, 59, 60, 79, 80, 200)])

    answer = ask(path, "SELECT at_ns, coalesce(phase, ''), part FROM host_samples ORDER BY at_ns", tmp_path)
    assert answer.splitlines()[1:] == [
        "0,decode,host", "39,decode,host", "40,decode,launch", "49,decode,launch", "50,decode,latency",
        "59,decode,latency",
        "60,decode,busy", "79,decode,busy", "80,decode,host", "200,,host",
    ]  # fmt: skip


def test_times_are_the_budgets_by_share(tmp_path: Path) -> None:
    path, thread, names = built(tmp_path)
    one, two = (payload([(names["plan"], names["a.py"], line)]) for line in (1, 2))
    add_samples(path, [(5, thread, one), (15, thread, one), (25, thread, one), (35, thread, two)])

    # 40 ns of host code, 10 in the launching call, 10 of latency, 20 of the kernel, 20 of host code: 60 by 4 samples
    answer = ask(path, "SELECT line, self_ns, time_ns, time_error_ns FROM host_time ORDER BY line", tmp_path)
    assert answer.splitlines()[1:] == ["1,45,45,11", "2,15,15,11"]


def test_each_gpu_has_idle_time_of_its_own(tmp_path: Path) -> None:
    """Two GPUs take turns: what the host does while one of them works is idle time of the other one."""
    trace = TraceBuilder(lazy=False).gpu(0).gpu(1)
    main = trace.process().thread().push(0, 100, "decode")
    main.launch(40, until=50, gpu=(60, 80), device=0).launch(80, until=82, gpu=(90, 100), device=1)
    path, a, plan = trace.write(tmp_path / "trace.sqlite"), trace.string("a.py"), trace.string("plan")
    spans = {1: range(40), 2: range(50, 80), 3: range(82, 100)}
    stacks = {line: payload([(plan, a, line)]) for line in spans}
    add_samples(path, [(at, main.global_tid, stacks[line]) for line, span in spans.items() for at in span])

    query = "SELECT line, self_samples, self_ns, time_ns FROM host_time WHERE part = 'host' ORDER BY line"
    answer = ask(path, query, tmp_path).splitlines()[1:]

    # line 1: both GPUs; line 2: the second GPU until it is launched on; line 3: the first one after its work
    assert answer == ["1,40,80,80", "2,30,30,30", "3,18,18,18"]


def stepped(folder: Path) -> tuple[Path, int, dict[str, int]]:
    """A request with a cold decode of 10 ms and five of 1 ms, 1 ms apart, each with 100 us on the GPU."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    main.push(0, 22 * MS, "request")
    for start, end in [(0, 10 * MS), *((at * MS, (at + 1) * MS) for at in range(11, 21, 2))]:
        main.push(start, end, "decode").launch(end - 200_000, gpu=(end - 110_000, end - 10_000), until=end - 150_000)
    # outside every phase
    main.launch(21_100_000, gpu=(21_300_000, 21_400_000), until=21_200_000)
    names = {name: trace.string(name) for name in ("plan", "run", "main", "/x/site-packages/lib/a.py", "b.py")}
    return trace.write(folder / "trace.sqlite"), main.global_tid, names


MS = 1_000_000


def sampled(folder: Path) -> Path:
    """The same with samples: `run`, at two lines, and in the cold step `plan`."""
    path, thread, names = stepped(folder)
    a, b = names["/x/site-packages/lib/a.py"], names["b.py"]

    def stack(function: str, line: int) -> bytes:
        return payload([(names[function], a, line), (names["main"], b, 1), (names["main"], b, 2)])

    cold = [(at * MS + 1, thread, stack("plan", 5)) for at in range(8)]
    measured = [(at * MS + 1, thread, stack("run", 7 if at < 15 else 8)) for at in range(11, 21, 2)]
    between = [(10 * MS + 1, thread, stack("main", 9)), (21 * MS + 1, thread, stack("main", 9))]
    other = [(11 * MS + 1, thread + 1, stack("main", 9))]
    add_samples(path, [*cold, *measured, *between, *other])
    return path


def test_cold_occurrences_and_what_is_outside_have_parts_of_their_own(tmp_path: Path) -> None:
    functions, lines, findings = rows(
        sampled(tmp_path),
        tmp_path,
        "SELECT coalesce(phase, ''), part, function, line, self_samples, samples, self_ns, time_ns FROM host_functions "
        "ORDER BY phase NULLS LAST, part, self_ns DESC, function",
        "SELECT line, self_ns FROM host_time WHERE function = 'run' ORDER BY line",
        "SELECT code, message FROM findings WHERE message LIKE '%a.py%' ORDER BY code",
    )
    # the first step is cold, and so is the millisecond behind it; 11 ms to 11.8, 11.99 to 13.8 and so on are host code
    # before a launch of decode: 8.04 ms by five samples; 19.99 to 21.1 and 21.4 to 22 are beside work in no phase
    assert functions == [
        "decode,cold,plan,5,8,8,10000000,10000000",
        "decode,cold,main,,0,8,0,10000000",
        "decode,host,run,8,5,5,8040000,8040000",
        "decode,host,main,,0,5,0,8040000",
        ",host,main,9,1,1,1710000,1710000",
        ",host,main,,0,1,0,1710000",
    ]
    assert lines == ["7,3216000", "8,4824000"]
    cold, host = findings
    assert "cold ones spend 100 ± 10% in `plan` (a.py:5)" in cold
    assert "Python spends 100 ± 13% in `run` (a.py:8)" in host


def test_the_report_says_what_the_host_did(tmp_path: Path) -> None:
    with open_trace(sampled(tmp_path), TraceOptions(use_cache=False)) as trace:
        report = analyze(trace)
    assert [(row.phase, row.part, row.function, row.self_ns) for row in report.host if row.self_ns] == [
        ("decode", "host", "run", 8_040_000),
        ("decode", "cold", "plan", 10_000_000), (None, "host", "main", 1_710_000),
    ]  # fmt: skip
    assert [(line.line, line.self_ns) for line in report.host[0].lines] == [(8, 4_824_000), (7, 3_216_000)]
    stream = io.StringIO()
    render_json(report, stream)
    jsonschema.validate(json.loads(stream.getvalue()), json.loads(SCHEMA.read_text()))

    section = host_section(report)
    assert section is not None
    table = section.blocks[0]
    assert isinstance(table, Table)
    assert [row[:4] for row in table.rows] == [
        ("decode", "host code", "run", "lib/a.py:8"),
        ("decode, cold", "idle or busy", "plan", "lib/a.py:5"), ("outside", "host code", "main", "lib/a.py:9"),
    ]  # fmt: skip


def test_stacks_for_flame_graphs_have_the_same_times(tmp_path: Path) -> None:
    stream = io.StringIO()
    with open_trace(sampled(tmp_path), TraceOptions(use_cache=False)) as trace:
        count = write_stacks(trace, stream)
    outer = "main (b.py:2);main (b.py:1)"
    file = "/x/site-packages/lib/a.py"
    assert stream.getvalue().splitlines() == [
        f"decode;cold;{outer};plan ({file}:5) 10000",
        f"decode;host;{outer};run ({file}:7) 3216",
        f"decode;host;{outer};run ({file}:8) 4824",
        f"outside;host;{outer};main ({file}:9) 1710",
    ]
    assert count == 4


def test_stacks_of_a_trace_without_samples_are_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = stepped(tmp_path)[0]
    code, _, err = run(capsys, "export", str(path), "--to", "stacks")
    assert code == 1
    assert "no samples of Python's stacks" in err
    assert [entry.name for entry in tmp_path.iterdir() if "stacks" in entry.name] == []


def test_without_samples_the_report_has_no_such_section(tmp_path: Path) -> None:
    with open_trace(stepped(tmp_path)[0], TraceOptions(use_cache=False)) as trace:
        report = analyze(trace)
    assert (report.host, host_section(report)) == ([], None)


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
    assert rows(path, tmp_path, "SELECT count(*) FROM host_samples", "SELECT count(*) FROM host_time") == [["0"], ["0"]]


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
