"""Run a target under nsys and believe only what is found afterwards: a report that opens and holds a trace."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Protocol

import attrs

from nsys_pipeline import __version__
from nsys_pipeline.capture import processes
from nsys_pipeline.capture.export import export_sqlite
from nsys_pipeline.capture.findings import Finding, inspect_trace
from nsys_pipeline.capture.nsys import Nsys
from nsys_pipeline.capture.plan import CapturePlan, discards_environment, nsys_argv
from nsys_pipeline.capture.rundir import LOG_NAME, RUN_NAME, RUN_SCHEMA, RunDirectory, sha256
from nsys_pipeline.capture.scrub import leaked_variables, scrub_environment
from nsys_pipeline.errors import LlmperfError, NsysError

STOP_GRACE_S = 20.0
"""How long the target may take to end after each of SIGINT and SIGTERM."""

TIMEOUT_STATUS = 124
"""Exit status of a run that `timeout_s` ended, as coreutils' timeout has it."""

_POLL_S = 0.1
_KEPT_NSYS_LINES = 40
_STEM = "trace"


class Observer(Protocol):
    """Is told how a capture goes on; the command line shows it."""

    def stage(self, text: str) -> None:
        """A new part begins: running, writing the report, exporting, …."""

    def output(self, line: str) -> None:
        """The target printed `line`."""


class SilentObserver:
    """Shows nothing."""

    def stage(self, text: str) -> None:
        """Ignore."""

    def output(self, line: str) -> None:
        """Ignore."""


@attrs.frozen(kw_only=True)
class CaptureResult:
    """What a capture left: `reports` and their exported `traces` in order, and how the target ended.

    `exit_status` is the target's own as a shell would show it (128 + signal number when killed by a signal).
    `stopped` is None, "interrupt" or "timeout".
    """

    run_dir: Path
    reports: tuple[Path, ...]
    traces: tuple[Path, ...]
    exit_status: int
    stopped: str | None
    nsys: Nsys
    wall_s: float
    counts: dict[str, int]
    phases: dict[str, int]
    findings: tuple[Finding, ...]

    @property
    def report(self) -> Path:
        return self.reports[0]

    @property
    def sqlite(self) -> Path:
        return self.traces[0]


def capture(
    plan: CapturePlan,
    *,
    nsys: Nsys,
    output: Path,
    exact_output: bool = False,
    force: bool = False,
    files: dict[str, Any] | None = None,
    observer: Observer | None = None,
) -> CaptureResult:
    """Record `plan` into a new run directory below `output` (`output` itself with `exact_output`).

    `files` are JSON files that the run directory gets before the target starts; `{run_dir}` in the command and in
    the added environment stands for its path. Ctrl-C and SIGTERM stop the target in the order that still yields a
    report, and the capture then goes on to the end.

    Raises UsageError (the directory cannot be written), NsysError (no report, or it cannot be exported; the run
    directory then keeps the log and run.json, and the error names what else was left behind).
    """
    observer = observer or SilentObserver()
    directory = RunDirectory.create(output, plan.name, exact=exact_output, force=force)
    plan = _fill_in(plan, directory.path)
    argv = nsys_argv(nsys, plan, directory.staging / _STEM)
    record = _record(plan, nsys, argv)
    for name, content in (files or {}).items():
        directory.write_json(name, content)
    try:
        outcome = _run(argv, plan, directory, observer)
        record |= {
            "wall_s": round(outcome.wall_s, 3),
            "nsys_exit_code": outcome.returncode,
            "stopped": outcome.stopped,
        }
        _publish_log(directory)
        reports = _collect_reports(outcome, directory, force)
        record |= {"exit_status": _exit_status(plan, outcome), "reports": [_described(path) for path in reports]}
        observer.stage("exporting the trace")
        result = _export(plan, nsys, outcome, reports, directory)
        record |= {
            "traces": [_described(path) for path in result.traces],
            "events": result.counts,
            "ranges": result.phases,
            "findings": [attrs.asdict(finding) for finding in result.findings],
        }
        directory.write_json(RUN_NAME, record)
    except LlmperfError as error:
        with contextlib.suppress(LlmperfError):
            directory.write_json(RUN_NAME, record | {"error": error.message})
        raise
    finally:
        directory.close()
        directory.remove_if_empty()
    return result


@attrs.frozen(kw_only=True)
class _Outcome:
    returncode: int
    stopped: str | None
    wall_s: float
    nsys_lines: list[str]
    qdstrm: Path | None

    @property
    def status(self) -> int:
        """As a shell shows it."""
        return 128 - self.returncode if self.returncode < 0 else self.returncode


def _run(argv: list[str], plan: CapturePlan, directory: RunDirectory, observer: Observer) -> _Outcome:
    environment = dict(os.environ) | dict(plan.environment)
    if plan.capture_range == "nvtx":
        # Otherwise nsys compares range names only when they are registered strings.
        environment = environment | {"NSYS_NVTX_PROFILER_REGISTER_ONLY": "0"}
    observer.stage("running the workload under nsys")
    started = time.monotonic()
    try:
        # A session of its own: Ctrl-C in the terminal must reach us alone, so that the target is stopped in order.
        process = subprocess.Popen(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise NsysError(f"`{argv[0]}` does not run: {error}") from error
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    reader = _OutputReader(process.stdout, directory.staging / LOG_NAME, observer)
    reader.start()
    stopped = _wait(process, started, plan.timeout_s, observer)
    reader.finish()
    if process.returncode == -signal.SIGKILL:
        # nsys itself was killed: the target lives on, and so does nsys' agent.
        _clean_up(process.pid)
    return _Outcome(
        returncode=process.returncode,
        stopped=stopped,
        wall_s=time.monotonic() - started,
        nsys_lines=reader.nsys_lines,
        qdstrm=reader.qdstrm,
    )


def _wait(process: subprocess.Popen[bytes], started: float, timeout_s: float | None, observer: Observer) -> str | None:
    """Wait for nsys; on Ctrl-C, SIGTERM or the timeout stop the target so that nsys can still write its report."""
    stopped: str | None = None
    stop_began = 0.0
    escalation = 0
    with _stop_requests() as requests:
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=_POLL_S)
            now = time.monotonic()
            if stopped is None and (requests or (timeout_s is not None and now - started > timeout_s)):
                stopped = "interrupt" if requests else "timeout"
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


def _clean_up(nsys_pid: int) -> None:
    left = processes.orphans(nsys_pid)
    processes.send(left, signal.SIGTERM)
    deadline = time.monotonic() + 5
    while left and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        left = processes.orphans(nsys_pid)
    processes.send(left, signal.SIGKILL)


class _OutputReader:
    """Copies the target's output into the log, line by line, and keeps what nsys says after it."""

    def __init__(self, stream: IO[bytes], log: Path, observer: Observer) -> None:
        self.nsys_lines: list[str] = []
        self.qdstrm: Path | None = None
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
                for line in re.split(r"[\r\n]+", raw.decode(errors="replace").rstrip("\r\n")):
                    self._take(line)
                if log is not None and self.qdstrm is None:
                    log = _append(log, raw)
        if log is not None:
            with contextlib.suppress(OSError):
                log.close()

    def _take(self, line: str) -> None:
        generating = re.match(r"(?:Generating|Saving report to) '(.+\.qdstrm)'", line)
        if generating:
            self.qdstrm = Path(generating[1])
            self.nsys_lines.clear()
            self._observer.stage("nsys is writing the report")
        elif self.qdstrm is None:
            self._observer.output(line)
        if line.strip() and not re.match(r"\[\d+/\d+\] \[", line):
            self.nsys_lines = [*self.nsys_lines[-_KEPT_NSYS_LINES:], line]


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


def _collect_reports(outcome: _Outcome, directory: RunDirectory, force: bool) -> list[Path]:
    """Give the reports their final names; raise NsysError, which says why, when there is none."""
    staged = sorted(directory.staging.glob(f"{_STEM}*.nsys-rep"), key=lambda path: path.stat().st_mtime)
    whole = [path for path in staged if path.stat().st_size > 0]
    if not whole:
        raise _no_report(outcome, directory)
    if force:
        for old in (*directory.path.glob(f"{_STEM}*.nsys-rep"), *directory.path.glob(f"{_STEM}*.sqlite")):
            old.unlink()
    return [directory.publish(path.name) for path in whole]


def _no_report(outcome: _Outcome, directory: RunDirectory) -> NsysError:
    text = "\n".join(outcome.nsys_lines)
    kept = _left_behind(outcome, text)
    saved = f"; what was recorded is in `{kept}`" if kept else ""
    log = f"the output is in `{directory.path / LOG_NAME}`" if (directory.path / LOG_NAME).exists() else None
    importer = re.search(r"Importer error status: (.*)", text)
    if outcome.returncode == -signal.SIGKILL:
        return NsysError(f"nsys was killed before it wrote a report{saved}", hint=log)
    if _disk_is_full(directory.path):
        return NsysError(
            f"the disk of `{directory.path}` is full: nsys could not write the report{saved}",
            hint=_import_hint(kept, "free some space or choose another disk with `-o`"),
        )
    if importer:
        return NsysError(
            f"nsys recorded the workload but its importer failed ({importer[1].strip()}){saved}",
            hint=_import_hint(kept, "run `llmperf doctor`: it names the library that the importer lacks"),
        )
    if "Failed to create" in text:
        reason = next(line for line in outcome.nsys_lines if "Failed to create" in line).strip()
        return NsysError(f"nsys could not write its report: {reason}{saved}", hint="choose another directory with `-o`")
    if "Generated:" in text or (outcome.qdstrm is None and outcome.returncode == 0):
        return NsysError(
            "nsys recorded nothing: the capture range never opened",
            hint="check that the workload calls cudaProfilerStart or opens the range, or drop `--capture-range`",
        )
    last = next((line.strip() for line in reversed(outcome.nsys_lines) if line.strip()), "it said nothing")
    return NsysError(f"nsys wrote no report (exit code {outcome.status}): {last}{saved}", hint=log)


def _import_hint(kept: Path | None, otherwise: str) -> str:
    if kept is None or kept.suffix != ".qdstrm":
        return otherwise
    return f"{otherwise}; then `QdstrmImporter -i {kept}` makes a report of it"


def _left_behind(outcome: _Outcome, text: str) -> Path | None:
    """The recording that nsys left in its temporary directory, if it is still there."""
    mentioned = [Path(match) for match in re.findall(r"[\w./-]+\.(?:qdstrm|nsys-rep)", text)]
    paths = [*([outcome.qdstrm] if outcome.qdstrm else []), *mentioned]
    paths += [path.with_suffix(".nsys-rep") for path in paths if path.suffix == ".qdstrm"]
    temporary = Path(tempfile.gettempdir())
    for path in paths:
        full = path if path.is_absolute() else temporary / path
        with contextlib.suppress(OSError):
            if full.stat().st_size > 0:
                return full
    return None


def _disk_is_full(path: Path) -> bool:
    try:
        status = os.statvfs(path)
    except OSError:
        return False
    return status.f_bavail * status.f_frsize < 1 << 20


def _export(
    plan: CapturePlan, nsys: Nsys, outcome: _Outcome, reports: list[Path], directory: RunDirectory
) -> CaptureResult:
    traces = []
    findings: list[Finding] = []
    counts: dict[str, int] = {}
    phases: dict[str, int] = {}
    for report in reports:
        staged = export_sqlite(nsys, report, directory.staging / f"{report.stem}.sqlite")
        if not plan.keep_environment:
            scrub_environment(staged)
            leaked = leaked_variables(staged, dict(os.environ) | dict(plan.environment))
            if leaked:
                findings.append(
                    Finding(
                        "secret-in-trace",
                        "warning",
                        f"the value of {', '.join(leaked)} is still in {report.stem}.sqlite",
                        "the workload printed it or has it on its command line: do not share the trace",
                    )
                )
        contents = inspect_trace(staged, traces=plan.traces, gpu_metrics=bool(plan.gpu_metrics))
        findings += [finding for finding in contents.findings if finding not in findings]
        counts = {name: counts.get(name, 0) + value for name, value in contents.counts.items()}
        phases = {name: phases.get(name, 0) + contents.phases.get(name, 0) for name in {*phases, *contents.phases}}
        traces.append(directory.publish(staged.name))
    findings += _how_it_ended(plan, nsys, outcome, directory)
    return CaptureResult(
        run_dir=directory.path,
        reports=tuple(reports),
        traces=tuple(traces),
        exit_status=_exit_status(plan, outcome),
        stopped=outcome.stopped,
        nsys=nsys,
        wall_s=outcome.wall_s,
        counts=counts,
        phases=dict(sorted(phases.items())),
        findings=tuple(findings),
    )


def _exit_status(plan: CapturePlan, outcome: _Outcome) -> int:
    """The target's own, as a shell shows it; 0 where nsys ended the target because the recording was over."""
    if outcome.stopped == "timeout":
        return TIMEOUT_STATUS
    ended_by_nsys = plan.duration_s is not None or (plan.capture_range and "shutdown" in plan.capture_range_end)
    if ended_by_nsys and outcome.stopped is None and outcome.status == 128 + signal.SIGTERM:
        return 0
    return outcome.status


def _how_it_ended(plan: CapturePlan, nsys: Nsys, outcome: _Outcome, directory: RunDirectory) -> list[Finding]:
    found = []
    status = _exit_status(plan, outcome)
    if outcome.stopped == "timeout":
        found.append(Finding("timeout", "warning", f"the workload was stopped after {plan.timeout_s:g} s"))
    elif outcome.stopped == "interrupt":
        found.append(Finding("interrupted", "warning", "the workload was interrupted; the trace ends there"))
    elif status != 0:
        found.append(
            Finding(
                "workload-failed",
                "error",
                f"the workload ended with status {status}; the trace covers it up to there",
                f"its output is in `{directory.path / LOG_NAME}`",
            )
        )
    if not plan.keep_environment and not discards_environment(nsys, plan):
        found.append(
            Finding(
                "environment-in-report",
                "warning",
                f"the .nsys-rep holds the environment variables: Nsight Systems {nsys.version_short} cannot leave them"
                " out (the exported trace is clean)",
                "share the .sqlite instead of the .nsys-rep",
            )
        )
    return found


def _publish_log(directory: RunDirectory) -> None:
    with contextlib.suppress(OSError):
        directory.publish(LOG_NAME)


def _fill_in(plan: CapturePlan, run_dir: Path) -> CapturePlan:
    """Put the path of the run directory where the command says `{run_dir}`."""

    def fill(text: str) -> str:
        return text.replace("{run_dir}", str(run_dir))

    return attrs.evolve(
        plan,
        command=tuple(fill(part) for part in plan.command),
        environment={name: fill(value) for name, value in plan.environment.items()},
    )


def _record(plan: CapturePlan, nsys: Nsys, argv: list[str]) -> dict[str, Any]:
    """What run.json says before the target has run. Names of variables only, never their values."""
    settings = attrs.asdict(plan)
    metadata, environment = settings.pop("metadata"), settings.pop("environment")
    return {
        "schema": RUN_SCHEMA,
        "name": plan.name,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "llmperf_version": __version__,
        "nsys_version": nsys.version_text,
        "nsys_argv": argv,
        "plan": settings | {"environment_names": sorted(environment)},
        **metadata,
    }


def _described(path: Path) -> dict[str, Any]:
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)}
