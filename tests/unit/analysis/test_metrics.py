"""Idle gaps, time in CUDA calls, launches per token, copies, cold first occurrences, graphs: by hand on tiny traces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline.duck import records
from nsys_pipeline.inputs import AnalysisOptions, RequestShape
from nsys_pipeline.records import Report
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.ask import report_of
from tests.support.nsys_schema import GENERATIONS
from tests.support.small_trace import small_trace
from tests.support.trace_builder import TraceBuilder


def rows_of(trace: TraceBuilder, folder: Path, options: AnalysisOptions | None = None) -> list[dict[str, Any]]:
    with open_trace(trace.write(folder / "trace.sqlite"), TraceOptions(use_cache=False)) as opened:
        opened.describe(options or AnalysisOptions())
        opened.build("views.phases")
        return records(opened.connection, "FROM views.phases ORDER BY start_ns")


def codes(report: Report) -> list[str]:
    return [finding.code for finding in report.findings]


# -- idle gaps -------------------------------------------------------------------------------------------------------


def test_gaps_lie_between_the_first_start_and_the_last_end_of_one_occurrence(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 100, "decode").launch(10, gpu=(20, 30)).launch(15, gpu=(45, 50)).launch(20, gpu=(57, 60))
    # The next one's work is far away: that is no gap of either.
    main.push(200, 300, "decode").launch(210, gpu=(220, 230))

    (decode,) = report_of(trace, tmp_path).phases

    assert (decode.idle_gap_count, decode.idle_gap_ns, decode.longest_idle_gap_ns) == (2, 15 + 7, 15)


def test_work_that_overlaps_or_touches_leaves_no_gap(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 100, "decode")
    main.launch(10, gpu=(20, 50), stream=7).launch(15, gpu=(25, 30), stream=8).launch(20, gpu=(50, 60))
    main.memcpy(25, gpu=(60, 61))

    (row,) = rows_of(trace, tmp_path)

    assert (row["idle_gap_count"], row["longest_idle_gap_ns"], row["gpu_busy_ns"]) == (0, 0, 41)


def test_gaps_are_of_each_gpu(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 100, "decode")
    main.launch(10, gpu=(20, 30), device=0).launch(12, gpu=(30, 40), device=1)
    main.launch(14, gpu=(40, 50), device=0).launch(16, gpu=(50, 60), device=1)

    (decode,) = report_of(trace, tmp_path).phases

    assert (decode.idle_gap_count, decode.idle_gap_ns, decode.longest_idle_gap_ns) == (2, 20, 10)


def test_a_phase_without_gpu_work_has_no_longest_gap(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.process().thread().push(0, 100, "decode")

    (decode,) = report_of(trace, tmp_path).phases

    assert (decode.idle_gap_count, decode.idle_gap_ns, decode.longest_idle_gap_ns) == (0, 0, None)


# -- calls -----------------------------------------------------------------------------------------------------------


def test_time_in_calls_is_that_of_the_phases_own_thread(tmp_path: Path) -> None:
    trace = TraceBuilder()
    process = trace.process()
    main, worker = process.thread(), process.thread(101)
    main.push(0, 100, "prefill")
    main.launch(10, until=14, gpu=(20, 30))
    main.call(50, until=80, api="cudaStreamSynchronize_v3020")
    main.call(95, until=130, api="cudaDeviceSynchronize_v3020")  # counts up to the end of the range
    main.call(140, until=150, api="cudaMalloc_v3020")  # outside
    worker.call(20, until=60, api="cudaMalloc_v3020")  # another thread's

    (row,) = rows_of(trace, tmp_path)

    assert row["api_time_ns"] == 4 + 30 + 5


def test_time_in_calls_goes_to_the_innermost_phase(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 100, "prefill").push(40, 60, "Decode step 1")
    for at in (10, 39, 40, 50, 60, 61, 100, 101):
        main.call(at, until=at + 1)

    report = report_of(trace, tmp_path)

    # The end of a range belongs to it, and calls are cut at it.
    assert {phase.name: phase.api_time_ns for phase in report.phases} == {"prefill": 3, "decode": 2}


def test_calls_that_were_recorded_twice_count_once(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 100, "decode")
    main.launch(10, until=15, gpu=(20, 30), backtrace=True).launch(20, until=23, gpu=(30, 40), backtrace=True)

    (row,) = rows_of(trace, tmp_path)

    assert (row["api_time_ns"], row["launch_call_count"]) == (8, 2)


def test_slots_of_time_do_not_matter(tmp_path: Path) -> None:
    # Ranges far apart make the slots wide, so that many stretches share one.
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(10**12, 10**12 + 10**11, "prefill")
    for index in range(50):
        main.push(100 * index, 100 * index + 90, "decode")
        main.call(100 * index + 5, until=100 * index + 8)
        main.call(100 * index + 92, until=100 * index + 95)
    main.call(10**12 + 10**10, until=10**12 + 2 * 10**10)

    rows = rows_of(trace, tmp_path)

    assert [row["api_time_ns"] for row in rows] == [3] * 50 + [10**10]


def test_a_phase_without_calls_has_no_time_in_them(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.process().thread().push(0, 100, "decode")

    (row,) = rows_of(trace, tmp_path)

    assert row["api_time_ns"] is None


def test_launches_per_token(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 1000, "request")
    main.push(10, 100, "prefill")
    for at in range(20, 28):
        main.launch(at, gpu=(at + 100, at + 101))
    for step in (200, 300):
        main.push(step, step + 90, "decode")
        main.launch(step + 10, gpu=(step + 20, step + 21)).memcpy(step + 15, gpu=(step + 30, step + 34))
        main.graph_launch(step + 20, nodes=[(step + 40 + 2 * i, step + 41 + 2 * i) for i in range(5)])

    report = report_of(trace, tmp_path, AnalysisOptions(shapes=(RequestShape(2, 8, 2),)))

    prefill, decode = report.phases
    assert (prefill.launch_call_count, prefill.launches_per_token) == (8, 8 / 16)
    assert (decode.launch_call_count, decode.launches_per_token) == (6, 6 / 4)
    assert (decode.kernel_count, decode.memcpy_count, decode.memcpy_time_ns) == (12, 2, 8)


def test_launches_per_token_of_unknown_tokens(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.process().thread().push(0, 100, "decode").launch(10, gpu=(20, 30))

    (decode,) = report_of(trace, tmp_path).phases

    assert (decode.launch_call_count, decode.launches_per_token) == (1, None)


# -- cold first occurrences ------------------------------------------------------------------------------------------


def steps(walls: list[int], busy: list[int], *, warmup: int = 0) -> TraceBuilder:
    """Decode steps one after the other; the first `warmup` of them are inside a warm-up range."""
    trace = TraceBuilder()
    main, at = trace.process().thread(), 0
    if warmup:
        main.push(0, sum(walls[:warmup]) + 10 * (warmup - 1) + 5, "warmup", domain="llmperf")
    for wall, work in zip(walls, busy, strict=True):
        main.push(at, at + wall, "decode").launch(at + 1, gpu=(at + 5, at + 5 + work))
        at += wall + 10
    return trace


@pytest.mark.parametrize(
    ("walls", "busy", "is_cold"),
    [
        ([1000, 100, 110, 90], [50, 50, 50, 50], True),
        ([299, 100, 100, 100], [50, 50, 50, 50], False),
        ([1000, 100, 110], [50, 50, 50], True),
        ([1000, 100], [50, 50], True),
        ([1000, 100, 900, 110], [50, 50, 50, 50], False),  # others are as slow
        ([1000, 100, 110, 90], [900, 50, 50, 50], False),  # as much more GPU work: a longer prompt looks so
        ([100, 1000, 100, 100], [50, 50, 50, 50], False),  # not the first
        ([1000, 100, 110, 90], [10, 50, 50, 50], True),  # less work and more time
    ],
)
def test_a_cold_first_step(walls: list[int], busy: list[int], is_cold: bool, tmp_path: Path) -> None:
    report = report_of(steps(walls, busy), tmp_path)

    assert ("cold_first_occurrence" in codes(report)) is is_cold


def test_a_cold_first_step_that_is_marked_as_warmup(tmp_path: Path) -> None:
    report = report_of(steps([1000, 100, 100, 100, 100], [50] * 5, warmup=1), tmp_path)

    assert report.phases[0].warmup_occurrences == 1
    assert "cold_first_occurrence" not in codes(report)


def test_where_shapes_are_known_gpu_time_counts_too_and_only_like_is_compared(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    for index, (wall, work) in enumerate([(900, 800), (100, 50), (100, 50), (100, 50), (100, 50)]):
        at = 2000 * index
        main.push(at, at + 1000, "request").push(at + 5, at + 5 + wall, "prefill")
        main.launch(at + 6, gpu=(at + 10, at + 10 + work))
    alike = AnalysisOptions(shapes=(RequestShape(1, 128, 0),))
    longer = AnalysisOptions(shapes=(RequestShape(1, 2048, 0), *(RequestShape(1, 128, 0),) * 4))
    path = trace.write(tmp_path / "trace.sqlite")

    def cold(options: AnalysisOptions) -> list[bool]:
        with open_trace(path, TraceOptions(use_cache=False)) as opened:
            opened.describe(options)
            opened.build("views.phases")
            rows = records(opened.connection, "FROM views.phases ORDER BY start_ns")
        return [row["is_cold"] for row in rows]

    assert cold(alike) == [True, False, False, False, False]
    assert cold(longer) == [False] * 5


# -- graphs ----------------------------------------------------------------------------------------------------------


def test_graph_launches_that_left_nothing_are_told(tmp_path: Path) -> None:
    trace = TraceBuilder("2022.4")
    main = trace.process().thread()
    main.push(0, 100, "decode").launch(5, gpu=(10, 20)).graph_launch(30)
    main.graph_launch(40, nodes=[(50, 60)])

    report = report_of(trace, tmp_path)

    (notice,) = [notice for notice in report.warnings if notice.code == "untraced_graphs"]
    assert "1 of 2 CUDA graph launches" in notice.message


@pytest.mark.parametrize("mode", ["Graph", "Node", None])
def test_the_hint_for_whole_graphs_knows_how_nsys_was_run(mode: str | None, tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.process().thread().push(0, 100, "decode").graph_launch(10, gpu=(20, 40))
    if mode:
        trace.capture_metadata(PROCESS_0__CUDA_GRAPH_TRACE_OPTIONS__MODE=mode)

    report = report_of(trace, tmp_path)

    (notice,) = [notice for notice in report.warnings if notice.code == "whole_graphs"]
    assert notice.hint
    assert notice.hint.startswith("nsys recorded with --cuda-graph-trace=graph") is (mode == "Graph")


# -- versions --------------------------------------------------------------------------------------------------------

INFERRED = {
    "2020.3": "2020–2021",
    "2022.4": "2022.1–2023.2",
    "2023.3": "2022.1–2023.2",  # without its metadata nothing tells it from 2022
    "2024.2": "2024.2–2024.4",
    "2025.3": "2025.1–2025.3",
    "2026.1": "2025.5 or newer",
}


@pytest.mark.parametrize("schema", GENERATIONS)
def test_every_generation_gives_the_same_report(schema: str, tmp_path: Path) -> None:
    report = report_of(small_trace(schema), tmp_path)

    assert [(phase.name, phase.kernel_count, phase.memop_count) for phase in report.phases] == [
        ("prefill", 10, 10),
        ("decode", 290, 10),
    ]
    assert ("nsys_version_inferred" in codes(report)) is (schema == "2020.3")
    assert (report.trace.nsys_version is None) is (schema == "2020.3")


@pytest.mark.parametrize("schema", GENERATIONS)
def test_an_export_that_does_not_say_is_told_by_its_tables(schema: str, tmp_path: Path) -> None:
    trace = small_trace(schema).without("META_DATA_EXPORT", "META_DATA_CAPTURE", "EXPORT_META_DATA")

    report = report_of(trace, tmp_path)

    (notice,) = [notice for notice in report.findings if notice.code == "nsys_version_inferred"]
    assert f"those of nsys {INFERRED[schema]} (inferred)" in notice.message
    assert report.trace.nsys_version is None
