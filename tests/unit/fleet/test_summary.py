"""What the report of a fleet names: a planted regression, the slow rank; and what it does not."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from statistics import variance
from typing import Any

import attrs
import duckdb
import pytest

from nsys_pipeline.compare.significance import Moments
from nsys_pipeline.fleet import dataset, ranks
from nsys_pipeline.fleet.dataset import Dataset, columns_of, partition, values, write_rows
from nsys_pipeline.fleet.query import open_dataset
from nsys_pipeline.fleet.ranks import late_ranks
from nsys_pipeline.fleet.summary import Series, repeated, summarize, workload
from nsys_pipeline.records import FleetReport
from tests.cli.run import run
from tests.support.fleet import analyze_here
from tests.support.real_traces import unpack
from tests.unit.report.test_schemas import check

JOB = Path(__file__).resolve().parents[2] / "jobs" / "h200x2_fsdp_slow_rank"


@attrs.frozen
class Night:
    """One run of a nightly benchmark: how long its ten passes take, and what it ran on."""

    wall_ns: float
    driver: str = "580.1"
    hostname: str = "node1"
    model: str | None = "llama"


def write_nights(out: Path, nights: Sequence[Night], *, seed: int = 0) -> Path:
    """A dataset as `llmperf fleet` writes it, of what the report reads: traces and phases."""
    storage, chance = Dataset.create(str(out)).storage, random.Random(seed)
    scratch = out.parent / f"{out.name}.rows"
    with duckdb.connect() as con:
        for number, night in enumerate(nights):
            name, analysis = f"night-{number:02}", f"a{number}"
            trace = {
                "analysis": analysis, "run": name, "path": f"/runs/{name}", "hostname": night.hostname, "gpu": "H100",
                "gpu_count": 1, "driver_version": night.driver, "cuda_version": "13.0", "nsys_version": "2025.3",
                "model": night.model, "started_at": datetime(2026, 11, 1) + timedelta(days=number),
            }  # fmt: skip
            passes = [
                values(
                    {
                        "run": name, "analysis": analysis, "phase": "decode", "occurrence_id": step,
                        "shape": f"1x1 @ {9 + step}",
                        "wall_ns": round(night.wall_ns * chance.gauss(1, 0.01)), "is_measured": True,
                        "gpu_busy_ns": round(night.wall_ns * chance.gauss(0.5, 0.005)),
                    },
                    columns_of("phases"),
                )
                for step in range(5)
            ]  # fmt: skip
            write_rows(con, " UNION ALL ".join(passes), scratch)
            storage.put(scratch, partition("phases", name, None, analysis))
            write_rows(con, values(trace, columns_of("traces")), scratch)
            storage.put(scratch, f"traces/{analysis}.parquet")
    return out


def report_of(out: Path) -> FleetReport:
    with open_dataset(str(out)) as session:
        return summarize(session)


def equal_nights(seed: int, count: int = 30) -> list[Night]:
    chance = random.Random(seed)
    return [Night(1e6 * chance.gauss(1, 0.01)) for _ in range(count)]


def test_thirty_equal_runs_raise_no_alarm(tmp_path: Path) -> None:
    for seed in range(2):
        report = report_of(write_nights(tmp_path / f"out{seed}", equal_nights(seed), seed=seed))

        assert (report.runs, report.tested_series, report.changes) == (30, 2, ())


def test_a_context_that_grows_makes_no_second_row_of_a_trace(tmp_path: Path) -> None:
    report = report_of(write_nights(tmp_path / "out", equal_nights(0, 3)))

    assert [(one.shape, one.runs, one.traces) for one in report.phases] == [("1x1", 3, 3)]


def test_a_planted_regression_is_named_with_what_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    nights = [
        attrs.evolve(night, wall_ns=night.wall_ns * 1.06, driver="590.2") if number >= 22 else night
        for number, night in enumerate(equal_nights(7))
    ]
    out = write_nights(tmp_path / "out", nights)
    monkeypatch.setenv("COLUMNS", "200")

    report = report_of(out)

    assert sorted((one.measure, one.last_run, one.first_run) for one in report.changes) == [
        ("busy", "night-21", "night-22"),
        ("wall", "night-21", "night-22"),
    ]
    for change in report.changes:
        assert change.ratio == pytest.approx(0.06, abs=0.015)
        assert change.p_value < 0.01
        assert (change.runs_before, change.runs_after, change.at) == (22, 8, "2026-11-23 00:00")
        assert change.others == (("driver", "580.1", "590.2"),)
    (version,) = report.versions
    assert (version.what, version.before, version.after, version.runs_after) == ("driver", "580.1", "590.2", 8)
    assert version.p_value is not None
    assert version.p_value < 1e-6
    assert version.verdict == "changed"
    _, text, _ = run(capsys, "fleet", out)
    assert "only durations are compared: clocks of different hosts, or of different traces, never are" in text
    assert "slower: llama · 1 × H100: time on the host of decode since night-22, after night-21" in text
    assert "changed with it: driver 580.1 → 590.2" in text
    assert "changed" in text.split("versions: ")[1]


def test_traces_of_one_recording_are_told() -> None:
    def trace(path: str, **other: Any) -> dict[str, Any]:
        facts = {
            "started_at": datetime(2026, 11, 1),
            "hostname": "a",
            "duration_ns": 9,
            "kernel_count": 4,
            "kernel_time_ns": 8,
        }
        return {"path": path, **facts, **other}

    rank = trace("rank1", kernel_time_ns=7)
    undated = [trace("x", started_at=None), trace("y", started_at=None)]
    idle = [trace("u", kernel_count=0), trace("v", kernel_count=0)]

    found = repeated([trace("b"), rank, *undated, trace("a"), trace("c", hostname=None), *idle])

    assert found == (("a", "b"),)


def test_slow_hosts_come_first(tmp_path: Path) -> None:
    nights = [
        attrs.evolve(night, hostname=f"node{number % 3}", wall_ns=night.wall_ns * (1.5 if number % 3 == 2 else 1))
        for number, night in enumerate(equal_nights(1, 12))
    ]

    report = report_of(write_nights(tmp_path / "out", nights))

    assert max(report.host_groups, key=lambda group: group.wall_ratio or 0).name == "node2"
    assert [group.traces for group in report.host_groups] == [4, 4, 4]
    assert len(report.day_groups) == 12
    assert report.changes == ()


def test_runs_of_different_models_are_not_one_series(tmp_path: Path) -> None:
    nights = [Night(1e6 if number < 15 else 9e6, model="small" if number < 15 else "large") for number in range(30)]

    assert report_of(write_nights(tmp_path / "out", nights)).changes == ()


@pytest.mark.parametrize(
    ("run_name", "expected"),
    [("bench-20261128", "bench-#"), ("llama-3-a1b2c3d4", "llama-#-#"), ("decade", "decade"), ("llama8b", "llama#b")],
)
def test_without_a_model_the_name_of_the_run_says_what_it_is(run_name: str, expected: str) -> None:
    trace = {"model": None, "run": run_name, "world": None, "gpu_count": 2, "gpu": "H200"}

    assert workload(trace) == f"{expected} · 2 × H200"


def test_the_slow_rank_of_a_real_job_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the report reads: other tables cost as much again.
    monkeypatch.setattr(dataset, "VIEWS", ("findings", "occurrence_budget", "phases", "trace_checks", "training_steps"))
    (tmp_path / "in" / "job").mkdir(parents=True)
    for packed in JOB.glob("*.xz"):
        unpack(packed, tmp_path / "in" / "job")
    analyze_here(tmp_path / "in", tmp_path / "out")

    _, out, _ = run(capsys, "fleet", tmp_path / "out", "--format", "json")

    report = json.loads(out)
    check("fleet-report", report)
    (late,) = report["late_ranks"]
    # It sleeps for 30 ms before each step.
    assert (late["run"], late["rank"], late["reason"]) == ("job", 1, "data")
    assert late["waited_ns"] == pytest.approx(30e6, rel=0.1)
    assert late["more_ns"] == pytest.approx(30e6, rel=0.1)
    assert report["tested_ranks"] == 2


def job(collectives: Sequence[Sequence[float]], wall_ns: float = 100.0) -> Series:
    """A run with so many ranks, each with times in collectives of its occurrences."""

    def rows() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        for rank, samples in enumerate(collectives):
            moments = Moments.of(samples)
            trace = {"run": "job", "trace_rank": rank, "hostname": None, "analysis": f"a{rank}"}
            yield trace, {
                "occurrences": moments.count, "collective_ns": moments.mean, "variance": moments.variance,
                "mean_wall_ns": wall_ns, "compute_ns": 50.0, "idle_ns": 0.0,
            }  # fmt: skip

    return Series("w", "forward", None, tuple(rows()))


def test_equal_ranks_are_not_late_and_a_slow_one_of_many_is() -> None:
    alarms = 0
    for seed in range(100):
        chance = random.Random(seed)
        equal = [[chance.gauss(30, 3) for _ in range(20)] for _ in range(16)]
        late, tested = late_ranks([job(equal)], {})
        assert tested == 16
        alarms += len(late)
        equal[11] = [chance.gauss(20, 3) for _ in range(20)]
        assert [one.rank for one in late_ranks([job(equal)], {})[0]] == [11]
    assert alarms <= 4


def test_a_difference_that_nobody_feels_is_not_late() -> None:
    assert late_ranks([job([[10.0] * 9, [9.0] * 9])], {})[0] == ()


def test_the_others_are_what_is_left_of_all() -> None:
    chance = random.Random(3)
    samples = [[chance.gauss(5e8, 1e7) for _ in range(chance.randint(2, 9))] for _ in range(5)]
    rows = [times for _, times in job(samples).times]

    others = ranks._Total.of(rows).without(rows[2])

    pooled = [value for rank, of_rank in enumerate(samples) if rank != 2 for value in of_rank]
    assert others.collective.mean == pytest.approx(sum(pooled) / len(pooled))
    assert others.collective.variance == pytest.approx(variance(pooled), rel=1e-6)


def test_every_format_has_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = write_nights(tmp_path / "out", equal_nights(0, 3))

    assert "too few runs to tell" in run(capsys, "fleet", out)[1]
    assert run(capsys, "fleet", out, "-o", tmp_path / "r.html")[0] == 0
    page = (tmp_path / "r.html").read_text()
    assert "3 traces of 3 runs" in page
    places = [page.index(f'<section id="{name}"') for name in ("changes", "phases")]
    assert places == sorted(places)
    assert "3 traces of 3 runs" in run(capsys, "fleet", out, "--format", "markdown")[1]
    assert run(capsys, "fleet", out, out)[0] == 2
    assert run(capsys, "fleet", tmp_path)[0] == 2
    assert run(capsys, "fleet", tmp_path, "--out", tmp_path / "x", "--format", "json")[0] == 2


def test_an_empty_dataset_has_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Dataset.create(str(tmp_path / "out"))

    code, out, _ = run(capsys, "fleet", tmp_path / "out")

    assert (code, "0 traces of 0 runs on 0 hosts" in out) == (0, True)
