"""Tables that stay whole: never cropped to a pipe's 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_WIDTH_OF_PIPE = 160


def wide_console(out: TextIO) -> Console:
    """A console on `out`: as wide as the terminal, or wide enough for any table where there is none."""
    from rich.console import Console

    return Console(file=out, highlight=False, soft_wrap=True, width=None if out.isatty() else _WIDTH_OF_PIPE)


def plain_table(title: str) -> Table:
    """A table with one rule under its header."""
    from rich import box
    from rich.table import Table

    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
