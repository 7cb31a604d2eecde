"""Drive an inference server: wait until it answers, record while a load runs, stop it."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from nsys_pipeline.capture.profiles import ServerProfile
from nsys_pipeline.errors import NsysError, UsageError

StageCallback = Callable[[str], None]

READY_TIMEOUT_S = 1800.0
_POLL_S = 0.5
_FAILURE_LENGTH = 100
_REQUEST_TIMEOUT_S = 600.0


class ServerDriver:
    """Waits for the server, records while the load runs, and then asks for the server to be stopped.

    `is_started`: nsys records from the start of the server, so that nobody asks it to begin or end a recording.
    `arm_file` is made when the load begins: something in the server waits for it and records then.
    Without `load` it only says when the server is ready and how to record; Ctrl-C then ends the capture.
    """

    def __init__(
        self,
        profile: ServerProfile,
        *,
        url: str | None = None,
        is_started: bool = False,
        arm_file: Path | None = None,
        load: tuple[str, ...] = (),
        ready_timeout_s: float = READY_TIMEOUT_S,
    ) -> None:
        base = url or profile.url
        if base is None:
            raise UsageError("this profile has no server to wait for", hint="drop `--load` and `--url`")
        if not _is_http(base):
            raise UsageError(f"`{base}` is no address of a server", hint="write it like http://localhost:8000")
        # Not after the server has loaded its weights for minutes.
        if load and shutil.which(load[0]) is None:
            raise UsageError(f"the load `{load[0]}` is no program that can be run")
        self._profile, self._url = profile, base.rstrip("/")
        self._start, self._stop = (None, None) if is_started or arm_file else (profile.start, profile.stop)
        self._arm_file = arm_file
        self._load, self._ready_timeout_s = load, ready_timeout_s
        self._ended = threading.Event()
        self._is_stopped = False
        self._thread: threading.Thread | None = None
        self.finished = False
        self.load_status: int | None = None
        self.load_s: float | None = None
        self.error: NsysError | None = None

    def begin(self, log: Path, say: StageCallback) -> None:
        """Start in the background; the load's output goes to `log`, what happens to `say`."""
        self._thread = threading.Thread(target=self._run, args=(log, say), daemon=True)
        self._thread.start()

    def end(self, *, is_stopped: bool = False) -> None:
        """Stop waiting: the server has ended, by itself or, with `is_stopped`, because it was told to."""
        self._is_stopped = is_stopped
        self._ended.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _run(self, log: Path, say: StageCallback) -> None:
        try:
            say(f"waiting for the server at {self._address}")
            self._wait_until_ready()
            if not self._load:
                if self._arm_file is not None:
                    self._arm_file.touch()
                say(self._instructions())
                return
            self._call(self._start, self._profile.start_body)
            if self._arm_file is not None:
                self._arm_file.touch()
            say("the server is ready; running the load")
            began = time.monotonic()
            self.load_status = self._run_load(log)
            self.load_s = time.monotonic() - began
            self._call(self._stop, None)
        except NsysError as error:
            self.error = error
        finally:
            # Whatever happens here, the capture must not wait for it.
            self.finished = bool(self._load) or self.error is not None

    @property
    def _address(self) -> str:
        return self._url + self._profile.health

    def _wait_until_ready(self) -> None:
        began = time.monotonic()
        last = "not asked yet"
        while not self._ended.is_set():
            failure = _failure(self._address, timeout_s=5)
            if failure is None:
                return
            last = failure
            if time.monotonic() - began > self._ready_timeout_s:
                raise self._silent(began, last)
            self._ended.wait(_POLL_S)
        if self._is_stopped:
            raise self._silent(began, last)
        raise NsysError(f"the server ended before it answered at {self._address} (last: {last})", hint=self._hint())

    def _silent(self, began: float, last: str) -> NsysError:
        waited_s = time.monotonic() - began
        return NsysError(
            f"the server did not answer at {self._address} in {waited_s:.0f} s (last: {last})",
            hint="if that is not its address, give it with `--url`; its output is in workload.log",
        )

    def _run_load(self, log: Path) -> int:
        try:
            with (
                log.open("wb") as stream,
                subprocess.Popen(
                    self._load, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT
                ) as process,
            ):
                while process.poll() is None:
                    if self._ended.wait(0.1):
                        process.terminate()
                return process.returncode
        except OSError as error:
            raise NsysError(f"the load `{self._load[0]}` does not run: {error}") from error

    def _call(self, path: str | None, body: Mapping[str, object] | None) -> None:
        if path is None:
            return
        import urllib.request

        request = urllib.request.Request(  # noqa: S310 - the user's own server
            self._url + path,
            data=json.dumps(body).encode() if body is not None else b"",
            headers={"Content-Type": "application/json"} if body is not None else {},
            method="POST",
        )
        try:
            # Stopping a recording writes it out, which takes its time.
            with urllib.request.urlopen(request, timeout=_REQUEST_TIMEOUT_S):  # noqa: S310
                return
        except (OSError, HTTPException) as error:
            raise NsysError(f"the server refused POST {path}: {error}", hint=self._hint()) from error

    def _hint(self) -> str:
        """What to do about a server that cannot be recorded as its profile says."""
        own = self._profile.hint if self._start else None
        return "; ".join(filter(None, ["its output is in workload.log", own]))

    def shell_lines(self) -> list[str]:
        """What happens beside the server, as comments of a shell, which runs the server and cannot wait for it."""
        steps = [
            self._curl(self._start, self._profile.start_body),
            self._arm_file and f"touch {shlex.quote(str(self._arm_file))}",
            shlex.join(self._load) or "any load",
            self._curl(self._stop, None),
        ]
        return [
            f"# as soon as {self._url}{self._profile.health} answers, in another shell:",
            *(f"#   {step}" for step in steps if step),
            "# then Ctrl-C here stops the server, and nsys writes the report",
        ]

    def _curl(self, path: str | None, body: Mapping[str, object] | None) -> str | None:
        if path is None:
            return None
        data = ["-H", "Content-Type: application/json", "-d", json.dumps(body)] if body is not None else []
        return shlex.join(["curl", "-X", "POST", *data, f"{self._url}{path}"])

    def _instructions(self) -> str:
        if self._start is None:
            return "the server is ready; Ctrl-C stops it and writes the report"
        body = f" -d '{json.dumps(self._profile.start_body)}'" if self._profile.start_body else ""
        return (
            f"the server is ready; record with `curl -X POST {self._url}{self._start}{body}` until"
            f" `curl -X POST {self._url}{self._stop}`; Ctrl-C stops the server and writes the report"
        )


def _failure(address: str, *, timeout_s: float) -> str | None:
    """Why `address` does not answer well, in a few words; None where it does."""
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(address, timeout=timeout_s):  # noqa: S310 - the user's own server
            return None
    except urllib.error.HTTPError as error:
        with error:
            return f"HTTP {error.code}"
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        words = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        return " ".join(words.split())[:_FAILURE_LENGTH]


def _is_http(url: str) -> bool:
    """Whether it has the scheme, host and port of an HTTP server."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
