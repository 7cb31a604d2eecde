"""Captures that were killed before they were finished: find them, and finish them.

`kill -9` ends llmperf and nothing else: nsys goes on with the workload, and leaves a whole report in the staging
directory of the run.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from nsys_pipeline.capture import processes
from nsys_pipeline.capture.findings import Finding
from nsys_pipeline.capture.plan import CapturePlan
from nsys_pipeline.capture.run import (
    CaptureResult,
    clear_staging,
    described,
    export_reports,
    heed_umask,
    publish_logs,
)
from nsys_pipeline.capture.rundir import (
    REPORT_PATTERN,
    REPORT_STEM,
    RUN_NAME,
    STAGING_NAME,
    RunDirectory,
    in_rank_order,
    is_abandoned,
)
from nsys_pipeline.capture.session import Observer, Outcome, SilentObserver
from nsys_pipeline.errors import NsysError
from nsys_pipeline.nsys.install import Nsys, importer_path

_POLL_S = 0.2
_KILLED = "llmperf was killed while it recorded: how the workload ended is not known"


def find_unfinished(folder: Path) -> list[Path]:
    """Run directories in `folder`, and it itself if it is one, whose capture was killed and left something."""
    try:
        places = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    except OSError:
        return []
    return [path for path in places if _is_unfinished(path)]


def _is_unfinished(path: Path) -> bool:
    staging = path / STAGING_NAME
    with contextlib.suppress(OSError):
        has_something = _has_recording(path) or bool(processes.recorders(staging))
        return staging.is_dir() and has_something and is_abandoned(staging)
    return False


def _has_recording(path: Path) -> bool:
    # A report that is whole has its place already while it is being exported.
    files = [*path.glob(REPORT_PATTERN), *(path / STAGING_NAME).glob(f"{REPORT_STEM}*")]
    return any(file.suffix in (".nsys-rep", ".qdstrm") and file.stat().st_size for file in files)


def recover(path: Path, *, nsys: Nsys, observer: Observer | None = None) -> CaptureResult:
    """Finish the run in `path`, whose capture was killed: export what nsys left, as the capture would have.

    Waits for an nsys that still records; Ctrl-C then stops the workload, as it does in a capture. Raises UsageError
    where there is nothing to finish or the capture still lives, and NsysError where nsys left no report.
    """
    observer = observer or SilentObserver()
    path = path.parent if path.name == STAGING_NAME else path
    directory = RunDirectory.take_over(path)
    try:
        record = _staged_record(directory)
        plan = _planned(record)
        _wait_for_nsys(directory, observer)
        _import_recordings(directory, nsys, observer)
        for file in directory.staging.glob(REPORT_PATTERN):
            if file.stat().st_size:
                directory.publish(file.name)
        reports = in_rank_order(path.glob(REPORT_PATTERN))
        if not reports:
            raise NsysError(
                f"the capture in `{path}` was killed before nsys had a report",
                hint="capture again: there is none to save",
            )
        observer.stage("exporting the trace")
        result = export_reports(plan, nsys, _outcome(), reports, directory)
        found = (*result.findings, Finding("recovered", "warning", _KILLED))
        result = attrs.evolve(result, findings=found)
        record |= {
            "recovered": True,
            "exit_status": None,
            "reports": [described(report) for report in reports],
            "traces": [described(trace) for trace in result.traces],
            "events": result.counts,
            "ranges": result.phases,
            "findings": [attrs.asdict(finding) for finding in result.findings],
        }
        directory.write_json(RUN_NAME, record)
    finally:
        heed_umask([*directory.path.glob(REPORT_PATTERN)])
        publish_logs(directory)
        clear_staging(directory)
    return result


def _staged_record(directory: RunDirectory) -> dict[str, Any]:
    """What the capture wrote down before it started; little where it was killed before that."""
    try:
        record = json.loads((directory.staging / RUN_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        record = None
    return record if isinstance(record, dict) else {"name": directory.path.name}


def _planned(record: Mapping[str, Any]) -> CapturePlan:
    """The plan of the capture, as far as finishing it needs one."""
    planned = record.get("plan")
    settings = planned if isinstance(planned, dict) else {}
    kept = {
        name: settings[name]
        for name in ("traces", "gpu_metrics", "auto", "keep_environment", "rank_reports")
        if name in settings
    }
    return CapturePlan(command=settings.get("command") or ("?",), name=str(record.get("name")), **kept)


def _wait_for_nsys(directory: RunDirectory, observer: Observer) -> None:
    is_told = is_stopped = False
    while pids := processes.recorders(directory.staging):
        if not is_told:
            observer.stage("nsys still records: waiting for the workload to end; press Ctrl-C to stop it")
            is_told = True
        try:
            time.sleep(_POLL_S)
        except KeyboardInterrupt:
            if is_stopped:
                raise
            observer.stage("stopping the workload; press Ctrl-C again to leave it alone")
            # nsys stops its target then, and its agent writes the report.
            processes.send((pid for pid in pids if processes.is_recording(pid)), signal.SIGINT)
            is_stopped = True


def _import_recordings(directory: RunDirectory, nsys: Nsys, observer: Observer) -> None:
    """Make reports of recordings whose nsys was killed, too, before it had made them."""
    importer = importer_path(nsys.path)
    for recording in sorted(directory.staging.glob(f"{REPORT_STEM}*.qdstrm")):
        report = recording.with_suffix(".nsys-rep")
        if importer is None or (report.exists() and report.stat().st_size) or not recording.stat().st_size:
            continue
        observer.stage("making a report of what was recorded")
        done = subprocess.run(
            [importer, "-i", recording], capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode == 0 and report.exists():
            recording.unlink()


def _outcome() -> Outcome:
    return Outcome(
        returncode=0,
        stopped=None,
        wall_s=0.0,
        lines=(),
        nsys_lines=(),
        recording=None,
        load_status=None,
        driver_error=None,
    )
