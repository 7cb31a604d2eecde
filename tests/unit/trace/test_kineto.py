"""Traces of torch.profiler: the same numbers as an export of nsys of the same run, exact times, and clear refusals."""

from __future__ import annotations

import gzip
import json
import lzma
import re
import sqlite3
import tracemalloc
from collections import defaultdict
from contextlib import closing
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from nsys_pipeline.analyze import analyze
from nsys_pipeline.errors import TraceError, UsageError
from nsys_pipeline.rules.kernels import short_name
from nsys_pipeline.trace import TraceOptions, kineto, open_trace
from nsys_pipeline.trace.chrome_json import ChromeTrace
from nsys_pipeline.trace.kineto import convert
from tests.support.ask import open_session
from tests.support.kineto import BASE_NS, PID, KinetoTrace, Raw, from_export, gpu
from tests.support.real_traces import unpack_by_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

UNCACHED = TraceOptions(use_cache=False)
_SAME = (
    "SELECT phase, occurrences, kernel_count, kernel_time_ns, memop_count, wall_ns, gpu_busy_ns, tokens "
    "FROM phase_summary ORDER BY phase",
    "SELECT phase, name, count(*), sum(dur_ns) FROM gpu_work GROUP BY ALL ORDER BY ALL",
    "SELECT method, reason, graph_node_id IS NULL, count(*) FROM gpu_work GROUP BY ALL ORDER BY ALL",
    "SELECT direction, source_memory, sum(bytes) FROM memops GROUP BY ALL ORDER BY ALL",
    "SELECT name, sm_count FROM devices",
)


def ask(trace: Path, query: str) -> Sequence[tuple[Any, ...]]:
    with open_session(trace, trace.parent) as session, session.query(query) as result:
        return result.rows()


@pytest.mark.parametrize("name", ["h100_train", "h100_cuda_graph_node"])
def test_the_same_run_as_nsys_and_as_kineto_has_the_same_numbers(name: str, tmp_path: Path) -> None:
    export = unpack_by_name(name, tmp_path)
    kineto = from_export(export, tmp_path / "trace.json.gz")

    with open_session(export, tmp_path) as one, open_session(kineto, tmp_path) as other:
        for query in _SAME:
            with one.query(query) as expected, other.query(query) as found:
                assert found.rows() == expected.rows(), query


def test_sums_equal_those_of_the_json(tmp_path: Path) -> None:
    trace = _two_phases()
    trace.event("gpu_user_annotation", "prefill", 19_999, 70_001, 0, 7, **{"External id": 1})
    path = trace.write(tmp_path / "trace.json")
    expected = _brute_force(path)

    found = ask(path, "SELECT phase, count(*), sum(dur_ns) FROM gpu_work GROUP BY phase ORDER BY phase NULLS LAST")

    assert found == sorted(
        ((phase, *sums) for phase, sums in expected.items()), key=lambda row: (row[0] is None, row[0])
    )
    assert ask(path, "SELECT phase, occurrences FROM phase_summary ORDER BY phase") == [("decode", 1), ("prefill", 1)]


def _two_phases() -> KinetoTrace:
    trace = KinetoTrace()
    trace.annotation("prefill", 0, 90_001)
    trace.op("aten::mm", 5_000, 19_003, [[4, 8], [8, 2]])
    trace.launch(10_000, gpu=(20_000, 45_003), name="void at::native::a_kernel<4, float>(int, float*)")
    trace.launch(30_000, gpu=(46_001, 70_000), name="b_kernel")
    trace.annotation("decode", 100_000, 120_000)
    trace.launch(101_000, gpu=(130_000, 130_007), name="b_kernel")
    trace.launch(125_000, gpu=(140_000, 150_000), name="outside", device=0, stream=8)
    return trace


def _brute_force(path: Path) -> dict[str | None, list[int]]:
    """Phase → kernels and their ns, by sums over the JSON in exact numbers."""
    events = json.loads(path.read_text(), parse_float=Decimal)["traceEvents"]
    complete = [event for event in events if event["ph"] == "X"]
    calls = {one["args"]["correlation"]: one for one in complete if one["cat"].startswith("cuda_")}
    sums: dict[str | None, list[int]] = defaultdict(lambda: [0, 0])
    for event in complete:
        if event["cat"] != "kernel":
            continue
        call = calls[event["args"]["correlation"]]
        around = [
            one for one in complete
            if one["cat"] == "user_annotation" and one["tid"] == call["tid"]
            and one["ts"] <= call["ts"] <= one["ts"] + one["dur"]
        ]  # fmt: skip
        phase = around[-1]["name"] if around else None
        sums[phase][0] += 1
        sums[phase][1] += int(event["dur"] * 1000)
    return sums


@pytest.mark.parametrize("base", [BASE_NS, 1_683_123_123_456_789_000])
def test_no_digit_of_a_time_is_lost(base: int, tmp_path: Path) -> None:
    trace = KinetoTrace(baseTimeNanoseconds=17_000_000_000)
    trace.launch(base - BASE_NS + 1, gpu=(base - BASE_NS + 12_345, base - BASE_NS + 12_346))

    path = trace.write(tmp_path / "trace.json")

    assert ask(path, "SELECT start_ns, dur_ns FROM gpu_work") == [(12_344, 1)]
    session = "SELECT utcEpochNs FROM nsys.TARGET_INFO_SESSION_START_TIME"
    with open_trace(path, UNCACHED) as opened:
        opened.build("nsys.TARGET_INFO_SESSION_START_TIME")
        assert opened.connection.execute(session).fetchall() == [(17_000_000_000 + base + 1,)]


def test_times_in_other_spellings(tmp_path: Path) -> None:
    spelled = ["1.0005", "12.5", "1e3", "7", "0.1234567", "1E-3"]
    event = '{"ph": "X", "cat": "user_annotation", "name": "%s", "pid": 1, "tid": 2, "ts": 0, "dur": %s}'
    path = tmp_path / "trace.json"
    path.write_text("[" + ",".join(event % (text, text) for text in spelled) + "]")

    found = dict(ask(path, "SELECT name, dur_ns FROM nvtx_ranges"))

    assert found == {text: round(Fraction(text) * 1000) for text in spelled}


def test_marks_and_ranges_of_the_contract(tmp_path: Path) -> None:
    trace = KinetoTrace()
    trace.annotation("llmperf:prefill", 0, 90_000)
    trace.annotation("llmperf:llmperf.step {%22q%22:[3],%22kv%22:[0],%22logits%22:1}", 10, 20)
    trace.launch(10_000, gpu=(20_000, 45_000))

    path = trace.write(tmp_path / "trace.json")

    assert ask(path, "SELECT phase, source, tokens FROM phase_summary") == [("prefill", "markers", 3)]


def test_a_mark_at_the_end_of_a_backward_is_no_range(tmp_path: Path) -> None:
    """An annotation takes time: it would be a phase inside the backward, and its forward would be unknown."""
    trace = KinetoTrace()
    for step in range(2):
        at = 1_000_000 * step
        trace.annotation("llmperf:forward", at, at + 90_000)
        trace.annotation(f"llmperf:llmperf.step {{%22q%22:[3],%22kv%22:[0],%22pass%22:{step + 1}}}", at + 10, at + 20)
        trace.launch(at + 10_000, gpu=(at + 20_000, at + 45_000))
        trace.annotation("llmperf:backward", at + 100_000, at + 300_000)
        trace.launch(at + 110_000, gpu=(at + 120_000, at + 245_000))
        mark = f"llmperf:llmperf.backward {{%22of%22:[{step + 1}]}}"
        trace.annotation(mark, at + 250_000, at + 290_000)

    path = trace.write(tmp_path / "trace.json")

    assert ask(path, "SELECT phase, occurrences FROM phase_summary ORDER BY phase") == [("backward", 2), ("forward", 2)]
    assert ask(path, "SELECT tokens, micro_batches FROM training_steps ORDER BY step") == [(3, 1), (3, 1)]


def test_no_mark_of_the_contract_is_a_range(tmp_path: Path) -> None:
    """A decode of two sequences, of which one had ended, and a backward of no pass."""
    trace = KinetoTrace()
    step = "{%22q%22:1,%22kv%22:3,%22b%22:2,%22logits%22:2,%22request%22:1,%22written%22:1}"
    trace.annotation("llmperf:decode", 0, 90_000)
    trace.annotation(f"llmperf:llmperf.step {step}", 10, 20)
    trace.launch(10_000, gpu=(20_000, 45_000))
    trace.annotation("llmperf:llmperf.written {%22request%22:1,%22tokens%22:[1,2]}", 91_000, 91_010)
    trace.annotation("llmperf:backward", 92_000, 99_000)
    trace.annotation("llmperf:llmperf.backward {%22of%22:[]}", 98_000, 98_010)

    path = trace.write(tmp_path / "trace.json")

    assert ask(path, "SELECT phase, tokens FROM phase_summary ORDER BY phase") == [("backward", None), ("decode", 1)]


def test_a_rank_is_known_by_what_the_file_says(tmp_path: Path) -> None:
    for rank in (0, 1):
        told = {"backend": "nccl", "rank": rank, "world_size": 2}
        trace = KinetoTrace(deviceProperties=[gpu(0), gpu(1)], distributedInfo=told)
        for event in trace.events:
            event["pid"] = PID + rank
        trace.annotation("forward", 0, 90_000)
        trace.launch(10_000, gpu=(20_000, 45_000 + rank), device=rank)
        for event in trace.events:
            event["pid"] = event["pid"] if event["pid"] in (0, 1) else PID + rank
        trace.write(tmp_path / f"host_{PID + rank}.17612345678{rank}.pt.trace.json.gz")

    assert ask(tmp_path, "SELECT rank, world, device_ids FROM ranks ORDER BY rank") == [(0, 2, [0]), (1, 2, [1])]
    assert ask(tmp_path, "SELECT device_id, dur_ns FROM gpu_work ORDER BY ALL") == [(0, 25_000), (1, 25_001)]


def test_ranks_that_see_one_gpu_each_do_not_share_it(tmp_path: Path) -> None:
    for rank in (0, 1):
        trace = KinetoTrace(distributedInfo={"rank": rank, "world_size": 2}, host_name="node")
        trace.annotation("forward", 0, 90_000)
        trace.launch(10_000, gpu=(20_000, 45_000))
        trace.write(tmp_path / f"run-TP-{rank}.trace.json")

    assert ask(tmp_path, "SELECT count(DISTINCT device_id) FROM gpu_work") == [(2,)]


def test_threads_with_ids_of_64_bits_and_names(tmp_path: Path) -> None:
    trace = KinetoTrace()
    trace.meta("thread_name", PID, 140_735_000_000_001, name="thread 140735000000001 (pt_autograd_0)")
    trace.annotation("decode", 0, 100)
    trace.annotation("loss", 0, 100, tid=140_735_000_000_001)

    path = trace.write(tmp_path / "trace.json")

    assert ask(path, "SELECT name FROM threads ORDER BY name") == [("pt_autograd_0",), ("python",)]


def test_copies_and_fills(tmp_path: Path) -> None:
    trace = KinetoTrace()
    trace.call("cudaMemcpyAsync", 0, 1_000, 1)
    args = {"device": 0, "context": 1, "stream": 7, "bytes": 4096}
    trace.event("gpu_memcpy", "Memcpy HtoD (Pageable -> Device)", 2_000, 3_000, 0, 7, **args, correlation=1)
    trace.call("cudaMemsetAsync", 4_000, 5_000, 2)
    trace.event("gpu_memset", "Memset (Device)", 6_000, 6_500, 0, 7, **args, correlation=2)
    trace.event("gpu_memcpy", "Memcpy PtoP (Device -> Device)", 7_000, 7_100, 1, 9, inDevice=1, stream=9, bytes=8)

    path = trace.write(tmp_path / "trace.json")

    found = ask(path, "SELECT direction, source_memory, bytes, dur_ns, device_id FROM memops ORDER BY start_ns")
    assert found == [
        ("Host-to-Device", "pageable", 4096, 1_000, 0),
        (None, None, 4096, 500, 0),
        ("Peer-to-Peer", "device", 8, 100, 1),
    ]


@pytest.mark.parametrize("suffix", [".json", ".json.gz", ".json.xz", ".json.zst"])
def test_packed_or_not(suffix: str, tmp_path: Path) -> None:
    pack: dict[str, Callable[[bytes], bytes]] = {
        ".json.gz": gzip.compress,
        ".json.xz": lzma.compress,
        ".json.zst": zstandard.compress,
    }
    path = tmp_path / f"trace{suffix}"
    path.write_bytes(pack.get(suffix, bytes)(_two_phases().text().encode()))

    with closing(sqlite3.connect(convert(path, tmp_path / "trace.sqlite"))) as lite:
        assert lite.execute("SELECT count(*) FROM CUPTI_ACTIVITY_KIND_KERNEL").fetchall() == [(4,)]


def test_names_of_torch_1_8(tmp_path: Path) -> None:
    trace = KinetoTrace()
    trace.annotation("decode", 0, 9_000)
    trace.event("Operator", "aten::mm", 0, 5_000, tid="123")
    trace.event("Runtime", "cudaLaunchKernel", 1_000, 2_000, correlation=334)
    trace.event("Kernel", "gemm", 5_000, 6_000, 0, "stream 7", stream=7, correlation=334)

    path = trace.write(tmp_path / "trace.json")

    assert ask(path, "SELECT phase, stream_id FROM gpu_work") == [("decode", 7)]


def test_a_name_with_quotes_is_mended(tmp_path: Path) -> None:
    trace = _two_phases()
    trace.annotation('step {"q": [3]}', 0, 5)
    trace.annotation("after", 6, 7)

    path = trace.write(tmp_path / "trace.json")

    with pytest.raises(ValueError, match="Expecting"):
        json.loads(path.read_text())
    names = ask(path, "SELECT name FROM nvtx_ranges WHERE start_ns < 10 ORDER BY start_ns, name")
    assert names == [("prefill",), ('step {"q": [3]}',), ("after",)]
    (note,) = ask(path, "SELECT message FROM findings WHERE code = 'torch_profiler_limits'")
    assert "1 names with quotes" in note[0]


def test_a_damaged_tail_costs_nothing_but_itself(tmp_path: Path) -> None:
    text = _two_phases().text().replace('"traceName": "trace.json"', '"INFO": ["a "b" c"]')
    path = tmp_path / "trace.json"
    path.write_text(text)

    assert ask(path, "SELECT count(*) FROM gpu_work") == [(4,)]


_EVENT = '{"ph": "X", "cat": "kernel", "name": "k", "pid": 0, "tid": 7, "ts": 1.5, "dur": 2'
_REFUSED: dict[str, tuple[str, str]] = {
    "cut in an event": ('{"traceEvents": [' + _EVENT + '}, {"ph": "X", "na', "it ends too early"),
    "cut between events": ('{"traceEvents": [' + _EVENT + "},", "it ends too early"),
    "cut in a string of brackets": ('{"traceEvents": [{"name": "}}}}', "it ends too early"),
    "empty object": ("{}", "no `traceEvents`"),
    "no events": ('{"traceEvents": []}', "no trace of torch.profiler"),
    "another program's": ('{"traceEvents": [{"ph": "X", "cat": "blink", "ts": 1}]}', "none is an operator"),
    "no JSON": ("{this is not JSON}", "it is no JSON"),
    "an event that is a number": ('{"traceEvents": [17]}', "it is no object"),
    "no time": ('{"traceEvents": [{"ph": "X", "cat": "kernel", "name": "k"}]}', "it has no `ts`"),
    "a time that is a word": ('{"traceEvents": [' + _EVENT.replace("1.5", '"soon"') + "}]}", "is no time"),
    "a time that is infinite": ('{"traceEvents": [' + _EVENT.replace("1.5", '"Infinity"') + "}]}", "is no time"),
    "a time beyond 64 bits": ('{"traceEvents": [' + _EVENT.replace("1.5", "9" * 30) + "}]}", "64 bits"),
    "a number of 5,000 digits": ('{"traceEvents": [' + _EVENT.replace("1.5", "9" * 5000) + "}]}", "digits"),
    "nested deep": ('{"traceEvents": [' + "[" * 200_000, "nested too deep"),
    "several processes": (
        '{"traceEvents": [{"ph":"X","cat":"cpu_op","name":"a","pid":1,"tid":1,"ts":1},'
        '{"ph":"X","cat":"cpu_op","name":"a","pid":2,"tid":1,"ts":1}]}', "several processes, 1 and 2",
    ),
    "merged": ('[{"ph":"X","cat":"cpu_op","name":"a","pid":"[TP00] 1","tid":1,"ts":1}]', "that were merged"),
}  # fmt: skip


@pytest.mark.parametrize("case", _REFUSED)
def test_what_is_no_whole_trace_is_refused(case: str, tmp_path: Path) -> None:
    text, message = _REFUSED[case]
    path = tmp_path / "trace.json"
    path.write_text(text)

    with pytest.raises(TraceError) as refusal:
        convert(path, tmp_path / "trace.sqlite")

    assert message in refusal.value.message
    assert str(path) in refusal.value.message


def test_a_number_that_does_not_fit_is_refused_long_before_the_end_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kineto, "_BATCH_ROWS", 1)

    test_what_is_no_whole_trace_is_refused("a time beyond 64 bits", tmp_path)


def test_odd_values_that_say_nothing_are_no_harm(tmp_path: Path) -> None:
    trace = _two_phases()
    trace.meta("thread_name", PID, [4711], name="x")
    trace.meta("process_name", PID, {}, name=17)
    trace.tail |= {"WARNING": "none", "distributedInfo": [], "baseTimeNanoseconds": "soon"}
    path = tmp_path / "trace.json"
    path.write_text(trace.text().replace('"outside"', '"half a character \\ud800"'))

    assert ask(path, "SELECT count(*) FROM gpu_work") == [(4,)]


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.json.gz"
    path.write_bytes(gzip.compress(_two_phases().text().encode())[:-20])

    with pytest.raises(TraceError, match="damaged gzip file"), open_trace(path, UNCACHED):
        pass


def test_an_archive_may_not_grow_without_bound(tmp_path: Path) -> None:
    path = tmp_path / "trace.json.gz"
    path.write_bytes(gzip.compress(b'{"traceEvents": [' + b" " * 5_000_000))

    with pytest.raises(TraceError, match=r"more than 0\.0 GB"):
        convert(path, tmp_path / "out.sqlite", limit_bytes=1_000_000)


def test_memory_does_not_grow_with_the_file() -> None:
    event = json.dumps({"ph": "X", "cat": "cpu_op", "name": "x" * 1000, "ts": 1.5})

    class Stream:
        parts = iter([b'{"traceEvents": [', *[f"{event},\n".encode() * 500] * 40, b"]}", b""])

        def read(self, _: int = -1, /) -> bytes:
            return next(self.parts)

    tracemalloc.start()
    try:
        count = sum(1 for _ in ChromeTrace(Stream(), "trace.json").events())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert count == 20_000
    assert peak < 8 << 20


def test_a_trace_of_the_cpu_says_that_there_is_no_gpu_work(tmp_path: Path) -> None:
    trace = KinetoTrace(deviceProperties=[])
    trace.annotation("decode", 0, 1_000)
    path = trace.write(tmp_path / "trace.json")

    with open_trace(path, UNCACHED) as opened:
        report = analyze(opened)

    assert report.trace.recorder == "torch.profiler"
    assert any("no GPU work was recorded" in one.message for one in report.findings)


def test_launches_without_work_are_said(tmp_path: Path) -> None:
    trace = _two_phases()
    trace.call("cudaLaunchKernel", 102_000, 103_000, 99)
    path = trace.write(tmp_path / "trace.json")

    (message,) = ask(path, "SELECT message FROM findings WHERE code = 'torch_profiler_lost_work'")

    assert "1 of 5 launching calls" in message[0]


def test_launches_that_make_a_graph_lose_nothing(tmp_path: Path) -> None:
    trace = _two_phases()
    for at, name in enumerate(("cudaStreamBeginCapture", "cudaLaunchKernel", "cudaStreamEndCapture")):
        trace.call(name, 102_000 + 1_000 * at, 103_000 + 1_000 * at, 90 + at)
    path = trace.write(tmp_path / "trace.json")

    assert ask(path, "SELECT count(*) FROM findings WHERE code = 'torch_profiler_lost_work'") == [(0,)]


def test_steps_of_engines_are_phases_by_the_same_rules(tmp_path: Path) -> None:
    trace = KinetoTrace()
    names = ("execute_context_1(512)_generation_0(0)", "execute_context_0(0)_generation_8(8)", "step[DECODE bs=4]",
             "ProfilerStep#3")  # fmt: skip
    for at, name in enumerate(names):
        trace.annotation(name, 100_000 * at, 100_000 * at + 50_000)
        trace.event("gpu_user_annotation", name, 100_000 * at + 10_000, 100_000 * at + 60_000, 0, 7)
        trace.launch(100_000 * at + 1_000, gpu=(100_000 * at + 10_000, 100_000 * at + 60_000))
    path = trace.write(tmp_path / "trace.json")

    found = ask(path, "SELECT phase, occurrences, tokens, kernel_time_ns FROM phase_summary ORDER BY phase")

    assert found == [("decode", 2, 12, 100_000), ("prefill", 1, 512, 50_000), ("step", 1, None, 50_000)]


def test_whole_microseconds_are_said(tmp_path: Path) -> None:
    text = _two_phases().text()
    path = tmp_path / "trace.json"
    path.write_text(re.sub(r'("(?:ts|dur)": \d+)\.\d{3}', r"\1", text))

    assert ask(path, "SELECT count(*) FROM findings WHERE code = 'whole_microseconds'") == [(1,)]


def test_the_profilers_own_warnings_are_diagnostics(tmp_path: Path) -> None:
    trace = _two_phases()
    trace.tail["WARNING"] = ["GPU trace buffer is full"]
    path = trace.write(tmp_path / "trace.json")

    assert ask(path, "SELECT severity, message FROM diagnostics") == [("warning", "GPU trace buffer is full")]


def test_nsys_cannot_verify_it(tmp_path: Path) -> None:
    from nsys_pipeline.crosscheck import verify

    path = _two_phases().write(tmp_path / "trace.json")

    with open_trace(path, UNCACHED) as opened, pytest.raises(UsageError, match=r"torch\.profiler"):
        verify(opened)


def test_short_names_are_those_of_nsys(tmp_path: Path) -> None:
    export = unpack_by_name("h100_train", tmp_path)
    with sqlite3.connect(export) as con:
        rows = con.execute(
            "SELECT DISTINCT d.value, s.value FROM CUPTI_ACTIVITY_KIND_KERNEL "
            "JOIN StringIds AS d ON d.id = demangledName JOIN StringIds AS s ON s.id = shortName"
        ).fetchall()

    assert [short_name(full) for full, _ in rows] == [short for _, short in rows]


def odd_trace() -> tuple[KinetoTrace, dict[str, Any], dict[str, Any]]:
    """A decode step of two kernels, with the last call and its kernel."""
    trace = KinetoTrace()
    trace.annotation("decode", 0, 90_000)
    trace.launch(10_000, gpu=(20_000, 45_000))
    trace.launch(15_000, gpu=(46_000, 60_000))
    return trace, trace.events[-2], trace.events[-1]


_ODD: dict[str, Callable[[KinetoTrace, dict[str, Any], dict[str, Any]], object]] = {
    "endless_host_events": lambda _, call, kernel: call.pop("dur"),
    "half_events": lambda _, call, kernel: kernel.update(ph="B"),
    "repeated_kernels": lambda trace, call, kernel: trace.events.append(dict(kernel)),
    "shared_ids": lambda _, call, kernel: call["args"].update(correlation=1),
    "unknown_events": lambda _, call, kernel: kernel.update(cat="xpu_kernel"),
}


@pytest.mark.parametrize("what", list(_ODD))
def test_what_torch_does_not_write_so_is_counted(what: str, tmp_path: Path) -> None:
    trace, call, kernel = odd_trace()
    _ODD[what](trace, call, kernel)

    path = convert(trace.write(tmp_path / "trace.json"), tmp_path / "trace.sqlite")

    with closing(sqlite3.connect(path)) as lite:
        facts = dict(lite.execute("SELECT name, value FROM META_DATA_CAPTURE").fetchall())
    counts = {name: facts.get(f"torch_profiler:{name}", "0") for name in _ODD}
    assert counts == dict.fromkeys(_ODD, "0") | {what: "1 `xpu_kernel`" if what == "unknown_events" else "1"}


def test_odd_events_are_told_and_take_no_time_in_silence(tmp_path: Path) -> None:
    # given a kernel without a duration, another that stands there twice, and a call without a duration
    trace, call, kernel = odd_trace()
    trace.events.append(dict(kernel))
    del call["dur"]
    trace.launch(62_000, gpu=(70_000, 80_000))
    del trace.events[-1]["dur"]

    with open_trace(trace.write(tmp_path / "trace.json"), UNCACHED) as opened:
        report = analyze(opened)

    (decode,) = report.phases
    assert (decode.kernel_count, decode.kernel_time_ns, decode.gpu_busy_ns) == (3, 39_000, 39_000)
    said = {one.code: one.message for one in report.findings}
    assert said["odd_events"].endswith(
        "1 kernels stand in it more than once and count once; 1 ranges, operators and CUDA calls have no duration and "
        "count as points in time"
    )
    assert "1 GPU operations were recorded without their times" in said["untimed_work"]


@pytest.mark.parametrize("time", [Raw("NaN"), Raw("-Infinity"), Raw("null"), "soon", Raw("[]"), Raw("true")])
def test_a_time_that_is_none_is_refused(time: object, tmp_path: Path) -> None:
    for key in ("ts", "dur"):
        trace, _, kernel = odd_trace()
        kernel[key] = time
        with pytest.raises(TraceError, match="is no time"):
            convert(trace.write(tmp_path / "trace.json"), tmp_path / "trace.sqlite")
