"""Find nsys, run a workload under it, and leave a run directory whose trace opens and holds what was asked for."""

from nsys_pipeline.capture.dry_run import command_lines, shell_line
from nsys_pipeline.capture.findings import Finding, TraceContents, inspect_trace
from nsys_pipeline.capture.plan import REQUEST_RANGE, CapturePlan, nsys_argv
from nsys_pipeline.capture.run import CaptureResult, capture
from nsys_pipeline.capture.rundir import run_path
from nsys_pipeline.capture.session import Observer
from nsys_pipeline.capture.torch_profiler import capture_with_torch

__all__ = [
    "REQUEST_RANGE",
    "CapturePlan",
    "CaptureResult",
    "Finding",
    "Observer",
    "TraceContents",
    "capture",
    "capture_with_torch",
    "command_lines",
    "inspect_trace",
    "nsys_argv",
    "run_path",
    "shell_line",
]
