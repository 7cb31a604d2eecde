"""What a capture leaves behind when nsys fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsys_pipeline.capture import CapturePlan, Nsys, capture
from nsys_pipeline.errors import NsysError
from tests.unit.capture.fake_nsys import fake_nsys


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
