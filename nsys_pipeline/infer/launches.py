"""Launches that tell what a pass through a model is, and the passes that they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import attrs


class Launch(NamedTuple):
    """A row of attribute._telling_launches: see there. Times in ns on the launching thread."""

    process_key: int
    global_tid: int
    start_ns: int
    end_ns: int
    role: str
    kind_id: int | None = None
    is_few: bool = False
    blocks: int = 0
    gemms: int = 0
    tile_rows: int = 0
    activations: int = 0
    activation_blocks: int = 0
    stores: int = 0


@attrs.define
class Pass:
    """One forward pass: launches `first` to `last` of its thread hold its layers, `tail` is the last of its sampling.

    `layers`: attention blocks; `graphs`: whole graphs. `tail` is None for a graph that samples itself.
    """

    first: int
    last: int
    layers: int
    graphs: int = 0
    tail: int | None = None
    rows: int = 0
    #: Where the last layers of the model start: behind a vision tower, whose blocks come first.
    body: int = 0
    is_chained: bool = False
    name: str | None = None


#: Columns of attribute._telling_launches that the fields of a Launch are, in order.
COLUMNS = (
    "process_key", "global_tid", "launch_start_ns", "launch_end_ns", "role", "kind_id", "is_few", "blocks", "gemms",
    "tile_rows", "activations", "activation_blocks", "stores",
)  # fmt: skip


#: Kernels that a layer has one of, or softmax kernels where a thread has none of the others.
LAYER_ROLES = ("attention", "recurrence", "softmax")


def lookups_before(launches: Sequence[Launch], index: int) -> list[int]:
    """Lookups of embeddings before the pass whose first layer is at `index`, the last one first."""
    found = []
    while index > 0:
        index -= 1
        role = launches[index].role
        if role in (*LAYER_ROLES, "sample", "graph", "loss", "optimizer", "backward"):
            break
        if role == "lookup":
            found.append(index)
    return found


def main_reason(reasons: Sequence[tuple[int, str]]) -> str | None:
    """Why nothing was found in threads with so many launches; of the one with most, where they differ."""
    if not reasons:
        return None
    reason = max(reasons)[1]
    where = "" if len({one for _, one in reasons}) == 1 else " (on the thread with most launches)"
    return f"{reason}{where}"


Key = TypeVar("Key")


def grouped(launches: Sequence[Launch], key: Callable[[Launch], Key]) -> dict[Key, list[Launch]]:
    """Launches of one `key`, such as those of a thread, in their order."""
    groups: dict[Key, list[Launch]] = {}
    for one in launches:
        groups.setdefault(key(one), []).append(one)
    return groups
