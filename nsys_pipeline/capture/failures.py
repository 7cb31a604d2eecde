"""Why there is no report: nsys' exit codes do not say, so this reads what it printed and what it left behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import tempfile
from pathlib import Path

from nsys_pipeline.capture.nsys import Nsys, importer_path
from nsys_pipeline.capture.rundir import LOG_NAME, RunDirectory
from nsys_pipeline.capture.session import Outcome
from nsys_pipeline.errors import NsysError

_FULL_BYTES = 1 << 20
_IMPORTER_FAILED = re.compile(r"Importer error status: (.*)|Unable to retrieve the importer version")
_NO_NEWS = re.compile(r"Try 'nsys|usage:|Importer error|Generat|Processing|^\s*$")


def no_report(outcome: Outcome, nsys: Nsys, directory: RunDirectory) -> NsysError:
    """Make the error for a session that left no report; a recording without a report is saved and named."""
    kept = _save_recording(outcome, directory)
    saved = f"; what was recorded is in `{kept}`" if kept else ""
    log = directory.path / LOG_NAME
    ended = f" (the workload ended with status {outcome.status})" if outcome.status else ""
    importer = re.search(
        r"Importer error status: (.*)|Unable to retrieve the importer version", "\n".join(outcome.lines)
    )
    failed = next((line.strip() for line in outcome.nsys_lines if "Failed to create" in line), None)
    if outcome.returncode == -signal.SIGKILL:
        return NsysError(f"nsys was killed before it wrote a report{saved}", hint=f"its output is in `{log}`")
    if _disk_is_full(directory.path):
        return NsysError(
            f"the disk of `{directory.path}` is full: nsys could not write the report{saved}",
            hint=_import_hint(nsys, kept, "free some space or choose another disk with `-o`"),
        )
    if importer:
        reason = (importer[1] or importer[0]).strip().rstrip(".")
        return NsysError(
            f"nsys recorded the workload, but its importer does not run ({reason}){saved}",
            hint=_import_hint(nsys, kept, "`llmperf doctor` names what the importer lacks"),
        )
    if failed:
        return NsysError(f"nsys could not write its report: {failed}{saved}", hint="choose another directory with `-o`")
    if "Generated:" in outcome.lines or (outcome.recording is None and outcome.returncode == 0):
        return NsysError(
            f"nsys recorded nothing: the capture range never opened{ended}",
            hint="check that the workload calls cudaProfilerStart or opens the range, or drop `--capture-range`",
        )
    said = next((line.strip() for line in reversed(outcome.lines) if not _NO_NEWS.search(line)), "it said nothing")
    return NsysError(f"nsys wrote no report (exit code {outcome.status}): {said}{saved}", hint=f"see `{log}`")


def _save_recording(outcome: Outcome, directory: RunDirectory) -> Path | None:
    """Find the recording that nsys could not make a report of; into the run directory with it, if it is on its disk."""
    for staged in directory.staging.glob("*.qdstrm"):
        if staged.stat().st_size > 0 and not _disk_is_full(directory.path):
            return directory.publish(staged.name)
        staged.unlink()
    mentioned = re.findall(r"[\w./-]+\.(?:qdstrm|nsys-rep)", "\n".join(outcome.nsys_lines))
    paths = [*([outcome.recording] if outcome.recording else []), *(Path(path) for path in mentioned)]
    paths += [path.with_suffix(".nsys-rep") for path in paths if path.suffix == ".qdstrm"]
    for path in paths:
        full = path if path.is_absolute() else Path(tempfile.gettempdir()) / path
        with contextlib.suppress(OSError):
            if full.stat().st_size > 0:
                return full
    return None


def _import_hint(nsys: Nsys, kept: Path | None, otherwise: str) -> str:
    if kept is None or kept.suffix != ".qdstrm":
        return otherwise
    importer = importer_path(nsys.path) or "QdstrmImporter"
    return f"{otherwise}; then `{importer} -i {kept}` makes a report of it"


def _disk_is_full(path: Path) -> bool:
    try:
        status = os.statvfs(path)
    except OSError:
        return False
    return status.f_bavail * status.f_frsize < _FULL_BYTES
