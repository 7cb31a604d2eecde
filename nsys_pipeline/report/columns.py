"""Tables of text that line up, are never cut, and leave no blanks at the ends of lines."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from rich.cells import cell_len
from rich.text import Text

from nsys_pipeline.text import printable

GAP = 2


def _visible(cells: Sequence[str]) -> Sequence[str]:
    return [printable(cell) for cell in cells]


@attrs.frozen
class Column:
    """A heading and the cells under it; a heading may have two lines."""

    heading: str
    cells: Sequence[str] = attrs.field(converter=_visible)
    is_number: bool = True

    @property
    def heading_lines(self) -> list[str]:
        """The heading, one string for each line."""
        return self.heading.split("\n")

    @property
    def width(self) -> int:
        """Terminal cells that the widest entry takes."""
        return max(map(cell_len, [*self.heading_lines, *self.cells]))


def table_width(columns: Sequence[Column]) -> int:
    """Terminal cells of one row."""
    return sum(column.width for column in columns) + GAP * (len(columns) - 1)


def table_lines(columns: Sequence[Column], *, dim_rows: frozenset[int] = frozenset(), gap: int = GAP) -> list[Text]:
    """Headings and rows. `dim_rows` are row indices that matter less than the others."""
    height = max(len(column.heading_lines) for column in columns)
    headings = [["", "", *column.heading_lines][-height:] for column in columns]
    lines = [Text(_row(columns, [heading[i] for heading in headings], gap), style="bold") for i in range(height)]
    for index in range(len(columns[0].cells)):
        row = _row(columns, [column.cells[index] for column in columns], gap)
        lines.append(Text(row, style="dim" if index in dim_rows else ""))
    return lines


def shortened(name: str, width: int) -> str:
    """`name` in `width` cells: kernel names differ at both ends, so that what goes is in the middle."""
    if len(name) <= width:
        return name
    tail = (width - 1) // 3
    return f"{name[: width - 1 - tail]}…{name[len(name) - tail :]}"


def _row(columns: Sequence[Column], cells: Sequence[str], gap: int) -> str:
    parts = []
    for column, cell in zip(columns, cells, strict=True):
        blank = " " * (column.width - cell_len(cell))
        parts.append(blank + cell if column.is_number else cell + blank)
    return (" " * gap).join(parts).rstrip()
