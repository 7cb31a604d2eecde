"""The run directory: created once, every file under a temporary name until it is whole."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shlex
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs

from nsys_pipeline.errors import UsageError

RUN_SCHEMA = "llmperf.run/1"
REPORT_STEM = "trace"
REPORT_PATTERN = f"{REPORT_STEM}*.nsys-rep"
TORCH_TRACE_NAME = f"{REPORT_STEM}.json.gz"
TORCH_TRACE_PATTERN = f"{REPORT_STEM}*.json.gz"
_RECORDED = (REPORT_PATTERN, f"{REPORT_STEM}*.sqlite", TORCH_TRACE_PATTERN)
LOG_NAME = "workload.log"
RUN_NAME = "run.json"
STAGING_NAME = ".partial"
"""Where a run directory keeps what is not finished."""

OWNER_NAME = "owner"
"""A file there that the capture holds locked as long as it lives."""


LEAST_FREE_BYTES = 16 << 20
"""A run directory with less space than this is refused before the workload starts."""


@attrs.frozen
class RunDirectory:
    """`path` is the run; `staging` inside it holds what is not finished. See `create` and `take_over`."""

    path: Path
    staging: Path
    _owners: list[int] = attrs.field(factory=list, alias="owners", repr=False, eq=False)

    @classmethod
    def create(cls, root: Path, name: str, *, force: bool = False, exact: bool = False) -> RunDirectory:
        """Make `root/<name>-<UTC time>` (or `root` itself with `exact`).

        Raises UsageError when it cannot be made, holds a run already (unless `force`), is being written by another
        capture, has a name that is not UTF-8 (SQLite opens no such file), or the disk is all but full.
        """
        path = run_path(root, name, exact=exact)
        _check_encoding(path)
        if exact:
            _check_unused(path, force=force)
        staging = path / STAGING_NAME
        _claim(path, staging, exact=exact)
        directory = cls(path, staging)
        try:
            directory._owners.extend(filter(None, [own(staging)]))
        except OSError as error:
            directory.remove_if_empty()
            raise cannot_write(path, error) from error
        try:
            # A capture that ended in between has left its run here.
            _check_unused(path, force=force)
        except UsageError:
            directory.close()
            raise
        try:
            (staging / "probe").write_bytes(b"x" * 4096)
            (staging / "probe").unlink()
        except OSError as error:
            directory.remove_if_empty()
            raise cannot_write(path, error) from error
        free = shutil.disk_usage(path).free
        if free < LEAST_FREE_BYTES:
            directory.remove_if_empty()
            raise UsageError(
                f"only {free / 1e6:.0f} MB are free in `{path.parent}`, and a report needs more",
                hint="give a directory on another disk with `-o`",
            )
        return directory

    @classmethod
    def take_over(cls, path: Path) -> RunDirectory:
        """Own the run directory `path` of a capture that was killed.

        Raises UsageError where there is nothing unfinished, or its capture still lives.
        """
        staging = path / STAGING_NAME
        if not staging.is_dir():
            raise UsageError(
                f"`{path}` holds no unfinished capture", hint=f"`llmperf analyze {path}` reads a finished one"
            )
        owner = own(staging)
        if owner is None:
            raise UsageError(f"the capture in `{path}` still runs", hint="let it end, or stop it with Ctrl-C")
        return cls(path, staging, [owner])

    def publish(self, name: str, *, final_name: str | None = None) -> Path:
        """Give the finished file `name` of the staging directory its final name and return it."""
        target = self.path / (final_name or name)
        return (self.staging / name).replace(target)

    def publish_recorded(self, staged: Iterable[Path], *, replaces: bool) -> list[Path]:
        """Give the reports or traces in `staged` their final names and return them in the order of ranks.

        With `replaces`, those of the run that was here before go, whichever profiler made them.
        """
        if replaces:
            for pattern in _RECORDED:
                for old in self.path.glob(pattern):
                    old.unlink()
        return [self.publish(path.name) for path in in_rank_order(staged)]

    def write_json(self, name: str, content: Any) -> Path:
        """Write `content` as `name`, whole or not at all. Raises UsageError when the disk refuses."""
        self.stage_json(name, content)
        try:
            return self.publish(name)
        except OSError as error:
            (self.staging / name).unlink(missing_ok=True)
            raise cannot_write(self.path, error) from error

    def stage_json(self, name: str, content: Any) -> None:
        """Write `content` as the unfinished `name`. Raises UsageError when the disk refuses."""
        partial = self.staging / name
        try:
            # Arguments that are not UTF-8 hold lone surrogates: their escape is the one that JSON has for them.
            partial.write_bytes(json_text(content).encode(errors="backslashreplace"))
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise cannot_write(self.path, error) from error

    def close(self) -> None:
        """Give up the staging directory, and remove it if nothing is left in it."""
        with contextlib.suppress(OSError):
            (self.staging / OWNER_NAME).unlink(missing_ok=True)
        while self._owners:
            os.close(self._owners.pop())
        with contextlib.suppress(OSError):
            self.staging.rmdir()

    def remove_if_empty(self) -> None:
        """Remove the run directory if nothing was saved in it."""
        self.close()
        with contextlib.suppress(OSError):
            self.path.rmdir()


def own(staging: Path) -> int | None:
    """Lock the staging directory until the descriptor that is returned is closed, or this process ends in any way.

    None where another process has it. A file system without locks gives it to whoever asks.
    """
    import fcntl

    # Nothing that is started inherits it: nsys outlives a capture that is killed.
    owner = os.open(staging / OWNER_NAME, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(owner)
        return None
    except OSError:
        pass
    return owner


def is_abandoned(staging: Path) -> bool:
    """Whether nobody owns the staging directory any more."""
    if not (staging / OWNER_NAME).exists():
        return staging.is_dir()
    try:
        owner = own(staging)
    except OSError:
        return False
    if owner is not None:
        os.close(owner)
    return owner is not None


def run_path(root: Path, name: str, *, exact: bool = False) -> Path:
    """Return the directory of a run called `name` that starts now: a new one below `root`, or `root` if `exact`."""
    return root if exact else _unused(root / f"{_file_name(name)}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")


def in_rank_order(paths: Iterable[Path]) -> list[Path]:
    """Sort by the numbers in their names: rank 10 comes after rank 9."""
    return sorted(paths, key=lambda path: [int(number) for number in re.findall(r"\d+", path.name)])


def json_text(content: Any) -> str:
    """`content` as the text of a file."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def cannot_write(path: Path, error: OSError) -> UsageError:
    """Make the error for a directory that cannot be written, with the reason and a way out."""
    hint = "free some space, or give a directory on another disk with `-o`"
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        hint = "give a directory that you may write to with `-o`"
    return UsageError(f"cannot write to `{path}`: {error.strerror or error}", hint=hint)


def sha256(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal text."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_encoding(path: Path) -> None:
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"`{path.absolute()}` is not UTF-8, and SQLite opens no such file", hint="give another directory with `-o`"
        ) from error


def _check_unused(path: Path, *, force: bool) -> None:
    if (any(path.glob(REPORT_PATTERN)) or any(path.glob(TORCH_TRACE_PATTERN))) and not force:
        raise UsageError(f"`{path}` holds a run already", hint="give another directory, or `--force` to replace it")


def _claim(path: Path, staging: Path, *, exact: bool) -> None:
    """Make both directories; the second one exclusively, so that of two captures only one goes on."""
    try:
        path.mkdir(parents=True, exist_ok=exact)
        staging.mkdir()
    except OSError as error:
        if isinstance(error, FileExistsError) and path.is_dir():
            if is_abandoned(staging):
                raise UsageError(
                    f"a capture into `{path}` was killed before it was finished",
                    hint=f"`llmperf capture --recover {shlex.quote(str(path))}` finishes it,"
                    f" `rm -r {shlex.quote(str(staging))}` drops it",
                ) from error
            raise UsageError(
                f"another capture writes to `{path}`, or was killed there: `{staging}` exists",
                hint=f"give another directory with `-o`, or, if none runs, `rm -r {shlex.quote(str(staging))}`",
            ) from error
        with contextlib.suppress(OSError):
            path.rmdir()
        raise cannot_write(path, error) from error


def _unused(path: Path) -> Path:
    candidate, number = path, 2
    while os.path.lexists(candidate):
        candidate, number = path.with_name(f"{path.name}-{number}"), number + 1
    return candidate


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "run"
