"""Remove the environment of the profiled processes from an exported trace.

nsys stores environment variables, tokens included, in several places of a report: the capture options
(META_DATA_CAPTURE), the description of the machine (TARGET_INFO_SYSTEM_ENV), copies of /proc/*/environ files
(ANALYSIS_FILE), and, referenced by no table, as strings of their own in StringIds: one for each process of the
machine, the profiled ones and others, seen with nsys 2024.2. Such a string is a block of `NAME=value` with NUL between.
"""

from __future__ import annotations

import mmap
import os
import re
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nsys_pipeline.errors import TraceError

_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY", re.IGNORECASE)
_ASSIGNMENT = re.compile(rb"[A-Za-z_][A-Za-z0-9_.()%-]*=")
_SHORTEST_SECRET = 8

REDACTED = "***"


def scrub_environment(sqlite: Path) -> int:
    """Remove the environment from the export `sqlite`, in place, and return how many rows held some of it.

    The file is written anew without them: even right after the export, unused parts of its pages hold older copies,
    which deleting rows does not touch. Raises TraceError when it cannot be written.
    """
    rewritten = sqlite.with_name(f".partial-{sqlite.name}")
    rewritten.unlink(missing_ok=True)
    try:
        connection = sqlite3.connect(sqlite)
        try:
            with connection:
                removed = _scrub(connection)
            connection.execute("VACUUM INTO ?", (str(rewritten),))
        finally:
            connection.close()
        rewritten.replace(sqlite)
    except (sqlite3.Error, OSError) as error:
        raise TraceError(f"cannot remove the environment from `{sqlite}`: {error}") from error
    finally:
        rewritten.unlink(missing_ok=True)
    return removed


def secrets_of(environment: Mapping[str, str], command: Iterable[str] = ()) -> list[tuple[str, str]]:
    """Variables that look secret, with their values: those of `environment`, and `NAME=value` words of `command`."""
    assigned = (word.partition("=") for word in command if _ASSIGNMENT.match(os.fsencode(word)))
    variables = [*environment.items(), *((name, value) for name, _, value in assigned)]
    return [(name, value) for name, value in variables if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET]


def leaked_variables(path: Path, environment: Mapping[str, str], command: Iterable[str] = ()) -> list[str]:
    """Names of the variables that look secret and whose value is in the file, byte for byte; see `secrets_of`."""
    secrets = secrets_of(environment, command)
    if not secrets or path.stat().st_size == 0:
        return []
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return sorted({name for name, value in secrets if content.find(os.fsencode(value)) >= 0})


def redacted(content: Any, secrets: Iterable[str]) -> Any:
    """`content`, as JSON has it, with each of `secrets` in its strings replaced by `***`."""
    if isinstance(content, str):
        # The longest first: one value may be a part of another.
        for value in sorted(secrets, key=len, reverse=True):
            content = content.replace(value, REDACTED)
        return content
    if isinstance(content, Mapping):
        return {redacted(name, secrets): redacted(value, secrets) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [redacted(part, secrets) for part in content]
    return content


def _scrub(connection: sqlite3.Connection) -> int:
    columns = {
        table: {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        for table in ("META_DATA_CAPTURE", "TARGET_INFO_SYSTEM_ENV", "ANALYSIS_FILE", "StringIds")
    }
    removed = 0
    if "name" in columns["META_DATA_CAPTURE"]:
        removed += connection.execute("DELETE FROM META_DATA_CAPTURE WHERE name LIKE '%ENVIRONMENT_VARIABLE%'").rowcount
    if "name" in columns["TARGET_INFO_SYSTEM_ENV"]:
        removed += connection.execute("DELETE FROM TARGET_INFO_SYSTEM_ENV WHERE name = 'DeviceEnvironment'").rowcount
    if "filename" in columns["ANALYSIS_FILE"]:
        if "contentId" in columns["ANALYSIS_FILE"]:
            connection.execute(
                "UPDATE StringIds SET value = '' WHERE id IN"
                " (SELECT contentId FROM ANALYSIS_FILE WHERE filename GLOB '*/environ')"
            )
        removed += connection.execute("DELETE FROM ANALYSIS_FILE WHERE filename GLOB '*/environ'").rowcount
    if "value" in columns["StringIds"]:
        removed += _scrub_strings(connection)
    return removed


def _scrub_strings(connection: sqlite3.Connection) -> int:
    # LIKE and printing stop at the first NUL; only a cast to BLOB shows the whole string.
    blocks = connection.execute(
        "SELECT id, CAST(value AS BLOB) FROM StringIds WHERE instr(CAST(value AS BLOB), x'00') > 0"
    ).fetchall()
    ids = [(string_id,) for string_id, value in blocks if is_environment_block(value)]
    connection.executemany("UPDATE StringIds SET value = '' WHERE id = ?", ids)
    return len(ids)


def is_environment_block(value: bytes) -> bool:
    """Whether `value` is what /proc/PID/environ holds: NUL between strings, most of them `NAME=value`.

    Names, texts of ranges and paths never hold a NUL, and command lines are hardly ever made of assignments.
    """
    parts = [part for part in value.split(b"\0") if part]
    assignments = sum(1 for part in parts if _ASSIGNMENT.match(part))
    return b"\0" in value and 2 * assignments > len(parts)
