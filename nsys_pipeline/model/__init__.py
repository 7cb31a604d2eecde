"""From a model's config alone: what each forward pass must compute and move. Pure Python; no torch."""

from nsys_pipeline.model.conventions import Conventions
from nsys_pipeline.model.estimate import Estimate, Estimator, Totals, estimate, estimate_totals
from nsys_pipeline.model.families import known_model_types
from nsys_pipeline.model.load import load_model, preset_names
from nsys_pipeline.model.model import Model
from nsys_pipeline.model.ops import Op

__all__ = [
    "Conventions",
    "Estimate",
    "Estimator",
    "Model",
    "Op",
    "Totals",
    "estimate",
    "estimate_totals",
    "known_model_types",
    "load_model",
    "preset_names",
]
