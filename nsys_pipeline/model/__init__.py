"""From a model's config alone: what each forward pass must compute and move. Pure Python; no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nsys_pipeline.model.conventions import Conventions
    from nsys_pipeline.model.estimator import Estimate, Estimator, Totals, estimate, estimate_totals
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

# All families take a tenth of a second to import, and a trace without a model needs the conventions at most.
_MODULES = {
    "Conventions": "conventions", "Estimate": "estimator", "Estimator": "estimator", "Totals": "estimator",
    "estimate": "estimator", "estimate_totals": "estimator", "known_model_types": "families", "load_model": "load",
    "preset_names": "load", "Model": "model", "Op": "ops",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
