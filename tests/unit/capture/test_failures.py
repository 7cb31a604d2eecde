"""What nsys printed and left behind becomes one sentence."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from nsys_pipeline.capture import CapturePlan
from nsys_pipeline.capture.failures import NsysFaultError, no_report, with_last_lines
from nsys_pipeline.capture.rundir import RunDirectory
from nsys_pipeline.capture.session import Outcome
from nsys_pipeline.errors import NsysError
from nsys_pipeline.nsys import Nsys
from tests.unit.capture.fake_nsys import fake_nsys

PLAN = CapturePlan(command=("x",), capture_range="profiler")
IMPORT_FAILED = "Importer error status: Importation failed."


def outcome(*lines: str, code: int = 0, recording: Path | None = None) -> Outcome:
    return Outcome(
        returncode=code,
        stopped=None,
        wall_s=1.0,
        lines=lines,
        nsys_lines=lines,
        recording=recording,
        load_status=None,
        driver_error=None,
    )


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run", "x", exact=True)


def nsys_with_importer(directory: Path, *, works: bool) -> Nsys:
    nsys = Nsys.probe(fake_nsys(directory / "target"))
    importer = directory / "host" / "QdstrmImporter"
    importer.parent.mkdir()
    importer.write_text(f"#!/bin/sh\nexit {0 if works else 127}\n")
    importer.chmod(0o755)
    return nsys


@pytest.fixture
def nsys(tmp_path: Path) -> Nsys:
    return nsys_with_importer(tmp_path / "nsys", works=True)


@pytest.mark.parametrize(
    ("ended", "message"),
    [
        (outcome("Generated:"), "nsys recorded nothing: the capture range never opened"),
        (outcome("hello"), "nsys recorded nothing: the capture range never opened"),
        (
            outcome("ValueError: no prompt", "Generated:", code=5),
            "the workload ended with status 5 before the capture range opened: ValueError: no prompt",
        ),
        (outcome(code=-9), "nsys was killed before it wrote a report"),
        (
            outcome("Failed to create '/x.nsys-rep': File exists.", recording=Path("/gone.qdstrm")),
            "nsys could not write its report: Failed to create '/x.nsys-rep': File exists.",
        ),
        (
            outcome("unrecognised option '--x'", "usage: nsys profile", "Try 'nsys profile --help'", code=1),
            "nsys wrote no report (exit code 1): unrecognised option '--x'",
        ),
    ],
)
def test_reasons(directory: RunDirectory, nsys: Nsys, ended: Outcome, message: str) -> None:
    error = no_report(ended, nsys, directory, PLAN)
    assert error.message == message
    assert error.hint


def test_a_server_that_cannot_be_recorded_is_shown_with_its_last_words(tmp_path: Path) -> None:
    error, log = NsysError("the server ended before it answered", hint="see"), tmp_path / "workload.log"
    assert with_last_lines(error, log) is error
    log.write_text("\n\n")
    assert with_last_lines(error, log) is error

    log.write_text("\n".join([*(f"line {number}" for number in range(20)), "", "ValueError: no profiler here", ""]))
    shown = with_last_lines(error, log)
    first, *lines = shown.message.splitlines()
    assert (first, shown.hint, shown.has_lines) == ("the server ended before it answered; it said last", "see", True)
    assert lines == [*(f"  | line {number}" for number in range(13, 20)), "  | ValueError: no profiler here"]


def test_the_cause_stands_before_its_consequences(tmp_path: Path) -> None:
    """As vLLM's worker says it, a hundred lines before the server gives up."""
    cause = (
        "(Worker-0 pid=1) ERROR 11-29 06:16:22 [executor.py:953] ValueError: Unsupported profiler type for cpu: cuda."
    )
    warning = "(APIServer pid=1) WARNING: this can cause fd limit errors like `OSError: [Errno 24] Too many open files`"
    consequence = "RuntimeError: Engine core initialization failed."
    (tmp_path / "workload.log").write_text("\n".join([warning, cause, *["  File x, line 1"] * 200, consequence]))
    first, *lines = with_last_lines(NsysError("it ended"), tmp_path / "workload.log").message.splitlines()
    assert first == "it ended; its first exception, and what it said last"
    assert lines == [f"  | {cause}", "  | ...", *["  |   File x, line 1"] * 7, f"  | {consequence}"]


def test_a_failed_workload_passes_its_status_on(directory: RunDirectory, nsys: Nsys) -> None:
    assert no_report(outcome("Generated:", code=5), nsys, directory, PLAN).exit_code == 5
    assert no_report(outcome("Generated:"), nsys, directory, PLAN).exit_code == 3


def test_a_recording_is_saved_and_named(directory: RunDirectory, tmp_path: Path) -> None:
    (directory.staging / "trace.qdstrm").write_text("recorded")
    broken = nsys_with_importer(tmp_path / "broken", works=False)
    error = no_report(outcome(IMPORT_FAILED, recording=Path("/tmp/x.qdstrm")), broken, directory, PLAN)
    saved = directory.path / "trace.qdstrm"
    assert type(error) is NsysError
    assert error.message == (
        f"nsys recorded the workload, but its importer failed (Importation failed); what was recorded is in `{saved}`"
    )
    assert error.hint is not None
    assert f"QdstrmImporter -i {saved}` makes a report of it" in error.hint
    assert saved.read_text() == "recorded"


def test_faults_that_depend_on_chance(directory: RunDirectory, nsys: Nsys) -> None:
    (directory.staging / "trace.qdstrm").write_text("recorded")
    fault = 'Value: "Multiple different definitions of the same VmTidToPidInfo"'
    gave_up = no_report(outcome(fault, IMPORT_FAILED, recording=Path("/tmp/x.qdstrm")), nsys, directory, PLAN)
    assert isinstance(gave_up, NsysFaultError)
    assert "gave up on the recording (Multiple different definitions" in gave_up.message


@pytest.mark.parametrize(
    "ended",
    [
        outcome("Connection to Agent lost. This is most likely a bug.", "Generated:"),
        outcome(
            "ClientProxy.cpp(389): Throw in function QuadDProtobufComm::Endpoint GetLocalEndpoint()",
            "[QuadDCommon::tag_message*] = Local Endpoint is not available.",
            code=1,
        ),
    ],
)
def test_an_nsys_without_its_agent_failed_by_chance(ended: Outcome, directory: RunDirectory, nsys: Nsys) -> None:
    for plan in (PLAN, attrs.evolve(PLAN, capture_range=None, rank_reports=True)):
        error = no_report(ended, nsys, directory, plan)
        assert isinstance(error, NsysFaultError)
        assert error.message == "nsys had no connection to its own agent"


@pytest.mark.parametrize(
    ("stopped", "said", "status"), [("interrupt", "interrupted", 130), ("timeout", "timeout", 124)]
)
def test_a_stop_before_anything_was_recorded(
    directory: RunDirectory, nsys: Nsys, stopped: str, said: str, status: int
) -> None:
    ended = attrs.evolve(outcome("torch.Size([1, 21])"), stopped=stopped)
    error = no_report(ended, nsys, directory, attrs.evolve(PLAN, capture_range=None))
    assert "nsys made no report: it was" in error.message
    assert said in error.message
    assert error.exit_code == status


def test_ranks_that_ran_without_any_report_are_a_fault_of_nsys(directory: RunDirectory, nsys: Nsys) -> None:
    plan = attrs.evolve(PLAN, capture_range=None, rank_reports=True)
    said = ("[rank0]: RuntimeError: no agent", "more", "=" * 60)
    error = no_report(outcome(*said, code=1), nsys, directory, plan)
    assert isinstance(error, NsysFaultError)
    assert error.message == "nsys made no report of any rank: [rank0]: RuntimeError: no agent"

    # with a capture range, that may as well never have opened
    ranged = attrs.evolve(plan, capture_range="profiler")
    assert no_report(outcome("Generated:"), nsys, directory, ranged).message.startswith("nsys recorded nothing")
