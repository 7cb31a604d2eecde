"""What CI installs is what pyproject.toml promises, and its tools are the same wherever they run."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def oldest(*extras: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "scripts" / "oldest_requirements.py", *extras]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "extras", [[], ["workload"], ["workload", "test"], *([extra] for extra in PROJECT["optional-dependencies"])]
)
def test_each_requirement_has_an_oldest_version(extras: list[str]) -> None:
    done = oldest(*extras)
    assert (done.returncode, done.stderr) == (0, "")
    wanted = [*PROJECT["dependencies"], *(one for extra in extras for one in PROJECT["optional-dependencies"][extra])]
    names = {re.split(r"[>=<\[ ]", one, maxsplit=1)[0] for one in wanted} - {PROJECT["name"]}
    pins = dict(line.split("==") for line in done.stdout.split())
    assert set(pins) == names
    assert all(f"{name}>={version}" in " ".join(wanted) for name, version in pins.items())
