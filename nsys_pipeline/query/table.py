"""A result as a table for people: aligned, cut where it must be, and never without saying so."""

from __future__ import annotations

import math
import textwrap
import unicodedata
from collections.abc import Sequence
from typing import Any, TextIO

from nsys_pipeline.text import printable, printable_lines

NULL = "–"
MAX_CELL = 60
# Even in a file; the other formats have every character.
LONGEST_CELL = 10_000
# Integers that name something: no thousands separators, so that they can be copied into the next query.
_IDENTITIES = ("_id", "_key", "_tid", "_node_id", "id")


def render_table(
    columns: Sequence[str],
    types: Sequence[str],
    rows: Sequence[Sequence[Any]],
    stream: TextIO,
    *,
    width: int | None = None,
    has_more: bool = False,
    more_hint: str = "--rows N shows more, --format csv all",
) -> None:
    """Write `rows`, at most `width` characters wide (None: as wide as they come).

    One row that is too wide is written column by column; of more rows, columns that do not fit are left out and named.
    """
    cells = [[cell(value, name) for value, name in zip(row, columns, strict=True)] for row in rows]
    right = [_is_number(kind) for kind in types]
    if len(rows) == 1 and width is not None and _total(_widths(columns, cells)) > width:
        _render_record(columns, cells[0], stream)
        if has_more:
            stream.write(f"(first row; {more_hint})\n")
        return
    shown = [[_shorten(text) for text in row] for row in cells] if width is not None else cells
    widths = _widths(columns, shown)
    count = _fitting(widths, width)
    _line([_pad(name, widths[i], right[i]) for i, name in enumerate(columns[:count])], stream)
    _line(["─" * size for size in widths[:count]], stream)
    for row in shown:
        _line([_pad(text, widths[i], right[i]) for i, text in enumerate(row[:count])], stream)
    notes = []
    if has_more:
        notes.append(f"first {f'{len(rows):,} rows' if len(rows) > 1 else 'row'}; {more_hint}")
    elif len(rows) != 1:
        notes.append(f"{len(rows):,} rows")
    if count < len(columns):
        left = len(columns) - count
        notes.append(f"{left} column{'s do' if left > 1 else ' does'} not fit: {', '.join(columns[count:])}")
    if notes:
        text = f"({'; '.join(notes)})"
        stream.write("\n".join([text] if width is None else textwrap.wrap(text, width, subsequent_indent=" ")) + "\n")


def render_plan(rows: Sequence[Sequence[Any]], stream: TextIO) -> None:
    """Write the plan of a query, a drawing of many lines."""
    for row in rows:
        stream.write(printable_lines(str(row[-1])).rstrip("\n") + "\n")


def cell(value: Any, column: str = "") -> str:
    """`value` as text on one line, cut where nobody would read on."""
    if value is None:
        return NULL
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if column.endswith(_IDENTITIES) else f"{value:,}"
    if isinstance(value, float):
        return _number(value)
    text = str(value)
    if len(text) > LONGEST_CELL:
        text = f"{text[:LONGEST_CELL]}…"
    return printable(" ".join(text.split("\n")))


def _number(value: float) -> str:
    if math.isnan(value) or math.isinf(value):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 1e4 else f"{value:.4g}"


def _is_number(kind: str) -> bool:
    return kind.upper().startswith(("BIGINT", "HUGEINT", "INTEGER", "DOUBLE", "FLOAT", "DECIMAL", "UBIGINT", "UINTEGER",
                                    "SMALLINT", "TINYINT", "NUMBER"))  # fmt: skip


def _shorten(text: str) -> str:
    return text if _length(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"


def _length(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF") for char in text)


def _widths(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> list[int]:
    return [max([_length(name), *(_length(row[i]) for row in cells)]) for i, name in enumerate(columns)]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + 2 * (len(widths) - 1)


def _fitting(widths: Sequence[int], width: int | None) -> int:
    if width is None:
        return len(widths)
    used = -2
    for index, size in enumerate(widths):
        used += size + 2
        if used > width:
            return max(1, index)
    return len(widths)


def _pad(text: str, size: int, right: bool) -> str:
    space = " " * (size - _length(text))
    return space + text if right else text + space


def _line(parts: Sequence[str], stream: TextIO) -> None:
    stream.write("  ".join(parts).rstrip() + "\n")


def _render_record(columns: Sequence[str], row: Sequence[str], stream: TextIO) -> None:
    size = max(_length(name) for name in columns)
    for name, text in zip(columns, row, strict=True):
        stream.write(f"{_pad(name, size, right=False)}  {text}\n")
