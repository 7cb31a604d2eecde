#!/usr/bin/env python
"""Rewrite what the recipes answer on real traces; review the diff. `tests/sql/test_recipes.py` compares."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.recipe_golden import GOLDEN, TRACES, answers  # noqa: E402


def main() -> None:
    """Write one file per trace."""
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for trace in TRACES:
        (GOLDEN / f"{trace}.txt").write_text(answers(trace), encoding="utf-8")


if __name__ == "__main__":
    main()
