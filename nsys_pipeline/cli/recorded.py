"""The workload that a capture of llmperf ran, as it can be run once more under another profiler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from nsys_pipeline.cli.capture_plan import TEXT_MODULE, VLM_MODULE, import_path
from nsys_pipeline.errors import UsageError
from nsys_pipeline.trace.run_file import read_run


@attrs.frozen
class Workload:
    """Argv, and what its environment needs beside the shell's own: without it, its ranges would be missing."""

    command: tuple[str, ...]
    environment: dict[str, str]

    @classmethod
    def of(cls, trace: Path, told: list[str] | None) -> Workload:
        """What ran when `trace` was captured; with the command that the user `told`, if any.

        Raises UsageError if neither says what to run.
        """
        recorded = read_run(trace).get("plan")
        plan: dict[str, Any] = recorded if isinstance(recorded, dict) else {}
        command = told or plan.get("command")
        if not isinstance(command, list) or not command or not all(isinstance(part, str) for part in command):
            raise UsageError(
                f"nobody recorded which workload `{trace}` is of",
                hint="give it: `llmperf ncu TRACE -- python script.py`",
            )
        is_built_in = any(part in (TEXT_MODULE, VLM_MODULE) for part in command)
        environment = import_path(auto=plan.get("auto") is True) if is_built_in or plan.get("auto") is True else {}
        return cls(tuple(_without_result(command) if is_built_in else command), environment)


def _without_result(command: list[str]) -> list[str]:
    """The built-in workload without the file of its times: those that were captured stay."""
    if "--result" not in command:
        return command
    at = command.index("--result")
    return [*command[:at], *command[at + 2 :]]
