"""Servers that consist of several processes, recorded and stopped: the report survives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline.nsys import Nsys
from tests.e2e.markers_in import llmperf_events
from tests.e2e.run_llmperf import PROGRAMS, free_port, llmperf, names

pytestmark = pytest.mark.e2e

SERVER = PROGRAMS / "fake_engine.py"


@pytest.fixture
def port() -> int:
    return free_port()


def left_over(port: int) -> list[str]:
    """Processes of the server at `port`: another test may have one of its own at the same time."""
    processes = subprocess.run(["ps", "-wweo", "cmd"], capture_output=True, text=True, check=True).stdout
    return [line for line in processes.splitlines() if f"{SERVER} {port} " in line and "nsys_pipeline.cli" not in line]


@pytest.mark.parametrize(("kind", "window", "decodes"), [("vllm", "", 3), ("sglang", "", 3), ("trtllm", "1-2", 1)])
def test_recording(nsys: Nsys, tmp_path: Path, port: int, kind: str, window: str, decodes: int) -> None:
    url = f"http://127.0.0.1:{port}"
    recipe = ("--profile", f"{kind}-serve", "--url", url)
    # without a GPU nobody can call cudaProfilerStart: a range stands in for it
    recording = ("--capture-range", "nvtx", "--nvtx-range", "recording@llmperf")
    load = ("--load", f"{sys.executable} {PROGRAMS / 'load.py'} {url} 0")
    server = ("-o", "run", "--", sys.executable, SERVER, str(port), kind)
    environment: dict[str, Any] = {"TLLM_PROFILE_START_STOP": window} if window else {}
    done = llmperf("capture", "--no-analyze", *recipe, *recording, *load, *server, cwd=tmp_path, **environment)
    assert (done.code, done.stdout) == (0, ""), done.stderr
    assert names(tmp_path / "run") == ["load.log", "run.json", "trace.nsys-rep", "trace.sqlite", "workload.log"]
    log = (tmp_path / "run" / "workload.log").read_text()
    assert ("POST /start_profile" in log) == (kind != "trtllm")
    # engine and front were stopped in order, and nothing lives on; nsys may add words of its own after them
    ends = [line for line in log.splitlines() if line.endswith("stopped in order")]
    assert ends == ["engine stopped in order", "front stopped in order"]
    assert left_over(port) == []
    ranges, _ = llmperf_events(tmp_path / "run" / "trace.sqlite")
    assert [each.name for each in ranges].count("decode") == decodes


def test_two_recordings_are_two_traces(nsys: Nsys, tmp_path: Path, port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    calls = tmp_path / "calls.py"
    calls.write_text(
        "import time, urllib.request\n"
        "for path in ('generate', 'stop_profile', 'start_profile', 'generate', 'generate'):\n"
        f"    urllib.request.urlopen(urllib.request.Request('{url}/' + path, data=b'{{}}', method='POST')).read()\n"
        "    time.sleep(1)\n"
    )
    recipe = ("--profile", "vllm-serve", "--url", url, "--load", f"{sys.executable} {calls}")
    recording = ("--capture-range", "nvtx", "--nvtx-range", "recording@llmperf")
    server = ("-o", "run", "--", sys.executable, SERVER, str(port), "vllm")
    done = llmperf("capture", "--no-analyze", *recipe, *recording, *server, cwd=tmp_path)
    assert done.code == 0, done.stderr
    traces = [name for name in names(tmp_path / "run") if name.endswith(".sqlite")]
    assert len(traces) == 2
    counts = [[each.name for each in llmperf_events(tmp_path / "run" / name)[0]].count("decode") for name in traces]
    assert counts == [1, 2]


def test_a_window_that_the_load_does_not_reach(nsys: Nsys, tmp_path: Path, port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    recipe = ("--profile", "trtllm-serve", "--url", url, "--capture-range", "nvtx")
    load = ("--load", f"{sys.executable} {PROGRAMS / 'load.py'} {url} 0")
    server = ("-o", "run", "--", sys.executable, SERVER, str(port), "trtllm")
    done = llmperf("capture", "--no-analyze", *recipe, *load, *server, cwd=tmp_path)
    assert (done.code, done.stdout) == (3, "")
    assert "error: nsys recorded nothing: the capture range never opened" in done.stderr
    assert "hint: the load may have too few iterations: set TLLM_PROFILE_START_STOP=FIRST-LAST" in done.stderr
    assert names(tmp_path / "run") == ["load.log", "run.json", "workload.log"]
    assert left_over(port) == []
