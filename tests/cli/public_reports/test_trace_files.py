"""Files of traces: categories, numbers and names in them, files that are cut off, raw or of other tables."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from tests.cli.public_reports.common import US, codes, phase, steps_of
from tests.cli.run import MS, Cli, run
from tests.support.kineto import KinetoTrace
from tests.support.trace_builder import TraceBuilder


@pytest.mark.parametrize(
    "categories",
    [
        {"kernel": "Kernel"},
        {
            "kernel": "Kernel",
            "gpu_memcpy": "Memcpy",
            "gpu_memset": "Memset",
            "cuda_runtime": "Runtime",
            "cpu_op": "Operator",
        },
    ],
)
def test_categories_of_other_versions_are_read(categories: dict[str, str], cli: Cli) -> None:
    trace = KinetoTrace()
    for at in range(0, 300 * US, 100 * US):
        trace.annotation("decode", at, at + 90 * US)
        trace.launch(at + 10 * US, gpu=(at + 20 * US, at + 45 * US))
        trace.call("cudaMemcpyAsync", at + 50 * US, at + 52 * US, 1000 + at)
        copied = {"device": 0, "stream": 7, "correlation": 1000 + at, "bytes": 8}
        trace.event("gpu_memcpy", "Memcpy DtoH (Device -> Pinned)", at + 60 * US, at + 61 * US, 0, 7, **copied)
    for event in trace.events:
        event["cat"] = categories.get(event.get("cat", ""), event.get("cat", ""))

    decode = phase(cli.analyze(trace), "decode")

    assert (decode["kernel_count"], decode["memop_count"], decode["gpu_busy_ns"]) == (3, 3, 3 * 26 * US)


def test_numbers_with_a_decimal_comma_are_refused(cli: Cli) -> None:
    text = steps_of(["decode"]).text().replace('thread": 32', 'thread": 32, "blocks per SM": 7,757576, "x": 1')
    path = cli.folder / "comma.json"
    path.write_text(text)

    code, out, err = run(cli.capsys, "analyze", path, "--no-cache")

    assert ("7,757576" in text, code, out) == (True, 1, "")
    assert "damaged after 4 events: it is no JSON" in err


def test_brackets_in_the_name_of_a_trace(cli: Cli) -> None:
    trace = steps_of(["decode"])
    trace.tail = {"traceName": "fit-profiler-[Strategy]SingleDeviceStrategy-ts.pt.trace.json"}

    assert phase(cli.analyze(trace), "decode")["kernel_count"] == 1


def test_control_characters_in_names(cli: Cli) -> None:
    trace = steps_of(["decode"])
    trace.launch(20_000, gpu=(50_000, 60_000), name="ge\x01m\x07m")

    report = cli.analyze(trace)

    assert phase(report, "decode")["kernel_count"] == 2
    assert {one["name"] for one in report["kernels"]} == {"gemm", "ge\x01m\x07m"}


def test_traces_that_end_in_the_middle_are_refused(cli: Cli) -> None:
    trace = KinetoTrace()
    for number in range(20):
        trace.annotation("decode", number * 100_000, number * 100_000 + 90_000)
    path = trace.write(cli.folder / "trace.json.gz")
    path.write_bytes(path.read_bytes()[:-40])

    code, out, err = run(cli.capsys, "analyze", path, "--no-cache")

    assert (code, out) == (1, "")
    assert "is a damaged gzip file" in err


def test_a_raw_recording_is_refused_with_the_way_to_convert_it(cli: Cli) -> None:
    path = cli.folder / "worker.qdstrm"
    path.write_bytes(b"QDSTRM" + bytes(64))

    code, out, err = run(cli.capsys, "analyze", path, "--no-cache")

    assert (code, out, "QdstrmImporter" in err) == (1, "", True)


def steps_in_nsys() -> TraceBuilder:
    trace = TraceBuilder().gpu()
    trace.process().thread().push(0, 50 * MS, "decode").launch(MS, gpu=(2 * MS, 30 * MS))
    return trace


def test_tables_of_other_names_are_told(cli: Cli) -> None:
    path = steps_in_nsys().write(cli.folder / "renamed.sqlite")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("ALTER TABLE NVTX_EVENTS RENAME TO NVTX_EVENTS_V2")
        db.execute("ALTER TABLE CUPTI_ACTIVITY_KIND_KERNEL RENAME TO CUPTI_ACTIVITY_KIND_KERNEL_V3")

    code, out, _ = run(cli.capsys, "analyze", path, "--format", "json", "--no-cache")

    assert (code, codes(json.loads(out)) >= {"kernels_missing", "no_nvtx"}) == (0, True)
