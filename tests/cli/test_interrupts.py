"""Ctrl-C in the middle of a query."""

from __future__ import annotations

import pytest

from tests.cli.run import run


def test_ctrl_c_during_a_query_is_no_bug(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # given what DuckDB 2.0 makes of a Ctrl-C during `execute`
    def ask() -> None:
        raise RuntimeError("Query interrupted")

    monkeypatch.setattr("nsys_pipeline.cli.gpus.all_gpus", ask)
    assert run(capsys, "gpus") == (130, "", "\ninterrupted\n")
