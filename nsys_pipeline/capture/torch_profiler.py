"""Run a workload with torch.profiler instead of nsys, into a run directory of the same kind."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from nsys_pipeline import markers
from nsys_pipeline.capture.leaks import without_secrets
from nsys_pipeline.capture.plan import CapturePlan
from nsys_pipeline.capture.run import (
    CaptureResult,
    clear_staging,
    described,
    ended,
    exit_status_of,
    heed_umask,
    how_it_ended,
    publish_logs,
    run_record,
)
from nsys_pipeline.capture.rundir import (
    LOG_NAME,
    RUN_NAME,
    TORCH_TRACE_NAME,
    TORCH_TRACE_PATTERN,
    RunDirectory,
)
from nsys_pipeline.capture.session import Observer, Outcome, SilentObserver, run_session
from nsys_pipeline.errors import LlmperfError, TraceError


def recording_itself(plan: CapturePlan, trace: Path) -> CapturePlan:
    """`plan`, told to record with torch.profiler into the file `trace`."""
    told = {markers.BACKEND_VARIABLE: "profiler", markers.TORCH_TRACE_VARIABLE: str(trace)}
    return attrs.evolve(plan, environment={**plan.environment, **told})


def capture_with_torch(
    plan: CapturePlan,
    *,
    output: Path,
    exact_output: bool = False,
    force: bool = False,
    files: dict[str, Any] | None = None,
    results: Sequence[str] = (),
    observer: Observer | None = None,
) -> CaptureResult:
    """Record the workload of `plan` into a new run directory; arguments as those of `capture.run.capture`.

    The traces are `trace.json.gz`, or one for each rank. Raises UsageError if the directory cannot be written, and
    TraceError if the workload left no trace: the run directory then keeps the log and run.json.
    """
    observer = observer or SilentObserver()
    directory = RunDirectory.create(output, plan.name, exact=exact_output, force=force)
    plan = recording_itself(plan.filled_in(directory.path), directory.staging / TORCH_TRACE_NAME)
    record = run_record(plan, None, [])
    try:
        for name, content in (files or {}).items():
            directory.write_json(name, content)
        outcome = run_session(list(plan.command), plan, directory.staging / LOG_NAME, observer, under="torch.profiler")
        record |= {**ended(outcome), "exit_status": exit_status_of(plan, outcome)}
        publish_logs(directory)
        traces = _published(plan, outcome, directory, force=force)
        findings = how_it_ended(plan, outcome, directory)
        record |= {
            "traces": [described(path) for path in traces],
            "findings": [attrs.asdict(finding) for finding in findings],
        }
        directory.write_json(RUN_NAME, without_secrets(plan, record))
    except LlmperfError as error:
        with contextlib.suppress(LlmperfError):
            directory.write_json(RUN_NAME, without_secrets(plan, record | {"error": error.message}))
        raise
    finally:
        heed_umask([directory.path / name for name in results])
        publish_logs(directory)
        clear_staging(directory)
    return CaptureResult(
        run_dir=directory.path,
        reports=(),
        traces=tuple(traces),
        exit_status=exit_status_of(plan, outcome),
        stopped=outcome.stopped,
        nsys=None,
        wall_s=outcome.wall_s,
        counts={"kernels": 0},
        phases={},
        findings=tuple(findings),
    )


def _published(plan: CapturePlan, outcome: Outcome, directory: RunDirectory, *, force: bool) -> list[Path]:
    """The traces under their final names, in the order of ranks. Raises TraceError if there is none."""
    staged = list(directory.staging.glob(TORCH_TRACE_PATTERN))
    if not staged:
        said = next((line for line in reversed(outcome.lines) if "rror: " in line), None)
        raise TraceError(
            f"the workload ended with status {exit_status_of(plan, outcome)} and left no trace of torch.profiler"
            + (f": {said.strip().removeprefix('error: ')}" if said else ""),
            hint=f"its output is in `{directory.path / LOG_NAME}`; if it never imports torch or is killed, none is",
        )
    return directory.publish_recorded(staged, replaces=force)
