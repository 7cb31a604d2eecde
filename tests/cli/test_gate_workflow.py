"""docs/examples/llmperf-gate.yml, step by step: what it captures and downloads is there, `gh` keeps its comment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.cli.test_diff import write_steps

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = (ROOT / "docs" / "examples" / "llmperf-gate.yml").read_text(encoding="utf-8")
SCRIPTS = {
    name: textwrap.dedent(script)
    for name, script in re.findall(
        r"      - name: (\w+)\n(?:        .*\n)*?        run: \|\n((?:          .*\n)+)", WORKFLOW
    )
}


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A folder with a base, rules, and the programs that the workflow calls."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, script in {
        "llmperf": f'exec "{sys.executable}" -m nsys_pipeline "$@"',
        "gh": 'echo "$@" > gh.txt; while [ "$1" != --body-file ]; do shift; done; cp "$2" posted.md',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    write_steps(tmp_path / "base.sqlite.xz")
    (tmp_path / ".github").mkdir()
    (tmp_path / ".github" / "llmperf.rules").write_text("decode.step_busy > +5%\n")
    return tmp_path


def run(job: Path, step: str) -> int:
    environment = {
        **os.environ,
        "PATH": f"{job / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "LLMPERF_CACHE_DIR": str(job / "cache"),
        "PULL_REQUEST": "7",
    }
    # As GitHub runs a step.
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", SCRIPTS[step]]
    return subprocess.run(command, cwd=job, env=environment, check=False).returncode


def test_a_slower_step_stops_the_pull_request_and_is_named_in_the_comment(job: Path) -> None:
    write_steps(job / "new", slower=1.5, seed=2)

    assert run(job, "Gate") == 1
    assert run(job, "Comment") == 0

    posted = (job / "posted.md").read_text()
    assert "flash_fwd_kernel" in posted
    assert "error: 1 of 1 rules broken\n  decode.step_busy > +5%: decode.step_busy went from " in posted
    assert (job / "gh.txt").read_text().startswith("pr comment 7 ")


def test_an_equal_run_passes(job: Path) -> None:
    write_steps(job / "new", seed=2)

    assert run(job, "Gate") == 0
    assert run(job, "Comment") == 0
    posted = (job / "posted.md").read_text()
    assert "nothing changed by more than its noise" in posted
    assert "```text" not in posted


def test_a_missing_base_is_no_success(job: Path) -> None:
    write_steps(job / "new", seed=2)
    (job / "base.sqlite.xz").unlink()

    assert run(job, "Gate") != 0
    assert run(job, "Comment") == 0
    assert "does not exist" in (job / "posted.md").read_text()


def test_every_step_of_the_workflow_is_known() -> None:
    assert list(SCRIPTS) == ["Capture", "Base", "Gate", "Comment"]
