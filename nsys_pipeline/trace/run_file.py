"""What a capture of llmperf wrote beside a trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RUN_NAME = "run.json"


def read_run(trace: Path) -> dict[str, Any]:
    """What run.json says of the trace, or of the run directory, `trace`; empty if there is none that can be read."""
    folder = trace if trace.is_dir() else trace.parent
    try:
        run = json.loads((folder / RUN_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return run if isinstance(run, dict) else {}
