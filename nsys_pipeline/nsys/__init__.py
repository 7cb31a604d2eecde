"""Nsight Systems itself: find it, export its reports, clean an export. Capture, trace and verify share it."""

from nsys_pipeline.nsys.clean import scrub_environment
from nsys_pipeline.nsys.export import check_readable, export_parquet, export_sqlite, report_version
from nsys_pipeline.nsys.install import Nsys, find_nsys

__all__ = [
    "Nsys",
    "check_readable",
    "export_parquet",
    "export_sqlite",
    "find_nsys",
    "report_version",
    "scrub_environment",
]
