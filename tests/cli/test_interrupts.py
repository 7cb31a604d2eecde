"""Ctrl-C in the middle of a query."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from tests.cli.run import run

_ENDLESS = "SELECT sum(a.range * b.range) FROM range(1000000) AS a, range(10000000) AS b"


def test_ctrl_c_during_a_query_is_no_bug(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # given a Ctrl-C during a query of the analysis, which DuckDB turns into an error of another name
    def ask(*_: object, **__: object) -> None:
        import duckdb

        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        duckdb.connect().execute(_ENDLESS)

    monkeypatch.setattr("nsys_pipeline.cli.gpus.all_gpus", ask)
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert run(capsys, "gpus") == (130, "", "\ninterrupted\n")
    finally:
        signal.signal(signal.SIGINT, previous)
