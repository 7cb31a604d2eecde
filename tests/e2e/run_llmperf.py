"""Run `llmperf` in a process of its own, as a user does, and look at everything that it leaves."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(__file__).with_name("programs")
# A shell starts what it puts in the background with SIGINT ignored, and the tests may run there.
_HEED_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
_START = f"{_HEED_CTRL_C}; from nsys_pipeline.cli import main; main()"
_TIMEOUT_S = 600
# Below those that the kernel gives to whoever asks for any, so that a port is still free when it is used. Tests beside
# each other begin in different places.
_PORTS = itertools.count(10_000 + os.getpid() * 61 % 20_000)
_BY_CHANCE = "capture again: nsys 2024.2 fails so by chance"


@attrs.frozen
class Finished:
    """Exit code and both streams."""

    code: int
    stdout: str
    stderr: str


def llmperf(*arguments: str | Path, cwd: Path, timeout_s: float = _TIMEOUT_S, **environment: str) -> Finished:
    """Run to the end; `environment` is added to this process's. It is killed after `timeout_s`.

    Faults of nsys 2024.2 spoil about one capture in a hundred, by chance; such a run is made again, from the start.
    """
    run_dir = cwd / arguments[arguments.index("-o") + 1] if "-o" in arguments else None
    is_new = run_dir is not None and not run_dir.exists()
    for _ in range(3):
        if run_dir is not None and is_new:
            shutil.rmtree(run_dir, ignore_errors=True)
        process = _start(arguments, cwd, environment)
        try:
            stdout, stderr = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            # A second signal makes it give up what it records; nothing of it may live on.
            process.terminate()
            process.communicate(timeout=_TIMEOUT_S)
            raise
        if _BY_CHANCE not in stderr:
            break
    if process.returncode != 0 and run_dir is not None and (run_dir / "workload.log").is_file():
        # For the report of a test that did not expect it.
        print((run_dir / "workload.log").read_text(errors="replace"))
    return Finished(process.returncode, stdout, stderr)


def llmperf_signalled(
    *arguments: str | Path,
    cwd: Path,
    when: Callable[[], bool],
    send: list[tuple[float, signal.Signals]],
    run_dir: Path,
) -> Finished:
    """Run, wait until `when()`, then send each signal after its delay in seconds; again where nsys fails by chance."""
    for _ in range(3):
        # A run that is made again must not find the log of the one before.
        shutil.rmtree(run_dir, ignore_errors=True)
        done = _run_signalled(arguments, cwd, when, send)
        if _BY_CHANCE not in done.stderr:
            break
    return done


def _run_signalled(
    arguments: tuple[str | Path, ...], cwd: Path, when: Callable[[], bool], send: list[tuple[float, signal.Signals]]
) -> Finished:
    process = _start(arguments, cwd, {})
    deadline = time.monotonic() + _TIMEOUT_S
    try:
        while not when():
            if process.poll() is not None:
                # It ended by itself: what it said tells whether that was chance.
                return Finished(process.returncode, *process.communicate())
            assert time.monotonic() < deadline
            time.sleep(0.1)
        for delay, number in send:
            time.sleep(delay)
            process.send_signal(number)
        stdout, stderr = process.communicate(timeout=_TIMEOUT_S)
    except BaseException:
        process.kill()
        raise
    return Finished(process.returncode, stdout, stderr)


def run_record(run_dir: Path) -> dict[str, Any]:
    """Content of run.json."""
    record: dict[str, Any] = json.loads((run_dir / "run.json").read_text())
    return record


def names(directory: Path) -> list[str]:
    """Names of what is in `directory`."""
    return sorted(path.name for path in directory.iterdir())


def told(run_dir: Path, *expected: str) -> list[str]:
    """The lines of workload.log that are among `expected`, in their order: nsys now and then adds lines of its own."""
    return [line for line in (run_dir / "workload.log").read_text().splitlines() if line in expected]


def free_port() -> int:
    """A port that nobody listens on."""
    for port in _PORTS:
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError


def children_of(parent: int) -> dict[int, str]:
    """Direct children of a process and their command lines."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent:
                found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
    return found


def _start(arguments: tuple[str | Path, ...], cwd: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    inherited = os.environ.get("PYTHONPATH")
    path = f"{ROOT}{os.pathsep}{inherited}" if inherited else str(ROOT)
    return subprocess.Popen(
        [sys.executable, "-c", _START, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": path, "XDG_CACHE_HOME": str(cwd / "cache")} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
