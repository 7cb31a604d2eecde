"""Which forward passes a backward goes through: hooks on what they return say it, on the host.

Standard library only: what a pass returns is known by what it can do.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from nsys_pipeline import markers

_numbers = itertools.count(1)
_lock = threading.Lock()
_open: list[_Backward] = []
#: Passes that have gradients and that no backward has reached.
_waiting: set[int] = set()
#: Kinds of passes: of models that the run mark is not about; in evaluation mode, whose loss is the program's own, if
#: there is one; without a shape.
OTHER, UNSAID, UNSIZED = "other", "unsaid", "unsized"
_kinds: dict[str, set[int]] = {OTHER: set(), UNSAID: set(), UNSIZED: set()}
_trains_unsaid = False


class _Backward:
    """A backward that runs. Of several at once nobody knows which one a hook is called for."""

    def __init__(self) -> None:
        self.passes: set[int] = set()
        self.is_alone = True


def next_number() -> int:
    """A number for a pass, by which its backward names it."""
    return next(_numbers)


def trains_unsaid() -> bool:
    """Whether a pass in evaluation mode has had a backward, so that such passes with gradients are training."""
    return _trains_unsaid


def watch(output: Any, number: int, kind: str | None = None) -> None:
    """Have backwards know pass `number` by the gradients of what it returned. `kind`: None for one with a step mark."""
    if kind is not None:
        _kinds[kind].add(number)
    for tensor in _tensors(output):
        if getattr(tensor, "requires_grad", False):
            hook: Any = functools.partial(_reached, number)
            # As torch.utils.hooks.unserializable_hook: a program that saves the tensor is not warned of our hook.
            hook.__torch_unserializable__ = True
            tensor.register_hook(hook)
            if kind != UNSAID:
                _waiting.add(number)


def _tensors(output: Any) -> Iterator[Any]:
    """What a pass returns, and what its lists hold (hidden states of all layers)."""
    # A tensor can be iterated over, too, and would be cut in rows that no loss is about.
    values: Any = output if isinstance(output, (tuple, list)) else (output,)
    if isinstance(output, Mapping):
        values = output.values()
    for value in values:
        yield from value if isinstance(value, (tuple, list)) else (value,)


def _reached(number: int, _gradient: Any) -> None:
    with _lock:
        _waiting.discard(number)
        for one in _open:
            one.passes.add(number)


def is_open() -> bool:
    """Whether a backward runs in this process."""
    return bool(_open)


@contextlib.contextmanager
def told() -> Iterator[None]:
    """A backward, at whose end a mark says which passes it went through, if that is sure.

    It is not sure that there were none while a pass has gradients that nobody has asked for: a program may take them
    from inside the model. One that goes through another model, too, is said to be of no pass: its cost is not known.
    """
    global _trains_unsaid  # noqa: PLW0603 - a program trains so, or does not
    backward = _Backward()
    with _lock:
        _open.append(backward)
        for one in _open:
            one.is_alone = len(_open) == 1
    try:
        yield
    finally:
        with _lock:
            _open.remove(backward)
        is_of = {kind: not backward.passes.isdisjoint(numbers) for kind, numbers in _kinds.items()}
        _trains_unsaid = _trains_unsaid or is_of[UNSAID]
        # A pass that has no mark, or one of another phase, cannot be named.
        is_known = not (is_of[UNSAID] or is_of[UNSIZED])
        if backward.is_alone and is_known and (backward.passes or not _waiting):
            markers.backward_of([] if is_of[OTHER] else sorted(backward.passes))
