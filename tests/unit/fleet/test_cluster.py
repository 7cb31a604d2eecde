"""A fleet on a real Dask cluster of several processes: dead workers and a dead scheduler cost nothing that was done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from nsys_pipeline.errors import LlmperfError, UsageError
from nsys_pipeline.fleet.dataset import Dataset
from nsys_pipeline.fleet.places import find_traces
from nsys_pipeline.fleet.run import Outcome, update
from nsys_pipeline.fleet.work import Result
from nsys_pipeline.inputs import AnalysisOptions
from tests.cli.run import run
from tests.support.fleet import OPTIONS, ask, committed, write_fleet

distributed = pytest.importorskip("distributed")

NAMES = ("a.sqlite", "b.sqlite", "c.sqlite")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_fleet(tmp_path / "in", NAMES)


def test_a_local_cluster_loses_a_worker_and_nothing_else(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done: dict[str, int] = {}
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as cluster:

        def kill_one_worker(number: int, _count: int, result: Result) -> None:
            if number == 1:
                # What the other worker has written, too, is written again if its result dies with it.
                done.update({name: at for name, at in committed(out).items() if name == f"{result.place.id}.parquet"})
                os.kill(cluster.workers[1].pid, signal.SIGKILL)

        (source / "bad.sqlite").write_text("not a trace")
        outcome = update(
            Dataset.create(str(out)), find_traces([str(source)]), OPTIONS, AnalysisOptions(),
            scheduler=cluster.scheduler_address, on_result=kill_one_worker,
        )  # fmt: skip

    assert (outcome.analyzed, outcome.kept, len(outcome.failures)) == (3, 0, 1)
    assert committed(out).items() >= done.items()
    assert ask(out, "SELECT run, count(*), sum(wall_ns) FROM phases GROUP BY run ORDER BY run") == [
        (name[0], 8, 8000) for name in NAMES
    ]


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address of a scheduler, and its process; one worker beside it."""
    file = tmp_path / "scheduler.json"
    commands = [
        ["dask_scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)],
        ["dask_worker", "--no-nanny", "--no-dashboard", "--nthreads", "1", "--scheduler-file", str(file),
         "--local-directory", str(tmp_path), "--death-timeout", "5"],
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with ExitStack() as stack:
        running = []
        for command in commands:
            argv = [sys.executable, "-W", "ignore", "-m", f"distributed.cli.{command[0]}", *command[1:]]
            process = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.enter_context(process)
            stack.callback(process.kill)
            running.append(process)
        while not file.exists() or file.stat().st_size == 0:
            assert running[0].poll() is None
            time.sleep(0.05)
        import json

        yield json.loads(file.read_text())["address"], running[0]


def test_a_lost_scheduler_ends_the_run_and_the_next_one_goes_on(
    source: Path, tmp_path: Path, processes: tuple[str, subprocess.Popen[bytes]]
) -> None:
    address, scheduler = processes
    out = tmp_path / "out"

    def kill_the_scheduler(number: int, _count: int, _result: Result) -> None:
        if number == 1:
            scheduler.kill()
            scheduler.wait()

    def go(scheduler_address: str | None) -> Outcome:
        return update(
            Dataset.create(str(out)), find_traces([str(source)]), OPTIONS, AnalysisOptions(),
            workers=1, scheduler=scheduler_address, on_result=kill_the_scheduler if scheduler_address else None,
        )  # fmt: skip

    with pytest.raises(LlmperfError, match="is lost") as lost:
        go(address)
    assert "goes on" in (lost.value.hint or "")
    time.sleep(2)  # what the worker had in its hands
    done = committed(out)
    assert 0 < len(done) < len(NAMES) + 1

    outcome = go(None)

    assert (outcome.analyzed, outcome.kept) == (len(NAMES) - len(done), len(done))
    assert committed(out).items() >= done.items()
    assert ask(out, "SELECT count(DISTINCT run), count(*) FROM phases") == [(3, 24)]


def test_no_scheduler_is_said(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from nsys_pipeline.fleet import cluster

    monkeypatch.setattr(cluster, "_CONNECT_S", 0.5)
    with pytest.raises(UsageError, match="no scheduler"):
        list(cluster.run_on_cluster([], "tcp://127.0.0.1:9"))

    code, _, err = run(capsys, "fleet", source, "--out", tmp_path / "x", "--workers", "2", "--scheduler", "tcp://h:1")
    assert (code, "--scheduler has workers of its own" in err) == (2, True)
