"""What batches say on the host and not on the GPU: lengths of packed sequences, and how many tokens have a label.

Packed batches say where sequences begin in `cu_seq_lens_q`, or in `position_ids` without a mask, which transformers
reads as attention does. Collators make these and labels on the host, and accelerate's data loaders move them: what
they hold is looked at then. Standard library only until torch is there.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping
from types import ModuleType
from typing import Any

#: Where each sequence begins, and where the last one ends.
BOUNDS = ("cu_seq_lens_q", "cu_seqlens_q", "cu_seqlens")
_POSITIONS = "position_ids"
_LABELS, _SHIFTED = "labels", "shift_labels"
#: The label of tokens that are not scored.
_IGNORED = -100

_remembered: Any = None


def is_bounded(arguments: Mapping[str, Any]) -> bool:
    """Whether bounds of sequences are among the arguments of a pass."""
    return any(arguments.get(name) is not None for name in BOUNDS)


def packed_lengths(arguments: Mapping[str, Any], tokens: int) -> tuple[int, ...] | None:
    """Lengths of the sequences in the rows of a pass without a cache, `tokens` in all.

    Empty where each row is one sequence, None where the host does not know.
    """
    for name in BOUNDS:
        bounds = arguments.get(name)
        if bounds is not None:
            lengths = _known(bounds, _between)
            return lengths if lengths and sum(lengths) == tokens else None
    positions = arguments.get(_POSITIONS)
    if arguments.get("attention_mask") is not None or getattr(positions, "ndim", 0) != 2:
        return ()
    lengths = _known(positions, _runs)
    if lengths is None or len(lengths) == positions.shape[0]:
        return None if lengths is None else ()
    # One row of positions may stand for all.
    lengths *= max(1, tokens // max(1, sum(lengths)))
    return lengths if sum(lengths) == tokens else None


def scored_positions(arguments: Mapping[str, Any]) -> int | None:
    """Positions with an LM head in a pass whose head is fused with the loss; None where the host does not know.

    TRL's (`fused_lm_head`) is run for tokens that have a label, and for all off the GPU.
    """
    shifted, labels = arguments.get(_SHIFTED), arguments.get(_LABELS)
    tensor = labels if shifted is None else shifted
    if getattr(tensor, "device", None) is None:
        return None
    if tensor.device.type == "cpu":
        return int(tensor[..., 1:].numel() if shifted is None else tensor.numel())
    counted = _known(tensor, _scored)
    return counted[shifted is not None] if counted else None


def _known(tensor: Any, numbers_of: Any) -> tuple[int, ...] | None:
    """What `numbers_of` makes of a tensor, if it is on the host or was moved from there."""
    if getattr(tensor, "device", None) is None:
        return None
    if tensor.device.type == "cpu":
        numbers: tuple[int, ...] = numbers_of(tensor)
        return numbers
    return None if _remembered is None else _remembered.get(tensor)


def _scored(labels: Any) -> tuple[int, ...]:
    """How many labels count: but for the first of each sequence, which no token comes before, and all of them."""
    counted = labels.ne(_IGNORED)
    return int(counted[..., 1:].sum()), int(counted.sum())


def _between(bounds: Any) -> tuple[int, ...]:
    return tuple(bounds.diff().tolist())


def _runs(positions: Any) -> tuple[int, ...]:
    """Lengths of the runs of positions that count up by one, row by row."""
    starts = positions.diff(dim=-1).ne(1).flatten().nonzero().flatten().tolist()
    rows, columns = positions.shape
    # Of each row, the differences are one less than its positions.
    begins = sorted({row * columns for row in range(rows)} | {at + at // max(1, columns - 1) + 1 for at in starts})
    return tuple(end - begin for begin, end in zip(begins, [*begins[1:], rows * columns], strict=True))


_HELD = {_POSITIONS: (2, _runs), _LABELS: (2, _scored), _SHIFTED: (2, _scored), **dict.fromkeys(BOUNDS, (1, _between))}


def remember_batches(module: ModuleType) -> None:
    """Have accelerate's data loaders remember what they move to a device."""
    move: Any = module.send_to_device  # type: ignore[attr-defined]

    @functools.wraps(move)
    def moving(data: Any, *args: Any, **kwargs: Any) -> Any:
        moved = move(data, *args, **kwargs)
        with contextlib.suppress(Exception):
            _remember(data, moved)
        return moved

    module.send_to_device = moving  # type: ignore[attr-defined]


def _remember(data: Any, moved: Any) -> None:
    if not isinstance(data, Mapping) or not isinstance(moved, Mapping):
        return
    for name, (dimensions, numbers_of) in _HELD.items():
        tensor = data.get(name)
        if tensor is not None and tensor.device.type == "cpu" and tensor.ndim == dimensions:
            _store()[moved[name]] = numbers_of(tensor)


def _store() -> Any:
    """Numbers by the tensor on the device, as long as it lives."""
    global _remembered  # noqa: PLW0603 - made when torch is there
    if _remembered is None:
        from torch.utils.weak import WeakIdKeyDictionary

        _remembered = WeakIdKeyDictionary()
    return _remembered
