"""Run each rank of a launcher under an nsys of its own."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import attrs

from nsys_pipeline.capture.plan import RANK_PYTHON_VARIABLE, CapturePlan, nsys_argv
from nsys_pipeline.capture.preflight import target_python
from nsys_pipeline.capture.rundir import REPORT_STEM
from nsys_pipeline.errors import UsageError
from nsys_pipeline.nsys.install import Nsys

RANK_PYTHON = "rank-python"
"""Name of the script with which torchrun starts its ranks."""

_STARTED = f"{RANK_PYTHON}-started"


def around_ranks(plan: CapturePlan, nsys: Nsys, directory: Path) -> tuple[CapturePlan, list[str]]:
    """Have the launcher start each rank by the script RANK_PYTHON in `directory`; the plan that does, a rank's argv."""
    python = os.environ.get(RANK_PYTHON_VARIABLE) or target_python(plan.command)
    if python is None:
        raise UsageError(
            f"`--rank-reports` cannot tell which Python `{plan.command[0]}` starts",
            hint=f"name it: {RANK_PYTHON_VARIABLE}=/path/to/python llmperf capture …",
        )
    place = directory.resolve()
    argv = rank_argv(nsys, plan, place / REPORT_STEM, python)
    return attrs.evolve(plan, environment={**plan.environment, RANK_PYTHON_VARIABLE: str(place / RANK_PYTHON)}), argv


def rank_argv(nsys: Nsys, plan: CapturePlan, output: Path, python: str) -> list[str]:
    """Return the argv under which one rank's `python` runs, with a report for each rank beside `output`.

    A rank that is started again replaces its report.
    """
    ranked = output.with_name(f"{output.name}-rank%q{{RANK}}")
    nsys_args = (*plan.nsys_args, "--force-overwrite=true")
    return nsys_argv(nsys, attrs.evolve(plan, command=(python,), nsys_args=nsys_args), ranked)


def rank_wrapper(argv: Sequence[str]) -> str:
    """Return a shell script that runs a rank under `argv`.

    torchrun, and whatever is built on it, starts its ranks with the program that RANK_PYTHON_VARIABLE names. A file
    beside the script tells which were.
    """
    lines = [
        "#!/bin/sh",
        f"unset {RANK_PYTHON_VARIABLE}",
        f'echo "$RANK" >> "${{0%/*}}/{_STARTED}"',
        f'exec {shlex.join(argv)} "$@"',
    ]
    return "\n".join([*lines, ""])


def started_ranks(directory: Path) -> Counter[str]:
    """Return how often the launcher started each rank by the script RANK_PYTHON in `directory`."""
    started = directory / _STARTED
    return Counter(started.read_text().splitlines() if started.exists() else ())


def forget_starts(directory: Path) -> None:
    """Count from 0 again."""
    (directory / _STARTED).unlink(missing_ok=True)
