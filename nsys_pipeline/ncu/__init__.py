"""From a phase of a trace to the Nsight Compute (ncu) profile of its kernels, and back."""

from nsys_pipeline.ncu.beside import beside_trace
from nsys_pipeline.ncu.command import Target, ncu_argv
from nsys_pipeline.ncu.profile import KernelCounters, read_csv, read_report, summed

__all__ = ["KernelCounters", "Target", "beside_trace", "ncu_argv", "read_csv", "read_report", "summed"]
