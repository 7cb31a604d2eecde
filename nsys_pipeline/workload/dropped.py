"""Layers that a model in training leaves out at random (LayerDrop). Standard library only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def drops_layers(model: Any) -> bool:
    """Whether a pass of `model` as it is now runs some of its layers, which ones nobody knows before."""
    return bool(model.training and layer_drop(model))


def layer_drop(model: Any) -> Mapping[str, bool]:
    """What the run mark says of it: `drops_layers`, or nothing if `model` runs all its layers in training, too."""
    return {"drops_layers": True} if any(rate > 0 for rate in _rates(model.config)) else {}


def _rates(config: Any) -> Iterator[float]:
    for name, value in vars(config).items():
        if name.endswith("layerdrop") and isinstance(value, (int, float)):
            yield value
        elif hasattr(value, "model_type"):
            yield from _rates(value)
