"""Which tokens of a batch are real or scored: what masks, positions and labels say, without a question to the GPU.

What was moved to a device (moved.py) is read on the host, before the range of the pass begins. A mask of which the host
knows nothing is `UNREAD`. Standard library only until torch is there.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final

from nsys_pipeline.workload.moved import Reading, recall, version_of

ATTENTION_MASK = "attention_mask"
DECODER_MASK = "decoder_attention_mask"
DECODER_IDS = "decoder_input_ids"
POSITIONS = "position_ids"
SEQUENCE_STARTS = ("cu_seq_lens_q", "cu_seqlens_q", "cu_seqlens")

_LABELS, _SHIFTED = "labels", "shift_labels"
_MOVED = (ATTENTION_MASK, DECODER_MASK, POSITIONS, *SEQUENCE_STARTS, "input_ids", DECODER_IDS, _LABELS, _SHIFTED)
#: The label of tokens that no loss is about.
IGNORED = -100
_CACHE_MASK = "_llmperf_mask"


class Unread:
    """Of a mask that is there, and of which the host does not know what it says."""


UNREAD: Final = Unread()


class Mask:
    """Rows of a mask in which some columns are padding. The columns after it are real, and those before `first`."""

    def __init__(self, rows: Any, first: int = 0) -> None:
        self._rows = rows
        self._first = first

    @cached_property
    def _padding(self) -> list[int]:
        padding: list[int] = (~self._rows).sum(axis=1).tolist()
        return padding

    def of_last(self, tokens: int) -> Mask:
        """What the last columns say, of a mask that is wider than a pass whose state is out of sight."""
        return Mask(self._rows[:, -tokens:]) if tokens < self._rows.shape[1] else self

    def lengths(self, batch: int, q_tokens: int, kv_tokens: int) -> tuple[list[int], list[int]] | None:
        """Real new and cached tokens of each sequence of a pass; None if its batch is no multiple of the mask's.

        Beams stand behind each other: a row of the mask is for as many sequences as the batch is larger.
        """
        start, end = (max(0, column - self._first) for column in (kv_tokens, kv_tokens + q_tokens))
        before, width = len(self._rows), self._rows.shape[1]
        if not before or batch % before:
            return None
        if start >= width:
            new, cached = [q_tokens] * before, [kv_tokens - pads for pads in self._padding]
        else:
            new = [q_tokens - pads for pads in (~self._rows[:, start:end]).sum(axis=1).tolist()]
            cached = [kv_tokens - pads for pads in (~self._rows[:, :start]).sum(axis=1).tolist()]
        times = batch // before
        if times == 1:
            return new, cached
        return [each for each in new for _ in range(times)], [each for each in cached for _ in range(times)]


def read_mask(tensor: Any, *, first: int = 0, padding_id: int | None = None) -> Mask | Unread | None:
    """What a mask says, None if nothing is padding; with `padding_id`, `tensor` has tokens, and that one is padding.

    `first`: the column of the sequence that the mask begins with.
    """
    if tensor is None:
        return None
    values = _values(tensor)
    if values is None or values.ndim != 2:
        return UNREAD
    rows = values != (0 if padding_id is None else padding_id)
    return None if rows.all() else Mask(rows, first)


def read_ends(tensor: Any, padding_id: int) -> Mask | Unread | None:
    """Padding at the end of rows of tokens or labels, as `read_mask` says it: the first column is none."""
    values = _values(tensor)
    if values is None or values.ndim != 2:
        return UNREAD
    rows = (values != padding_id)[:, ::-1].cumsum(axis=1)[:, ::-1] > 0
    rows[:, :1] = True
    return None if rows.all() else Mask(rows)


def packed_lengths(arguments: Mapping[str, Any], batch: int, q_tokens: int) -> list[int] | Unread | None:
    """Lengths of sequences that stand one behind the other in a pass without a cache; None if each row is one."""
    for name in SEQUENCE_STARTS:
        if arguments.get(name) is not None:
            starts = _values(arguments[name])
            if starts is None or starts.ndim != 1:
                return UNREAD
            lengths = [int(each) for each in starts[1:] - starts[:-1] if each]
            return lengths if lengths and min(lengths) > 0 and sum(lengths) <= batch * q_tokens else UNREAD
    if arguments.get(POSITIONS) is None or arguments.get(ATTENTION_MASK) is not None:
        return None
    positions = _values(arguments[POSITIONS])
    if positions is None:
        return UNREAD
    if positions.ndim != 2 or positions.shape[1] != q_tokens or positions.shape[0] not in (1, batch):
        # Of several axes, as images have: they do not say where a sequence begins.
        return None
    return _runs(positions, batch)


def _runs(positions: Any, batch: int) -> list[int] | Unread | None:
    lengths: list[int] = []
    for row in positions:
        begins = [0, *((row[1:] != row[:-1] + 1).nonzero()[0] + 1).tolist(), len(row)]
        # Kernels look where a position is 0, masks where it does not follow the one before.
        if any(row[at] for at in begins[1:-1]):
            return UNREAD
        lengths += [end - start for start, end in itertools.pairwise(begins)]
    lengths *= batch // len(positions)
    return None if len(lengths) == batch else lengths


def scored_positions(arguments: Mapping[str, Any]) -> int | None:
    """Positions with an LM head in a pass whose head is fused with the loss; None where the host does not know.

    TRL's (`fused_lm_head`) runs for tokens that have a label, and off the GPU for all. It has none for the first token
    of a sequence, unless labels are shifted already.
    """
    shifted = arguments.get(_SHIFTED)
    tensor = arguments.get(_LABELS) if shifted is None else shifted
    values = _values(tensor)
    if tensor is None or values is None:
        return None
    scored = values[..., 1:] if shifted is None else values
    return int(scored.size if tensor.device.type == "cpu" else (scored != IGNORED).sum())


def remember_mask(cache: Any, mask: Mask | Unread | None) -> None:
    """Keep with `cache` which of its tokens are padding, for later passes whose mask the host does not know."""
    if cache is not None and not isinstance(cache, (tuple, list)):
        with contextlib.suppress(Exception):
            setattr(cache, _CACHE_MASK, mask)


def mask_of_cache(cache: Any) -> Mask | Unread | None:
    """What `remember_mask` was told last."""
    mask: Mask | Unread | None = getattr(cache, _CACHE_MASK, UNREAD)
    return mask


def _values(tensor: Any) -> Any:
    """What a tensor holds, as an array that changes with it; None if the host does not know."""
    if not hasattr(tensor, "detach"):
        return None
    if tensor.device.type != "cpu":
        tensor = _origin(tensor)
    if tensor is None:
        return None
    # Tensors that are traced, vectorized or spread over ranks have no values to show.
    with contextlib.suppress(Exception):
        return tensor.detach().long().numpy()
    return None


def _origin(tensor: Any) -> Any:
    """The tensor on the host that `tensor` was moved from, unless one of them was changed since."""
    origin, version = recall(tensor, READING) or (None, None)
    return origin if origin is not None and version == version_of(origin) else None


def _on_the_host(inputs: Mapping[str, Any]) -> dict[str, tuple[Any, int | None]]:
    tensors = {name: inputs[name] for name in _MOVED if name in inputs}
    on_host = {name: each for name, each in tensors.items() if hasattr(each, "device") and each.device.type == "cpu"}
    return {name: (each, version_of(each)) for name, each in on_host.items()}


READING: Final = Reading(frozenset(_MOVED), _on_the_host)
"""What is remembered of a batch that is moved to a device."""


def pads(ids: Sequence[int] | int | None, padding_id: int | None) -> bool:
    """Whether `generate` takes `padding_id` for padding in a prompt without a mask: it must not end sequences, too."""
    ends = [] if ids is None else [ids] if isinstance(ids, int) else list(ids)
    return padding_id is not None and padding_id not in ends
