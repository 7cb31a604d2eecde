"""Every way in which a capture goes wrong: the exit code, both streams and the run directory of each.

What nsys itself returns in these cases is 0 more often than not; the table is in its documentation of llmperf.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsys_pipeline.nsys import Nsys
from nsys_pipeline.nsys.install import importer_path
from tests.e2e.markers_in import llmperf_events
from tests.e2e.run_llmperf import PROGRAMS, children_of, llmperf, llmperf_signalled, names, run_record, told

pytestmark = pytest.mark.e2e

WHOLE_RUN = ["run.json", "trace.nsys-rep", "trace.sqlite", "workload.log"]


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "tmpfs"
    mount.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", mount], capture_output=True, check=False
    ).returncode:
        pytest.skip("this user cannot mount a tmpfs")
    yield mount
    subprocess.run(["umount", mount], check=True)


def test_workload_crashes(nsys: Nsys, tmp_path: Path) -> None:
    done = llmperf("capture", "--no-analyze", "-o", "run", "--", sys.executable, PROGRAMS / "crash.py", cwd=tmp_path)

    # its status is passed on, its last words are shown, and the trace is kept
    assert (done.code, done.stdout) == (7, "")
    assert "error: the workload ended with status 7; the trace covers it up to there" in done.stderr
    assert "  | about to crash" in done.stderr
    assert "Traceback" not in done.stderr
    assert names(tmp_path / "run") == WHOLE_RUN
    assert run_record(tmp_path / "run")["exit_status"] == 7
    assert [r.name for r in llmperf_events(tmp_path / "run" / "trace.sqlite")[0]] == ["prefill"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGSEGV, 139), (signal.SIGKILL, 137)])
def test_workload_is_killed_by_a_signal(nsys: Nsys, tmp_path: Path, number: signal.Signals, status: int) -> None:
    program = f"import os; os.kill(os.getpid(), {int(number)})"
    done = llmperf("capture", "--no-analyze", "-o", "run", "--", sys.executable, "-c", program, cwd=tmp_path)
    assert (done.code, done.stdout) == (status, "")
    assert f"error: the workload ended with status {status}; the trace covers it up to there" in done.stderr
    # No option would have brought the ranges that it did not come to.
    assert "no phases: the workload failed before its first one, or marks none" in done.stderr
    assert "--auto" not in done.stderr
    assert names(tmp_path / "run") == WHOLE_RUN
    assert run_record(tmp_path / "run")["exit_status"] == status


def test_capture_range_never_opens(nsys: Nsys, tmp_path: Path) -> None:
    command = (sys.executable, "-c", "print('no range here')")
    done = llmperf("capture", "--no-analyze", "--capture-range", "nvtx", "-o", "run", "--", *command, cwd=tmp_path)
    assert (done.code, done.stdout) == (3, "")
    assert "error: nsys recorded nothing: the capture range never opened\n" in done.stderr
    assert "hint: check that the workload calls cudaProfilerStart or opens the range" in done.stderr
    assert names(tmp_path / "run") == ["run.json", "workload.log"]
    assert told(tmp_path / "run", "no range here") == ["no range here"]
    assert run_record(tmp_path / "run")["error"].startswith("nsys recorded nothing")


def test_capture_range_opens(nsys: Nsys, tmp_path: Path) -> None:
    options = ("--capture-range", "nvtx", "--nvtx-range", "prefill@llmperf", "-o", "run")
    done = llmperf("capture", "--no-analyze", *options, "--", sys.executable, PROGRAMS / "crash.py", cwd=tmp_path)
    assert (done.code, done.stdout) == (7, "")
    assert "error: the workload ended with status 7" in done.stderr
    assert names(tmp_path / "run") == WHOLE_RUN
    # nsys writes its report while the workload goes on. What that says goes through nsys, which loses it now and then
    # while it stops recording: all of it or nothing is there, never a part.
    assert told(tmp_path / "run", "about to crash") in (["about to crash"], [])


def test_output_directory_is_read_only(nsys: Nsys, tmp_path: Path, tmpfs: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", tmpfs], check=True)
    done = llmperf("capture", "--no-analyze", "-o", tmpfs / "run", "--", "touch", tmp_path / "ran", cwd=tmp_path)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: cannot write to `{tmpfs / 'run'}`: Read-only file system\n\nhint: give a")
    assert names(tmpfs) == []
    # nothing was run for nothing
    assert not (tmp_path / "ran").exists()


def test_output_disk_is_full_before(nsys: Nsys, tmp_path: Path, tmpfs: Path) -> None:
    (tmpfs / "fill").write_bytes(bytes(30 << 20))
    done = llmperf("capture", "--no-analyze", "-o", tmpfs / "run", "--", "touch", tmp_path / "ran", cwd=tmp_path)
    assert (done.code, done.stdout) == (2, "")
    assert "error: only 10 MB are free" in done.stderr
    assert names(tmpfs) == ["fill"]
    assert not (tmp_path / "ran").exists()


def test_output_disk_fills_up(nsys: Nsys, tmp_path: Path, tmpfs: Path) -> None:
    fill = ("sh", "-c", f"dd if=/dev/zero of={tmpfs}/fill bs=1M 2> /dev/null; exit 0")
    done = llmperf("capture", "--no-analyze", "-o", tmpfs / "run", "--", *fill, cwd=tmp_path)
    assert (done.code, done.stdout) == (3, "")
    assert f"error: the disk of `{tmpfs / 'run'}` is full: nsys could not write the report" in done.stderr
    # the recording that nsys left elsewhere is named, and it is there
    saved = Path(done.stderr.split("what was recorded is in `")[1].split("`")[0])
    assert saved.stat().st_size > 0
    saved.unlink()
    assert not list(tmpfs.rglob("trace*"))
    assert "Traceback" not in done.stderr


def test_run_exists(nsys: Nsys, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "trace.nsys-rep").write_text("precious")
    refused = llmperf("capture", "--no-analyze", "-o", "run", "--", "true", cwd=tmp_path)
    assert (refused.code, refused.stdout) == (2, "")
    assert (
        refused.stderr
        == "error: `run` holds a run already\n\nhint: give another directory, or `--force` to replace it\n"
    )
    assert (tmp_path / "run" / "trace.nsys-rep").read_text() == "precious"

    forced = llmperf("capture", "--no-analyze", "--force", "-o", "run", "--", "true", cwd=tmp_path)
    assert forced.code == 0
    assert names(tmp_path / "run") == WHOLE_RUN


def _is_decoding(tmp_path: Path) -> bool:
    log = tmp_path / "run" / ".partial" / "workload.log"
    return log.exists() and "ready" in log.read_text()


def test_ctrl_c(nsys: Nsys, tmp_path: Path) -> None:
    done = llmperf_signalled(
        *("capture", "--no-analyze", "-o", "run", "--", sys.executable, PROGRAMS / "endless.py"),
        cwd=tmp_path,
        when=lambda: _is_decoding(tmp_path),
        send=[(0.5, signal.SIGINT)],
        run_dir=tmp_path / "run",
    )
    assert (done.code, done.stdout) == (130, "")
    assert "warning: the workload was interrupted; the trace ends there" in done.stderr
    assert names(tmp_path / "run") == WHOLE_RUN
    assert run_record(tmp_path / "run")["stopped"] == "interrupt"
    assert len(llmperf_events(tmp_path / "run" / "trace.sqlite")[0]) > 3


def test_ctrl_c_twice_kills_a_deaf_workload_and_keeps_the_trace(nsys: Nsys, tmp_path: Path) -> None:
    done = llmperf_signalled(
        *("capture", "--no-analyze", "-o", "run", "--", sys.executable, PROGRAMS / "endless.py", "deaf"),
        cwd=tmp_path,
        when=lambda: _is_decoding(tmp_path),
        send=[(0.5, signal.SIGINT), (1.0, signal.SIGINT)],
        run_dir=tmp_path / "run",
    )
    assert (done.code, done.stdout) == (130, "")
    assert "warning: the workload was interrupted; the trace ends there" in done.stderr
    assert names(tmp_path / "run") == WHOLE_RUN


def test_ctrl_c_while_the_trace_is_exported(nsys: Nsys, tmp_path: Path) -> None:
    # given a nsys whose export takes for ever
    slow = tmp_path / "slow-nsys"
    is_export = '[ "$1 $2" != "export --help" ] && [ "$1" = export ]'
    slow.write_text(f'#!/bin/sh\nif {is_export}; then exec sleep 100; fi\nexec {nsys.path} "$@"\n')
    slow.chmod(0o755)

    # when it is interrupted
    done = llmperf_signalled(
        *("capture", "--nsys", slow, "-o", "run", "--", "true"),
        cwd=tmp_path,
        when=(tmp_path / "run" / "trace.nsys-rep").exists,
        send=[(0.5, signal.SIGINT)],
        run_dir=tmp_path / "run",
    )

    # then the report is kept, whole, and named
    assert (done.code, done.stdout) == (130, "")
    assert "error: interrupted before the report was exported; it is in `run`" in done.stderr
    assert "hint: `llmperf analyze run/trace.nsys-rep` exports it" in done.stderr
    assert "Traceback" not in done.stderr
    assert names(tmp_path / "run") == ["run.json", "trace.nsys-rep", "workload.log"]
    assert run_record(tmp_path / "run")["error"].startswith("interrupted before")


def test_timeout(nsys: Nsys, tmp_path: Path) -> None:
    command = (sys.executable, PROGRAMS / "endless.py")
    done = llmperf("capture", "--no-analyze", "--timeout", "3", "-o", "run", "--", *command, cwd=tmp_path)
    assert (done.code, done.stdout) == (124, "")
    assert "warning: the workload was stopped after 3 s" in done.stderr
    assert names(tmp_path / "run") == WHOLE_RUN


def test_duration_is_a_success(nsys: Nsys, tmp_path: Path) -> None:
    command = (sys.executable, PROGRAMS / "endless.py")
    done = llmperf("capture", "--no-analyze", "--duration", "2", "-o", "run", "--", *command, cwd=tmp_path)
    assert (done.code, done.stdout) == (0, "")
    assert "error:" not in done.stderr
    assert names(tmp_path / "run") == WHOLE_RUN


def test_nsys_is_killed(nsys: Nsys, tmp_path: Path) -> None:
    def kill_nsys() -> bool:
        if not _is_decoding(tmp_path):
            return False
        mine = next(pid for pid, line in children_of(os.getpid()).items() if "nsys_pipeline.cli" in line)
        for pid, line in children_of(mine).items():
            if " profile " in line:
                os.kill(pid, signal.SIGKILL)
                return True
        return False

    command = ("capture", "--no-analyze", "-o", "run", "--", sys.executable, PROGRAMS / "endless.py")
    done = llmperf_signalled(*command, cwd=tmp_path, when=kill_nsys, send=[], run_dir=tmp_path / "run")
    assert (done.code, done.stdout) == (3, "")
    assert "error: nsys was killed before it wrote a report" in done.stderr
    assert names(tmp_path / "run") == ["run.json", "workload.log"]
    # and the workload does not live on
    processes = subprocess.run(["ps", "-eo", "cmd"], capture_output=True, text=True, check=True).stdout
    assert not [line for line in processes.splitlines() if str(PROGRAMS / "endless.py") in line and "nsys" not in line]


def test_no_nsys(tmp_path: Path) -> None:
    done = llmperf("capture", "--nsys", "/nowhere/nsys", "-o", "run", "--", "true", cwd=tmp_path)
    assert (done.code, done.stdout) == (3, "")
    assert done.stderr.startswith("error: `/nowhere/nsys` is not a program that can be run\n\nhint: install it with")
    assert not (tmp_path / "run").exists()


def test_not_nsys(tmp_path: Path) -> None:
    done = llmperf("capture", "--nsys", shutil.which("ls") or "ls", "-o", "run", "--", "true", cwd=tmp_path)
    assert (done.code, done.stdout) == (3, "")
    assert "is not Nsight Systems" in done.stderr
    assert not (tmp_path / "run").exists()


def test_no_such_program(nsys: Nsys, tmp_path: Path) -> None:
    done = llmperf("capture", "-o", "run", "--", "/no/such/program", cwd=tmp_path)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: `/no/such/program` is not a program that can be run")
    assert not (tmp_path / "run").exists()


def test_unknown_nsys_option(nsys: Nsys, tmp_path: Path) -> None:
    done = llmperf("capture", "--nsys-arg=--frobnicate=1", "-o", "run", "--", "true", cwd=tmp_path)
    assert (done.code, done.stdout) == (3, "")
    assert names(tmp_path / "run") == ["run.json", "workload.log"]
    assert "error: nsys wrote no report (exit code 1): unrecognised option '--frobnicate=1'" in done.stderr


@pytest.fixture
def nsys_without_importer(nsys: Nsys, tmp_path: Path) -> Path:
    """The real nsys beside an importer that cannot be loaded, as on a machine without its libraries."""
    real = nsys.path.resolve()
    importer = importer_path(nsys.path)
    assert importer is not None
    copy = tmp_path / "broken-nsys"
    shutil.copytree(real.parent, copy / real.parent.name, symlinks=True)
    shim = copy / importer.parent.name / importer.name
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\necho 'libdw.so.1: cannot open shared object file' >&2\nexit 127\n")
    shim.chmod(0o755)
    return copy / real.parent.name / real.name


def test_importer_is_broken(nsys_without_importer: Path, tmp_path: Path) -> None:
    command = ("--", sys.executable, PROGRAMS / "crash.py")
    done = llmperf("capture", "--nsys", nsys_without_importer, "-o", "run", *command, cwd=tmp_path)
    assert (done.code, done.stdout) == (3, "")
    assert "error: nsys recorded the workload, but its importer failed (" in done.stderr
    assert "what was recorded is in `run/trace.qdstrm`" in done.stderr
    assert names(tmp_path / "run") == ["run.json", "trace.qdstrm", "workload.log"]
    assert (tmp_path / "run" / "trace.qdstrm").stat().st_size > 0

    # the doctor says which part of the machine is broken
    examined = llmperf("doctor", "--nsys", nsys_without_importer, cwd=tmp_path)
    assert examined.code == 3
    assert "problem  importer" in examined.stdout
    assert examined.stderr == ""


@pytest.fixture
def python_with_new_nvtx(nsys: Nsys) -> str:
    """An interpreter whose nvtx is too new for nsys 2024.2; CI names one in LLMPERF_TEST_NEW_NVTX_PYTHON."""
    python = os.environ.get("LLMPERF_TEST_NEW_NVTX_PYTHON")
    if not python:
        pytest.skip("LLMPERF_TEST_NEW_NVTX_PYTHON names no interpreter with nvtx 0.2.12 or newer")
    if nsys.version[:2] > (2024, 2):
        pytest.skip(f"Nsight Systems {nsys.version_short} understands every nvtx")
    return python


def test_old_nsys_and_new_nvtx(python_with_new_nvtx: str, tmp_path: Path) -> None:
    command = (python_with_new_nvtx, PROGRAMS / "uses_nvtx.py")
    refused = llmperf("capture", "--no-analyze", "-o", "run", "--", *command, cwd=tmp_path)
    assert (refused.code, refused.stdout) == (3, "")
    assert "loses every range under Nsight Systems 2024.2" in refused.stderr
    assert "-m pip install nvtx==0.2.11" in refused.stderr
    assert not (tmp_path / "run").exists()

    # told to go on, it says afterwards what was lost
    forced = llmperf("capture", "--no-analyze", "--no-preflight", "-o", "run", "--", *command, cwd=tmp_path)
    assert (forced.code, forced.stdout) == (0, "")
    assert names(tmp_path / "run") == WHOLE_RUN
    assert "NVTX payload extension is incompatible" in forced.stderr

    # a program that does not use the package itself runs, and our own markers reach the trace
    own = (python_with_new_nvtx, PROGRAMS / "crash.py")
    warned = llmperf("capture", "--no-analyze", "-o", "own", "--", *own, cwd=tmp_path)
    assert warned.code == 7
    assert "warning: nvtx" in warned.stderr
    assert [r.name for r in llmperf_events(tmp_path / "own" / "trace.sqlite")[0]] == ["prefill"]


def test_workload_fails_before_the_capture_range(nsys: Nsys, tmp_path: Path) -> None:
    command = (sys.executable, "-c", "raise ValueError('no such prompt')")
    done = llmperf("capture", "--capture-range", "nvtx", "-o", "run", "--", *command, cwd=tmp_path)
    assert (done.code, done.stdout) == (1, "")
    assert (
        "error: the workload ended with status 1 before the capture range opened: ValueError: no such prompt\n"
        in done.stderr
    )
    assert names(tmp_path / "run") == ["run.json", "workload.log"]


def test_llmperf_is_killed_and_another_finishes(nsys: Nsys, tmp_path: Path) -> None:
    # given a workload that goes on for a while, and a capture that is killed as soon as it has begun
    program = tmp_path / "slow.py"
    program.write_text(
        "import pathlib, time\nfrom nsys_pipeline.markers import phase\npathlib.Path('begun').touch()\n"
        "for _ in range(20):\n    with phase('decode'):\n        time.sleep(0.2)\npathlib.Path('ended').touch()\n"
    )
    command = ("capture", "--no-analyze", "-o", "run", "--", sys.executable, program)
    killed = llmperf_signalled(
        *command,
        cwd=tmp_path,
        when=(tmp_path / "begun").exists,
        send=[(0.5, signal.SIGKILL)],
        run_dir=tmp_path / "run",
    )
    assert killed.code == -signal.SIGKILL
    assert names(tmp_path / "run") == [".partial"]

    # when it is taken over while nsys still records
    done = llmperf("capture", "--recover", "run", "--no-analyze", cwd=tmp_path)

    # then the workload has run to its end, and the trace holds all of it
    assert done.code == 0, done.stderr
    assert "nsys still records: waiting for the workload to end" in done.stderr
    assert (tmp_path / "ended").exists()
    assert names(tmp_path / "run") == WHOLE_RUN
    assert (
        len([event for event in llmperf_events(tmp_path / "run" / "trace.sqlite")[0] if event.name == "decode"]) == 20
    )
    assert run_record(tmp_path / "run")["recovered"] is True
