"""Ranges in one process and GPU work in another: said, both named, with advice that follows from the trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsys_pipeline.records import Finding
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.ask import findings_of
from tests.support.trace_builder import TraceBuilder


def findings(trace: TraceBuilder, folder: Path, code: str) -> list[Finding]:
    with open_trace(trace.write(folder / "t.sqlite"), TraceOptions(use_cache=False)) as opened:
        return [finding for finding in findings_of(opened) if finding.code == code]


def front_and_engine(text: str = "prefill") -> TraceBuilder:
    """The front end marks, the engine launches."""
    trace = TraceBuilder()
    trace.process(100, name="api").thread().push(0, 100, text)
    trace.process(200, name="engine").thread().launch(10, gpu=(20, 30)).launch(40, gpu=(50, 70))
    return trace


def test_both_processes_are_named(tmp_path: Path) -> None:
    (found,) = findings(front_and_engine(), tmp_path, "ranges_in_another_process")

    assert found.message == (
        "all GPU work (2 operations) was launched by process 200 (engine), which has no range of its own; "
        "the phases are in process 100 (api): this work is in no phase"
    )
    assert found.at_stake_ns == 30
    assert found.severity == "warning"


@pytest.mark.parametrize(
    ("forks", "lost", "advice"),
    [
        (
            None,
            False,
            "ranges of children that fork without exec are recorded only with `llmperf capture --trace-forks`",
        ),
        (
            "false",
            False,
            "if it was forked without exec, nsys records its ranges only with `llmperf capture --trace-forks`",
        ),
        ("true", False, "start it by spawn, not by fork"),
        ("true", True, "nsys may have lost the ranges of that process"),
    ],
)
def test_the_advice_follows_from_what_the_trace_says(
    forks: str | None, lost: bool, advice: str, tmp_path: Path
) -> None:
    trace = front_and_engine()
    if forks is not None:
        trace.capture_metadata(TRACE_AFTER_FORK_BEFORE_EXEC=forks)
    if lost:
        text = "Not all NVTX events might have been collected."
        trace.diagnostic(text, severity=2, process=trace.process(200, name="engine"))

    (found,) = findings(trace, tmp_path, "ranges_in_another_process")

    assert found.hint is not None
    assert advice in found.hint


def test_ranges_that_are_no_phases_are_told_from_none(tmp_path: Path) -> None:
    trace = front_and_engine()
    trace.process(300, name="other").thread().push(0, 100, "run model").launch(10, gpu=(20, 30))

    found = findings(trace, tmp_path, "ranges_in_another_process")

    assert [one.message.partition(";")[0] for one in found] == [
        "2 of 3 GPU operations were launched by process 200 (engine), which has no range of its own",
        "1 of 3 GPU operations were launched by process 300 (other), which has no range that is a phase",
    ]


def test_ranges_of_libraries_are_no_ranges_of_the_process(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.process(100).thread().push(0, 100, "prefill").launch(5, gpu=(10, 11))
    trace.process(200).thread().push(0, 100, "ncclAllReduce", domain="NCCL").launch(10, gpu=(20, 30))

    (found,) = findings(trace, tmp_path, "ranges_in_another_process")

    assert "which has no range of its own" in found.message


def test_it_is_said_without_any_phase(tmp_path: Path) -> None:
    (found,) = findings(front_and_engine("serve"), tmp_path, "ranges_in_another_process")

    assert "the ranges are in process 100 (api)" in found.message


@pytest.mark.parametrize("copies_only", [False, True])
def test_nothing_is_said_of_marked_processes_and_of_helpers(copies_only: bool, tmp_path: Path) -> None:
    trace = TraceBuilder()
    for pid in (100, 200):
        trace.process(pid).thread().push(0, 100, "prefill").launch(5, gpu=(10, 11))
    if copies_only:
        trace.process(300).thread().memcpy(10, gpu=(20, 30))

    assert findings(trace, tmp_path, "ranges_in_another_process") == []


def test_a_rank_whose_gpu_work_was_lost_is_named(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.process(100, name="rank0").thread().push(0, 100, "forward").launch(5, gpu=(10, 11))
    lost = trace.process(200, name="rank1")
    lost.thread().push(0, 100, "forward")
    trace.diagnostic("Not all CUDA events might have been collected.", severity=2, process=lost)

    (found,) = findings(trace, tmp_path, "phases_without_work")

    assert found.message.startswith("process 200 (rank1) has 1 phases and no GPU work, unlike process 100 (rank0)")
    assert found.hint == "nsys may have lost its CUDA events: record again, and let it end by itself"
