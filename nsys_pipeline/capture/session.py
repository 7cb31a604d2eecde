"""Run nsys with its target to the end: copy the output, stop in order, leave no process behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Protocol

import attrs

from nsys_pipeline.capture import processes
from nsys_pipeline.capture.plan import CapturePlan
from nsys_pipeline.errors import NsysError

LOAD_LOG_NAME = "load.log"

STOP_GRACE_S = 20.0
"""How long the target may take to end after each of SIGINT and SIGTERM."""

_POLL_S = 0.1
_KEPT_LINES = 80


class Observer(Protocol):
    """Is told how a capture goes on; the command line shows it."""

    def stage(self, text: str) -> None:
        """Hear that a new part begins: running, writing the report, exporting, …."""

    def output(self, line: str) -> None:
        """Hear that the target printed `line`."""


class SilentObserver:
    """Shows nothing."""

    def stage(self, text: str) -> None:
        """Ignore."""

    def output(self, line: str) -> None:
        """Ignore."""


class Driver(Protocol):
    """Does something with the running target, and has it stopped when `finished` becomes true."""

    finished: bool
    load_status: int | None
    error: NsysError | None

    def begin(self, log: Path, say: Callable[[str], None]) -> None:
        """Start in the background."""

    def end(self) -> None:
        """Hear that the target has ended."""


@attrs.frozen(kw_only=True)
class Outcome:
    """How a session ended.

    `stopped` is None, "interrupt", "timeout" or "load" (the driver had finished). `lines` are the last ones printed
    by the target and nsys together, `nsys_lines` those that are known to be nsys'; `recording` is where nsys said
    it would write what it recorded.
    """

    returncode: int
    stopped: str | None
    wall_s: float
    lines: tuple[str, ...]
    nsys_lines: tuple[str, ...]
    recording: Path | None
    load_status: int | None
    driver_error: NsysError | None

    @property
    def status(self) -> int:
        """As a shell shows it."""
        return 128 - self.returncode if self.returncode < 0 else self.returncode


def run_session(
    argv: list[str], plan: CapturePlan, log: Path, observer: Observer, driver: Driver | None = None
) -> Outcome:
    """Run `argv`, an nsys command, and return how it ended; the target's output goes to `log`.

    Ctrl-C, SIGTERM, `plan.timeout_s` and the end of `driver` stop the target so that nsys can still write its report.
    Raises NsysError when nsys cannot be started.
    """
    environment = dict(os.environ) | dict(plan.environment)
    if plan.capture_range == "nvtx":
        # Otherwise nsys compares range names only when they are registered strings.
        environment |= {"NSYS_NVTX_PROFILER_REGISTER_ONLY": "0"}
    observer.stage("running the workload under nsys")
    started = time.monotonic()
    # From the start, and until nsys and its importer are done, a signal is a request and no exception.
    with _stop_requests() as requests:
        process = _start(argv, environment)
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        reader = _OutputReader(process.stdout, log, observer)
        reader.start()
        if driver is not None:
            driver.begin(log.with_name(LOAD_LOG_NAME), observer.stage)
        stopped = _wait(process, started, plan.timeout_s, observer, driver, requests)
        _wait_for_helpers(process)
        if driver is not None:
            driver.end()
        reader.finish()
    if process.returncode == -signal.SIGKILL:
        # nsys itself was killed: the target lives on, and so does nsys' agent.
        _clean_up(process.pid)
    return Outcome(
        returncode=process.returncode,
        stopped=stopped,
        wall_s=time.monotonic() - started,
        lines=tuple(reader.lines),
        nsys_lines=tuple(reader.nsys_lines),
        recording=reader.recording,
        load_status=driver.load_status if driver is not None else None,
        driver_error=driver.error if driver is not None else None,
    )


def _start(argv: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    try:
        # A session of its own: Ctrl-C in the terminal must reach us alone, so that the target is stopped in order.
        return subprocess.Popen(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise NsysError(f"`{argv[0]}` does not run: {error}") from error


def _wait(
    process: subprocess.Popen[bytes],
    started: float,
    timeout_s: float | None,
    observer: Observer,
    driver: Driver | None,
    requests: list[int],
) -> str | None:
    """Wait for nsys; when there is a reason to stop, stop the target so that nsys can still write its report."""
    stopped: str | None = None
    stop_began = 0.0
    escalation = 0
    while process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_POLL_S)
        now = time.monotonic()
        overdue = timeout_s is not None and now - started > timeout_s
        if stopped is None and (requests or overdue or (driver is not None and driver.finished)):
            stopped = "interrupt" if requests else "timeout" if overdue else "load"
            stop_began, requests[:] = now, []
            observer.stage("stopping the workload; press Ctrl-C again to kill it")
            process.send_signal(signal.SIGINT)
        elif stopped is not None and (requests or now - stop_began > STOP_GRACE_S):
            targets = processes.target_processes(process.pid)
            # Only the target is pushed on: nsys itself needs its time to write the report.
            if targets:
                processes.send(targets, signal.SIGTERM if escalation == 0 and not requests else signal.SIGKILL)
            elif requests and escalation > 1:
                process.kill()
            escalation += 1
            stop_began, requests[:] = now, []
    return stopped


@contextlib.contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying from them. Outside the main thread nothing can be caught."""
    requests: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield requests
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, lambda received, _frame: requests.append(received)) for number in numbers}
    try:
        yield requests
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _wait_for_helpers(process: subprocess.Popen[bytes]) -> None:
    """Let the importer and the like, which share the process group of nsys, end after it."""
    deadline = time.monotonic() + STOP_GRACE_S
    while process.returncode != -signal.SIGKILL and processes.group_members(process.pid):
        if time.monotonic() > deadline:
            return
        time.sleep(_POLL_S)


def _clean_up(nsys_pid: int) -> None:
    left = processes.orphans(nsys_pid)
    processes.send(left, signal.SIGTERM)
    deadline = time.monotonic() + 5
    while left and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        left = processes.orphans(nsys_pid)
    processes.send(left, signal.SIGKILL)


# What nsys says among the target's output: with a capture range it speaks while the target still runs.
_SPOKEN_BY_NSYS = re.compile(
    r"(?:Generating|Saving report to) '|Generated:$|\[\d+/\d+\] \[|\s+\S+\.(?:nsys-rep|qdstrm)$|"
    r"Capture range (?:started|ended) in the application|Importer error status|"
    r"Unable to retrieve the importer version|Failed to create '"
)
_RECORDING = re.compile(r"(?:Generating|Saving report to) '(.+\.qdstrm)'")
_PROGRESS = re.compile(r"\[\d+/\d+\] \[")


class _OutputReader:
    """Copies the target's output into the log, line by line, and keeps what nsys says in between."""

    def __init__(self, stream: IO[bytes], log: Path, observer: Observer) -> None:
        self.lines: list[str] = []
        self.nsys_lines: list[str] = []
        self.recording: Path | None = None
        self._stream, self._log, self._observer = stream, log, observer
        self._thread = threading.Thread(target=self._read, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        # A daemon of the target's may keep the pipe open for ever after nsys has ended.
        self._thread.join(timeout=5)

    def _read(self) -> None:
        log: IO[bytes] | None = None
        with contextlib.suppress(OSError):
            log = self._log.open("wb")
        with self._stream:
            for raw in self._stream:
                parts = re.split(r"[\r\n]+", raw.decode(errors="replace").rstrip("\r\n"))
                is_target = [not self._take(part) for part in parts]
                if log is not None and any(is_target):
                    log = _append(log, raw)
        if log is not None:
            with contextlib.suppress(OSError):
                log.close()

    def _take(self, line: str) -> bool:
        """Sort one line; whether nsys said it."""
        by_nsys = _SPOKEN_BY_NSYS.match(line) is not None
        recording = _RECORDING.match(line)
        if recording:
            self.recording = Path(recording[1])
            self._observer.stage("nsys is writing the report")
        elif line.strip() and not by_nsys:
            self._observer.output(line)
        if line.strip() and not _PROGRESS.match(line):
            self.lines = [*self.lines[-_KEPT_LINES:], line]
            if by_nsys:
                self.nsys_lines = [*self.nsys_lines[-_KEPT_LINES:], line]
        # Lines that hold nothing belong to whoever spoke around them; nsys puts some before its own.
        return by_nsys or (not line.strip() and self.recording is not None)


def _append(log: IO[bytes], raw: bytes) -> IO[bytes] | None:
    """Write and flush; None once the disk is full: the workload goes on, its further output is lost."""
    try:
        log.write(raw)
        log.flush()
    except OSError:
        with contextlib.suppress(OSError):
            log.close()
        return None
    return log
