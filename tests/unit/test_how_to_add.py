"""What "How to add" in CONTRIBUTING.md shows, done in a copy of the project: a file or a row each, and it works."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.trace_builder import TraceBuilder
from tests.unit.capture.fake_nsys import fake_nsys

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text().partition("## How to add")[2]
# "A view, `sql/views/host_calls.sql`:" or "A GPU, in `…`:", and the code below it
EXAMPLES = {
    kind: (file, text)
    for kind, file, text in re.findall(r"^An? ([\w ]+), (?:in )?`([^`]+)`:\n\n```\w+\n(.*?)^```$", GUIDE, re.S | re.M)
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with every example in it, and a trace for them."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("nsys_pipeline", "sql"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file, text in EXAMPLES.values():
        path = folder / file
        if path.suffix == ".sql":
            assert not path.exists()
        path.write_text(f"{path.read_text()}\n{text}" if path.exists() else text)
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    main.push(0, 100, "ours: token 7").launch(10, gpu=(20, 30)).launch(40, gpu=(50, 60))
    trace.write(folder / "trace.sqlite")
    return folder


def llmperf(project: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "nsys_pipeline", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=project,
        env={"PYTHONPATH": str(project), "PATH": "/usr/bin:/bin", "XDG_CACHE_HOME": str(project), "HOME": str(project)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_is_an_example_of_each() -> None:
    kinds = {"view", "finding", "recipe", "GPU", "family", "range rule", "server"}
    assert EXAMPLES.keys() == kinds
    listed = set(re.findall(r"^\| an? (?:model )?([\w ]+) \|", GUIDE, re.M))
    assert listed >= kinds


def test_a_view(project: Path) -> None:
    assert re.search(r"calls\n\d+,2\n", llmperf(project, "sql", "trace.sqlite", "from host_calls", "--format", "csv"))
    assert "host_calls" in llmperf(project, "schema")


def test_a_finding(project: Path) -> None:
    found = json.loads(llmperf(project, "analyze", "trace.sqlite", "--format", "json"))
    assert "2 calls on one thread" in [each["message"] for each in found["findings"] if each["code"] == "many_calls"]


def test_a_recipe(project: Path) -> None:
    assert "cudaLaunchKernel" in llmperf(project, "sql", "trace.sqlite", "--recipe", "calls_by_name")


def test_a_gpu(project: Path) -> None:
    assert "bf16" in llmperf(project, "gpus", "X1")


def test_a_family(project: Path) -> None:
    sizes = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_attention_heads": 4,
        "num_hidden_layers": 1,
        "vocab_size": 8,
    }
    (project / "config.json").write_text(json.dumps({"model_type": "newllama", **sizes}))
    found = json.loads(llmperf(project, "flops", "config.json", "--prompt-tokens", "4", "--format", "json"))
    # table and head; Q, K, V and O; an MLP of two matrices; norms of the layer, of Q and K, and the last
    assert found["params"] == 2 * 8 * 64 + 4 * 64 * 64 + 2 * 64 * 96 + 2 * 64 + 2 * 16 + 64


def test_a_range_rule(project: Path) -> None:
    found = llmperf(
        project, "sql", "trace.sqlite", "SELECT phase, count(*) AS n FROM phases GROUP BY 1", "--format", "csv"
    )
    assert "decode,1" in found


def test_a_server(project: Path) -> None:
    nsys = fake_nsys(project / "bin")
    found = llmperf(project, "capture", "--dry-run", "--nsys", str(nsys), "--profile", "our-serve", "--", "serve")
    assert "OUR_NVTX=1" in found
