"""What `--dry-run` prints, pasted into a shell, is what a capture runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.run import run
from tests.e2e.conftest import TINY_LLAMA
from tests.unit.capture.fake_nsys import fake_nsys

_NAMES = "PYTHONPATH PYTHON_EXEC VLLM_WORKER_MULTIPROC_METHOD NSYS_NVTX_PROFILER_REGISTER_ONLY"
_SPY = f"""#!{sys.executable}
import json, os, sys
environment = {{name: os.environ.get(name) for name in {_NAMES!r}.split()}}
files = {{}}
for path in [*sys.argv[1:], os.environ.get("PYTHON_EXEC", "")]:
    if os.path.isfile(path) and path.endswith((".json", "rank-python")):
        files[os.path.basename(path)] = open(path).read()
with open("seen.json", "w") as out:
    json.dump({{"argv": sys.argv[1:], "environment": environment, "files": files}}, out)
"""


@pytest.fixture
def spy(tmp_path: Path) -> Path:
    """A program that notes how it was started."""
    path = tmp_path / "python3"
    path.write_text(_SPY)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        ["--auto", "--", "{spy}", "an argument", "*"],
        ["--profile", "vllm-serve", "--", "{spy}", "serve"],
        ["--capture-range", "nvtx", "--", "{spy}"],
        ["--auto", "--rank-reports", "--", "{spy}", "script.py"],
    ],
)
def test_a_command(
    arguments: list[str], spy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("PYTHONPATH", "the users own")
    monkeypatch.setenv("PYTHON_EXEC", str(spy))
    _compare(_passing_on(tmp_path), [part.format(spy=spy) for part in arguments], tmp_path, monkeypatch, capsys)


def test_the_builtin_workload(spy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(sys, "executable", str(spy))
    monkeypatch.setattr("nsys_pipeline.cli.capture._need_workload_packages", lambda: None)
    (tmp_path / "tiny.json").write_text(json.dumps(TINY_LLAMA))
    seen = _compare(_passing_on(tmp_path), ["--model", "tiny.json"], tmp_path, monkeypatch, capsys)
    assert json.loads(seen["files"]["config.json"]) == TINY_LLAMA


def _passing_on(tmp_path: Path) -> Path:
    """An nsys that only starts the target: what follows `--output`."""
    nsys = fake_nsys(tmp_path / "bin")
    run_target = 'while [ "${1#--output=}" = "$1" ]; do shift; done; shift; "$@"\n'
    nsys.write_text(nsys.read_text().removesuffix("exit 0\n") + run_target)
    return nsys


def _compare(nsys: Path, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Any:
    monkeypatch.chdir(tmp_path)
    seen = tmp_path / "seen.json"
    common = ["capture", "--nsys", nsys, "--no-preflight", "--no-analyze"]
    code, script, err = run(capsys, *common, "--dry-run", "-o", "a dry run's", *arguments)
    assert (code, err, seen.exists()) == (0, "", False)
    subprocess.run(["/bin/sh", "-c", script], check=True)
    pasted = seen.read_text()
    seen.unlink()

    run(capsys, *common, "-o", "a dry run's", "--force", *arguments)
    captured = seen.read_text().replace("/.partial/", "/")
    assert json.loads(pasted) == json.loads(captured)
    return json.loads(pasted)
