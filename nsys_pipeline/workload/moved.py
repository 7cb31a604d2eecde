"""What tensors held on the host, remembered by the tensors on a device that they were moved to.

Tokenizers, processors and collators make masks and sizes on the host, and programs move them with everything else.
Standard library only until torch is there.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

_remembered: Any = None


class Reading(NamedTuple):
    """What is remembered of a batch: of those tensors that are called one of `names`, what `read` gives, by name."""

    names: frozenset[str]
    read: Callable[[Mapping[str, Any]], Mapping[str, Any]]


def remembering(move: Callable[..., Any], *readings: Reading) -> Callable[..., Any]:
    """`move`, which takes a mapping of tensors and returns it on a device, with a memory for what `readings` say."""

    @functools.wraps(move)
    def moving(*args: Any, **kwargs: Any) -> Any:
        import torch

        batches = [each for each in (*args, *kwargs.values()) if isinstance(each, Mapping)]
        # accelerate moves what layers are handed, inside compiled regions, too: there nothing has a value.
        if not batches or torch.compiler.is_compiling():
            return move(*args, **kwargs)
        held: list[tuple[Reading, Mapping[str, Any]]] = []
        with contextlib.suppress(Exception):
            held = [(each, each.read(batches[0])) for each in readings if not each.names.isdisjoint(batches[0])]
        moved = move(*args, **kwargs)
        for reading, values in held:
            for name, value in values.items():
                with contextlib.suppress(Exception):
                    _remember(moved[name], reading, value)
        return moved

    return moving


def recall(tensor: Any, reading: Reading) -> Any:
    """What `reading` gave of the tensor that `tensor` was moved from; None if it was changed since."""
    version, values = (None, None) if _remembered is None else _remembered.get(tensor, (None, None))
    return None if values is None or version != version_of(tensor) else values.get(reading.names)


def _remember(tensor: Any, reading: Reading, value: Any) -> None:
    global _remembered  # noqa: PLW0603 - made when torch is there
    if tensor.device.type == "cpu":
        return
    if _remembered is None:
        from torch.utils.weak import WeakIdKeyDictionary

        _remembered = WeakIdKeyDictionary()
    version, values = _remembered.get(tensor, (None, {}))
    if version != version_of(tensor):
        values = {}
    _remembered[tensor] = (version_of(tensor), {**values, reading.names: value})


def version_of(tensor: Any) -> int | None:
    """A number that is another one after each change of `tensor`; in inference mode it has none."""
    with contextlib.suppress(RuntimeError):
        version: int = tensor._version
        return version
    return None
