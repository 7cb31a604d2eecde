"""What torch.profiler says of a collective beside its kernel: who takes part, and how much each sends.

Names of the arguments: torch/csrc/profiler/util.h of torch 2.13. `Process Group Name` is one group's among those of the
job, `Process Group Ranks` its ranks (abridged where there are many), `Group size` how many. Elements are those of all
tensors that the operator is given (`In msg nelems`) or fills (`Out msg nelems`), of the type `dtype`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_BYTES = {
    "Bool": 1, "Byte": 1, "Char": 1, "Short": 2, "Int": 4, "Long": 8, "UInt16": 2, "UInt32": 4, "UInt64": 8,
    "Half": 2, "BFloat16": 2, "Float": 4, "Double": 8, "Float8_e4m3fn": 1, "Float8_e5m2": 1, "Float8_e4m3fnuz": 1,
    "Float8_e5m2fnuz": 1,
}  # fmt: skip
"""Types as torch calls them, and the bytes of one element."""
# The kernel of a collective, and which of its two sizes NCCL calls the message: see load.nccl_messages.
_SIZES = {
    "allreduce": "In msg nelems", "allgather": "In msg nelems", "reducescatter": "Out msg nelems",
    "broadcast": "In msg nelems", "reduce": "In msg nelems",
}  # fmt: skip
_KERNEL = re.compile(r"nccl\w*?_(AllReduce|AllGather|ReduceScatter|Broadcast|Reduce)_")
# Between two ranks of a group, or several operators at once: the group is not who takes part.
_OF_TWO = re.compile(r"send|recv|coalesced", re.IGNORECASE)

Collective = tuple[str, int | None, int | None]
"""Communicator, bytes of the message, ranks of the communicator."""


def collective(kernel: str, args: Mapping[str, Any]) -> Collective | None:
    """What `args` of a kernel say of its collective, None if it is none or they do not name its ranks.

    Bytes are None if the operator is another collective than the kernel, or its type is not known.
    """
    name, group, ranks = (args.get(key) for key in ("Collective name", "Process Group Name", "Process Group Ranks"))
    if not isinstance(name, str) or not isinstance(group, str | int) or not ranks or _OF_TWO.search(name):
        return None
    size = args.get("Group size")
    size = size if type(size) is int and 0 < size < 1 << 31 else None
    # Lists of ranks and their text are written alike.
    return f"{group} {ranks}", _message_bytes(kernel, name, args), size


def _message_bytes(kernel: str, name: str, args: Mapping[str, Any]) -> int | None:
    found = _KERNEL.match(kernel)
    kind = found[1].lower() if found else ""
    plain = re.sub(r"[^a-z]", "", name.lower())
    # `_allgather_base`, `all_gather_into_tensor`
    if not kind or not plain.startswith(kind) or (kind == "reduce" and plain.startswith("reducescatter")):
        return None
    count, width = args.get(_SIZES[kind]), _BYTES.get(str(args.get("dtype")))
    return count * width if type(count) is int and 0 <= count < 1 << 44 and width else None
