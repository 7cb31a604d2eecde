"""What a capture would run, as lines for a shell."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nsys_pipeline.capture.plan import CapturePlan, nsys_argv
from nsys_pipeline.capture.ranks import RANK_PYTHON, around_ranks, rank_wrapper
from nsys_pipeline.capture.rundir import REPORT_STEM, TORCH_TRACE_NAME, json_text
from nsys_pipeline.capture.torch_profiler import recording_itself
from nsys_pipeline.nsys.install import Nsys

_END = "END_OF_FILE"


def command_lines(
    nsys: Nsys | None, plan: CapturePlan, directory: Path, files: Mapping[str, Any] | None = None
) -> list[str]:
    """Return what `capture` would run into `directory`, as lines that a POSIX shell runs to the same effect.

    They make the directory and `files`, and start nsys, the command itself if torch.profiler records (`nsys` is None),
    or the launcher of ranks, with the environment that is added to the shell's own. Raises UsageError for a launcher
    of ranks whose Python nobody knows.
    """
    plan = plan.filled_in(directory)
    lines = [f"mkdir -p -- {shlex.quote(str(directory))}"]
    for name, content in (files or {}).items():
        lines += _file(directory / name, json_text(content))
    if nsys is None:
        plan = recording_itself(plan, directory / TORCH_TRACE_NAME)
    argv = list(plan.command) if nsys is None else nsys_argv(nsys, plan, directory / REPORT_STEM)
    if plan.rank_reports and nsys is not None:
        plan, of_a_rank = around_ranks(plan, nsys, directory)
        argv = list(plan.command)
        wrapper = directory / RANK_PYTHON
        lines += [*_file(wrapper, rank_wrapper(of_a_rank)), f"chmod +x -- {shlex.quote(str(wrapper))}"]
    return [*lines, shell_line(argv, plan.whole_environment)]


def shell_line(argv: Sequence[str], environment: Mapping[str, str]) -> str:
    """`argv` as a POSIX shell runs it, with `environment` added to the shell's own."""
    assignments = [f"{name}={shlex.quote(value)}" for name, value in environment.items()]
    return " ".join([*assignments, shlex.join(argv)])


def _file(path: Path, text: str) -> list[str]:
    return [f"cat > {shlex.quote(str(path))} <<'{_END}'", *text.splitlines(), _END]
