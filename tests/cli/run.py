"""Run `llmperf` in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline.cli.app import app
from tests.support.kineto import KinetoTrace
from tests.support.trace_builder import TraceBuilder

MS = 1_000_000


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        app([str(argument) for argument in argv], prog_name="llmperf")
    code = stop.value.code or 0
    assert isinstance(code, int)
    output = capsys.readouterr()
    return code, output.out, output.err


class Cli:
    """llmperf on one input at a time."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys

    def flops(self, model: str | dict[str, Any], *options: object) -> dict[str, Any]:
        """What `flops` prints of a preset or a config."""
        if isinstance(model, dict):
            path = self.folder / "config.json"
            path.write_text(json.dumps(model))
            model = str(path)
        code, out, err = run(self.capsys, "flops", model, *options, "--format", "json")
        assert (code, err) == (0, ""), err
        printed: dict[str, Any] = json.loads(out)
        return printed

    def prefill(self, model: str | dict[str, Any], *options: object) -> int:
        """FLOPs of a prefill."""
        return int(self.flops(model, *options)["prefill"]["flops"])

    def write(self, trace: TraceBuilder | KinetoTrace) -> Path:
        path = self.folder / ("trace.json" if isinstance(trace, KinetoTrace) else "trace.sqlite")
        path.unlink(missing_ok=True)
        return trace.write(path)

    def analyze(self, trace: TraceBuilder | KinetoTrace, *options: object, code: int = 0) -> dict[str, Any]:
        path = self.write(trace)
        status, out, err = run(self.capsys, "analyze", path, "--format", "json", "--no-cache", *options)
        assert status == code, err
        report: dict[str, Any] = json.loads(out)
        return report

    def families(self, names: list[str]) -> list[dict[str, Any]]:
        """Families of kernels of these names, and how many of them each has."""
        trace = TraceBuilder().gpu()
        main = trace.process().thread().push(0, 50 * MS, "forward")
        for number, name in enumerate(names):
            main.launch(number * MS, gpu=((number + 1) * MS, (number + 2) * MS), name=name)
        rows, _ = self.sql(trace, "SELECT family, count(*) AS n FROM kernels GROUP BY family")
        return rows

    def sql(self, trace: TraceBuilder | KinetoTrace, query: str, *options: object) -> tuple[list[dict[str, Any]], str]:
        """The rows, and what stderr says of them."""
        path = self.write(trace)
        code, out, err = run(self.capsys, "sql", "--no-cache", path, query, "--format", "json", *options)
        assert code == 0, err
        return [json.loads(line) for line in out.splitlines()], err
