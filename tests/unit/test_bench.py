"""The benchmark's own measuring: what it measures, and that a wrong output never becomes a number."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from scripts import bench
from scripts.bench import CACHED, COLD, DRAIN, FLOOR, NSYS_TOTAL, Run, Trace
from scripts.bench_floor import chunks, read
from tests.support.edge_traces import EDGE_TRACES

PHASES = {"prefill": 1, "decode": 1}


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trace:
    monkeypatch.setattr(bench, "DATA", tmp_path)
    EDGE_TRACES["kernel_ends_after_its_range"]().write(tmp_path / "small.sqlite")
    return Trace("small", (), "two kernels", PHASES, nsys_factor=12.0)


def report(*, kernels: int = 2, time_ns: int = 70, phases: dict[str, int] = PHASES) -> str:
    return json.dumps(
        {
            "totals": {"kernel_count": kernels, "kernel_time_ns": time_ns},
            "phases": [{"name": name, "kernel_count": count} for name, count in phases.items()],
        }
    )


def run_python(code: str, check: bench.Check = lambda _: None) -> Run:
    return bench.measure([sys.executable, "-c", code], check, dict(os.environ))


def test_measures_wall_cpu_and_peak_memory() -> None:
    idle = run_python("import time; time.sleep(0.3)")
    busy = run_python("data = bytearray(200 << 20); data[::4096] = bytes(len(data[::4096]))")

    assert idle.wall_s >= 0.3
    assert idle.cpu_s < idle.wall_s
    # No upper bound: until it runs its own program, a child counts the memory of the process it was forked from.
    assert busy.peak_mb > 200
    assert (idle.problem, busy.problem) == (None, None)


def test_a_process_that_fails_does_not_count() -> None:
    assert run_python("import sys; sys.exit('no such trace')").problem == "exit 1: no such trace"


def test_the_error_is_quoted_and_not_its_hint() -> None:
    said = "import sys; sys.exit('warning: old\\nerror: no kernels\\n\\nhint: recapture')"

    assert run_python(said).problem == "exit 1: error: no kernels"


def test_wrong_output_does_not_count() -> None:
    assert run_python("print(7)", lambda said: f"said {said.strip()}").problem == "said 7"


def test_the_right_report_counts(trace: Trace) -> None:
    assert bench.right_report(trace)(report()) is None


@pytest.mark.parametrize(
    "said",
    [
        "",
        "[]",
        "{}",
        report(kernels=1),
        report(time_ns=71),
        report(phases={"prefill": 2, "decode": 0}),
        report(phases={"decode": 1}),
    ],
)
def test_a_wrong_report_does_not_count(trace: Trace, said: str) -> None:
    assert bench.right_report(trace)(said) is not None


@pytest.mark.parametrize(("said", "counts"), [("7", True), ("6", True), ("5", False), ("", False), ("100%\\n6", False)])
def test_the_floor_has_to_read_every_row(trace: Trace, said: str, counts: bool) -> None:
    # Two kernels, two calls, two ranges.
    assert (bench.right_row_count(trace)(said) is None) == counts


def test_nsys_has_to_print_a_table() -> None:
    assert bench.a_table_of_times("Time (%),Total Time (ns)\n100.0,30\n") is None
    assert bench.a_table_of_times("ERROR: no kernel data (ns)\n") is not None


def test_the_fastest_run_is_taken_unless_one_failed() -> None:
    slow, fast, failed = Run(2, 1, 10), Run(1, 2, 20), Run(0.1, 0, 1, "exit 1")

    assert bench.best([slow, fast]) == fast
    assert bench.best([slow, failed, fast]) == failed


def test_table_and_verdicts(trace: Trace) -> None:
    results = {
        COLD: Run(9, 17, 1_200),
        CACHED: Run(1.5, 1, 100),
        FLOOR: Run(6, 10, 900),
        DRAIN: Run(3, 5, 100, "exit 1: a|b"),
        NSYS_TOTAL: Run(90, 90, 3_000),
    }

    assert bench.table(results)[2:] == [
        f"| {COLD} | 9.00 | 17.00 | 1200 | 1.50 | 1.00 |",
        f"| {CACHED} | 1.50 | 1.00 | 100 | 0.25 | 0.17 |",
        f"| {FLOOR} | 6.00 | 10.00 | 900 | 1.00 | 0.67 |",
        f"| {DRAIN} | exit 1: a/b | | | | |",
        f"| {NSYS_TOTAL} | 90.00 | 90.00 | 3000 | 15.00 | 10.00 |",
    ]
    assert [line.rpartition(": ")[2] for line in bench.verdicts(trace, results)] == [
        "reached",
        "reached",
        "**missed**",
        "**missed**",
    ]


@pytest.mark.parametrize("keep", [True, False])
def test_the_floor_reads_all_rows_in_chunks(trace: Trace, keep: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.bench_floor.CHUNK_ROWS", 1)

    assert len(list(chunks(trace.path))) == 6
    assert read(trace.path, keep=keep, threads=2) == 6
