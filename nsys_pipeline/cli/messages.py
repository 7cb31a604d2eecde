"""What goes to stderr. Names in it are whatever a program put there: none of them makes a line of its own."""

from __future__ import annotations

import sys

from nsys_pipeline.text import printable, printable_lines


def print_error(message: str, hint: str | None, *, has_lines: bool = False) -> None:
    """Write an `error:` line and, apart from it, a `hint:` line. `has_lines`: the message points into a query."""
    sys.stderr.write(f"error: {printable_lines(message) if has_lines else printable(message)}\n")
    if hint:
        sys.stderr.write(f"\nhint: {printable(hint)}\n")


def print_warning(message: str, hint: str | None = None, *, severity: str = "warning") -> None:
    """Write a line of that severity and, under it, a `hint:` line."""
    sys.stderr.write(f"{severity}: {printable(message)}\n")
    if hint:
        sys.stderr.write(f"hint: {printable(hint)}\n")
