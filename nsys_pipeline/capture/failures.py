"""Why there is no report: nsys' exit codes do not say, so this reads what it printed and what it left behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

from nsys_pipeline.capture.plan import CapturePlan
from nsys_pipeline.capture.rundir import LOG_NAME, RunDirectory
from nsys_pipeline.capture.session import Outcome
from nsys_pipeline.capture.torchrun import first_failure, last_words
from nsys_pipeline.errors import ExitCode, NsysError
from nsys_pipeline.nsys.install import Nsys, importer_path

TIMEOUT_STATUS = 124
"""Exit status of a run that `timeout_s` ended, as coreutils' timeout has it."""

STOPPED_STATUS = {"interrupt": int(ExitCode.INTERRUPTED), "timeout": TIMEOUT_STATUS}
"""Exit status of a run that was stopped, by the reason."""

_FULL_BYTES = 1 << 20
_IMPORTER_FAILED = re.compile(r"Importer error status: (.*)|Unable to retrieve the importer version")
# Its processes talk over sockets; an nsys that never reached its agent throws, one that lost it says so.
_AGENT_LOST = ("Connection to Agent lost", "Local Endpoint is not available")
AGAIN = "capture again: nsys 2024.2 fails so by chance, once in a hundred times"
"""Hint where nsys failed by chance."""

_IMPORTER_FAULT = "Multiple different definitions of the same VmTidToPidInfo"
_IMPORTER_TIMEOUT_S = 60
_SHOWN_LINES = 8
_READ_BYTES = 1 << 20
_EXCEPTION = re.compile(r"(?:^|\s)[\w.]*(?:Error|Exception): \S")
_NO_NEWS = re.compile(r"Try 'nsys|usage:|Importer error|Generat|Processing|^\W*$")
_ERROR = re.compile(r"(?i)(\[rank\d+\]:\s*)?(\w*error|unrecognised option|illegal --\S+ argument)\b")


class NsysFaultError(NsysError):
    """nsys failed by chance: the same capture, made again, mostly succeeds.

    Seen with nsys 2024.2, in one capture of a hundred and more often with several processes: the importer ends with
    "Multiple different definitions of the same VmTidToPidInfo" or a segmentation fault, and does so again on the same
    recording; or "Connection to Agent lost", an exit code of 0 and no recording; or it throws at its start because its
    "Local Endpoint is not available".
    """


def no_report(outcome: Outcome, nsys: Nsys, directory: RunDirectory, plan: CapturePlan) -> NsysError:
    """Make the error for a session that left no report; a recording without a report is saved and named."""
    kept = _save_recording(outcome, directory)
    if lacked_agent(outcome):
        saved = f"; what was recorded is in `{kept}`" if kept else ""
        return NsysFaultError(f"nsys had no connection to its own agent{saved}", hint=AGAIN)
    if not _disk_is_full(directory.path):
        if kept is None and (error := _nothing_kept(outcome, directory, plan)):
            return error
        if fault := _importer_fault(outcome, nsys, kept):
            return fault
    reason, hint = _reason(outcome, nsys, directory, kept)
    return NsysError(f"{reason}; what was recorded is in `{kept}`" if kept else reason, hint=hint)


def with_last_lines(error: NsysError, log: Path) -> NsysError:
    """`error` of a server with what its `log` says: the first exception, mostly the cause, and the last lines."""
    last = [line for line in end_of_log(log) if line][-_SHOWN_LINES:]
    if not last:
        return error
    first = next((line for line in _lines(log, is_end=False) if _EXCEPTION.search(line)), None)
    shown = [f"{error.message}; it said last", *(f"  | {line}" for line in last)]
    if first is not None and first not in last:
        shown[:1] = [f"{error.message}; its first exception, and what it said last", f"  | {first}", "  | ..."]
    found = NsysError("\n".join(shown), hint=error.hint)
    found.has_lines = True
    return found


def end_of_log(log: Path) -> list[str]:
    """The last lines of a `log` that may be long; none where it cannot be read."""
    return _lines(log, is_end=True)


def _lines(log: Path, *, is_end: bool) -> list[str]:
    try:
        with log.open("rb") as stream:
            if is_end:
                stream.seek(-min(_READ_BYTES, stream.seek(0, os.SEEK_END)), os.SEEK_END)
            return [line.decode(errors="replace").rstrip() for line in stream.read(_READ_BYTES).splitlines()]
    except OSError:
        return []


def lacked_agent(outcome: Outcome) -> bool:
    """Whether nsys, of one rank at least, never reached its own agent or lost it."""
    return any(said in line for line in outcome.lines for said in _AGENT_LOST)


def _nothing_kept(outcome: Outcome, directory: RunDirectory, plan: CapturePlan) -> NsysError | None:
    if not plan.capture_range and outcome.stopped in STOPPED_STATUS:
        return _stopped_too_early(outcome.stopped)
    if not plan.capture_range and plan.rank_reports:
        return _no_report_of_ranks(outcome, directory)
    return _nothing_recorded(outcome, plan.range_hint) if _recorded_nothing(outcome) else None


def _stopped_too_early(stopped: str) -> NsysError:
    error = NsysError(
        "nsys made no report: it was "
        + ("interrupted" if stopped == "interrupt" else "stopped by the timeout")
        + " before it recorded anything, or while it wrote",
        hint="let the workload begin first; after it has ended, nsys needs a while for the report",
    )
    error.exit_code = STOPPED_STATUS[stopped]  # type: ignore[assignment]
    return error


def no_rank(outcome: Outcome) -> NsysError:
    """Make the error for a launcher that started no rank under nsys."""
    error = NsysError(
        f"no rank was profiled: {(outcome.status and _last_words(outcome)) or 'the command started none'}",
        hint="`--rank-reports` needs torchrun, or a launcher that is built on it, such as `accelerate launch`",
    )
    if outcome.status:
        # The workload failed, nsys did not: its status is passed on as with a report.
        error.exit_code = outcome.status  # type: ignore[assignment]
    return error


def _no_report_of_ranks(outcome: Outcome, directory: RunDirectory) -> NsysFaultError:
    """Make the error for ranks that were started under nsys, each of which makes a report even of a rank that fails."""
    said = "; ".join(filter(None, [first_failure(outcome.lines), _last_words(outcome)])) or "it said nothing"
    return NsysFaultError(
        f"nsys made no report of any rank: {said}",
        hint=f"see `{directory.path / LOG_NAME}`, or {AGAIN}",
    )


def _recorded_nothing(outcome: Outcome) -> bool:
    """Tell a capture range that never opened: nsys then ends its list of files before the first."""
    ended_well = "Generated:" in outcome.lines or (outcome.recording is None and outcome.returncode == 0)
    return ended_well and not _IMPORTER_FAILED.search("\n".join(outcome.lines))


def _reason(outcome: Outcome, nsys: Nsys, directory: RunDirectory, kept: Path | None) -> tuple[str, str]:
    log = directory.path / LOG_NAME
    importer = _IMPORTER_FAILED.search("\n".join(outcome.lines))
    failed = next((line.strip() for line in outcome.nsys_lines if "Failed to create" in line), None)
    if outcome.returncode == -signal.SIGKILL:
        return "nsys was killed before it wrote a report", f"its output is in `{log}`"
    if _disk_is_full(directory.path):
        hint = _import_hint(nsys, kept, "free some space or choose another disk with `-o`")
        return f"the disk of `{directory.path}` is full: nsys could not write the report", hint
    if importer:
        reason = (importer[1] or importer[0]).strip().rstrip(".")
        hint = _import_hint(nsys, kept, "`llmperf doctor` names what the importer lacks")
        return f"nsys recorded the workload, but its importer failed ({reason})", hint
    if failed:
        return f"nsys could not write its report: {failed}", "choose another directory with `-o`"
    said = _last_words(outcome) or "it said nothing"
    return f"nsys wrote no report (exit code {outcome.status}): {said}", f"see `{log}`"


def _importer_fault(outcome: Outcome, nsys: Nsys, kept: Path | None) -> NsysFaultError | None:
    importer = importer_path(nsys.path)
    if importer is None or kept is None or not _IMPORTER_FAILED.search("\n".join(outcome.lines)):
        return None
    try:
        answer = subprocess.run([importer, "--version"], capture_output=True, timeout=_IMPORTER_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode != 0:
        return None
    why = f" ({_IMPORTER_FAULT})" if any(_IMPORTER_FAULT in line for line in outcome.lines) else ""
    return NsysFaultError(
        f"nsys recorded the workload, but its importer gave up on the recording{why}; it is in `{kept}`",
        hint=AGAIN,
    )


def _nothing_recorded(outcome: Outcome, range_hint: str | None) -> NsysError:
    if outcome.status == 0 or outcome.stopped == "load":
        return NsysError(
            "nsys recorded nothing: the capture range never opened",
            hint=range_hint
            or "check that the workload calls cudaProfilerStart or opens the range, or drop `--capture-range`",
        )
    error = NsysError(
        f"the workload ended with status {outcome.status} before the capture range opened: {_last_words(outcome)}",
        hint="nothing was recorded; the output is in workload.log",
    )
    # The workload failed, nsys did not: its status is passed on as with a report.
    error.exit_code = outcome.status  # type: ignore[assignment]
    return error


def _last_words(outcome: Outcome) -> str:
    """Return the last error that was printed, or else the last line that says anything."""
    lines = [line.strip() for line in last_words(outcome.lines) if not _NO_NEWS.search(line)]
    errors = [line for line in lines if _ERROR.match(line)]
    return (errors or lines or [""])[-1]


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
