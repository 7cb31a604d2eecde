"""What works on this machine and what to do about the rest: one check a line."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import attrs

from nsys_pipeline.capture.preflight import WORKING_NVTX, check_nvtx
from nsys_pipeline.capture.recover import find_unfinished
from nsys_pipeline.errors import NsysError
from nsys_pipeline.nsys.install import Nsys, find_nsys, importer_path

OK, NOTE, PROBLEM = "ok", "note", "problem"

_TIMEOUT_S = 60
_LOW_DISK_BYTES = 2 << 30
_PACKAGES = ("duckdb", "adbc-driver-sqlite", "torch", "transformers", "nvtx")
_NEEDED_PACKAGES = ("duckdb", "adbc-driver-sqlite")


@attrs.frozen
class Check:
    """One line of the doctor: `status` is ok, note (nothing is broken) or problem; `fix` says what to do."""

    name: str
    status: str
    detail: str
    fix: str | None = None


def examine(explicit_nsys: str | None = None, *, run_directory: Path | None = None) -> list[Check]:
    """Look at everything a capture and an analysis need. Never raises; what cannot be found out is a note."""
    checks = []
    try:
        nsys = find_nsys(explicit_nsys)
    except NsysError as error:
        nsys = None
        checks.append(Check("nsys", PROBLEM, error.message, error.hint))
    if nsys is not None:
        checks.append(Check("nsys", OK, f"{nsys.version_text} at {nsys.path}"))
        checks.append(check_importer(nsys))
        checks.append(_check_nvtx_pair(nsys))
    checks += [_check_gpu(), _check_counters(), _check_perf_paranoid()]
    checks += [_check_disk("disk of the runs", run_directory or Path()), _check_disk("disk of temporary files", None)]
    checks.append(_check_unfinished(run_directory or Path("runs")))
    checks.append(Check("python", OK, f"{platform.python_version()} at {sys.executable}"))
    checks += [_check_package(name) for name in _PACKAGES]
    return checks


def check_importer(nsys: Nsys) -> Check:
    """Run the importer, without which nsys records and then writes no report; name the libraries that it lacks."""
    importer = importer_path(nsys.path)
    if importer is None:
        return Check(
            "importer", PROBLEM, f"no QdstrmImporter beside {nsys.path}", "install the complete Nsight Systems"
        )
    answer = _output([str(importer), "--version"])
    version = re.search(r"\d{4}\.\d+\.\d+", answer or "")
    libraries = _output(["ldd", str(importer)]) or ""
    missing = sorted(set(re.findall(r"^\s*(\S+) => not found", libraries, re.MULTILINE)))
    if version is None:
        lacks = f": it lacks {', '.join(missing)}" if missing else ""
        fix = "install the packages that hold these libraries (libdw1, libelf1, libssh-4)" if missing else None
        return Check("importer", PROBLEM, f"{importer} does not run{lacks}", fix or "reinstall Nsight Systems")
    own = ".".join(str(part) for part in nsys.version[:3])
    if version[0] != own:
        return Check("importer", PROBLEM, f"{version[0]} does not belong to nsys {own}", "reinstall Nsight Systems")
    return Check("importer", OK, f"{version[0]} at {importer}")


def _check_nvtx_pair(nsys: Nsys) -> Check:
    pair = check_nvtx(nsys, sys.executable)
    if pair is None:
        return Check("nvtx under nsys", OK, "llmperf's own markers need no package; the nvtx package is not installed")
    if pair.works is None:
        return Check("nvtx under nsys", NOTE, f"nvtx {pair.nvtx_version} could not be tried", "see the lines above")
    if pair.works:
        return Check("nvtx under nsys", OK, f"ranges of nvtx {pair.nvtx_version} are recorded")
    return Check(
        "nvtx under nsys",
        NOTE,
        f"ranges of nvtx {pair.nvtx_version} are lost under this nsys (llmperf's own markers are not)",
        f"pip install nvtx=={WORKING_NVTX}, or a newer Nsight Systems",
    )


def _check_gpu() -> Check:
    fields = "name,driver_version,memory.total"
    answer = _output(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"])
    if not answer or not answer.strip():
        return Check("GPU", NOTE, "no NVIDIA GPU or driver: captures hold ranges but no GPU work")
    gpus = [line.strip() for line in answer.strip().splitlines()]
    name, driver, memory = (part.strip() for part in f"{gpus[0]},,".split(",")[:3])
    count = f"{len(gpus)} x " if len(gpus) > 1 else ""
    return Check("GPU", OK, f"{count}{name}, {memory}, driver {driver}")


def _check_counters() -> Check:
    try:
        parameters = Path("/proc/driver/nvidia/params").read_text()
    except OSError:
        return Check("GPU counters", NOTE, "no NVIDIA driver is loaded here")
    restricted = re.search(r"RmProfilingAdminOnly:\s*1", parameters) is not None
    if not restricted or os.geteuid() == 0:
        return Check("GPU counters", OK, "`--gpu-metrics` may read them")
    return Check(
        "GPU counters",
        NOTE,
        "only root may read them, so `--gpu-metrics` records nothing",
        "run as root, or load the driver with NVreg_RestrictProfilingToAdminUsers=0",
    )


def _check_perf_paranoid() -> Check:
    try:
        level = int(Path("/proc/sys/kernel/perf_event_paranoid").read_text())
    except (OSError, ValueError):
        return Check("perf_event_paranoid", NOTE, "unknown: CPU sampling may not work (llmperf does not use it)")
    detail = f"{level} (only CPU sampling needs 2 or less, and llmperf does not use it)"
    return Check("perf_event_paranoid", OK, detail)


def _check_disk(name: str, path: Path | None) -> Check:
    place = path.resolve() if path is not None else Path(tempfile.gettempdir())
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        return Check(name, PROBLEM, f"{place}: {error.strerror}", "choose another directory")
    if not os.access(place, os.W_OK):
        return Check(name, PROBLEM, f"{place} cannot be written", "choose another directory")
    status = OK if free >= _LOW_DISK_BYTES else PROBLEM
    return Check(name, status, f"{free / 1e9:.1f} GB free in {place}", None if status == OK else "free some space")


def _check_unfinished(folder: Path) -> Check:
    found = find_unfinished(folder)
    if not found:
        return Check("unfinished captures", OK, f"none in {folder}")
    names = ", ".join(map(str, found))
    fix = " and ".join(f"llmperf capture --recover {shlex.quote(str(path))}" for path in found)
    return Check("unfinished captures", NOTE, f"killed before they were finished: {names}", fix)


def _check_package(name: str) -> Check:
    try:
        return Check(name, OK, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        if name in _NEEDED_PACKAGES:
            return Check(name, PROBLEM, "not installed: traces cannot be analyzed", f"pip install {name}")
        return Check(name, NOTE, "not installed", "pip install '.[workload]' in a checkout, for the built-in workload")


def _output(argv: list[str]) -> str | None:
    runner: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run
    try:
        done = runner(argv, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
