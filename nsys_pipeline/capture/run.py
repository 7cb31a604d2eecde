"""Run a target under nsys and believe only what is found afterwards: a report that opens and holds a trace."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs

from nsys_pipeline import __version__
from nsys_pipeline.capture.failures import STOPPED_STATUS, NsysFaultError, no_rank, no_report, with_last_lines
from nsys_pipeline.capture.findings import Finding, inspect_trace, of_failed_workload, said_by_markers
from nsys_pipeline.capture.leaks import command_line_secrets, secrets_left, without_secrets
from nsys_pipeline.capture.lost_ranks import LostRanks
from nsys_pipeline.capture.plan import CapturePlan, nsys_argv
from nsys_pipeline.capture.ranks import RANK_PYTHON, around_ranks, forget_starts, rank_wrapper, started_ranks
from nsys_pipeline.capture.rundir import (
    LOG_NAME,
    REPORT_PATTERN,
    REPORT_STEM,
    RUN_NAME,
    RUN_SCHEMA,
    RunDirectory,
    sha256,
)
from nsys_pipeline.capture.servers import ServerDriver
from nsys_pipeline.capture.session import LOAD_LOG_NAME, Observer, Outcome, SilentObserver, run_session
from nsys_pipeline.capture.torchrun import first_failure
from nsys_pipeline.errors import ExitCode, Interrupted, LlmperfError, UsageError
from nsys_pipeline.nsys.clean import scrub_environment
from nsys_pipeline.nsys.export import export_sqlite
from nsys_pipeline.nsys.install import Nsys


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
    nsys: Nsys | None
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
    results: Sequence[str] = (),
    server: ServerDriver | None = None,
    attempts: int = 1,
    observer: Observer | None = None,
) -> CaptureResult:
    """Record `plan` into a new run directory below `output` (`output` itself with `exact_output`).

    `files` are JSON files that the run directory gets before the target starts; `{run_dir}` in the command and in
    the added environment stands for its path. `results` are names of files that the target writes there. `server`
    drives a server while it is recorded. `attempts` says how often the target may be run where nsys fails by chance;
    more than once only if it has no side effects. Ctrl-C and SIGTERM stop the target in the order that still yields
    a report, and the capture then goes on.

    Raises UsageError (no such program, the directory cannot be written) and NsysError (no report, or it cannot be
    exported; the run directory then keeps the log and run.json, and the error names what else was left behind).
    """
    observer = observer or SilentObserver()
    if shutil.which(plan.command[0]) is None:
        raise UsageError(f"`{plan.command[0]}` is not a program that can be run", hint="check the command after `--`")
    nsys_argv(nsys, plan, output)  # Raises what it has to raise before there is a directory.
    directory = RunDirectory.create(output, plan.name, exact=exact_output, force=force)
    plan = plan.filled_in(directory.path)
    argv = nsys_argv(nsys, plan, directory.staging / REPORT_STEM)
    record = run_record(plan, nsys, argv)
    try:
        for name, content in (files or {}).items():
            directory.write_json(name, content)
        if plan.rank_reports:
            plan, record["nsys_argv"] = around_ranks(plan, nsys, directory.staging)
            wrapper = directory.staging / RANK_PYTHON
            wrapper.write_text(rank_wrapper(record["nsys_argv"]))
            wrapper.chmod(0o755)
            argv = list(plan.command)
        # For whoever finishes what a killed capture leaves; at the end the whole record takes its place.
        directory.stage_json(RUN_NAME, without_secrets(plan, record))
        while True:
            outcome = run_session(argv, plan, directory.staging / LOG_NAME, observer, server)
            record |= ended(outcome)
            publish_logs(directory)
            attempts -= 1
            try:
                reports, lost = _collect_reports(plan, outcome, nsys, directory, force=force, last=attempts < 1)
                break
            except NsysFaultError:
                if attempts < 1:
                    raise
                _forget_attempt(directory)
                observer.stage("nsys failed by chance: capturing once more")
        record |= {"exit_status": exit_status_of(plan, outcome), "reports": [described(path) for path in reports]}
        observer.stage("exporting the trace")
        result = _with_lost_ranks(export_reports(plan, nsys, outcome, reports, directory), lost)
        record |= {
            "exit_status": result.exit_status,
            "traces": [described(path) for path in result.traces],
            "events": result.counts,
            "ranges": result.phases,
            "findings": [attrs.asdict(finding) for finding in result.findings],
        }
        directory.write_json(RUN_NAME, without_secrets(plan, record))
    except LlmperfError as error:
        with contextlib.suppress(LlmperfError):
            directory.write_json(RUN_NAME, without_secrets(plan, record | {"error": error.message}))
        raise
    except KeyboardInterrupt:
        raise _interrupted_export(directory, without_secrets(plan, record)) from None
    finally:
        heed_umask([*directory.path.glob(REPORT_PATTERN), *(directory.path / name for name in results)])
        publish_logs(directory)
        clear_staging(directory)
    return result


def clear_staging(directory: RunDirectory) -> None:
    """Remove what would stand in the way of the next capture here; only recordings are worth that."""
    for left in directory.staging.glob("*"):
        if left.suffix not in (".qdstrm", ".nsys-rep") or not left.stat().st_size:
            left.unlink(missing_ok=True)
    directory.remove_if_empty()


def _forget_attempt(directory: RunDirectory) -> None:
    for left in (*directory.path.glob("*.qdstrm"), *directory.staging.glob(f"{REPORT_STEM}*")):
        left.unlink()
    forget_starts(directory.staging)


def heed_umask(paths: Sequence[Path]) -> None:
    """Take the rights away that the umask forbids: nsys has one of its own, and clears it for the target."""
    umask = os.umask(0o077)
    os.umask(umask)
    for path in paths:
        with contextlib.suppress(OSError):
            path.chmod(path.stat().st_mode & 0o777 & ~umask)


def _interrupted_export(directory: RunDirectory, record: dict[str, Any]) -> Interrupted:
    """Make the error for a Ctrl-C after the workload has ended; its report is there or in the making."""
    reports = sorted(directory.path.glob(REPORT_PATTERN))
    message = "interrupted before the report was exported" + (f"; it is in `{directory.path}`" if reports else "")
    with contextlib.suppress(LlmperfError):
        directory.write_json(RUN_NAME, record | {"error": message})
    return Interrupted(message, hint=f"`llmperf analyze {reports[0]}` exports it" if reports else None)


def ended(outcome: Outcome) -> dict[str, Any]:
    """What run.json says about how the target ended."""
    facts = {
        "wall_s": round(outcome.wall_s, 3),
        "nsys_exit_code": outcome.returncode,
        "stopped": outcome.stopped,
    }
    if outcome.load_s is not None:
        facts |= {"load_s": round(outcome.load_s, 3)}
    return facts | ({"server_error": outcome.driver_error.message} if outcome.driver_error is not None else {})


def _collect_reports(
    plan: CapturePlan, outcome: Outcome, nsys: Nsys, directory: RunDirectory, *, force: bool, last: bool
) -> tuple[list[Path], list[Finding]]:
    """Give the reports their final names; raise NsysError, which says why, when there is none.

    With it, findings about ranks whose report is missing; these are a fault of nsys unless this was the `last` try.
    """
    whole = [path for path in directory.staging.glob(REPORT_PATTERN) if path.stat().st_size > 0]
    if not whole and outcome.driver_error is not None:
        raise with_last_lines(outcome.driver_error, directory.path / LOG_NAME)
    if not whole and plan.rank_reports and not started_ranks(directory.staging):
        raise no_rank(outcome)
    if not whole:
        raise no_report(outcome, nsys, directory, plan)
    lost = LostRanks.of(plan, outcome, directory, whole) if plan.rank_reports else None
    if lost and lost.by_chance and not last:
        raise NsysFaultError(lost.by_chance)
    reports = directory.publish_recorded(whole, replaces=force)
    return reports, lost.findings(plan, directory) if lost else []


def export_reports(
    plan: CapturePlan, nsys: Nsys, outcome: Outcome, reports: list[Path], directory: RunDirectory
) -> CaptureResult:
    """Export each of the run's `reports`, cleaned, and say what they hold and how the run ended."""
    traces = []
    findings: list[Finding] = []
    counts: dict[str, int] = {}
    phases: dict[str, int] = {}
    for report in reports:
        staged = export_sqlite(nsys, report, directory.staging / f"{report.stem}.sqlite")
        if not plan.keep_environment:
            scrub_environment(staged, command_line_secrets(plan))
        contents = inspect_trace(staged, traces=plan.traces, gpu_metrics=bool(plan.gpu_metrics), auto=plan.auto)
        findings += [finding for finding in contents.findings if finding not in findings]
        counts = {name: counts.get(name, 0) + value for name, value in contents.counts.items()}
        phases = {name: phases.get(name, 0) + contents.phases.get(name, 0) for name in {*phases, *contents.phases}}
        traces.append(directory.publish(staged.name))
        # After a Ctrl-C nsys leaves its recording now and then. The report, which holds all of it, has just been read.
        (directory.staging / f"{report.stem}.qdstrm").unlink(missing_ok=True)
    if plan.auto:
        findings += said_by_markers(directory.path / LOG_NAME)
    ended = how_it_ended(plan, outcome, directory)
    # With --auto, the hint names what keeps its markers out, which may be the case here, too.
    if not plan.auto and any(finding.code == "workload_failed" for finding in ended):
        findings = [of_failed_workload(finding) for finding in findings]
    findings += ended
    if not plan.keep_environment:
        findings += secrets_left(plan, nsys, directory, reports)
    return CaptureResult(
        run_dir=directory.path,
        reports=tuple(reports),
        traces=tuple(traces),
        exit_status=exit_status_of(plan, outcome),
        stopped=outcome.stopped,
        nsys=nsys,
        wall_s=outcome.wall_s,
        counts=counts,
        phases=dict(sorted(phases.items())),
        findings=tuple(findings),
    )


def exit_status_of(plan: CapturePlan, outcome: Outcome) -> int:
    """Return the target's own, as a shell shows it; 0 where the target was ended because the recording was over.

    A server has the status of its load, or that of an error where the load could not be recorded.
    """
    if outcome.stopped == "load":
        return outcome.load_status or (int(ExitCode.NSYS) if outcome.driver_error is not None else 0)
    if outcome.stopped is not None:
        return STOPPED_STATUS[outcome.stopped]
    ended_by_nsys = plan.duration_s is not None or (plan.capture_range and "shutdown" in plan.capture_range_end)
    if ended_by_nsys and outcome.status == 128 + signal.SIGTERM:
        return 0
    return outcome.status


def _with_lost_ranks(result: CaptureResult, lost: list[Finding]) -> CaptureResult:
    is_failed = any(finding.severity == "error" for finding in lost)
    status = result.exit_status or (int(ExitCode.NSYS) if is_failed else 0)
    return attrs.evolve(result, findings=(*result.findings, *lost), exit_status=status)


def how_it_ended(plan: CapturePlan, outcome: Outcome, directory: RunDirectory) -> list[Finding]:
    """What is to be said about a target that did not end by itself and well."""
    found = []
    status = exit_status_of(plan, outcome)
    if outcome.stopped == "timeout":
        said = f"the workload was stopped after {plan.timeout_s:g} s"
        found.append(Finding("timeout", "warning", said, f"its output is in `{directory.path / LOG_NAME}`"))
    elif outcome.stopped == "interrupt":
        found.append(Finding("interrupted", "warning", "the workload was interrupted; the trace ends there"))
    elif outcome.stopped == "load" and outcome.load_status:
        found.append(
            Finding(
                "load_failed",
                "error",
                f"the load on the server ended with status {outcome.load_status}",
                f"its output is in `{directory.path / LOAD_LOG_NAME}`",
            )
        )
    elif outcome.stopped != "load" and status != 0:
        first = f" ({failure})" if (failure := first_failure(outcome.lines)) else ""
        found.append(
            Finding(
                "workload_failed",
                "error",
                f"the workload ended with status {status}{first}; the trace covers it up to there",
                f"its output is in `{directory.path / LOG_NAME}`",
            )
        )
    restarts = max(started_ranks(directory.staging).values(), default=1) - 1
    if restarts:
        often = f" {restarts} times" if restarts > 1 else ""
        said = f"the launcher started its ranks again{often}: each trace is of a rank's last attempt"
        found.append(Finding("ranks_restarted", "warning", said))
    if outcome.driver_error is not None:
        found.append(Finding("server", "error", outcome.driver_error.message, outcome.driver_error.hint))
    return found


def publish_logs(directory: RunDirectory) -> None:
    """Move what the target and the load printed into the run directory."""
    for name in (LOG_NAME, LOAD_LOG_NAME):
        with contextlib.suppress(OSError):
            directory.publish(name)


def run_record(plan: CapturePlan, nsys: Nsys | None, argv: list[str]) -> dict[str, Any]:
    """Say what run.json holds before the target has run. Names of variables only, never their values.

    `argv` is nsys' command, none where torch.profiler records.
    """
    settings = attrs.asdict(plan)
    metadata, environment = settings.pop("metadata"), settings.pop("environment")
    return {
        "schema": RUN_SCHEMA,
        "name": plan.name,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "llmperf_version": __version__,
        "backend": "torch" if nsys is None else "nsys",
        "nsys_version": None if nsys is None else nsys.version_text,
        "nsys_argv": argv,
        "plan": settings | {"environment_names": sorted(environment)},
        **metadata,
    }


def described(path: Path) -> dict[str, Any]:
    """A file as run.json names it."""
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)}
