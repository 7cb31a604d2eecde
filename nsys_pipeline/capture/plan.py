"""What to capture, and the `nsys profile` command that does it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from nsys_pipeline.errors import NsysError, UsageError
from nsys_pipeline.nsys.install import Nsys

REQUEST_RANGE = "request@llmperf"
"""The range that opens the capture with `--capture-range nvtx`, in nsys' own notation range@domain."""

RANK_PYTHON_VARIABLE = "PYTHON_EXEC"
"""Environment variable that names the Python with which torchrun starts its ranks (torch.distributed.run)."""

_GRAPH_MODES = {"node": "node", "whole": "graph"}
_CAPTURE_RANGES = {"profiler": "cudaProfilerApi", "nvtx": "nvtx"}

PYTHON_SAMPLES_PER_S = 1000
"""The most that nsys 2024.2 takes is 2000; a sample costs the sampled thread some microseconds."""


def _strings(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)


@attrs.frozen(kw_only=True)
class CapturePlan:
    """Everything that decides the nsys command line, and how the target is run.

    `command` is the target's argv, never a shell line. `environment` is added to the target's environment; values are
    never recorded. `delay_s`, `duration_s` and `timeout_s` are seconds. `metadata` goes into run.json as it is.
    `range_hint` says what to do when the capture range never opens.
    `auto` says that the environment brings markers along. With `rank_reports` nsys does not run the command: every
    Python that torchrun starts runs under an nsys of its own.
    """

    command: tuple[str, ...] = attrs.field(converter=_strings)
    name: str = "run"
    traces: tuple[str, ...] = ("cuda", "nvtx")
    cuda_graph: str = attrs.field(default="node", validator=attrs.validators.in_(_GRAPH_MODES))
    gpu_metrics: str | None = None
    gpu_metrics_frequency_hz: int | None = None
    samples_python: bool = False
    delay_s: float | None = None
    duration_s: float | None = None
    capture_range: str | None = None
    capture_range_end: str = "stop"
    nvtx_range: str = REQUEST_RANGE
    range_hint: str | None = None
    trace_forks: bool = False
    rank_reports: bool = False
    auto: bool = False
    nsys_args: tuple[str, ...] = attrs.field(default=(), converter=_strings)
    environment: Mapping[str, str] = attrs.field(factory=dict)
    keep_environment: bool = False
    timeout_s: float | None = None
    metadata: Mapping[str, Any] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        if not self.command:
            raise UsageError("there is nothing to run", hint="give a command after `--`, or a `--model`")
        if self.capture_range not in (None, *_CAPTURE_RANGES):
            raise UsageError(f"unknown capture range `{self.capture_range}`", hint="use profiler or nvtx")
        if self.capture_range and (self.delay_s or self.duration_s):
            raise UsageError("a capture range and --delay/--duration are two ways to say when to record: use one")

    def filled_in(self, run_dir: Path) -> CapturePlan:
        """Put the path of the run directory where command and environment say `{run_dir}`."""

        def fill(text: str) -> str:
            return text.replace("{run_dir}", str(run_dir))

        return attrs.evolve(
            self,
            command=tuple(fill(part) for part in self.command),
            environment={name: fill(value) for name, value in self.environment.items()},
        )

    @property
    def whole_environment(self) -> dict[str, str]:
        """What nsys and the target get beside the environment of this process."""
        # Otherwise nsys compares range names only when they are registered strings.
        own = {"NSYS_NVTX_PROFILER_REGISTER_ONLY": "0"} if self.capture_range == "nvtx" else {}
        return {**self.environment, **own}


def nsys_argv(nsys: Nsys, plan: CapturePlan, output: Path) -> list[str]:
    """Return the argv that records `plan` into `output` (without suffix).

    There is no `--` before the target: nsys 2024.2 calls it an ambiguous option. Raises NsysError when this nsys
    lacks an option that the plan needs.
    """
    argv = [str(nsys.path), "profile", f"--trace={','.join(plan.traces)}", "--sample=none", "--cpuctxsw=none"]
    if "cuda" in plan.traces:
        argv.append(f"--cuda-graph-trace={_GRAPH_MODES[plan.cuda_graph]}")
    if plan.gpu_metrics:
        argv.append(f"--{_needed(nsys, 'gpu-metrics-devices', 'gpu-metrics-device')}={plan.gpu_metrics}")
        if plan.gpu_metrics_frequency_hz:
            argv.append(f"--gpu-metrics-frequency={plan.gpu_metrics_frequency_hz}")
    if plan.samples_python:
        argv.append(f"--{_needed(nsys, 'python-sampling')}=true")
        argv.append(f"--python-sampling-frequency={PYTHON_SAMPLES_PER_S}")
    if plan.delay_s:
        argv.append(f"--delay={_seconds(plan.delay_s)}")
    if plan.duration_s:
        argv.append(f"--duration={_seconds(plan.duration_s)}")
    if plan.capture_range:
        argv.append(f"--capture-range={_CAPTURE_RANGES[plan.capture_range]}")
        argv.append(f"--capture-range-end={plan.capture_range_end}")
        if plan.capture_range == "nvtx":
            argv.append(f"--nvtx-capture={plan.nvtx_range}")
    if plan.trace_forks:
        argv.append(f"--{_needed(nsys, 'trace-fork-before-exec')}=true")
    if not plan.keep_environment and "discard-environment" in nsys.profile_flags:
        argv.append("--discard-environment=true")
    return [*argv, f"--output={output}", *plan.nsys_args, *plan.command]


def discards_environment(nsys: Nsys, plan: CapturePlan) -> bool:
    """Whether the report itself, and not only the exported trace, is free of the environment."""
    return not plan.keep_environment and "discard-environment" in nsys.profile_flags


def _needed(nsys: Nsys, *names: str) -> str:
    for name in names:
        if name in nsys.profile_flags:
            return name
    raise NsysError(
        f"Nsight Systems {nsys.version_short} has no option `--{names[0]}`", hint="install a newer Nsight Systems"
    )


def _seconds(value: float) -> str:
    return f"{value:g}"
