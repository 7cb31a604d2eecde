"""Remove what is private from an exported trace: the environment of processes, and secrets of command lines.

nsys stores environment variables, tokens included, in several places of a report: the capture options
(META_DATA_CAPTURE), the description of the machine (TARGET_INFO_SYSTEM_ENV), copies of /proc/*/environ files
(ANALYSIS_FILE), and, referenced by no table, as strings of their own in StringIds: one for each process of the
machine, the profiled ones and others, seen with nsys 2024.2. Such a string is a block of `NAME=value` with NUL between.
"""

from __future__ import annotations

import errno
import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from nsys_pipeline.errors import TraceError
from nsys_pipeline.nsys.secrets import REDACTED, command_secrets, redacted

_ASSIGNMENT = re.compile(rb"[A-Za-z_][A-Za-z0-9_.()%-]*=")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.()%-]*(?==|$)")
_ARGUMENT = re.compile(r"(PROCESS_\d+):(COMMAND|ARGUMENT_(\d+))")
# Where nsys is installed, and what tells the machines and drivers of a fleet apart.
_KEPT_OF_SYSTEM = ("TargetInstallDir", "Hostname", "NvDriverVersion", "CudaDriverVersion")
_DEVICE_ENVIRONMENT = "DeviceEnvironment"


def holds_private(sqlite: Path) -> bool:
    """Whether the export holds an environment or secrets of a command line. Raises TraceError where it cannot be read.

    A look that costs little: the strings are read once.
    """
    try:
        with closing(_read_only(sqlite)) as connection:
            columns = _columns(connection)
            if "name" in columns["META_DATA_CAPTURE"]:
                rows = connection.execute("SELECT name, value FROM META_DATA_CAPTURE").fetchall()
                if any("ENVIRONMENT_VARIABLE" in (name or "") for name, _ in rows):
                    return True
                if command_secrets(recorded_command(rows)):
                    return True
            queries = [
                f"SELECT count(*) FROM {table} WHERE {condition}"  # noqa: S608 - names of our own
                for table, column, condition in (
                    ("TARGET_INFO_SYSTEM_ENV", "name", f"name = '{_DEVICE_ENVIRONMENT}'"),
                    ("ANALYSIS_FILE", "filename", "filename GLOB '*/environ'"),
                    ("StringIds", "value", "instr(CAST(value AS BLOB), x'00') > 0"),
                )
                if column in columns[table]
            ]
            return any(connection.execute(query).fetchone()[0] for query in queries)
    except sqlite3.Error as error:
        raise TraceError(f"cannot read `{sqlite}`: {error}") from error


def scrub_environment(sqlite: Path, secrets: Iterable[str] = (), *, keeps_names: bool = False) -> int:
    """Remove the environment from the export `sqlite`, in place, and return how many rows held some of it.

    With it go `secrets`, and those that the recorded command line holds: `***` stands in their place. With
    `keeps_names` it can still be told that there was an environment, and of which variables.

    The file is written anew without them: even right after the export, unused parts of its pages hold older copies,
    which deleting rows does not touch. Raises TraceError when it cannot be written.
    """
    rewritten = sqlite.with_name(f".partial-{sqlite.name}")
    rewritten.unlink(missing_ok=True)
    try:
        connection = sqlite3.connect(sqlite)
        try:
            with connection:
                removed = _scrub(connection, keeps_names=keeps_names)
                _redact(connection, secrets)
            connection.execute("VACUUM INTO ?", (str(rewritten),))
        finally:
            connection.close()
        rewritten.replace(sqlite)
    except (sqlite3.Error, OSError) as error:
        is_full = "disk is full" in str(error) or getattr(error, "errno", None) == errno.ENOSPC
        raise TraceError(
            f"cannot remove the environment from `{sqlite}`: {error}",
            hint="it takes as much room again as the file" if is_full else None,
        ) from error
    finally:
        rewritten.unlink(missing_ok=True)
    return removed


Named = tuple[str | None, str | None]


def without_values(table: str, rows: Iterable[Named]) -> list[Named]:
    """Names and values of META_DATA_CAPTURE or TARGET_INFO_SYSTEM_ENV, cleaned: what other files may be made of.

    Of variables the name is left, of secrets on the command line `***`; of the machine its name, its drivers and nsys.
    """
    rows = list(rows)
    if table == "TARGET_INFO_SYSTEM_ENV":
        kept: list[Named] = [row for row in rows if row[0] in _KEPT_OF_SYSTEM]
        return kept + [(name, None) for name, _ in rows if name == _DEVICE_ENVIRONMENT]
    secrets = [value for _, value in command_secrets(recorded_command(rows))]
    cleaned: list[Named] = []
    for name, value in rows:
        if name and "ENVIRONMENT_VARIABLE" in name:
            cleaned.append((name, _variable(value)))
        else:
            cleaned.append((name, redacted(value, secrets)))
    return cleaned


def _variable(assignment: str | None) -> str | None:
    """The name in `NAME="value"`, also where nothing but that is left."""
    match = _VARIABLE.match(assignment or "")
    return match[0] if match else None


def recorded_command(rows: Iterable[Named]) -> list[str]:
    """The command lines of the profiled processes, one after the other, from the rows of META_DATA_CAPTURE."""
    words: dict[tuple[str, int], str] = {}
    for name, value in rows:
        if value and (match := _ARGUMENT.fullmatch(name or "")):
            words[match[1], -1 if match[3] is None else int(match[3])] = value
    return [words[place] for place in sorted(words)]


_PRIVATE_TABLES = ("META_DATA_CAPTURE", "TARGET_INFO_SYSTEM_ENV", "ANALYSIS_FILE", "StringIds")


def _read_only(sqlite: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{quote(str(sqlite.resolve()))}?mode=ro&immutable=1", uri=True)
    connection.text_factory = lambda raw: raw.decode(errors="replace")
    return connection


def _columns(connection: sqlite3.Connection) -> dict[str, set[str]]:
    return {table: {row[1] for row in connection.execute(f"PRAGMA table_info({table})")} for table in _PRIVATE_TABLES}


def _redact(connection: sqlite3.Connection, secrets: Iterable[str]) -> None:
    """Replace `secrets`, and those of the recorded command line, in every text of the export."""
    found = {secret for secret in secrets if secret}
    connection.text_factory = lambda raw: raw.decode(errors="replace")
    if "name" in _columns(connection)["META_DATA_CAPTURE"]:
        rows = connection.execute("SELECT name, value FROM META_DATA_CAPTURE").fetchall()
        found |= {value for _, value in command_secrets(recorded_command(rows))}
    if not found:
        return
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        name = '"' + table.replace('"', '""') + '"'
        for _, column, kind, *_rest in connection.execute(f"PRAGMA table_info({name})").fetchall():
            if kind.upper() == "TEXT":
                place = '"' + column.replace('"', '""') + '"'
                change = f"UPDATE {name} SET {place} = replace({place}, ?, ?) WHERE instr({place}, ?) > 0"  # noqa: S608
                # The longest first: one may be a part of another.
                values = sorted(found, key=len, reverse=True)
                connection.executemany(change, [(value, REDACTED, value) for value in values])


_KEEPING_NAMES = {
    "META_DATA_CAPTURE": (
        "UPDATE META_DATA_CAPTURE SET value = coalesce(variable(value), '') WHERE name LIKE '%ENVIRONMENT_VARIABLE%'"
    ),
    "TARGET_INFO_SYSTEM_ENV": "UPDATE TARGET_INFO_SYSTEM_ENV SET value = '' WHERE name = 'DeviceEnvironment'",
}
_DELETING = {
    "META_DATA_CAPTURE": "DELETE FROM META_DATA_CAPTURE WHERE name LIKE '%ENVIRONMENT_VARIABLE%'",
    "TARGET_INFO_SYSTEM_ENV": "DELETE FROM TARGET_INFO_SYSTEM_ENV WHERE name = 'DeviceEnvironment'",
}


def _scrub(connection: sqlite3.Connection, *, keeps_names: bool) -> int:
    columns = _columns(connection)
    removed = 0
    connection.create_function("variable", 1, _variable, deterministic=True)
    changes = _KEEPING_NAMES if keeps_names else _DELETING
    for table, change in changes.items():
        if "name" in columns[table]:
            removed += connection.execute(change).rowcount
    # What is left of a block is still one.
    blank = "=\0" if keeps_names else ""
    if "filename" in columns["ANALYSIS_FILE"]:
        if "contentId" in columns["ANALYSIS_FILE"]:
            connection.execute(
                "UPDATE StringIds SET value = ? WHERE id IN"
                " (SELECT contentId FROM ANALYSIS_FILE WHERE filename GLOB '*/environ')",
                (blank,),
            )
        removed += connection.execute("DELETE FROM ANALYSIS_FILE WHERE filename GLOB '*/environ'").rowcount
    if "value" in columns["StringIds"]:
        removed += _scrub_strings(connection, blank)
    return removed


def _scrub_strings(connection: sqlite3.Connection, blank: str) -> int:
    # LIKE and printing stop at the first NUL; only a cast to BLOB shows the whole string.
    blocks = connection.execute(
        "SELECT id, CAST(value AS BLOB) FROM StringIds WHERE instr(CAST(value AS BLOB), x'00') > 0"
    ).fetchall()
    ids = [(blank, string_id) for string_id, value in blocks if is_environment_block(value)]
    connection.executemany("UPDATE StringIds SET value = ? WHERE id = ?", ids)
    return len(ids)


def is_environment_block(value: bytes) -> bool:
    """Whether `value` is what /proc/PID/environ holds: NUL between strings, most of them `NAME=value`.

    Names, texts of ranges and paths never hold a NUL, and command lines are hardly ever made of assignments.
    """
    parts = [part for part in value.split(b"\0") if part]
    assignments = sum(1 for part in parts if _ASSIGNMENT.match(part))
    return b"\0" in value and 2 * assignments > len(parts)
