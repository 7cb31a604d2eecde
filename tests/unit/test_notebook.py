"""The notebook of docs/ runs, and shows what its cells give."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_notebook_runs_and_is_fresh(tmp_path: Path) -> None:
    """`just notebook` stores the outputs."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "run_notebook.py"), str(ROOT / "docs" / "tour.ipynb")],
        env={**os.environ, "LLMPERF_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
