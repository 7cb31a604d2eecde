"""Find nsys, run a workload under it, and leave a run directory whose trace opens and holds what was asked for."""

from nsys_pipeline.capture.dry_run import command_lines
from nsys_pipeline.capture.export import check_readable, export_parquet, export_sqlite, report_version
from nsys_pipeline.capture.findings import Finding, TraceContents, inspect_trace
from nsys_pipeline.capture.nsys import Nsys, find_nsys
from nsys_pipeline.capture.plan import REQUEST_RANGE, CapturePlan, nsys_argv
from nsys_pipeline.capture.run import CaptureResult, capture
from nsys_pipeline.capture.rundir import run_path
from nsys_pipeline.capture.scrub import scrub_environment
from nsys_pipeline.capture.session import Observer

__all__ = [
    "REQUEST_RANGE",
    "CapturePlan",
    "CaptureResult",
    "Finding",
    "Nsys",
    "Observer",
    "TraceContents",
    "capture",
    "check_readable",
    "command_lines",
    "export_parquet",
    "export_sqlite",
    "find_nsys",
    "inspect_trace",
    "nsys_argv",
    "report_version",
    "run_path",
    "scrub_environment",
]
