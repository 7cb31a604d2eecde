"""Which family a GPU kernel belongs to, read from its name."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path

OTHER = "other"


@cache
def _rules() -> tuple[tuple[re.Pattern[str], str], ...]:
    data = tomllib.loads(Path(__file__).with_name("kernels.toml").read_text(encoding="utf-8"))
    return tuple((re.compile(rule["pattern"]), rule["family"]) for rule in data["rule"])


def families() -> list[str]:
    """Every family, in the order of the rules, `other` last."""
    return [*dict.fromkeys(family for _, family in _rules()), OTHER]


def kernel_family(short_name: str | None, full_name: str | None = None) -> str:
    """Family of the kernel with these names; 'other' where no rule knows it."""
    for name in (short_name, full_name):
        if not name:
            continue
        for pattern, family in _rules():
            if pattern.search(name):
                # A generic template says what it does in its arguments: look at the full name before settling.
                if family in ("elementwise", "reduction") and full_name and full_name != name:
                    return _from_full_name(full_name, family)
                return family
    return OTHER


def _from_full_name(full_name: str, otherwise: str) -> str:
    for pattern, family in _rules():
        if pattern.search(full_name):
            return family
    return otherwise
