"""What is said of ranks that were started and have no report."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from nsys_pipeline.capture import CapturePlan
from nsys_pipeline.capture.lost_ranks import LostRanks
from nsys_pipeline.capture.ranks import RANK_PYTHON
from nsys_pipeline.capture.rundir import RunDirectory
from tests.unit.capture.test_failures import outcome

PLAN = CapturePlan(command=("torchrun", "x.py"), rank_reports=True)
NO_AGENT = "[QuadDCommon::tag_message*] = Local Endpoint is not available."


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    """Ranks 0, 2 and 10 were started, 2 twice; nsys made a report of 0."""
    directory = RunDirectory.create(tmp_path / "run", "x", exact=True)
    (directory.staging / f"{RANK_PYTHON}-started").write_text("10\n0\n2\n2\n")
    (directory.staging / "trace-rank0.nsys-rep").write_text("report")
    return directory


def lost(directory: RunDirectory, *lines: str, plan: CapturePlan = PLAN, code: int = 1) -> LostRanks:
    return LostRanks.of(plan, outcome(*lines, code=code), directory, [directory.staging / "trace-rank0.nsys-rep"])


def test_ranks_of_which_there_is_nothing_are_errors(directory: RunDirectory) -> None:
    silent = lost(directory)
    assert silent.by_chance is None
    said = [(each.severity, each.message, each.hint) for each in silent.findings(PLAN, directory)]
    hint = f"its output is in `{directory.path / 'workload.log'}`"
    assert said == [("error", f"nsys recorded nothing of rank {rank}", hint) for rank in (2, 10)]


def test_ranks_whose_capture_range_never_opened_are_none(directory: RunDirectory) -> None:
    ranged = attrs.evolve(PLAN, capture_range="profiler")
    for code in (0, 1):
        silent = lost(directory, plan=ranged, code=code)
        assert silent.by_chance is None
        assert {each.severity for each in silent.findings(ranged, directory)} == {"warning"}


def test_a_job_that_ended_well_was_lost_by_nsys(directory: RunDirectory) -> None:
    silent = lost(directory, code=0)
    assert silent.by_chance == "nsys recorded nothing of rank 2"
    assert all("capture again" in str(each.hint) for each in silent.findings(PLAN, directory))


def test_an_nsys_without_its_agent_failed_by_chance(directory: RunDirectory) -> None:
    silent = lost(directory, NO_AGENT)
    assert silent.by_chance == "nsys recorded nothing of rank 2"
    for plan in (PLAN, attrs.evolve(PLAN, capture_range="profiler")):
        found = silent.findings(plan, directory)
        assert {each.severity for each in found} == {"error"}
        assert all("capture again" in str(each.hint) for each in found)


def test_a_recording_without_a_report_is_saved(directory: RunDirectory) -> None:
    for rank in (0, 2):
        (directory.staging / f"trace-rank{rank}.qdstrm").write_text("recorded")
    kept = lost(directory)
    assert kept.by_chance == "nsys made no report of trace-rank2"
    messages = [each.message for each in kept.findings(PLAN, directory)]
    saved = directory.path / "trace-rank2.qdstrm"
    assert messages == [
        f"nsys made no report of trace-rank2; what it recorded is in `{saved}`",
        "nsys recorded nothing of rank 10",
    ]
    assert saved.read_text() == "recorded"
