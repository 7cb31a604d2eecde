"""A capture that was killed: told from one that runs, named, and finished."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nsys_pipeline.capture import rundir
from nsys_pipeline.capture.doctor import examine
from nsys_pipeline.capture.recover import find_unfinished, recover
from nsys_pipeline.capture.rundir import RunDirectory
from nsys_pipeline.errors import NsysError, TraceError, UsageError
from nsys_pipeline.nsys import Nsys
from nsys_pipeline.trace import identify
from tests.cli.run import run
from tests.support.trace_builder import TraceBuilder
from tests.unit.capture.fake_nsys import fake_nsys, report

ROOT = Path(__file__).resolve().parents[3]
SECRET = "hf_somethingVerySecret1"


def slow_nsys(folder: Path, seconds: float = 1.5) -> Path:
    """An nsys that records for a while, whoever waits for it, and then leaves a report."""
    trace = TraceBuilder().session(9000)
    trace.process().thread().push(100, 200, "prefill")
    exported, made = trace.write(folder / "made.sqlite"), report(folder / "made.nsys-rep")
    path = fake_nsys(folder / "bin", export=f'cp {exported} "${{5#--output=}}"; exit 0')
    writes = (
        f'for a in "$@"; do case $a in --output=*) sleep {seconds}; cp {made} ${{a#--output=}}.nsys-rep;; esac; done'
    )
    path.write_text(path.read_text().removesuffix("exit 0\n") + f"{writes}\nexit 0\n")
    return path


def killed_capture(folder: Path, nsys: Path, *command: str) -> Path:
    """Start a capture into `folder`/run and kill it as soon as nsys records."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "nsys_pipeline", "capture", "--nsys", nsys, "-o", "run", "--", *command],
        cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    staging = folder / "run" / ".partial"
    deadline = time.monotonic() + 60
    while not (staging / "run.json").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return folder / "run"


def test_a_killed_capture_is_named_and_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    nsys = slow_nsys(tmp_path)
    path = killed_capture(tmp_path, nsys, "true", "--token", SECRET)
    monkeypatch.chdir(tmp_path)

    # then whoever looks is told, while nsys still records and after that
    assert find_unfinished(tmp_path) == [path]
    code, _, err = run(capsys, "capture", "--nsys", nsys, "-o", "run", "--", "true")
    assert code == 2
    assert "a capture into `run` was killed before it was finished" in err
    assert "hint: `llmperf capture --recover run` finishes it" in err
    code, _, err = run(capsys, "analyze", "run")
    assert code == 1
    assert "`llmperf capture --recover run` finishes one that was killed" in err
    (check,) = [check for check in examine(str(nsys), run_directory=tmp_path) if check.name == "unfinished captures"]
    assert check.status == "note"
    assert check.fix == f"llmperf capture --recover {path}"
    _, out, _ = run(capsys, "runs", tmp_path, "--format", "json")
    assert f"llmperf capture --recover {path}" in out
    _, _, err = run(capsys, "capture", "--nsys", nsys, "-o", "other", "--no-analyze", "--", "true")
    assert "note: a capture into `run` was killed: `llmperf capture --recover run` finishes it\n" in err

    # when it is taken over
    code, out, err = run(capsys, "capture", "--nsys", nsys, "--recover", "run", "--no-analyze")

    # then it is a run like any other, and says that it was killed
    assert (code, out) == (0, "")
    assert "warning: llmperf was killed while it recorded" in err
    assert "run directory: run" in err
    left = sorted(file.name for file in path.iterdir())
    assert left == ["run.json", "trace.nsys-rep", "trace.sqlite", "workload.log"]
    record = json.loads((path / "run.json").read_text())
    assert record["recovered"] is True
    assert record["exit_status"] is None
    assert record["plan"]["command"] == ["true", "--token", "***"]
    assert record["ranges"] == {"prefill": 1}
    assert [trace["file"] for trace in record["traces"]] == ["trace.sqlite"]
    assert find_unfinished(tmp_path) == []
    code, _, err = run(capsys, "capture", "--nsys", nsys, "--recover", "run")
    assert code == 2
    assert "`run` holds no unfinished capture" in err


def test_a_capture_that_runs_is_left_alone(tmp_path: Path) -> None:
    directory = RunDirectory.create(tmp_path / "run", "x", exact=True)
    (directory.staging / "trace.nsys-rep").write_text("a report in the making")

    assert find_unfinished(tmp_path) == []
    with pytest.raises(UsageError, match="still runs"):
        recover(tmp_path / "run", nsys=Nsys.probe(fake_nsys(tmp_path / "bin")))

    assert (directory.staging / "trace.nsys-rep").exists()
    directory.close()


def test_one_killed_while_it_exported_has_its_report(tmp_path: Path) -> None:
    nsys = Nsys.probe(slow_nsys(tmp_path))
    run_dir = tmp_path / "run"
    (run_dir / ".partial").mkdir(parents=True)
    report(run_dir / "trace.nsys-rep")
    (run_dir / ".partial" / ".partial-1-trace.sqlite").write_text("half")

    result = recover(run_dir / ".partial", nsys=nsys)

    assert result.phases == {"prefill": 1}
    assert sorted(file.name for file in run_dir.iterdir()) == ["run.json", "trace.nsys-rep", "trace.sqlite"]


def test_one_killed_before_there_was_anything(tmp_path: Path) -> None:
    (tmp_path / "run" / ".partial").mkdir(parents=True)
    assert find_unfinished(tmp_path) == []

    with pytest.raises(NsysError, match="killed before nsys had a report"):
        recover(tmp_path / "run", nsys=Nsys.probe(fake_nsys(tmp_path / "bin")))


def test_options_beside_recover_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for more in (["--batch", "2"], ["--model", "llama-3.2-1b"], ["-o", "x"], ["--", "true"]):
        code, _, err = run(capsys, "capture", "--recover", tmp_path, *more)
        assert code == 2
        assert "`--recover` records nothing" in err


def test_both_rooms_mean_the_same_folder(tmp_path: Path) -> None:
    assert identify.UNFINISHED == rundir.STAGING_NAME
    (tmp_path / rundir.STAGING_NAME).mkdir()
    with pytest.raises(TraceError, match="was killed before it was finished"):
        identify.identify(tmp_path)
