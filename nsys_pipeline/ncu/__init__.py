"""From a phase of a trace to the Nsight Compute (ncu) profile of its kernels, and back."""

from nsys_pipeline.ncu.beside import beside_trace
from nsys_pipeline.ncu.command import Target, metrics_of, ncu_argv
from nsys_pipeline.ncu.profile import KernelCounters, Profile, summed
from nsys_pipeline.ncu.rep import read_report
from nsys_pipeline.ncu.table import read_csv

__all__ = [
    "KernelCounters",
    "Profile",
    "Target",
    "beside_trace",
    "metrics_of",
    "ncu_argv",
    "read_csv",
    "read_report",
    "summed",
]
