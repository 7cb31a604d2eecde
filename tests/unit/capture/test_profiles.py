"""The table of servers: ours, the user's, and what a row adds to a capture."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from nsys_pipeline.capture import CapturePlan
from nsys_pipeline.capture.profiles import SERVERS_VARIABLE, plan_server, server_profile, server_profiles
from nsys_pipeline.capture.servers import ServerDriver
from nsys_pipeline.cli.capture_options import PROFILES
from nsys_pipeline.errors import UsageError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def no_user_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(SERVERS_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_a_recipe_adds_what_the_server_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_WORKER_MULTIPROC_METHOD", "fork")
    plan = plan_server(CapturePlan(command=("vllm", "serve", "m")), server_profile("vllm-serve"))
    assert plan.command == ("vllm", "serve", "m", "--profiler-config.profiler", "cuda")
    assert (plan.capture_range, plan.capture_range_end, plan.trace_forks) == ("profiler", "repeat", True)
    # what the user has set stays
    assert plan.environment == {"VLLM_WORKER_MULTIPROC_METHOD": "fork", "VLLM_NVTX_SCOPES_FOR_PROFILING": "1"}


def test_a_recipe_leaves_the_users_arguments_alone() -> None:
    command = ("vllm", "serve", "m", "--profiler-config={}")
    assert plan_server(CapturePlan(command=command), server_profile("vllm-serve")).command == command


def test_a_recording_from_the_start_needs_no_profiler_of_the_servers() -> None:
    plan = plan_server(CapturePlan(command=("vllm", "serve", "m")), server_profile("vllm-serve"), capture_range="none")
    assert (plan.command, plan.capture_range) == (("vllm", "serve", "m"), None)


def test_a_window_is_recorded_by_the_marks() -> None:
    for name in ("vllm-serve", "lmdeploy-serve"):
        plan = plan_server(CapturePlan(command=("serve",)), server_profile(name), window="200steps:/tmp/armed")
        assert plan.command == ("serve",)
        assert (plan.capture_range, plan.capture_range_end) == ("profiler", "stop")
        assert plan.environment["LLMPERF_WINDOW"] == "200steps:/tmp/armed"


@pytest.mark.parametrize(
    ("name", "arguments", "url"),
    [
        ("vllm-serve", "", "http://127.0.0.1:8000"),
        ("vllm-serve", "--port 8123", "http://127.0.0.1:8123"),
        ("sglang-serve", "--port=8123", "http://127.0.0.1:8123"),
        ("lmdeploy-serve", "--server-port 8123", "http://127.0.0.1:8123"),
        ("vllm-serve", "--port", "http://127.0.0.1:8000"),
        ("vllm-serve", "--port $PORT --port 0", "http://127.0.0.1:8000"),
        ("vllm-serve", "--port 99999999999", "http://127.0.0.1:8000"),
        ("ray-serve", "--port 8123", "http://127.0.0.1:8000"),
        ("vllm", "--port 8123", None),
    ],
)
def test_a_server_answers_at_the_port_that_its_command_names(name: str, arguments: str, url: str | None) -> None:
    assert server_profile(name).url_of(("serve", "m", *arguments.split())) == url


def test_a_server_that_answers_before_the_capture_is_another() -> None:
    with _served(_Refusing) as url:
        driver = ServerDriver(server_profile("vllm-serve"), url=url)
        with pytest.raises(UsageError, match=f"a server answers at {url}/health already"):
            driver.check_nobody_answers()
    with _served(_Starting) as url:
        # A gateway that has nothing behind it may be there.
        ServerDriver(server_profile("vllm-serve"), url=url).check_nobody_answers()


def test_a_load_ends_as_a_shell_shows_it_and_nothing_stays(tmp_path: Path) -> None:
    arm_file = tmp_path / "armed"
    with _served(_Refusing) as url:
        load = ("sh", "-c", f"test -e {arm_file} && kill -9 $$")
        driver = ServerDriver(server_profile("vllm-serve"), url=url, arm_file=arm_file, load=load)
        _drive(driver, tmp_path / "load.log")
    assert (driver.load_status, driver.error, arm_file.exists()) == (137, None, False)


def test_unknown_server() -> None:
    with pytest.raises(UsageError, match="no profile `ollama`") as caught:
        server_profile("ollama")
    assert caught.value.hint is not None
    assert "vllm-serve" in caught.value.hint


def test_help_names_every_server() -> None:
    assert set(PROFILES) == set(server_profiles())


def test_documentation_has_every_server_and_says_what_it_was_tested_with() -> None:
    table = (ROOT / "docs" / "capture.md").read_text()
    for profile in server_profiles().values():
        row = next((line for line in table.splitlines() if line.startswith(f"| `{profile.name}`")), "")
        assert row.endswith(f"| {profile.tested} |"), profile.name


def test_both_names_of_sglangs_variables_are_set() -> None:
    plan = plan_server(CapturePlan(command=("sglang",)), server_profile("sglang-serve"))
    assert {"SGLANG_ENABLE_NVTX_SCHEDULER", "SGLANG_SCHEDULER_ENABLE_NVTX"} <= plan.environment.keys()


def test_a_users_table_adds_and_replaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "config" / "llmperf" / "servers.toml"
    own.parent.mkdir(parents=True)
    own.write_text(
        '[[server]]\nname = "ours"\nurl = "http://127.0.0.1:9"\nhealth = "/live"\nrange = "none"\n'
        '[[server]]\nname = "tgi"\nabout = "our own build"\n'
    )
    assert (server_profile("ours").health, server_profile("ours").start) == ("/live", None)
    assert (server_profile("tgi").about, server_profile("tgi").range) == ("our own build", "profiler")
    assert "vllm-serve" in server_profiles()
    monkeypatch.setenv(SERVERS_VARIABLE, str(tmp_path / "other.toml"))
    (tmp_path / "other.toml").write_text("")
    with pytest.raises(UsageError, match="no profile `ours`"):
        server_profile("ours")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("server = 3", "`server` must be a list"),
        ("[[server]]\nurl = 'x'", "has a server without a name"),
        ("[[server]]\nname = 'x'\nports = 3", "unknown field `ports`"),
        ("[[server]]\nname = 'x'\nurl = 3", "`url` must be a text"),
        ("[[server]]\nname = 'x'\nenvironment = 'A=1'", "`environment` must be a table"),
        ("[[server]]\nname = 'x'\nenvironment = { A = 1 }", "every value of `environment`"),
        ("[[server]]\nname = 'x'\nrange = 'often'", "`range` is `often`"),
        ("[[server]\n", "is no table of servers"),
        ("[[server]]\nname = 'x'\nhealth = 'live'", "`health` is `live`, and no path"),
        ("[[server]]\nname = 'x'\nstart = 'go'", "`start` is `go`, and no path"),
        ("[[server]]\nname = 'x'\n[[server]]\nname = 'x'", "has two servers called `x`"),
    ],
)
def test_a_malformed_table_is_refused(text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.toml").write_text(text)
    monkeypatch.setenv(SERVERS_VARIABLE, str(tmp_path / "mine.toml"))
    with pytest.raises(UsageError, match=re.escape(message)):
        server_profiles()


def test_a_missing_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SERVERS_VARIABLE, str(tmp_path / "none.toml"))
    with pytest.raises(UsageError, match="is no table of servers"):
        server_profiles()


def test_a_profile_without_a_server_cannot_be_driven() -> None:
    with pytest.raises(UsageError, match="no server to wait for"):
        ServerDriver(server_profile("vllm"))


@pytest.mark.parametrize("url", ["banana", "localhost:8000", "http://", "http://host:port", "ftp://host"])
def test_an_address_that_cannot_be_asked_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"`{url}` is no address of a server")):
        ServerDriver(server_profile("vllm-serve"), url=url)


def test_a_load_that_is_no_program_is_refused_before_the_server_starts() -> None:
    with pytest.raises(UsageError, match="the load `no-such-program` is no program"):
        ServerDriver(server_profile("vllm-serve"), load=("no-such-program", "--x"))


class _Refusing(BaseHTTPRequestHandler):
    """Answers, and cannot be told to record: a vLLM without CUDA's profiler."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_POST(self) -> None:
        self.send_error(500)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextlib.contextmanager
def _served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server while it answers."""
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def _drive(driver: ServerDriver, log: Path) -> None:
    """The whole load."""
    driver.begin(log, lambda text: None)
    while not driver.finished:
        time.sleep(0.01)
    driver.end()


def test_a_server_that_cannot_be_told_to_record(tmp_path: Path) -> None:
    """The error says what else there is: recording from its start."""
    with _served(_Refusing) as url:
        driver = ServerDriver(server_profile("vllm-serve"), url=url, load=("true",))
        _drive(driver, tmp_path / "load.log")
    assert driver.error is not None
    assert driver.error.message.startswith("the server refused POST /start_profile: HTTP Error 500")
    assert driver.error.hint is not None
    assert "workload.log" in driver.error.hint
    assert "`--capture-range none`" in driver.error.hint


SGLANG_START = (
    "curl -X POST -H 'Content-Type: application/json' -d '{\"activities\": [\"CUDA_PROFILER\"]}' URL/start_profile"
)


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("vllm-serve", ["curl -X POST URL/start_profile", "bench --n 3", "curl -X POST URL/stop_profile"]),
        ("sglang-serve", [SGLANG_START, "bench --n 3", "curl -X POST URL/stop_profile"]),
    ],
)
def test_a_dry_run_says_what_happens_beside_the_server(
    name: str, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda program: f"/bin/{program}")
    url = "http://127.0.0.1:9"
    driver = ServerDriver(server_profile(name), url=url, load=("bench", "--n", "3"))
    first, *between, last = driver.shell_lines()
    assert first == f"# as soon as {url}/health answers, in another shell:"
    assert [line.removeprefix("#   ").replace(url, "URL") for line in between] == steps
    assert last.startswith("# then Ctrl-C")


def test_a_port_that_speaks_something_else_is_no_server(tmp_path: Path) -> None:
    """Answers that are no HTTP end the waiting at its limit, and do not end the thread that waits."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answers = threading.Thread(target=_answer_nonsense, args=(listener,), daemon=True)
        answers.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        driver = ServerDriver(server_profile("vllm-serve"), url=url, load=("true",), ready_timeout_s=0.0)
        _drive(driver, tmp_path / "load.log")
    assert driver.error is not None
    assert "did not answer" in driver.error.message


class _Starting(_Refusing):
    """Is not ready, for ever."""

    asked = threading.Event()

    def do_GET(self) -> None:
        self.send_error(503)
        self.asked.set()


@pytest.mark.parametrize(("is_stopped", "said"), [(True, "did not answer at"), (False, "ended before it answered at")])
def test_a_server_that_was_stopped_before_it_was_ready_did_not_end(is_stopped: bool, said: str, tmp_path: Path) -> None:
    stages: list[str] = []
    with _served(_Starting) as address:
        driver = ServerDriver(server_profile("vllm-serve"), url=address, load=("true",))
        _Starting.asked.clear()
        driver.begin(tmp_path / "load.log", stages.append)
        assert _Starting.asked.wait(30)
        driver.end(is_stopped=is_stopped)
    assert stages == [f"waiting for the server at {address}/health"]
    assert driver.error is not None
    assert f"the server {said} {address}/health" in driver.error.message
    assert driver.error.message.endswith("(last: HTTP 503)")


def _answer_nonsense(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"hello, this is no HTTP\r\n\r\n")
