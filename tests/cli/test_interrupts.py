"""Ctrl-C in the middle of a query."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_PROGRAM = """
import os, signal, threading
import duckdb
from nsys_pipeline.cli import gpus, main

def ask():
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    duckdb.connect().execute("SELECT sum(a.range * b.range) FROM range(1000000) AS a, range(10000000) AS b")

signal.signal(signal.SIGINT, signal.default_int_handler)
gpus.all_gpus = ask
main()
"""


def test_ctrl_c_during_a_query_is_no_bug() -> None:
    # given a Ctrl-C during a query of the analysis, which DuckDB turns into an error of another name
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, "gpus"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\ninterrupted\n")
