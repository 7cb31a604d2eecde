"""What a capture of llmperf wrote beside a trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RUN_NAME = "run.json"


def run_path(trace: Path) -> Path:
    """Where run.json of the trace, or of the run directory, `trace` would be."""
    return (trace if trace.is_dir() else trace.parent) / RUN_NAME


def report_path(trace: Path) -> Path:
    """Where the report of nsys would be that `trace` was exported from."""
    return trace.parent / f"{trace.stem}.nsys-rep"


def read_run(trace: Path) -> dict[str, Any]:
    """What run.json says of the trace, or of the run directory, `trace`; empty if there is none that can be read."""
    try:
        run = json.loads(run_path(trace).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return run if isinstance(run, dict) else {}
