"""The same workload without a profiler: what shows how much slower tracing made it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from nsys_pipeline.capture.plan import CapturePlan
from nsys_pipeline.capture.rundir import RUN_NAME, json_text
from nsys_pipeline.errors import UsageError

BASELINE_NAME = "baseline.json"
BASELINE_LOG_NAME = "baseline.log"
#: What the workload measures of each shape → what it is called in a report.
_TIMES = {"ttft_s": "prefill", "tpot_s": "decode", "total_s": "request"}


def run_alone(plan: CapturePlan, run_dir: Path, result_name: str) -> None:
    """Run the built-in workload of `plan` without a profiler, and add the times of both runs to run.json of `run_dir`.

    The traced run has left its times there as `result_name`. Raises UsageError if the workload fails.
    """
    plan = plan.filled_in(run_dir)
    result = run_dir / BASELINE_NAME
    argv = [word.replace(str(run_dir / result_name), str(result)) for word in plan.command]
    environment = dict(os.environ) | dict(plan.whole_environment)
    log = run_dir / BASELINE_LOG_NAME
    with log.open("wb") as stream:
        process = subprocess.Popen(
            argv, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True
        )
        try:
            status = process.wait(plan.timeout_s)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            status = None
    if status != 0:
        how = f"took longer than {plan.timeout_s:g} s" if status is None else f"ended with {status}"
        raise UsageError(f"the workload without a profiler {how}", hint=f"see `{log}`; the traced run is whole")
    add_times(run_dir, compared(_read(run_dir / result_name), _read(result)))


def add_seconds(run_dir: Path, seconds: float) -> None:
    """Add to run.json of `run_dir` how long its command takes without a profiler, from its start to its end."""
    add_times(run_dir, [{"phase": None, "shape": None, "traced_s": None, "untraced_s": seconds}])


def compared(traced: dict[str, Any], untraced: dict[str, Any]) -> list[dict[str, Any]]:
    """Mean seconds of a prefill, a decode step and a request of each shape, traced and not."""
    others = {shape["shape"]: shape for shape in untraced["shapes"]}
    rows = []
    for shape in traced["shapes"]:
        other = others.get(shape["shape"], {})
        for name, phase in _TIMES.items():
            ours, theirs = (found.get(name) or {} for found in (shape, other))
            if ours.get("mean") and theirs.get("mean"):
                row = {"phase": phase, "shape": shape["shape"], "traced_s": ours["mean"], "untraced_s": theirs["mean"]}
                rows.append(row)
    return rows


def add_times(run_dir: Path, rows: list[dict[str, Any]]) -> None:
    """Put `rows` into run.json as `baseline`."""
    path = run_dir / RUN_NAME
    partial = path.with_name(f".partial-{path.name}")
    partial.write_text(json_text(_read(path) | {"baseline": rows}), encoding="utf-8")
    partial.replace(path)


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
