"""The table of servers, ours and the user's, and what a row of it adds to a plan."""

from __future__ import annotations

import itertools
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs

from nsys_pipeline import markers
from nsys_pipeline.capture.plan import CapturePlan
from nsys_pipeline.errors import UsageError

SERVERS_VARIABLE = "LLMPERF_SERVERS"
"""Environment variable that names a table of servers of the user's."""

_WINDOW_HINT = (
    "`--window` needs a GPU, an engine whose steps are marked, and a load that it runs;"
    " without a GPU record the server from its start: `--capture-range none`"
)
_NO_RANGE = "none"
_RANGES = ("profiler", "nvtx", _NO_RANGE)
_RANGE_ENDS = ("repeat", "stop")
_TEXTS = ("name", "about", "tested", "url", "port", "health", "range", "range_end", "start", "stop", "hint")
_TABLES = ("arguments", "environment", "start_body")


@attrs.frozen(kw_only=True)
class ServerProfile:
    """How one server is profiled: a row of `servers.toml`, whose head says what each field means."""

    name: str
    about: str
    tested: str = "by nobody yet"
    url: str | None = None
    port: str | None = None
    health: str = "/health"
    arguments: Mapping[str, str] = attrs.field(factory=dict)
    environment: Mapping[str, str] = attrs.field(factory=dict)
    range: str = "profiler"
    range_end: str = "repeat"
    start: str | None = None
    start_body: Mapping[str, object] | None = None
    stop: str | None = None
    hint: str | None = None

    def url_of(self, command: tuple[str, ...]) -> str | None:
        """Where the server of `command` answers: at the port that it names, else where the profile says."""
        port = _port_after(command, self.port) if self.port else None
        if self.url is None or port is None:
            return self.url
        parts = urlsplit(self.url)
        return parts._replace(netloc=f"{parts.hostname}:{port}").geturl()

    @classmethod
    def read(cls, row: object, source: str) -> ServerProfile:
        """A row of a table. Raises UsageError for one that is malformed; `source` is the file's name."""
        if not isinstance(row, Mapping) or not isinstance(row.get("name"), str) or not row["name"]:
            raise UsageError(
                f"`{source}` has a server without a name", hint='begin each with [[server]] and name = "…"'
            )
        where = f"server `{row['name']}` in `{source}`"
        if unknown := sorted(row.keys() - {*_TEXTS, *_TABLES}):
            raise UsageError(f"{where} has an unknown field `{unknown[0]}`", hint=f"there are {', '.join(_FIELDS)}")
        for key in row.keys() & set(_TEXTS):
            if not isinstance(row[key], str):
                raise UsageError(f"{where}: `{key}` must be a text")
        for key in row.keys() & set(_TABLES):
            if not isinstance(row[key], Mapping):
                raise UsageError(f"{where}: `{key}` must be a table")
        for key in row.keys() & {"arguments", "environment"}:
            if not all(isinstance(value, str) for value in row[key].values()):
                raise UsageError(f"{where}: every value of `{key}` must be a text")
        for key, allowed in (("range", _RANGES), ("range_end", _RANGE_ENDS)):
            if row.get(key, allowed[0]) not in allowed:
                raise UsageError(f"{where}: `{key}` is `{row[key]}`", hint=f"use {' or '.join(allowed)}")
        _check_paths(row, where)
        fields: dict[str, Any] = {"about": "", **row}
        return cls(**fields)


def _port_after(command: tuple[str, ...], option: str) -> str | None:
    """The last value of `option` in `command` that is the number of a port."""
    given = [value for name, value in itertools.pairwise(command) if name == option]
    given += [part.partition("=")[2] for part in command if part.startswith(f"{option}=")]
    ports = [text for text in given if text.isascii() and text.isdigit() and 0 < int(text[:6]) < 65536]
    return ports[-1] if ports else None


def _check_paths(row: Mapping[str, str], where: str) -> None:
    for key in ("health", "start", "stop"):
        if not row.get(key, "/").startswith("/"):
            raise UsageError(f"{where}: `{key}` is `{row[key]}`, and no path", hint=f"write `/{row[key]}`")


_FIELDS = tuple(field.name for field in attrs.fields(ServerProfile))


def server_profiles() -> dict[str, ServerProfile]:
    """All servers by name: ours, and those of the user's file. Raises UsageError for a file that is malformed."""
    profiles = _read(Path(__file__).with_name("servers.toml"))
    named = os.environ.get(SERVERS_VARIABLE)
    own = Path(named) if named else _config_home() / "llmperf" / "servers.toml"
    if named or own.is_file():
        profiles |= _read(own)
    return profiles


def server_profile(name: str) -> ServerProfile:
    """Return the profile called `name`. Raises UsageError with the names there are."""
    profiles = server_profiles()
    if name not in profiles:
        raise UsageError(
            f"no profile `{name}`",
            hint=f"there are {', '.join(profiles)}; add your own in ~/.config/llmperf/servers.toml",
        )
    return profiles[name]


def _config_home() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()


def _read(path: Path) -> dict[str, ServerProfile]:
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8")).get("server", [])
    except (OSError, ValueError) as error:
        raise UsageError(f"`{path}` is no table of servers: {error}") from error
    if not isinstance(rows, list):
        raise UsageError(f"`{path}`: `server` must be a list of tables", hint="begin each server with [[server]]")
    profiles = [ServerProfile.read(row, str(path)) for row in rows]
    names = [profile.name for profile in profiles]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"`{path}` has two servers called `{twice}`", hint="give each a name of its own")
    return {profile.name: profile for profile in profiles}


def plan_server(
    plan: CapturePlan, profile: ServerProfile, *, capture_range: str | None = None, window: str | None = None
) -> CapturePlan:
    """Return `plan` with what `profile` adds; the user's own environment and arguments win.

    `capture_range` replaces the profile's: profiler, nvtx, or none to record the server from its start, without what
    its profiler needs. With `window`, the value of LLMPERF_WINDOW, the marks start and stop the recording.
    """
    chosen = capture_range or ("profiler" if window else profile.range)
    added = [
        part
        for option, value in profile.arguments.items()
        if chosen != _NO_RANGE
        and window is None
        and not any(argument.split("=")[0].startswith(option.split(".")[0]) for argument in plan.command)
        for part in (option, value)
    ]
    environment = {name: os.environ.get(name, value) for name, value in profile.environment.items()}
    if window is not None:
        environment[markers.WINDOW_VARIABLE] = window
    return attrs.evolve(
        plan,
        command=(*plan.command, *added),
        environment=environment | dict(plan.environment),
        capture_range=None if chosen == _NO_RANGE else chosen,
        capture_range_end=profile.range_end if window is None else "stop",
        range_hint=profile.hint if window is None else _WINDOW_HINT,
        trace_forks=True,
    )
