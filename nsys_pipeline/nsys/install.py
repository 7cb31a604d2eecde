"""Find Nsight Systems and learn from the program itself which version it is and which options it takes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import attrs

from nsys_pipeline.errors import NsysError

NSYS_VARIABLE = "LLMPERF_NSYS"
"""Environment variable that names the nsys to use."""

OLDEST_SUPPORTED = (2022, 4)
"""Older ones know neither `--cuda-graph-trace` nor a SQLite export with metadata."""

# Where NVIDIA's installers put it. The last is a complete nsys inside Nsight Compute.
INSTALL_PLACES = (
    "/opt/nvidia/nsight-systems*/*/bin/nsys",
    "/opt/nsight-systems/*/bin/nsys",
    "/usr/local/cuda*/bin/nsys",
    "/opt/nvidia/nsight-compute/*/host/target-linux-x64/nsys",
)
_PROBE_TIMEOUT_S = 60
_INSTALL_HINT = (
    "install it with `scripts/install_nsys.sh` (Debian) or from https://developer.nvidia.com/nsight-systems, "
    f"or name it with `--nsys PATH` or {NSYS_VARIABLE}"
)


@attrs.frozen
class Nsys:
    """One installed Nsight Systems: where it is, its version, and the long options of `profile` and `export`."""

    path: Path
    version: tuple[int, ...]
    version_text: str
    profile_flags: frozenset[str]
    export_flags: frozenset[str]

    @classmethod
    def probe(cls, path: Path) -> Nsys:
        """Ask the program at `path`. Raises NsysError when it does not answer as Nsight Systems does."""
        text = _ask(path, "--version")
        match = re.search(r"version\s+((\d+(?:\.\d+)+)\S*)", text)
        if match is None:
            raise NsysError(
                f"`{path}` is not Nsight Systems: `--version` says {text.strip()[:120]!r}", hint=_INSTALL_HINT
            )
        version = tuple(int(part) for part in match[2].split("."))
        if version[:2] < OLDEST_SUPPORTED:
            raise NsysError(f"`{path}` is Nsight Systems {match[2]}: llmperf needs 2022.4 or newer", hint=_INSTALL_HINT)
        return cls(
            path,
            version,
            match[1],
            _long_options(_ask(path, "profile", "--help")),
            _long_options(_ask(path, "export", "--help")),
        )

    @property
    def version_short(self) -> str:
        """For example `2024.2.3`."""
        return ".".join(str(part) for part in self.version[:3])


def find_nsys(explicit: str | Path | None = None) -> Nsys:
    """Return `explicit`, else $LLMPERF_NSYS, else the first nsys on PATH, else the newest in the usual places.

    Raises NsysError when there is none, when the one that was named does not exist, or when none of them runs.
    """
    named = explicit or os.environ.get(NSYS_VARIABLE)
    if named:
        resolved = shutil.which(str(named))
        if resolved is None:
            raise NsysError(f"`{named}` is not a program that can be run", hint=_INSTALL_HINT)
        return Nsys.probe(Path(resolved))
    broken: NsysError | None = None
    for path in candidates():
        try:
            return Nsys.probe(path)
        except NsysError as error:
            broken = broken or error
    if broken is not None:
        raise broken
    raise NsysError("Nsight Systems (nsys) was not found on PATH or in the usual places", hint=_INSTALL_HINT)


def candidates(places: Iterable[str] = INSTALL_PLACES) -> list[Path]:
    """Every nsys there is, best first: the one on PATH, then each place's, newest version first."""
    on_path = shutil.which("nsys")
    found = [Path(on_path)] if on_path else []
    for pattern in places:
        root = Path(pattern).anchor
        matches = sorted(Path(root).glob(pattern.removeprefix(root)), key=_version_key, reverse=True)
        found += [path for path in matches if path not in found and os.access(path, os.X_OK)]
    return found


def importer_path(nsys: Path) -> Path | None:
    """Return the program that makes reports of recordings for this nsys, or None where there is none.

    It lies in a sibling of the directory of nsys itself, whose name differs between NVIDIA's products.
    """
    return next(iter(sorted(nsys.resolve().parent.parent.glob("*/QdstrmImporter"))), None)


def _version_key(path: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", str(path.parent)))


def _ask(path: Path, *arguments: str) -> str:
    try:
        answer = subprocess.run(
            [path, *arguments],
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NsysError(f"`{path} {' '.join(arguments)}` does not run: {error}", hint=_INSTALL_HINT) from error
    if answer.returncode != 0:
        reason = (answer.stderr or answer.stdout).strip().splitlines()
        raise NsysError(
            f"`{path} {' '.join(arguments)}` failed with exit code {answer.returncode}"
            + (f": {reason[-1]}" if reason else ""),
            hint=_INSTALL_HINT,
        )
    return answer.stdout


def _long_options(help_text: str) -> frozenset[str]:
    """Options are listed one to a line, as in `    -c, --capture-range=`; prose may mention others."""
    listed = re.findall(
        r"^\s*(?:\([A-Za-z]+\)\s*)?(?:-\w,\s+)?--([a-z][a-z0-9-]*)(\[[a-z|]+\])?", help_text, re.MULTILINE
    )
    names: set[str] = set()
    for stem, choices in listed:
        names |= {stem + choice for choice in choices.strip("[]").split("|")} if choices else {stem}
    return frozenset(names)
