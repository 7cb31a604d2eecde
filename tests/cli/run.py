"""Run `llmperf` in this process."""

from __future__ import annotations

import pytest

from nsys_pipeline.cli.app import app


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        app([str(argument) for argument in argv], prog_name="llmperf")
    code = stop.value.code or 0
    assert isinstance(code, int)
    output = capsys.readouterr()
    return code, output.out, output.err
