"""Before a long run, find out whether this nsys sees the ranges that the target's `nvtx` package makes.

Python's `nvtx` from 0.2.12 on uses an NVTX extension that Nsight Systems 2024.2 refuses; every range of the package is
then lost, and nsys exits with 0. A probe of a second settles it for a pair of versions, and the answer is kept.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import attrs

from nsys_pipeline.capture.findings import inspect_trace
from nsys_pipeline.errors import LlmperfError, NsysError
from nsys_pipeline.nsys.export import export_sqlite
from nsys_pipeline.nsys.install import Nsys

WORKING_NVTX = "0.2.11"
"""The last version of the package that every supported nsys understands."""

_FIRST_SUSPECT = (0, 2, 12)
_PROBE = """
import nvtx
for _ in range(3):
    nvtx.push_range("probe", domain="llmperf-probe")
    nvtx.pop_range(domain="llmperf-probe")
"""
_VERSION_QUESTION = "import importlib.metadata as m; print(m.version('nvtx'))"
# nsys 2024.2 makes no report about once in a hundred runs, and more often on a busy machine.
_PROBES = 3
_TIMEOUT_S = 120


@attrs.frozen
class NvtxPair:
    """An nsys and the `nvtx` package of an interpreter; `works` is None where nothing could be found out."""

    nsys_version: str
    nvtx_version: str
    works: bool | None


def target_python(command: tuple[str, ...]) -> str | None:
    """Return the Python interpreter that `command` starts, directly or through a `#!` line; None if it is no Python."""
    program = shutil.which(command[0])
    if program is None:
        return None
    if re.fullmatch(r"python[0-9.]*", Path(program).name):
        return program
    with contextlib.suppress(OSError), Path(program).open("rb") as stream:
        first = stream.readline(500).decode(errors="replace")
        match = re.match(r"#!\s*(\S*?python[0-9.]*)\s", first)
        if match is not None:
            return shutil.which(match[1])
    return None


def nvtx_version(python: str) -> str | None:
    """Return the version of the `nvtx` package that `python` would import, or None when it has none."""
    try:
        answer = subprocess.run(
            [python, "-c", _VERSION_QUESTION], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None


def check_nvtx(nsys: Nsys, python: str, *, cache: Path | None = None) -> NvtxPair | None:
    """Find out whether `nsys` records the ranges of `python`'s nvtx package; None when it has no such package.

    Versions that every nsys understands need no probe. The answer for a pair is kept in `cache`.
    """
    version = nvtx_version(python)
    if version is None:
        return None
    if _numbers(version) < _FIRST_SUSPECT:
        return NvtxPair(nsys.version_text, version, works=True)
    cache = cache or _default_cache()
    key = f"{nsys.version_text} {version}"
    known = _read(cache)
    if key not in known:
        works = _probe(nsys, python)
        if works is None:
            return NvtxPair(nsys.version_text, version, works=None)
        known[key] = works
        _write(cache, known)
    return NvtxPair(nsys.version_text, version, known[key])


def check_command(nsys: Nsys, command: tuple[str, ...]) -> str | None:
    """Return a warning when `command` runs a Python whose nvtx ranges this nsys would lose.

    Raises NsysError, with the fix, when the script that it names imports nvtx itself.
    """
    python = target_python(command)
    pair = check_nvtx(nsys, python) if python is not None else None
    if pair is None or pair.works is not False:
        return None
    message = f"nvtx {pair.nvtx_version} of `{python}` loses every range under Nsight Systems {nsys.version_short}"
    fix = f"`{python} -m pip install nvtx=={WORKING_NVTX}`, or a newer Nsight Systems"
    if imports_nvtx(command):
        raise NsysError(message, hint=f"{fix}; `--no-preflight` runs it all the same")
    return f"{message} (those of torch and of llmperf are recorded): {fix}"


def imports_nvtx(command: tuple[str, ...]) -> bool:
    """Say whether the first Python file that `command` names imports the nvtx package itself."""
    script = next((Path(part) for part in command[1:] if part.endswith(".py")), None)
    try:
        source = script.read_text(errors="replace") if script else ""
    except OSError:
        return False
    return re.search(r"^\s*(?:import|from)\s+nvtx\b", source, re.MULTILINE) is not None


def _probe(nsys: Nsys, python: str) -> bool | None:
    """Whether a range of `python`'s nvtx reaches the trace; None where three tries leave no trace to look at."""
    try:
        for _ in range(_PROBES):
            with contextlib.suppress(LlmperfError):
                return _probe_once(nsys, python)
    except (OSError, subprocess.TimeoutExpired):
        pass
    return None


def _probe_once(nsys: Nsys, python: str) -> bool:
    with tempfile.TemporaryDirectory(prefix="llmperf-probe-") as directory:
        report = Path(directory) / "probe.nsys-rep"
        argv = [str(nsys.path), "profile", "--trace=nvtx", "--sample=none", "--cpuctxsw=none"]
        argv += [f"--output={report.with_suffix('')}", python, "-c", _PROBE]
        subprocess.run(argv, capture_output=True, timeout=_TIMEOUT_S, check=False)
        trace = export_sqlite(nsys, report, report.with_suffix(".sqlite"))
        return inspect_trace(trace, traces=("nvtx",)).counts["nvtx_events"] > 0


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _default_cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "llmperf" / "nvtx-pairs.json"


def _read(cache: Path) -> dict[str, bool]:
    try:
        known = json.loads(cache.read_text())
    except (OSError, ValueError):
        return {}
    return {str(key): bool(value) for key, value in known.items()} if isinstance(known, dict) else {}


def _write(cache: Path, known: dict[str, bool]) -> None:
    # A cache that cannot be written costs a second next time, nothing else.
    with contextlib.suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial = cache.with_name(f".{cache.name}.{os.getpid()}")
        partial.write_text(json.dumps(known, indent=1))
        partial.replace(cache)
