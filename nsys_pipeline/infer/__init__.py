"""Phases of traces without markers, from the GPU's own work: see docs/inference.md."""

from nsys_pipeline.infer.infer import Inference, InferredPhase, InferredRequest, infer
from nsys_pipeline.infer.launches import COLUMNS, Launch

__all__ = ["COLUMNS", "Inference", "InferredPhase", "InferredRequest", "Launch", "infer"]
