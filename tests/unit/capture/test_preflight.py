"""The nvtx package of the target, found out before a long run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from nsys_pipeline.capture.preflight import check_command, check_nvtx, imports_nvtx, target_python
from nsys_pipeline.errors import NsysError
from nsys_pipeline.nsys import Nsys
from tests.unit.capture.fake_nsys import fake_nsys


def python_with_nvtx(directory: Path, version: str | None) -> Path:
    """An interpreter that says it has this version of nvtx."""
    path = directory / "python3"
    path.write_text(f"#!/bin/sh\n{f'echo {version}' if version else 'exit 1'}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def nsys(tmp_path: Path) -> Nsys:
    return Nsys.probe(fake_nsys(tmp_path / "bin"))


def test_old_package_needs_no_probe(nsys: Nsys, tmp_path: Path) -> None:
    pair = check_nvtx(nsys, str(python_with_nvtx(tmp_path, "0.2.11")), cache=tmp_path / "cache.json")
    assert pair is not None
    assert pair.works is True
    assert not (tmp_path / "cache.json").exists()


def test_no_package(nsys: Nsys, tmp_path: Path) -> None:
    assert check_nvtx(nsys, str(python_with_nvtx(tmp_path, None)), cache=tmp_path / "cache.json") is None


def test_the_answer_is_kept_for_each_pair(nsys: Nsys, tmp_path: Path) -> None:
    cache = tmp_path / "cache.json"
    cache.write_text(json.dumps({f"{nsys.version_text} 0.2.16": False}))
    pair = check_nvtx(nsys, str(python_with_nvtx(tmp_path, "0.2.16")), cache=cache)
    assert pair is not None
    assert pair.works is False
    # this nsys makes no report, so of another version nothing is known, and nothing is kept
    unknown = check_nvtx(nsys, str(python_with_nvtx(tmp_path, "0.2.17")), cache=cache)
    assert unknown is not None
    assert unknown.works is None
    assert list(json.loads(cache.read_text())) == [f"{nsys.version_text} 0.2.16"]


def test_a_script_that_imports_it_is_stopped(nsys: Nsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "llmperf").mkdir()
    (tmp_path / "llmperf" / "nvtx-pairs.json").write_text(json.dumps({f"{nsys.version_text} 0.2.16": False}))
    python = str(python_with_nvtx(tmp_path, "0.2.16"))
    uses, does_not = tmp_path / "uses.py", tmp_path / "does_not.py"
    uses.write_text("import os\nfrom nvtx import annotate\n")
    does_not.write_text("# import nvtx would be lost\n")
    with pytest.raises(NsysError, match=r"nvtx 0.2.16 of .* loses every range") as caught:
        check_command(nsys, (python, str(uses)))
    assert caught.value.hint is not None
    assert "pip install nvtx==0.2.11" in caught.value.hint
    warning = check_command(nsys, (python, str(does_not)))
    assert warning is not None
    assert "loses every range" in warning
    assert check_command(nsys, ("ls",)) is None


def test_interpreter_of_a_command(tmp_path: Path) -> None:
    script = tmp_path / "tool"
    script.write_text(f"#!{sys.executable} -s\n")
    script.chmod(0o755)
    assert target_python((sys.executable, "x.py")) == sys.executable
    assert target_python((str(script),)) == sys.executable
    assert target_python(("ls",)) is None
    assert target_python(("/no/such/thing",)) is None


def test_imports(tmp_path: Path) -> None:
    script = tmp_path / "a.py"
    script.write_text("def f():\n    import nvtx\n")
    assert imports_nvtx(("python", "-u", str(script)))
    assert not imports_nvtx(("python", "-m", "package"))
    assert not imports_nvtx(("python", "missing.py"))
