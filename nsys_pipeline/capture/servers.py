"""Inference servers: what each needs to be profiled well, and how its recording is started and stopped.

Sources: the profiling pages of vLLM (docs.vllm.ai, contributing/profiling), SGLang (docs.sglang.io, benchmark and
profiling) and TensorRT-LLM (nvidia.github.io/TensorRT-LLM, performance/perf-analysis), read in 2026.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

from nsys_pipeline.capture.plan import CapturePlan
from nsys_pipeline.errors import NsysError, UsageError

StageCallback = Callable[[str], None]

READY_TIMEOUT_S = 1800.0
_POLL_S = 0.5
_REQUEST_TIMEOUT_S = 600.0


@attrs.frozen(kw_only=True)
class ServerProfile:
    """How one server is profiled.

    `arguments` are added to its command unless one of the same name is there; `start` and `stop` are the paths that
    begin and end a recording (None: the server does it by itself, as `environment` says), `start_body` is sent as JSON.
    `range_hint`: what to do when it began none.
    """

    about: str
    url: str | None
    arguments: Mapping[str, str] = attrs.field(factory=dict)
    environment: Mapping[str, str] = attrs.field(factory=dict)
    capture_range: str | None = "profiler"
    capture_range_end: str = "repeat"
    start: str | None = None
    start_body: Mapping[str, object] | None = None
    stop: str | None = None
    range_hint: str | None = None


_VLLM = {"VLLM_WORKER_MULTIPROC_METHOD": "spawn", "VLLM_NVTX_SCOPES_FOR_PROFILING": "1"}

SERVER_PROFILES: Mapping[str, ServerProfile] = {
    "vllm-serve": ServerProfile(
        about="vLLM 0.13 or newer, OpenAI server",
        url="http://127.0.0.1:8000",
        arguments={"--profiler-config.profiler": "cuda"},
        environment=_VLLM,
        start="/start_profile",
        stop="/stop_profile",
    ),
    "vllm-serve-0.12": ServerProfile(
        about="vLLM 0.12, OpenAI server",
        url="http://127.0.0.1:8000",
        environment=_VLLM | {"VLLM_TORCH_CUDA_PROFILE": "1"},
        start="/start_profile",
        stop="/stop_profile",
    ),
    "vllm": ServerProfile(
        about="a script or benchmark that uses vLLM's LLM class, recorded as a whole",
        url=None,
        environment=_VLLM,
        capture_range=None,
    ),
    "sglang-serve": ServerProfile(
        about="SGLang server",
        url="http://127.0.0.1:30000",
        environment={"SGLANG_SCHEDULER_ENABLE_NVTX": "1"},
        start="/start_profile",
        start_body={"activities": ["CUDA_PROFILER"]},
        stop="/stop_profile",
    ),
    "trtllm-serve": ServerProfile(
        about="TensorRT-LLM server; records iterations 100 to 150 (set TLLM_PROFILE_START_STOP for others)",
        url="http://127.0.0.1:8000",
        environment={"TLLM_PROFILE_START_STOP": "100-150", "TLLM_LLMAPI_ENABLE_NVTX": "1"},
        capture_range_end="stop",
        range_hint="the load may have too few iterations: set TLLM_PROFILE_START_STOP=FIRST-LAST to some that it has",
    ),
}


def server_profile(name: str) -> ServerProfile:
    """Return the profile called `name`. Raises UsageError with the names there are."""
    try:
        return SERVER_PROFILES[name]
    except KeyError:
        raise UsageError(f"no profile `{name}`", hint=f"there are {', '.join(SERVER_PROFILES)}") from None


def plan_server(plan: CapturePlan, profile: ServerProfile, *, capture_range: str | None = None) -> CapturePlan:
    """Return `plan` with what `profile` adds; the user's own environment and arguments win.

    `capture_range` replaces the profile's: profiler, nvtx, or none to record the server from its start.
    """
    chosen = capture_range or profile.capture_range or "none"
    added = [
        part
        for option, value in profile.arguments.items()
        if not any(argument.split("=")[0].startswith(option.split(".")[0]) for argument in plan.command)
        for part in (option, value)
    ]
    environment = {name: os.environ.get(name, value) for name, value in profile.environment.items()}
    return attrs.evolve(
        plan,
        command=(*plan.command, *added),
        environment=environment | dict(plan.environment),
        capture_range=None if chosen == "none" else chosen,
        capture_range_end=profile.capture_range_end,
        range_hint=profile.range_hint,
        trace_forks=True,
    )


class ServerDriver:
    """Waits for the server, records while the load runs, and then asks for the server to be stopped.

    Without `load` it only says when the server is ready and how to record; Ctrl-C then ends the capture.
    """

    def __init__(
        self,
        profile: ServerProfile,
        *,
        url: str | None = None,
        health: str = "/health",
        load: tuple[str, ...] = (),
        ready_timeout_s: float = READY_TIMEOUT_S,
    ) -> None:
        base = url or profile.url
        if base is None:
            raise UsageError("this profile has no server to wait for", hint="drop `--load` and `--url`")
        self._profile, self._url, self._health = profile, base.rstrip("/"), health
        self._load, self._ready_timeout_s = load, ready_timeout_s
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.finished = False
        self.load_status: int | None = None
        self.error: NsysError | None = None

    def begin(self, log: Path, say: StageCallback) -> None:
        """Start in the background; the load's output goes to `log`, what happens to `say`."""
        self._thread = threading.Thread(target=self._run, args=(log, say), daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop waiting: the server has ended."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _run(self, log: Path, say: StageCallback) -> None:
        try:
            self._wait_until_ready()
            if not self._load:
                say(self._instructions())
                return
            self._call(self._profile.start, self._profile.start_body)
            say("the server is ready; running the load")
            self.load_status = self._run_load(log)
            self._call(self._profile.stop, None)
        except NsysError as error:
            self.error = error
        self.finished = bool(self._load) or self.error is not None

    def _wait_until_ready(self) -> None:
        import urllib.request

        deadline = time.monotonic() + self._ready_timeout_s
        while not self._ended.is_set():
            try:
                with urllib.request.urlopen(self._url + self._health, timeout=5):  # noqa: S310 - the user's own server
                    return
            except OSError:
                if time.monotonic() > deadline:
                    raise NsysError(
                        f"the server did not answer at {self._url}{self._health} within {self._ready_timeout_s:g} s",
                        hint="give its address with `--url`",
                    ) from None
                self._ended.wait(_POLL_S)
        raise NsysError("the server ended before it answered", hint="its output is in workload.log")

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
        except OSError as error:
            raise NsysError(f"the server refused POST {path}: {error}", hint="its output is in workload.log") from error

    def _instructions(self) -> str:
        if self._profile.start is None:
            return "the server is ready; Ctrl-C stops it and writes the report"
        body = f" -d '{json.dumps(self._profile.start_body)}'" if self._profile.start_body else ""
        return (
            f"the server is ready; record with `curl -X POST {self._url}{self._profile.start}{body}` until"
            f" `curl -X POST {self._url}{self._profile.stop}`; Ctrl-C stops the server and writes the report"
        )
