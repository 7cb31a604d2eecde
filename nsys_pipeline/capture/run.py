"""Run a target under nsys and believe only what is found afterwards: a report that opens and holds a trace."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs

from nsys_pipeline import __version__
from nsys_pipeline.capture.export import export_sqlite
from nsys_pipeline.capture.failures import NsysFaultError, no_report
from nsys_pipeline.capture.findings import Finding, inspect_trace
from nsys_pipeline.capture.nsys import Nsys
from nsys_pipeline.capture.plan import CapturePlan, discards_environment, nsys_argv
from nsys_pipeline.capture.rundir import LOG_NAME, RUN_NAME, RUN_SCHEMA, RunDirectory, sha256
from nsys_pipeline.capture.scrub import leaked_variables, scrub_environment
from nsys_pipeline.capture.servers import ServerDriver
from nsys_pipeline.capture.session import LOAD_LOG_NAME, Observer, Outcome, SilentObserver, run_session
from nsys_pipeline.errors import ExitCode, LlmperfError, UsageError

TIMEOUT_STATUS = 124
"""Exit status of a run that `timeout_s` ended, as coreutils' timeout has it."""

_STEM = "trace"


@attrs.frozen(kw_only=True)
class CaptureResult:
    """What a capture left: `reports` and their exported `traces` in order, and how the target ended.

    `exit_status` is the target's own as a shell would show it (128 + signal number when killed by a signal).
    `stopped` is None, "interrupt", "timeout" or "load" (the load on a server had ended).
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
    server: ServerDriver | None = None,
    attempts: int = 1,
    observer: Observer | None = None,
) -> CaptureResult:
    """Record `plan` into a new run directory below `output` (`output` itself with `exact_output`).

    `files` are JSON files that the run directory gets before the target starts; `{run_dir}` in the command and in
    the added environment stands for its path. `server` drives a server while it is recorded. `attempts` says how
    often the target may be run where nsys fails by chance; more than once only if it has no side effects. Ctrl-C and
    SIGTERM stop the target in the order that still yields a report, and the capture then goes on.

    Raises UsageError (no such program, the directory cannot be written) and NsysError (no report, or it cannot be
    exported; the run directory then keeps the log and run.json, and the error names what else was left behind).
    """
    observer = observer or SilentObserver()
    if shutil.which(plan.command[0]) is None:
        raise UsageError(f"`{plan.command[0]}` is not a program that can be run", hint="check the command after `--`")
    directory = RunDirectory.create(output, plan.name, exact=exact_output, force=force)
    plan = _fill_in(plan, directory.path)
    argv = nsys_argv(nsys, plan, directory.staging / _STEM)
    record = _record(plan, nsys, argv)
    for name, content in (files or {}).items():
        directory.write_json(name, content)
    try:
        while True:
            outcome = run_session(argv, plan, directory.staging / LOG_NAME, observer, server)
            record |= _ended(outcome)
            _publish_logs(directory)
            attempts -= 1
            try:
                reports = _collect_reports(outcome, nsys, directory, force)
                break
            except NsysFaultError:
                if attempts < 1:
                    raise
                for recording in directory.path.glob("*.qdstrm"):
                    recording.unlink()
                observer.stage("nsys failed by chance: capturing once more")
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


def _ended(outcome: Outcome) -> dict[str, Any]:
    facts = {
        "wall_s": round(outcome.wall_s, 3),
        "nsys_exit_code": outcome.returncode,
        "stopped": outcome.stopped,
    }
    return facts | ({"server_error": outcome.driver_error.message} if outcome.driver_error is not None else {})


def _collect_reports(outcome: Outcome, nsys: Nsys, directory: RunDirectory, force: bool) -> list[Path]:
    """Give the reports their final names; raise NsysError, which says why, when there is none."""
    staged = sorted(directory.staging.glob(f"{_STEM}*.nsys-rep"), key=lambda path: path.stat().st_mtime)
    whole = [path for path in staged if path.stat().st_size > 0]
    if not whole and outcome.driver_error is not None:
        raise outcome.driver_error
    if not whole:
        raise no_report(outcome, nsys, directory)
    if force:
        for old in (*directory.path.glob(f"{_STEM}*.nsys-rep"), *directory.path.glob(f"{_STEM}*.sqlite")):
            old.unlink()
    return [directory.publish(path.name) for path in whole]


def _export(
    plan: CapturePlan, nsys: Nsys, outcome: Outcome, reports: list[Path], directory: RunDirectory
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


def _exit_status(plan: CapturePlan, outcome: Outcome) -> int:
    """Return the target's own, as a shell shows it; 0 where the target was ended because the recording was over."""
    if outcome.stopped == "load":
        return outcome.load_status or 0
    if outcome.stopped is not None:
        return TIMEOUT_STATUS if outcome.stopped == "timeout" else ExitCode.INTERRUPTED
    ended_by_nsys = plan.duration_s is not None or (plan.capture_range and "shutdown" in plan.capture_range_end)
    if ended_by_nsys and outcome.status == 128 + signal.SIGTERM:
        return 0
    return outcome.status


def _how_it_ended(plan: CapturePlan, nsys: Nsys, outcome: Outcome, directory: RunDirectory) -> list[Finding]:
    found = []
    status = _exit_status(plan, outcome)
    if outcome.stopped == "timeout":
        found.append(Finding("timeout", "warning", f"the workload was stopped after {plan.timeout_s:g} s"))
    elif outcome.stopped == "interrupt":
        found.append(Finding("interrupted", "warning", "the workload was interrupted; the trace ends there"))
    elif outcome.stopped == "load" and status != 0:
        found.append(
            Finding(
                "load-failed",
                "error",
                f"the load on the server ended with status {status}",
                f"its output is in `{directory.path / LOAD_LOG_NAME}`",
            )
        )
    elif status != 0:
        found.append(
            Finding(
                "workload-failed",
                "error",
                f"the workload ended with status {status}; the trace covers it up to there",
                f"its output is in `{directory.path / LOG_NAME}`",
            )
        )
    if outcome.driver_error is not None:
        found.append(Finding("server", "error", outcome.driver_error.message, outcome.driver_error.hint))
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


def _publish_logs(directory: RunDirectory) -> None:
    for name in (LOG_NAME, LOAD_LOG_NAME):
        with contextlib.suppress(OSError):
            directory.publish(name)


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
    """Say what run.json holds before the target has run. Names of variables only, never their values."""
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
