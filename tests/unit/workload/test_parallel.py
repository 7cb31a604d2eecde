"""Ranks of the built-in workload, as torchrun starts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

ROOT = Path(__file__).resolve().parents[3]
LLAMA = {
    "model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
    "num_attention_heads": 2, "vocab_size": 64,
}  # fmt: skip
# Linux names the threads of a process in /proc.
PROGRAM = """
import pathlib, sys
from nsys_pipeline.workload.main import main
status = main()
names = [path.read_text().strip() for path in pathlib.Path("/proc/self/task").glob("*/comm")]
left = [name for name in names if "gloo" in name]
sys.exit(f"left: {left}" if left else status)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_thread_of_the_process_group_outlives_it(tmp_path: Path) -> None:
    """One that does aborts the rank, one time in twenty, when it meets an interpreter that is being shut down."""
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "program.py").write_text(PROGRAM)
    options = ("--model", "config.json", "--parallel", "tensor", "--shape", "1x4+2", "--repeats", "1", "--warmup", "0")
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    code, err = launched([*launcher, "program.py", *options], tmp_path)
    assert code == 0, err


def launched(command: Sequence[str], folder: Path) -> tuple[int, str]:
    """Exit code and stderr. Now and then two ranks of torch 2.6 wait for each other without an end: tried again."""
    for _ in range(3):
        with subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            # With its ranks it is a group, which is killed as one.
            start_new_session=True,
        ) as process:
            try:
                _, err = process.communicate(timeout=100)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                return process.returncode, err
    pytest.fail("in three runs, the ranks did not find each other")
