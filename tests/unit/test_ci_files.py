"""What CI installs is what pyproject.toml promises, and its tools are the same wherever they run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def oldest(*extras: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "oldest_requirements.py"), *extras]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "extras", [[], ["workload"], ["workload", "test"], *([extra] for extra in PROJECT["optional-dependencies"])]
)
def test_each_requirement_has_an_oldest_version(extras: list[str]) -> None:
    done = oldest(*extras)
    assert (done.returncode, done.stderr) == (0, "")
    wanted = [*PROJECT["dependencies"], *(one for extra in extras for one in PROJECT["optional-dependencies"][extra])]
    names = {re.split(r"[>=< ]", one, maxsplit=1)[0] for one in wanted if not one.startswith(PROJECT["name"])}
    pins = dict(line.split("==") for line in done.stdout.split())
    assert set(pins) == names
    assert all(f"{name}>={version}" in " ".join(wanted) for name, version in pins.items())


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def test_hosted_ci_runs_each_python_that_is_promised_and_scripts_that_are_there() -> None:
    workflow = text(".github/workflows/ci.yml")
    promised = [one.rpartition(" ")[2] for one in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", one)]
    quoted = ", ".join(f'"{version}"' for version in promised)
    assert f"python: [{quoted}]" in workflow
    assert "dependencies: [newest, oldest]" in workflow
    assert {"macos-latest", "windows-latest"} <= set(re.findall(r"os: (\S+?),", workflow))
    scripts = re.findall(r"- run: (\S+)", workflow)
    assert scripts == [".ci/portable", ".ci/run"]
    assert all(os.access(ROOT / script, os.X_OK) for script in scripts)


def test_what_runs_on_other_systems_is_there() -> None:
    listed = re.search(r"^everywhere=\(\n(.*?)^\)", text(".ci/portable"), re.MULTILINE | re.DOTALL)
    assert listed
    assert [path for path in listed[1].split() if not (ROOT / path).exists()] == []


def test_a_commit_is_checked_as_lint_checks() -> None:
    recipe = re.search(r"^lint:\n((?:    .*\n)+)", text("justfile"), re.MULTILINE)
    assert recipe
    hooks = re.findall(r"entry: (.+?)(?:, language|\n)", text(".pre-commit-config.yaml"))
    assert {line.strip() for line in recipe[1].splitlines()} <= set(hooks)


def test_the_pinned_tools_are_those_that_dev_allows() -> None:
    pinned = dict(line.split("==") for line in text(".ci/tools.txt").splitlines() if not line.startswith("#"))
    allowed = dict(one.split(">=") for one in PROJECT["optional-dependencies"]["dev"] if ">=" in one)
    assert pinned.keys() == allowed.keys()
    assert all(version_of(pinned[name]) >= version_of(least) for name, least in allowed.items())


def version_of(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def test_end_to_end_tests_lie_where_ci_looks_for_them() -> None:
    assert " -m e2e tests/e2e " in text(".ci/run")
    mark = "mark." + "e2e"
    marked = [path for path in (ROOT / "tests").rglob("*.py") if mark in path.read_text(encoding="utf-8")]
    assert marked
    assert {path.parent for path in marked} == {ROOT / "tests" / "e2e"}
