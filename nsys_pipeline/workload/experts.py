"""Which experts a request really runs: their weights are what a pass of a mixture-of-experts model reads.

Random weights route unevenly, and so do real ones on one prompt: what uniform routing would touch is then too much.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def counted_experts(model: Any) -> Iterator[list[float | None]]:
    """While open, note for each forward pass of `model` how many distinct experts it chose.

    The list gets one entry for each pass, in order: the mean over the layers with experts, None for a pass without any
    that says which it chose. Waits for the GPU in each such layer: nothing may be measured meanwhile.
    """
    passes: list[list[int]] = []
    means: list[float | None] = []

    def begin(_module: Any, _arguments: Any) -> None:
        passes.append([])

    def end(_module: Any, _arguments: Any, _output: Any) -> None:
        counts = passes.pop()
        means.append(statistics.fmean(counts) if counts else None)

    def choose(_module: Any, arguments: tuple[Any, ...]) -> None:
        chosen = _chosen(arguments)
        if passes and chosen is not None:
            passes[-1].append(chosen)

    hooks = [model.register_forward_pre_hook(begin), model.register_forward_hook(end)]
    hooks += [module.register_forward_pre_hook(choose) for module in expert_blocks(model)]
    try:
        yield means
    finally:
        for hook in hooks:
            hook.remove()


def expert_blocks(model: Any) -> list[Any]:
    """Modules that run the routed experts of a layer: transformers calls them with tokens, chosen experts, weights."""
    return [module for name, module in model.named_modules() if name.rpartition(".")[2] == "experts"]


def _chosen(arguments: tuple[Any, ...]) -> int | None:
    """Distinct experts among the choices, a tensor of whole numbers of shape (tokens, choices of each)."""
    for argument in arguments:
        if hasattr(argument, "dtype") and not (argument.is_floating_point() or argument.is_complex()):
            return int(argument.unique().numel())
    return None
