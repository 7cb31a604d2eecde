"""Numbers and units as ncu prints them: scaled by default, and with the thousands separators of the user's locale."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

# In ncu, K is 1000 for bytes, too.
_COUNTS = {"": 1, "K": 1e3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_TIMES = {"n": 1, "u": 1e3, "µ": 1e3, "μ": 1e3, "m": 1e6, "": 1e9}
_UNITS = {
    **{
        prefix + unit: factor
        for unit in ("byte", "bytes", "Byte", "Bytes", "B")
        for prefix, factor in (_COUNTS | _BINARY).items()
    },
    **{prefix + unit: factor for unit in ("inst", "op", "ops") for prefix, factor in _COUNTS.items()},
    **{prefix + unit: factor for unit in ("second", "seconds", "sec", "s") for prefix, factor in _TIMES.items()},
    "": 1,
}
_MARKS = re.compile(r"[.,]")
# Blanks (of whatever width), apostrophes, and what stands for a byte that is not UTF-8.
_GROUPING = re.compile(r"[\s'\u2019_\ufffd]")
_INSTANCES = re.compile(r"\s*\(.*\)$")


def unit_factor(unit: str) -> float | None:
    """What a number in `unit` is multiplied with to be in bytes, ns, or a count; None for any other unit."""
    return _UNITS.get(unit.strip())


def decimal_mark(texts: Iterable[str]) -> str:
    """'.' or ',': what stands before the fraction in numbers like these.

    `1,500` alone is read as 1500. What is surely something else decides for all: `1,5`, `1.500,5`, `1.500.000`.
    """
    for text in texts:
        marks = _MARKS.findall(text)
        if not marks:
            continue
        if len(set(marks)) > 1:
            return str(marks[-1])
        if len(marks) > 1:
            return "," if marks[0] == "." else "."
        whole, fraction = re.split(r"[.,]", text, maxsplit=1)
        if not re.fullmatch(r"[1-9]\d{0,2}", whole.strip()) or not re.fullmatch(r"\d{3}", fraction.strip()):
            return str(marks[0])
    return "."


def number(text: str, mark: str = ".") -> float | None:
    """The number that `text` says with this decimal mark; None for 'n/a', 'nan' and what is no number.

    Values of instances in parentheses after a number are left out.
    """
    plain = _GROUPING.sub("", _INSTANCES.sub("", text)).replace("," if mark == "." else ".", "").replace(mark, ".")
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", plain):
        return None
    value = float(plain)
    return value if math.isfinite(value) else None
