"""Run directories: whole files or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsys_pipeline.capture.rundir import RunDirectory
from nsys_pipeline.errors import UsageError


def test_name_and_time(tmp_path: Path) -> None:
    first = RunDirectory.create(tmp_path / "runs", "Llama 3.2/1B")
    second = RunDirectory.create(tmp_path / "runs", "Llama 3.2/1B")
    assert first.path.name.startswith("Llama-3.2-1B-2")
    assert first.path.name.endswith("Z")
    assert second.path != first.path


def test_files_appear_when_they_are_whole(tmp_path: Path) -> None:
    directory = RunDirectory.create(tmp_path / "run", "x", exact=True)
    (directory.staging / "trace.nsys-rep").write_text("whole")
    assert not (directory.path / "trace.nsys-rep").exists()
    assert directory.publish("trace.nsys-rep").read_text() == "whole"
    directory.write_json("run.json", {"é": 1})
    directory.close()
    assert sorted(path.name for path in directory.path.iterdir()) == ["run.json", "trace.nsys-rep"]


def test_an_empty_run_leaves_no_directory(tmp_path: Path) -> None:
    directory = RunDirectory.create(tmp_path / "run", "x", exact=True)
    directory.remove_if_empty()
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UsageError, match="cannot write to"):
        RunDirectory.create(tmp_path / "run", "x", exact=True)
    assert (tmp_path / "run").read_text() == "a file"
