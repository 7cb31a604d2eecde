"""What a capture leaves behind when nsys fails."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nsys_pipeline.capture import CapturePlan, capture
from nsys_pipeline.errors import NsysError
from nsys_pipeline.nsys import Nsys
from tests.support.trace_builder import TraceBuilder
from tests.unit.capture.fake_nsys import fake_nsys, report


def test_a_failed_capture_does_not_stand_in_the_way_of_the_next(tmp_path: Path) -> None:
    # given an nsys that leaves an empty report and a temporary file
    path = fake_nsys(tmp_path / "bin")
    junk = 'for a in "$@"; do case $a in --output=*) o=${a#--output=}; : > $o.nsys-rep; echo x > $o.tmp;; esac; done'
    path.write_text(path.read_text().removesuffix("exit 0\n") + f"{junk}\nexit 1\n")
    nsys = Nsys.probe(path)

    # then it fails as often as it is tried, each time for its own reason
    for _ in range(2):
        with pytest.raises(NsysError, match="nsys wrote no report"):
            capture(CapturePlan(command=("true",)), nsys=nsys, output=tmp_path / "run", exact_output=True)
        assert sorted(left.name for left in (tmp_path / "run").iterdir()) == ["run.json", "workload.log"]


def test_ranks_that_ran_without_a_report_are_tried_again_and_then_told_from_no_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given an nsys that makes no report, and a launcher that starts its ranks as torchrun does
    path = fake_nsys(tmp_path / "bin")
    path.write_text(path.read_text().removesuffix("exit 0\n") + "echo 'RuntimeError: no agent' >&2\nexit 1\n")
    monkeypatch.setenv("PYTHON_EXEC", sys.executable)
    started = tmp_path / "started"
    launcher = CapturePlan(command=("sh", "-c", f'echo x >> {started}; "$PYTHON_EXEC" -u x.py'), rank_reports=True)

    with pytest.raises(NsysError, match="nsys made no report of any rank: RuntimeError: no agent"):
        capture(launcher, nsys=Nsys.probe(path), output=tmp_path / "run", exact_output=True, attempts=2)
    assert started.read_text() == "x\nx\n"
    assert sorted(left.name for left in (tmp_path / "run").iterdir()) == ["run.json", "workload.log"]

    # then a command that starts no rank is another matter, and is not tried again
    alone = CapturePlan(command=("sh", "-c", f"echo y >> {started}"), rank_reports=True)
    with pytest.raises(NsysError, match="no rank was profiled: the command started none"):
        capture(alone, nsys=Nsys.probe(path), output=tmp_path / "other", exact_output=True, attempts=2)
    assert started.read_text() == "x\nx\ny\n"


def test_a_recording_that_nsys_forgot_beside_its_report_is_removed(tmp_path: Path) -> None:
    # given an nsys that leaves its recording where it made a report of it
    trace = TraceBuilder().session(9000)
    trace.process().thread().push(100, 200, "prefill")
    exported, made = trace.write(tmp_path / "made.sqlite"), report(tmp_path / "made.nsys-rep")
    path = fake_nsys(tmp_path / "bin", export=f'cp {exported} "${{5#--output=}}"; exit 0')
    copies = f"cp {made} $o.nsys-rep; echo x > $o.qdstrm"
    writes = f'for a in "$@"; do case $a in --output=*) o=${{a#--output=}}; {copies};; esac; done'
    path.write_text(path.read_text().removesuffix("exit 0\n") + f"{writes}\nexit 0\n")

    result = capture(CapturePlan(command=("true",)), nsys=Nsys.probe(path), output=tmp_path / "run", exact_output=True)
    assert result.phases == {"prefill": 1}
    left = sorted(left.name for left in (tmp_path / "run").iterdir())
    assert left == ["run.json", "trace.nsys-rep", "trace.sqlite", "workload.log"]
