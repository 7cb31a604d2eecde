"""The user's cache: prepared tables of traces, exports of reports, unpacked files.

An entry is written under a temporary name and renamed when it is whole, so that runs beside each other never see a
half of one: the last to finish wins, and both are equal. The key holds the identity of the input file and a
fingerprint of the code that makes the tables.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import platform
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

import attrs

from nsys_pipeline import __version__
from nsys_pipeline.sqlmods import sql_root
from nsys_pipeline.trace.identify import run_traces

FOLDERS = {
    "traces": "prepared tables of traces",
    "reports": "reports of traces",
    "exports": "exports of .nsys-rep files",
    "converted": "traces of torch.profiler as exports",
    "unpacked": "unpacked .xz, .gz and .zst files",
}
"""Folders of the cache and what is in them."""

MAX_CACHE_BYTES = 20 * 1024**3
ABANDONED_AFTER_S = 24 * 3600

_numbers = itertools.count()


def default_cache_dir() -> Path:
    """`$LLMPERF_CACHE_DIR`, else the user's cache directory."""
    if configured := os.environ.get("LLMPERF_CACHE_DIR"):
        return Path(configured)
    import platformdirs

    return Path(platformdirs.user_cache_dir("llmperf", appauthor=False))


@cache
def code_fingerprint() -> str:
    """Hash of everything that decides what the tables of a trace, and its report, hold."""
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256(f"{__version__} {version('duckdb')}".encode())
    code = (file for kind in ("py", "toml", "json") for file in package.rglob(f"*.{kind}"))
    for file in sorted((*sql_root().rglob("*.sql"), *code)):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def identity_of(path: Path) -> str:
    """What tells this file, or folder, from any other and from its own later content."""
    parts = []
    # Of a job only its traces: a report that is written beside them changes nothing.
    members = [*(run_traces(path) or sorted(path.iterdir()))] if path.is_dir() else []
    for member in members or [path]:
        stat = member.stat()
        # The time of the last change of the inode, too: copies keep size and modification time, and reuse inodes.
        times = f"{stat.st_mtime_ns}|{stat.st_ctime_ns}"
        parts.append(f"{member.resolve()}|{stat.st_dev}|{stat.st_ino}|{stat.st_size}|{times}")
    return "\n".join(parts)


def entry(cache_dir: Path, folder: str, path: Path, suffix: str, *salt: str) -> Path:
    """Where the entry for `path` is, or would be. `folder` tells kinds of entries apart."""
    key = hashlib.sha256("\0".join([identity_of(path), *salt]).encode(errors="surrogateescape")).hexdigest()[:32]
    return cache_dir / folder / f"{key}{suffix}"


def temporary(final: Path) -> Path:
    """A name beside `final` that no other process, nor another call in this one, uses."""
    _make_private(final.parent)
    return final.with_name(f".{final.stem}.{_host()}-{os.getpid()}-{next(_numbers)}{final.suffix}")


def _make_private(folder: Path) -> None:
    """Make a folder of the cache that only its user can enter: traces may hold what was in an environment."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(OSError):
        folder.chmod(0o700)


def is_writable(folder: Path) -> bool:
    """Whether files can be made in `folder`, which is made where it is not there."""
    try:
        _make_private(folder)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@attrs.frozen
class Usage:
    """What one folder of the cache holds."""

    folder: str
    files: int
    bytes: int


def usage(cache_dir: Path) -> list[Usage]:
    """What each folder of the cache holds, by its name."""
    found: dict[str, list[int]] = {folder: [] for folder in FOLDERS}
    for file in _files(cache_dir):
        with suppress(OSError):
            found[file.parent.name].append(file.stat().st_size)
    return [Usage(folder, len(sizes), sum(sizes)) for folder, sizes in found.items()]


def clear(cache_dir: Path) -> list[Usage]:
    """Remove everything but what a process is writing right now; returns what was removed."""
    found: dict[str, list[int]] = {folder: [] for folder in FOLDERS}
    for file in _files(cache_dir):
        with suppress(OSError):
            stat = file.stat()
            if not file.name.startswith(".") or _is_abandoned(file.name, stat.st_mtime):
                # Where another process reads it, some systems keep it: it goes next time.
                file.unlink()
                found[file.parent.name].append(stat.st_size)
    return [Usage(folder, len(sizes), sum(sizes)) for folder, sizes in found.items()]


def _files(cache_dir: Path) -> Iterator[Path]:
    for folder in FOLDERS:
        yield from sorted(file for file in (cache_dir / folder).glob("*") if file.is_file())


def trim(cache_dir: Path, max_bytes: int = MAX_CACHE_BYTES) -> None:
    """Drop what killed runs left, then the entries that were not used for longest until the cache fits `max_bytes`."""
    entries = []
    for file in cache_dir.glob("*/*"):
        with suppress(OSError):
            stat = file.stat()
            if not file.name.startswith("."):
                entries.append((stat.st_mtime, stat.st_size, file))
            elif _is_abandoned(file.name, stat.st_mtime):
                file.unlink()
    total = sum(size for _, size, _ in entries)
    for _, size, file in sorted(entries):
        if total <= max_bytes:
            break
        with suppress(OSError):
            file.unlink()
            total -= size


def _is_abandoned(name: str, modified_s: float) -> bool:
    """Whether the process that was writing the file of this temporary name is gone."""
    owner = re.search(r"\.([0-9a-f]{8})-(\d+)-\d+\.", name)
    # Only where signal 0 asks: on Windows `os.kill` ends the process.
    if owner and owner[1] == _host() and os.name == "posix":
        try:
            os.kill(int(owner[2]), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False
    # Another machine's, in a home that they share, or nobody can be asked.
    return time.time() - modified_s > ABANDONED_AFTER_S


def _host() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]
