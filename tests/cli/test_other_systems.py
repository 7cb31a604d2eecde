"""People carry traces to laptops: everything but `capture` works without what Linux alone has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.real_traces import TRACES

ROOT = Path(__file__).resolve().parents[2]
TRACE = TRACES / "h100_llama_nsys2024.2.sqlite.xz"


def elsewhere(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", "-m", "tests.support.elsewhere", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(cwd / "cache")} | environment,
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize(
    "command",
    [
        ("analyze", TRACE, "--", "analyze", TRACE, "-o", "r.html", "--format", "html"),
        ("analyze", TRACE, "--format", "json", "--no-cache"),
        ("sql", TRACE, "from phases", "--memory-limit", "1GB", "--", "export", TRACE, "--to", "parquet", "-o", "out"),
        ("flops", "llama-3.2-1b", "--prompt-tokens", "9", "--", "gpus", "--", "schema", "phases", "--", "cache"),
        ("diff", TRACE, TRACE, "--", "runs", "."),
    ],
    ids=lambda command: command[0],
)
def test_without_what_linux_alone_has(tmp_path: Path, command: tuple[str | Path, ...]) -> None:
    done = elsewhere(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout


def test_a_terminal_whose_encoding_lacks_characters(tmp_path: Path) -> None:
    # as a pipe of Windows has it
    done = elsewhere("demo", cwd=tmp_path, PYTHONIOENCODING="cp1252", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert b"prefill" in done.stdout


def test_the_doctor_says_what_is_missing(tmp_path: Path) -> None:
    done = elsewhere("doctor", cwd=tmp_path)
    assert done.returncode in (0, 1, 3), done.stderr.decode()
    assert b"bug" not in done.stderr


def test_what_is_hidden_is_missed(tmp_path: Path) -> None:
    """The test itself: a call that only Linux has would be found."""
    program = "from tests.support.elsewhere import hide; hide(); {}"
    for call in ("import fcntl", "import os; os.sched_getaffinity(0)", "open('/proc/self/status', encoding='utf-8')"):
        done = subprocess.run(
            [sys.executable, "-c", program.format(call)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1, call
