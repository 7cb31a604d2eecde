"""`llmperf diff` of datasets: two runs by name as two traces, and groups of runs, each of which is one measurement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline.compare.difference import Occurrence
from nsys_pipeline.fleet import dataset
from nsys_pipeline.fleet.sides import _means
from tests.cli.run import run
from tests.support.fleet import analyze_here, steps_trace
from tests.unit.fleet.test_summary import Night, write_nights
from tests.unit.report.test_schemas import check

KINDS = ("time", "budget")


@pytest.fixture(autouse=True)
def few_views(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a comparison reads: other tables cost as much again."""
    views = ("devices", "findings", "kernel_summary", "occurrence_budget", "phases", "trace_checks")
    monkeypatch.setattr(dataset, "VIEWS", views)


def changes(capsys: pytest.CaptureFixture[str], *argv: object) -> dict[tuple[str, str], dict[str, Any]]:
    code, out, err = run(capsys, "diff", *argv, "--format", "json")
    assert code == 0, err
    found = json.loads(out)
    check("diff", found)
    return {(change["kind"], change["name"]): change for change in found["changes"]}


def test_two_runs_of_a_dataset_differ_as_their_traces_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_runs(tmp_path / "in", a=1_000, b=1_300)
    analyze_here(tmp_path / "in", tmp_path / "out")

    single = changes(capsys, tmp_path / "in" / "a.sqlite", tmp_path / "in" / "b.sqlite", "--no-cache")
    kept = changes(capsys, tmp_path / "out", "--where", "run = 'a'", "--where", "run = 'b'")

    assert {key[0] for key in kept} == set(KINDS)
    # How many numbers a diff has is part of its level, and so of its noise.
    varies = ("noise", "verdict")
    assert kept.keys() == {key for key in single if key[0] in KINDS}
    for key, change in kept.items():
        assert {name: value for name, value in change.items() if name not in varies} == {
            name: value for name, value in single[key].items() if name not in varies
        }


def test_a_driver_that_made_runs_slower_is_seen_and_equal_groups_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nights = [Night(1e6, driver="550") for _ in range(6)] + [Night(1.05e6, driver="580") for _ in range(6)]
    lake = write_nights(tmp_path / "lake", nights)
    drivers = ("--where", "driver_version = '550'", "--where", "driver_version = '580'")
    halves = ("--where", "run < 'night-03'", "--where", "run BETWEEN 'night-03' AND 'night-05'")

    wall = changes(capsys, lake, *drivers)["time", "wall"]
    assert (wall["verdict"], wall["base_occurrences"], wall["new_occurrences"]) == ("changed", 6, 6)
    assert wall["change"] == pytest.approx(0.05, abs=0.01)
    assert "changed" not in {change["verdict"] for change in changes(capsys, lake, *halves).values()}
    # One run has no noise between runs.
    few = changes(capsys, lake, "--where", "run = 'night-00'", "--where", "driver_version = '580'")
    assert few["time", "wall"]["verdict"] == "too few to tell"


def test_a_run_is_the_mean_of_its_occurrences() -> None:
    """Kernels are known by phase: of a phase with two shapes nobody knows whose they are."""
    steps = [Occurrence("decode", "8x1", wall, 5, 8, {}, {}, {"host": wall}) for wall in (10, 20, 30)]
    steps += [Occurrence("prefill", shape, 100, 50, None, {}, {}) for shape in ("1x9", "1x99")]
    kernels = [
        {"name": "nvjet", "family": "gemm", "time_ns": 90},
        {"name": "flash", "family": "attention", "time_ns": 6},
    ]

    decode, *prefills = _means(steps, {"decode": kernels, "prefill": kernels})

    assert decode == Occurrence(
        "decode", "8x1", 20, 5, 8, {"gemm": 30, "attention": 2}, {"nvjet": 30, "flash": 2}, {"host": 20}
    )
    assert [(one.shape, one.kernels) for one in prefills] == [("1x9", {}), ("1x99", {})]


def write_runs(folder: Path, **step_ns: int) -> Path:
    """A trace for each run, whose steps take as long."""
    folder.mkdir()
    for name, ns in step_ns.items():
        steps_trace(step_ns=ns).write(folder / f"{name}.sqlite")
    return folder


def test_what_does_not_compare_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake = write_nights(tmp_path / "lake", [Night(1e6), Night(1e6, model="other")])
    trace = steps_trace().write(tmp_path / "a.sqlite")

    def said(*argv: object) -> str:
        code, out, err = run(capsys, "diff", *argv)
        assert (code != 0, out) == (True, "")
        return err

    assert "compares with another dataset" in said(lake, trace)
    assert "`memory://none` is no dataset of a fleet" in said("memory://none", trace)
    assert "has two sides" in said(lake)
    assert "has two sides" in said(lake, lake, lake)
    assert "no trace of" in said(lake, lake, "--where", "run = 'no such run'")
    assert "nonsense" in said(lake, lake, "--where", "nonsense = 1")
    assert "model llama against other" in said(lake, "--where", "model = 'llama'", "--where", "model = 'other'")
    assert "rules are about single traces" in said(lake, lake, "--fail-if", "decode.step_wall > +5%")
    assert "--where chooses traces of a dataset" in said(trace, trace, "--where", "true")
