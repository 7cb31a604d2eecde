"""Phases of traces without markers, from the GPU's own work: see docs/inference.md."""

from nsys_pipeline.infer.infer import Inference, InferredPhase, InferredRequest, infer, repeats
from nsys_pipeline.infer.launches import COLUMNS, Launch
from nsys_pipeline.infer.periods import WORK_COLUMNS, Found, Work, find_periods
from nsys_pipeline.infer.units import MARK_COLUMNS, Mark

__all__ = [
    "COLUMNS", "MARK_COLUMNS", "WORK_COLUMNS", "Found", "Inference", "InferredPhase", "InferredRequest", "Launch",
    "Mark", "Work", "find_periods", "infer", "repeats",
]  # fmt: skip
