"""Processes of this machine: one that is killed, and a whole run that is, cost nothing that was done."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsys_pipeline.fleet.dataset import Dataset
from nsys_pipeline.fleet.local import Pool, memory_limit, run_locally
from nsys_pipeline.fleet.places import find_traces
from nsys_pipeline.fleet.run import update
from nsys_pipeline.fleet.work import Result
from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.trace.memory import parse_bytes
from nsys_pipeline.trace.options import DEFAULT_MEMORY_LIMIT
from tests.cli.run import run
from tests.support.fleet import OPTIONS, analyze_here, ask, committed, job_of, write_fleet


@pytest.fixture
def killed_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The first worker is killed as soon as it has a job."""
    killed: list[int] = []
    dump = pickle.dump

    def dump_and_kill(job: object, stdin: object) -> None:
        dump(job, stdin)  # type: ignore[arg-type]
        if not killed:
            (worker,) = pools[0]._alive
            worker._process.send_signal(signal.SIGKILL)
            killed.append(worker._process.pid)

    pools: list[Pool] = []
    make = Pool.__init__

    def remember(self: Pool) -> None:
        make(self)
        pools.append(self)

    monkeypatch.setattr(Pool, "__init__", remember)
    monkeypatch.setattr(pickle, "dump", dump_and_kill)
    yield killed
    assert not any(worker._process.poll() is None for worker in pools[0]._alive)


def test_a_killed_worker_costs_one_trace_a_second_try(tmp_path: Path, killed_once: list[int]) -> None:
    source = write_fleet(tmp_path / "in", ["a.sqlite"])
    dataset = Dataset.create(str(tmp_path / "out"))
    jobs = [job_of(place, dataset) for place in find_traces([str(source)])]

    results = list(run_locally(jobs, 1))

    assert len(killed_once) == 1
    assert [result.error for result in results] == [None]
    assert ask(tmp_path / "out", "SELECT run, count(*) FROM phases GROUP BY run ORDER BY run") == [("a", 8)]


def test_workers_share_the_memory_of_the_machine() -> None:
    one, many = memory_limit(1), memory_limit(10_000)

    assert 0 < parse_bytes(many) <= parse_bytes(one) <= parse_bytes(DEFAULT_MEMORY_LIMIT)
    assert parse_bytes(many) == 500_000_000


class Deadly:
    """Kills whoever unpickles it."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return os._exit, (9,)


def test_a_trace_that_kills_every_worker_is_a_failure(tmp_path: Path) -> None:
    source = write_fleet(tmp_path / "in", ["a.sqlite"])
    dataset = Dataset.create(str(tmp_path / "out"))
    (place,) = find_traces([str(source)])
    job = job_of(place, dataset)
    object.__setattr__(job, "replaces", Deadly())

    (result,) = run_locally([job], 1)

    assert "3 workers died" in (result.error or "")
    assert ask(tmp_path / "out", "SELECT run, error LIKE '%exit status 9' FROM failures") == [("a", True)]


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    names = [f"run{number}.sqlite" for number in range(3)]
    source = write_fleet(tmp_path / "in", names)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "nsys_pipeline", "fleet", str(source), "--out", str(out), "--workers", "1"]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        while not (done := committed(out)):
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    before = committed(out)
    assert 0 < len(done) < len(names)

    seen: list[Result] = []
    outcome = update(
        Dataset.create(str(out)), find_traces([str(source)]), OPTIONS, AnalysisOptions(), workers=1,
        on_result=lambda _number, _count, result: seen.append(result),
    )  # fmt: skip

    assert (outcome.analyzed, outcome.kept, outcome.failures) == (len(names) - len(before), len(before), ())
    assert committed(out).items() >= before.items()
    assert len(seen) == outcome.analyzed
    assert ask(out, "SELECT count(DISTINCT run), count(*), sum(wall_ns) FROM phases") == [(3, 24, 24_000)]


def test_the_verb_analyzes_once_and_says_what_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_fleet(tmp_path / "in", ["a.sqlite"])
    (source / "bad.sqlite").write_text("not a trace")
    out = tmp_path / "out"

    code, first, err = run(capsys, "fleet", source, "--out", out, "--workers", "1")
    assert (code, first) == (0, f"{out}\n")
    assert "bad.sqlite` is a text file" in err
    assert "2 traces: 1 analyzed, 1 failed: see the table `failures`" in err

    (source / "bad.sqlite").unlink()
    code, _, err = run(capsys, "fleet", source, "--out", out, "--workers", "1")
    assert (code, err) == (0, "1 trace: 0 analyzed, 1 were known\n")
    code, table, _ = run(
        capsys, "sql", out, "SELECT run, count(*) AS passes FROM phases GROUP BY run", "--format", "csv"
    )
    assert (code, table) == (0, "run,passes\na,8\n")
    assert run(capsys, "sql", out, "FROM nothing")[0] == 1
    assert run(capsys, "sql", out, "FROM '/etc/passwd'")[0] == 1
    assert run(capsys, "sql", f"a={out}", f"b={source / 'a.sqlite'}", "FROM a.phases")[0] == 2


def test_files_that_cannot_be_opened_stop_no_other(tmp_path: Path) -> None:
    source = write_fleet(tmp_path / "in", ["good.sqlite"])
    try:
        (source / "caf\udce9.sqlite").write_bytes(b"x")
    except OSError:
        pytest.skip("this file system has no names that are not UTF-8")
    (source / "dangling.sqlite").symlink_to("nowhere")
    (source / "loop.sqlite").symlink_to("loop.sqlite")
    out = tmp_path / "out"

    assert [result.stops_all for result in analyze_here(source, out)] == [False] * 4
    assert ask(out, "SELECT run FROM traces") == [("good",)]
    assert [row[0] for row in ask(out, "SELECT run FROM failures ORDER BY 1")] == ["caf\\udce9", "dangling", "loop"]


def test_nothing_that_can_be_read_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.sqlite").write_text("not a trace")

    code, out, err = run(capsys, "fleet", tmp_path, "--out", tmp_path / "out", "--workers", "1")

    assert (code, out) == (1, "")
    assert "error: no trace could be analyzed" in err
