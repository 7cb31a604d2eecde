"""`llmperf capture`: run a built-in workload, or any command, under nsys."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nsys_pipeline.cli.capture_options import TORCH, CaptureOptions, check
from nsys_pipeline.cli.common import expanded
from nsys_pipeline.errors import LlmperfError, NsysError, UsageError
from nsys_pipeline.text import printable

if TYPE_CHECKING:
    from nsys_pipeline.capture import CapturePlan, CaptureResult, Finding
    from nsys_pipeline.cli.capture_plan import CaptureJob
    from nsys_pipeline.nsys import Nsys

RUNS = Path("runs")
# What the report of the analysis says itself.
_REPORTED_BY_ANALYSIS = ("no_gpu_work", "no_nvtx", "no_phases")
_SHOWN_LINES = 6


@expanded
def capture(ctx: typer.Context, options: CaptureOptions) -> None:
    """Run a built-in workload, or any command, under Nsight Systems, and analyze the trace."""
    check(options, ctx)
    if options.recover is not None:
        _finish(_recovered(options.recover, options), options)
        return
    from nsys_pipeline.cli.capture_plan import planned

    job = planned(options)
    nsys = None if options.backend == TORCH else _found_nsys(options)
    if options.dry_run:
        _print_commands(job, nsys, options)
        return
    _finish(_made(job, nsys, options), options, is_auto=job.plan.auto)


def _found_nsys(options: CaptureOptions) -> Nsys:
    """The nsys to use. Raises NsysError, which names the other way where there is one."""
    from nsys_pipeline.nsys import find_nsys

    try:
        return find_nsys(options.nsys)
    except NsysError as error:
        if options.profile is not None:
            raise
        hint = "or record with torch.profiler: `--backend torch`"
        raise NsysError(error.message, hint=f"{error.hint}; {hint}" if error.hint else hint) from error


def _print_commands(job: CaptureJob, nsys: Nsys | None, options: CaptureOptions) -> None:
    from nsys_pipeline.capture import command_lines, run_path

    directory = run_path(options.output or RUNS, job.plan.name, exact=options.output is not None)
    lines = command_lines(nsys, job.plan, directory, job.files)
    beside = job.driver.shell_lines() if job.driver else []
    sys.stdout.writelines(f"{line}\n" for line in [*lines[:-1], *beside, lines[-1]])


def _made(job: CaptureJob, nsys: Nsys | None, options: CaptureOptions) -> CaptureResult:
    """Run what was planned, and leave a run directory."""
    from nsys_pipeline.capture.session import terminations_as_interrupts

    if job.is_built_in:
        _need_workload_packages()
    elif options.preflight and nsys is not None:
        _warn_of_lost_ranges(nsys, job.plan)
    if job.driver is not None:
        job.driver.check_nobody_answers()
    _name_unfinished(options.output.parent if options.output else RUNS)
    with terminations_as_interrupts(), _Progress() as progress:
        result = _recorded(job, nsys, options, progress)
        if not result.exit_status:
            _add_baseline(job, result.run_dir, options, progress)
        return result


def _recorded(job: CaptureJob, nsys: Nsys | None, options: CaptureOptions, progress: _Progress) -> CaptureResult:
    from nsys_pipeline.capture import capture as run_capture
    from nsys_pipeline.capture import capture_with_torch
    from nsys_pipeline.cli.capture_plan import RESULT_NAME

    if nsys is None:
        return capture_with_torch(
            job.plan,
            output=options.output or RUNS,
            exact_output=options.output is not None,
            force=options.force,
            files=dict(job.files),
            results=[RESULT_NAME],
            observer=progress,
        )
    return run_capture(
        job.plan,
        nsys=nsys,
        output=options.output or RUNS,
        exact_output=options.output is not None,
        force=options.force,
        files=dict(job.files),
        results=[RESULT_NAME] if job.is_built_in else [],
        server=job.driver,
        attempts=3 if job.is_built_in else 1,
        observer=progress,
    )


def _add_baseline(job: CaptureJob, run_dir: Path, options: CaptureOptions, progress: _Progress) -> None:
    """Put into run.json what the run takes without a profiler, if it was asked for."""
    from nsys_pipeline.capture.baseline import add_seconds, run_alone
    from nsys_pipeline.cli.capture_plan import RESULT_NAME
    from nsys_pipeline.cli.messages import print_warning

    if options.baseline_seconds is not None:
        add_seconds(run_dir, options.baseline_seconds)
    elif options.baseline:
        progress.stage("running the workload without a profiler")
        try:
            run_alone(job.plan, run_dir, RESULT_NAME)
        except LlmperfError as error:
            # The trace is there all the same.
            print_warning(error.message, error.hint)


def _recovered(run_dir: Path, options: CaptureOptions) -> CaptureResult:
    """Finish what a killed capture left."""
    from nsys_pipeline.capture.recover import recover
    from nsys_pipeline.capture.session import terminations_as_interrupts
    from nsys_pipeline.nsys import find_nsys

    nsys = find_nsys(options.nsys)
    with terminations_as_interrupts(), _Progress() as progress:
        return recover(run_dir, nsys=nsys, observer=progress)


def _name_unfinished(folder: Path) -> None:
    """Say which captures beside the new one were killed."""
    from nsys_pipeline.capture.recover import find_unfinished

    for path in find_unfinished(folder):
        shown = printable(str(path))
        sys.stderr.write(
            f"note: a capture into `{shown}` was killed: `llmperf capture --recover {shown}` finishes it\n"
        )


def _finish(result: CaptureResult, options: CaptureOptions, *, is_auto: bool = False) -> None:
    """Tell what was found, analyze the traces, and pass the workload's status on."""
    analyze = options.analyze and bool(not result.exit_status or result.phases or result.counts["kernels"])
    # With `--auto` the capture knows better than the analysis why there are no ranges.
    reported = tuple(code for code in _REPORTED_BY_ANALYSIS if not (is_auto and code == "no_nvtx"))
    _tell(result, left_out=reported if analyze else ())
    if analyze:
        _analyze(result)
    if result.exit_status:
        raise typer.Exit(result.exit_status)


def _warn_of_lost_ranges(nsys: Nsys, plan: CapturePlan) -> None:
    from nsys_pipeline.capture.preflight import check_command

    warning = check_command(nsys, plan.command)
    if warning:
        sys.stderr.write(f"warning: {warning}\n")


def _analyze(result: CaptureResult) -> None:
    """Keep the report of each new trace with the run, and print it.

    The machine that captures may lack what the analysis needs.
    """
    from nsys_pipeline.cli import analyze as verb

    try:
        for index, trace in enumerate(result.traces):
            sys.stdout.write("\n" if index else "")
            # Into the cache, so that printing it costs little; and what is wrong with a trace is told once.
            with contextlib.suppress(LlmperfError):
                kept = verb.keep_reports(trace)
                sys.stderr.write(f"report: {kept[-1]}\n")
            verb.analyze(trace)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "nsys_pipeline":
            raise
        sys.stderr.write(f"note: not analyzed, {error.name} is not installed: `llmperf analyze {result.run_dir}`\n")
    except LlmperfError:
        # The workload's own status is the more useful one; its failure has been told already.
        if not result.exit_status:
            raise


def _need_workload_packages() -> None:
    """Say what is missing before nsys runs for nothing."""
    import importlib.util

    missing = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"the built-in workload needs {' and '.join(missing)}, which this Python does not have",
            hint="pip install '.[workload]' in a checkout of llmperf, or capture a command of yours: `-- COMMAND`",
        )


class _Progress:
    """The state of the capture on stderr: one live line in a terminal, one line for each stage elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)
        self._status = self._console.status("starting") if self._console.is_terminal else None
        self._stage, self._line, self._started = "starting", "", time.monotonic()

    def __enter__(self) -> _Progress:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def stage(self, text: str) -> None:
        """Say that a new stage begins."""
        self._stage, self._line = text, ""
        if self._status is None:
            sys.stderr.write(f"{text}\n")
        else:
            self._show()

    def output(self, line: str) -> None:
        """Show the last line that the workload printed."""
        self._line = line.strip()
        self._show()

    def _show(self) -> None:
        if self._status is not None:
            from rich.text import Text

            elapsed = time.monotonic() - self._started
            text = Text(f"{self._stage} ({elapsed:.0f} s)  {self._line}", no_wrap=True, overflow="ellipsis")
            self._status.update(text)


def _tell(result: CaptureResult, *, left_out: tuple[str, ...]) -> None:
    for finding in sorted(result.findings, key=lambda finding: finding.severity != "error"):
        if finding.severity != "info" and finding.code not in left_out:
            sys.stderr.write(_finding_text(finding))
        if finding.code in ("workload_failed", "timeout", "interrupted", "server"):
            sys.stderr.writelines(f"  | {printable(line)}\n" for line in _last_lines(result.run_dir / "workload.log"))
    sys.stderr.write(f"run directory: {result.run_dir}\n")


def _last_lines(log: Path) -> list[str]:
    from nsys_pipeline.capture.failures import end_of_log
    from nsys_pipeline.capture.torchrun import last_words

    return [line for line in last_words(end_of_log(log)) if line][-_SHOWN_LINES:]


def _finding_text(finding: Finding) -> str:
    hint = f"  hint: {printable(finding.hint)}\n" if finding.hint else ""
    return f"{finding.severity}: {printable(finding.message)}\n{hint}"
