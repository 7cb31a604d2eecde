"""Which files are traces of a fleet, and of which run and rank each one is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nsys_pipeline.errors import UsageError
from nsys_pipeline.fleet.places import find_traces


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def found(*sources: Path | str, leave_out: Path | None = None) -> list[tuple[str, int | None, str]]:
    places = find_traces(map(str, sources), leave_out=str(leave_out) if leave_out else None)
    return [(place.run, place.rank, Path(place.url).name) for place in places]


def test_a_run_is_a_folder_of_ranks_or_one_file(tmp_path: Path) -> None:
    write(
        tmp_path, "nightly/a/trace.sqlite", "nightly/a/report.json", "job/trace-rank0.sqlite", "job/trace-rank1.sqlite",
        "flat/x.sqlite.xz", "flat/y_rank12.nsys-rep", "alone.sqlite",
    )  # fmt: skip

    assert found(tmp_path) == [
        ("alone", None, "alone.sqlite"),
        ("flat/x", None, "x.sqlite.xz"),
        ("flat/y", 12, "y_rank12.nsys-rep"),
        ("job", 0, "trace-rank0.sqlite"),
        ("job", 1, "trace-rank1.sqlite"),
        ("nightly/a", None, "trace.sqlite"),
    ]


def test_of_a_report_and_its_export_the_export_is_the_trace(tmp_path: Path) -> None:
    write(tmp_path, "a/trace.sqlite", "a/trace.nsys-rep", "b/trace.nsys-rep")

    assert [name for _, _, name in found(tmp_path)] == ["trace.sqlite", "trace.nsys-rep"]


def test_traces_of_torch_profiler_are_told_from_other_json(tmp_path: Path) -> None:
    write(
        tmp_path, "a/trace.json.gz", "a/report.json", "b/trace-rank0.json.gz", "b/trace-rank1.json.gz", "b/run.json",
        "c/host_12.168.pt.trace.json.gz", "d/trace.sqlite", "d/trace.json",
    )  # fmt: skip

    assert found(tmp_path) == [
        ("a", None, "trace.json.gz"),
        ("b", 0, "trace-rank0.json.gz"),
        ("b", 1, "trace-rank1.json.gz"),
        ("c/host_12.168.pt", None, "host_12.168.pt.trace.json.gz"),
        ("d", None, "trace.sqlite"),
    ]


def test_what_is_hidden_and_the_dataset_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, "a/trace.sqlite", "a/.partial/trace.sqlite", "out/phases/x.sqlite", "outer/trace.sqlite")

    assert [run for run, _, _ in found(tmp_path, leave_out=tmp_path / "out")] == ["a", "outer"]


def test_a_pattern_names_runs_by_what_it_leaves_open(tmp_path: Path) -> None:
    write(tmp_path, "runs/a/trace.sqlite", "runs/b/trace.sqlite", "other/trace.sqlite")

    assert [run for run, _, _ in found(f"{tmp_path}/runs/*/trace.sqlite")] == ["a", "b"]
    assert [run for run, _, _ in found(f"{tmp_path}/r*")] == ["runs/a", "runs/b"]


def test_a_folder_whose_name_looks_like_a_pattern_is_a_folder(tmp_path: Path) -> None:
    write(tmp_path, "a[1]/trace.sqlite")

    assert found(tmp_path / "a[1]") == [("a[1]", None, "trace.sqlite")]


def test_a_trace_named_twice_is_one(tmp_path: Path) -> None:
    write(tmp_path, "a/trace.sqlite")

    assert len(found(tmp_path / "a", tmp_path / "a" / "trace.sqlite")) == 1


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    write(tmp_path, "a.sqlite")
    (before,) = find_traces([str(tmp_path)])
    (tmp_path / "a.sqlite").write_bytes(b"longer")

    (after,) = find_traces([str(tmp_path)])

    assert (before.id, before.run) == (after.id, after.run)
    assert before.fingerprint != after.fingerprint


def test_a_link_changes_with_what_it_leads_to(tmp_path: Path) -> None:
    write(tmp_path, "elsewhere/x.sqlite")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "a.sqlite").symlink_to(tmp_path / "elsewhere" / "x.sqlite")
    os.utime(tmp_path / "elsewhere" / "x.sqlite", (5, 5))

    found_in = [find_traces([f"{tmp_path}/runs{rest}"]) for rest in ("", "/*.sqlite", "/a.sqlite")]

    assert [[place.fingerprint for place in places] for places in found_in] == [["1|5.0"]] * 3


@pytest.mark.parametrize("source", ["nothing", "empty", "empty/*.sqlite"])
def test_nothing_to_analyze_is_said(tmp_path: Path, source: str) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(UsageError):
        find_traces([f"{tmp_path}/{source}"])
