"""Run directories: whole files or none."""

from __future__ import annotations

import json
import shutil
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


def test_a_run_that_is_replaced_leaves_no_trace_of_its_own(tmp_path: Path) -> None:
    # given a run of two ranks under one profiler, and one of more ranks under the other
    for first, second in (("json.gz", "nsys-rep"), ("nsys-rep", "json.gz")):
        run = tmp_path / second
        run.mkdir()
        for name in (f"trace-rank0.{first}", f"trace-rank20.{first}", "trace-rank0.sqlite", "notes.txt"):
            (run / name).write_text("old")
        directory = RunDirectory.create(run, "x", exact=True, force=True)
        names = [f"trace-rank{rank}.{second}" for rank in (9, 10, 0)]
        for name in names:
            (directory.staging / name).write_text("new")

        published = directory.publish_recorded([directory.staging / name for name in names], replaces=True)

        # then the second alone is there, in the order of its ranks
        directory.close()
        assert [path.name for path in published] == [names[2], names[0], names[1]]
        assert {path.name for path in run.iterdir()} == {*names, "notes.txt"}


def test_an_empty_run_leaves_no_directory(tmp_path: Path) -> None:
    directory = RunDirectory.create(tmp_path / "run", "x", exact=True)
    directory.remove_if_empty()
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UsageError, match="cannot write to"):
        RunDirectory.create(tmp_path / "run", "x", exact=True)
    assert (tmp_path / "run").read_text() == "a file"


def test_of_two_captures_into_one_directory_the_second_is_refused(tmp_path: Path) -> None:
    # given a capture that writes, or was killed
    first = RunDirectory.create(tmp_path / "run", "x", exact=True)
    (first.staging / "trace.qdstrm").write_text("half")
    # then another one is told how to go on, with or without --force, and the first is left alone
    for force in (False, True):
        with pytest.raises(UsageError, match="another capture writes to") as refused:
            RunDirectory.create(tmp_path / "run", "x", exact=True, force=force)
        assert refused.value.hint is not None
        assert f"rm -r {first.staging}`" in refused.value.hint
    assert (first.staging / "trace.qdstrm").read_text() == "half"
    # and after that it goes on
    shutil.rmtree(first.staging)
    RunDirectory.create(tmp_path / "run", "x", exact=True)


def test_a_name_that_sqlite_cannot_open(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not UTF-8"):
        RunDirectory.create(tmp_path / "w\udce9", "x", exact=True)
    assert list(tmp_path.iterdir()) == []


def test_json_of_arguments_that_are_not_utf8(tmp_path: Path) -> None:
    directory = RunDirectory.create(tmp_path / "run", "x", exact=True)
    path = directory.write_json("run.json", {"é": "w\udce9"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"é": "w\udce9"}
