"""What runs under nsys. Only this room imports torch and transformers, and only inside functions."""

from nsys_pipeline.workload.options import Shape, WorkloadOptions

__all__ = ["Shape", "WorkloadOptions"]
