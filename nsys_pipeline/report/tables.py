"""Tables that stay whole: never cropped to a pipe's 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_WIDTH_OF_PIPE = 160


def wide_console(out: TextIO) -> Console:
    """A console on `out`: as wide as the terminal, or wide enough for any table where there is none."""
    from nsys_pipeline.report.console import PipeConsole

    return PipeConsole(file=out, highlight=False, soft_wrap=True, width=None if out.isatty() else _WIDTH_OF_PIPE)


def plain_table(title: str) -> PlainTable:
    """An empty table under `title`."""
    return PlainTable(title)


class PlainTable:
    """A table that is filled row by row and looks like those of the report."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._headings: list[tuple[str, bool]] = []
        self._rows: list[tuple[str, ...]] = []

    def add_column(self, heading: str, *, justify: Literal["left", "right"] = "left") -> None:
        """A column to the right of the others."""
        self._headings.append((heading, justify == "right"))

    def add_row(self, *cells: str) -> None:
        """A row below the others, one cell for each column."""
        self._rows.append(cells)

    def __rich_console__(self, _console: Any, options: Any) -> Iterator[Text]:
        from rich.text import Text

        from nsys_pipeline.report.columns import GAP, Column, table_lines, table_width

        yield Text(self._title, style="cyan")
        cells = list(zip(*self._rows, strict=True)) or [()] * len(self._headings)
        columns = [
            Column(name, column, is_number) for (name, is_number), column in zip(self._headings, cells, strict=True)
        ]
        yield from table_lines(columns, gap=GAP if table_width(columns) <= options.max_width else 1)
