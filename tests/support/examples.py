"""How many random examples a test tries: a few by default, for a quick run, and many with LLMPERF_EXAMPLES=many.

`just examples` runs the tests that compare random input with an independent answer, with many.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeVar

MANY = 1_000
#: many: always the same ones, as few. explore: others each time, and what fails is made smaller.
MODES = ("few", "many", "explore")
MODE = os.environ.get("LLMPERF_EXAMPLES", "few")
if MODE not in MODES:
    raise ValueError(f"LLMPERF_EXAMPLES is one of {', '.join(MODES)}, not {MODE}")

T = TypeVar("T")


def some(items: Iterable[T], every: int) -> list[T]:
    """One of `every` items, or all of them."""
    return list(items)[:: every if MODE == "few" else 1]


def examples(few: int, many: int = MANY) -> int:
    """As many examples as this run tries."""
    return few if MODE == "few" else many
