"""The script that records engines on GPUs and its load, as far as they can be tried without one."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from scripts import gpu_captures, gpu_serving, serving_load
from tests.cli.run import run
from tests.unit.capture.fake_nsys import fake_nsys

HELP = "\t--gpu-metrics-devices=\n\t--trace-fork-before-exec=\n"


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_every_run_is_a_command_that_llmperf_takes(
    engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nsys = fake_nsys(tmp_path, profile_help=HELP)
    for model, extra in gpu_serving.RUNS[engine].values():
        client = gpu_serving.load(engine, tmp_path / model, tmp_path / "load.json", 4)
        arguments = gpu_serving.capture(engine, tmp_path / model, extra, client, "--gpu-metrics")
        code, out, err = run(capsys, "capture", "--dry-run", "--nsys", nsys, *arguments)
        assert (code, err) == (0, ""), model
        assert "serve" in out or "launch_server" in out


def test_list_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_serving.main(["--list", "--engine", "vllm"]) == 0
    assert capsys.readouterr().out.count("llmperf capture --profile vllm-serve") == len(gpu_serving.RUNS["vllm"])


def test_a_run_sees_as_many_gpus_as_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,6")
    with gpu_serving.seeing(2):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,5"
    assert gpu_serving.visible_gpus() == ["3", "5", "6"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    row = gpu_serving._run("vllm", "dense-tp2", Path(), 1, [], float("inf"))
    assert row[:2] == ["dense-tp2", "too few GPUs"]


def test_overhead_is_that_of_the_rounds() -> None:
    """The same round sends the same requests: each is compared with the mean of that round without nsys."""
    starts: dict[str, list[dict[str, Any]]] = {
        "no nsys": [
            {"rounds_new_tokens_per_s": [90.0, 110.0], "ttft_ms": 5, "tpot_ms": 2},
            {"rounds_new_tokens_per_s": [110.0, 290.0], "ttft_ms": 6, "tpot_ms": 2},
        ],
        "nsys": [{"rounds_new_tokens_per_s": [90.0, 190.0], "ttft_ms": 6, "tpot_ms": 3}, {}],
        "nsys and marks": [{"rounds_new_tokens_per_s": [100.0], "ttft_ms": 6, "tpot_ms": None}],
    }
    assert gpu_serving.overhead_table(starts)[2:] == [
        "| no nsys | 90, 110 / 110, 290 | 150 | 93.8 | 5.5 | 2.0 | +0.0% ± 37.6 % |",
        "| nsys | 90, 190 | 140 | 70.7 | 6.0 | 3.0 | -7.5% ± 3.5 % |",
        "| nsys and marks | 100 | 100 |  | 6.0 |  | +0.0% ±  |",
    ]
    assert gpu_serving.overhead_table({"no nsys": []})[2:] == ["| no nsys |  |  |  |  |  |  |"]


def test_overhead_starts_the_server_in_the_order_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun: list[str] = []
    monkeypatch.setattr(gpu_serving, "make_model", lambda name, folder: folder)
    monkeypatch.setattr(gpu_serving, "_serve_alone", lambda *arguments: begun.append(" ".join(arguments[3])))
    monkeypatch.setattr(gpu_captures, "_capture", lambda name, command, work: begun.append(" ".join(command)))
    monkeypatch.setattr(gpu_captures, "_versions", lambda gpus: [])
    command = ["-o", str(tmp_path), "--engine", "vllm", "--only", "overhead", "--rounds", "5", "--order"]
    assert gpu_serving.main([*command, "nsys,no nsys"]) == 0
    assert ["--profile" in line for line in begun] == [True, False]
    assert all("--rounds 5" in line for line in begun)
    with pytest.raises(SystemExit):
        gpu_serving.main([*command, "nsys,other"])
    assert "no variant called other; there are no nsys, nsys, nsys and marks" in capsys.readouterr().err


def test_only_counters_that_are_read_are_kept(tmp_path: Path) -> None:
    trace = tmp_path / "trace.sqlite"
    with contextlib.closing(sqlite3.connect(trace)) as connection:
        connection.executescript(
            """
            CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (deviceId);
            CREATE TABLE TARGET_INFO_GPU_METRICS (typeId, metricId, metricName);
            CREATE TABLE GPU_METRICS (timestamp, typeId, metricId, value);
            INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (1);
            INSERT INTO TARGET_INFO_GPU_METRICS VALUES
                (256, 1, 'Tensor Active [Throughput %]'), (257, 1, 'Tensor Active [Throughput %]'),
                (257, 2, 'SYS Clock Frequency [MHz]'), (257, 3, 'SMs Active [Throughput %]'),
                (257, 4, 'PCIe RX Throughput [Throughput %]'), (257, 5, 'NVLink TX Responses User Data [Throughput %]'),
                (257, 6, 'PCIe Read Requests to BAR1 [Requests]');
            INSERT INTO GPU_METRICS SELECT 5, typeId, metricId, 7 FROM TARGET_INFO_GPU_METRICS;
            """
        )
    gpu_captures.keep_read_counters(trace)
    with contextlib.closing(sqlite3.connect(trace)) as connection:
        kept = connection.execute("SELECT typeId, metricId FROM GPU_METRICS ORDER BY metricId").fetchall()
    assert kept == [(257, 1), (257, 3), (257, 4), (257, 5)]


def test_models_are_ones_that_llmperf_estimates() -> None:
    from nsys_pipeline.model import Model
    from nsys_pipeline.model.load import load_config

    for preset, changes in gpu_serving.MODELS.values():
        assert Model.from_config(dict(load_config(preset)[1]) | changes).params > 4e9


class Completions(BaseHTTPRequestHandler):
    """Answers as an OpenAI server does, a piece for each token."""

    seen: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append(body | {"id": self.headers["X-Request-Id"]})
        self.send_response(500 if body["model"] == "broken" else 200)
        self.end_headers()
        for index in range(body["max_tokens"]):
            self.wfile.write(f"data: {json.dumps({'choices': [{'text': str(index)}]})}\n\n".encode())
        usage = {"choices": [], "usage": {"completion_tokens": body["max_tokens"]}}
        self.wfile.write(f"data: {json.dumps(usage)}\n\ndata: [DONE]\n\n".encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    Completions.seen = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Completions) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}", Completions.seen
        listening.shutdown()
        thread.join()


def test_the_load_sends_what_it_planned(
    server: tuple[str, list[dict[str, Any]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, seen = server
    size = ["--requests", "9", "--clients", "3", "--prompt", "5", "40", "--new", "1", "4", "--warm-up", "2"]
    assert serving_load.main([url, "--model", "m", "-o", str(tmp_path / "load.json"), *size]) == 0
    found = json.loads((tmp_path / "load.json").read_text())
    assert json.loads(capsys.readouterr().out)["requests"] == 9
    plan = serving_load.planned(9, prompt=(5, 40), new=(1, 4), vocabulary=30000, seed=0)
    assert {record["id"]: (record["prompt_tokens"], record["new_tokens"]) for record in found["records"]} == {
        name: (len(tokens), new) for name, tokens, new in plan
    }
    assert len(seen) == 11
    assert all(record["sent_s"] <= record["first_s"] <= record["last_s"] for record in found["records"])
    # every third prompt that is long enough begins with the same tokens
    prefixes = {tuple(tokens[:10]) for _, tokens, _ in plan[2::3] if len(tokens) > 10}
    assert len(prefixes) == 1


def test_a_failing_server_fails_the_load(
    server: tuple[str, list[dict[str, Any]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        serving_load.main([server[0], "--model", "broken", "-o", str(tmp_path / "load.json"), "--requests", "2"]) == 1
    )
    assert "HTTPError 500" in capsys.readouterr().err
