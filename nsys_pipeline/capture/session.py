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

_START_GRACE_S = 5.0
_POLL_S = 0.1
_KEPT_LINES = 80
_CHUNK_BYTES = 1 << 16


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
    load_s: float | None
    error: NsysError | None

    def begin(self, log: Path, say: Callable[[str], None]) -> None:
        """Start in the background."""

    def end(self, *, is_stopped: bool = False) -> None:
        """Hear that the target has ended; `is_stopped`: because it was told to."""


@attrs.frozen(kw_only=True)
class Outcome:
    """How a session ended.

    `stopped` is None, "interrupt", "timeout" or "load" (the driver had finished). `lines` are the last ones printed
    by the target and nsys together, `nsys_lines` those that are known to be nsys'; `recording` is where nsys said
    it would write what it recorded. `load_s`: how long the load on a server ran.
    """

    returncode: int
    stopped: str | None
    wall_s: float
    lines: tuple[str, ...]
    nsys_lines: tuple[str, ...]
    recording: Path | None
    load_status: int | None
    driver_error: NsysError | None
    load_s: float | None = None

    @property
    def status(self) -> int:
        """As a shell shows it."""
        return 128 - self.returncode if self.returncode < 0 else self.returncode


def run_session(
    argv: list[str],
    plan: CapturePlan,
    log: Path,
    observer: Observer,
    driver: Driver | None = None,
    *,
    under: str = "nsys",
) -> Outcome:
    """Run `argv`, an nsys command or the target itself, and return how it ended; the target's output goes to `log`.

    Ctrl-C, SIGTERM, SIGHUP, `plan.timeout_s` and the end of `driver` stop the target so that nsys can still write its
    report. Raises NsysError when nsys cannot be started.
    """
    environment = dict(os.environ) | dict(plan.whole_environment)
    observer.stage(f"running the workload under {under}")
    started = time.monotonic()
    # From the start, and until nsys and its importer are done, a signal is a request and no exception.
    with _stop_requests() as requests:
        process = _start(argv, environment)
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(OSError):
            log.with_name(processes.NSYS_PID_NAME).write_text(str(process.pid))
        reader = _OutputReader(process.stdout, log, observer)
        reader.start()
        if driver is not None:
            driver.begin(log.with_name(LOAD_LOG_NAME), observer.stage)
        stopped = _wait(process, started, plan.timeout_s, observer, driver, requests)
        _wait_for_helpers(process)
        if driver is not None:
            driver.end(is_stopped=stopped is not None)
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
        load_s=driver.load_s if driver is not None else None,
    )


def _start(argv: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    try:
        # A session of its own: Ctrl-C in the terminal must reach us alone, so that the target is stopped in order.
        return subprocess.Popen(
            argv,
            env=environment,
            stdin=None if _has_input() else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise NsysError(f"`{argv[0]}` does not run: {error}") from error


def _has_input() -> bool:
    """Whether the target may read our input: a file or a pipe. It could not show what it asks a terminal for."""
    try:
        return not os.isatty(0)
    except OSError:
        return False


def _wait(
    process: subprocess.Popen[bytes],
    started: float,
    timeout_s: float | None,
    observer: Observer,
    driver: Driver | None,
    requests: list[int],
) -> str | None:
    """Wait for nsys; when there is a reason to stop, stop the target so that nsys can still write its report.

    A signal costs the report both before nsys has started the target and after the target has ended, so nsys gets none
    then; only who asks again, while the report is being written, ends that too.
    """
    stopped: str | None = None
    since = 0.0
    has_begun = is_over = is_signalled = False
    escalation = 0
    while process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_POLL_S)
        now = time.monotonic()
        has_begun = has_begun or bool(processes.target_processes(process.pid))
        if stopped is None:
            overdue = timeout_s is not None and now - started > timeout_s
            if not (requests or overdue or (driver is not None and driver.finished)):
                continue
            is_over = has_begun and not processes.target_processes(process.pid)
            if is_over and not requests:
                continue
            stopped = "interrupt" if requests else "timeout" if overdue else "load"
            since, requests[:] = now, []
            what = "nsys is writing the report; press Ctrl-C again to give it up"
            observer.stage(what if is_over else "stopping the workload; press Ctrl-C again to kill it")
        if not is_signalled:
            if requests or (not is_over and (has_begun or now - since > _START_GRACE_S)):
                process.send_signal(signal.SIGINT)
                is_signalled, since, requests[:] = True, now, []
        elif requests or now - since > STOP_GRACE_S:
            targets = processes.target_processes(process.pid)
            # Only the target is pushed on: nsys itself needs its time to write the report.
            if targets:
                processes.send(targets, signal.SIGTERM if escalation == 0 and not requests else signal.SIGKILL)
            elif requests and (escalation > 1 or is_over):
                process.kill()
            escalation += 1
            since, requests[:] = now, []
    return stopped


@contextlib.contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM and SIGHUP instead of dying from them. Outside the main thread nothing can be caught."""
    requests: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield requests
        return
    previous = {number: signal.signal(number, lambda received, _: requests.append(received)) for number in _STOPPING}
    # nohup and its like have it ignored.
    on_hangup = signal.getsignal(signal.SIGHUP)
    if on_hangup is not signal.SIG_IGN:
        previous[signal.SIGHUP] = signal.signal(signal.SIGHUP, lambda received, _: _hang_up(requests, received))
    try:
        yield requests
    finally:
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            previous.pop(signal.SIGHUP, None)
        for number, handler in previous.items():
            signal.signal(number, handler)


_STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def terminations_as_interrupts() -> Iterator[None]:
    """Take SIGTERM and SIGHUP as Ctrl-C, a KeyboardInterrupt, so that what is unfinished is put away."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(received: int, _: object) -> None:
        if received == signal.SIGHUP:
            _hang_up([], received)
        raise KeyboardInterrupt

    numbers = [signal.SIGTERM] + [signal.SIGHUP] * (signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN)
    previous = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _hang_up(requests: list[int], received: int) -> None:
    """Request a stop, once: both the shell and the kernel may send the signal. Nobody reads the terminal any more."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    requests.append(received)
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):
            if os.isatty(descriptor):
                os.dup2(nowhere, descriptor)
        os.close(nowhere)


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
_BEGINS_TO_WRITE = re.compile(rb"(?:Generating|Saving report to) '[^']+\.qdstrm'[\r\n]*$")
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
            for lines in _lines(self._stream):
                kept = [raw for raw in lines if not self._take(raw.decode(errors="replace").rstrip("\r\n"))]
                if log is not None and kept:
                    log = _append(log, b"".join(kept))
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


def _lines(stream: IO[bytes]) -> Iterator[list[bytes]]:
    """The lines of the stream as they come, each with its end; that of a progress bar is a carriage return.

    What nsys says behind a last line without an end is a line of its own.
    """
    rest = b""
    while True:
        # As much as there is, without waiting for more.
        chunk = os.read(stream.fileno(), _CHUNK_BYTES)
        lines = re.findall(rb"[^\r\n]*[\r\n]+|[^\r\n]+", rest + chunk)
        # A line may go on in the next chunk, but no line is kept for ever.
        goes_on = chunk and lines and lines[-1][-1] not in b"\r\n" and len(lines[-1]) < _CHUNK_BYTES
        rest = lines.pop() if goes_on else b""
        yield [part for line in lines for part in _apart(line)]
        if not chunk:
            return


def _apart(line: bytes) -> list[bytes]:
    match = _BEGINS_TO_WRITE.search(line)
    return [line[: match.start()], line[match.start() :]] if match and match.start() else [line]


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
