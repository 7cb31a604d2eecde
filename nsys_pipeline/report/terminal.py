"""A document in a terminal of any width: no number is ever cut, and no sentence breaks in the middle of a word."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import IO, Any

import attrs
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from nsys_pipeline.report.document import Bars, Block, Column, Depth, Document, Kind, Message, Notes, Table, Tone
from nsys_pipeline.text import printable_lines

GAP = 2
_NARROWEST_NAME = 16
# Where nobody's terminal decides the width, a file or a pipe gets lines that fit a wide one.
_WIDTH_OF_PIPE = 120
_STYLES = {
    Tone.plain: "",
    Tone.quiet: "dim",
    Tone.strong: "bold magenta",
    Tone.good: "green",
    Tone.bad: "bold red",
}
_SEVERITIES = {"error": "bold red", "warning": "yellow", "info": "cyan"}
_BAR_STYLES = {"whole": "dim", "sol": "green", "compute": "blue", "kernels": "blue", "copy": "cyan", "transfer": "cyan"}
_BLOCKS = " ▏▎▍▌▋▊▉█"


def render_document(document: Document, stream: IO[str]) -> None:
    """Write `document`; colours only where `stream` is a terminal."""
    console = _console(stream)
    heading = [Text(document.title, style="bold")] if document.title else []
    _print(console, [*heading, *map(Text, document.subtitles)])
    is_first = not heading
    for section in document.sections:
        if section.depth in (Depth.appendix, Depth.page):
            continue
        if not is_first:
            console.print()
        is_first = False
        if section.is_titled:
            _print(console, [Text(section.title, style="cyan")])
        for index, block in enumerate(section.blocks):
            if index:
                console.print()
            _print_block(console, block)


class _PipeConsole(Console):
    """Rich's console, except that a reader of a pipe who goes away is no failure: the command line knows what it is."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print texts with their control characters visible: some are names, and a terminal would obey them."""
        for each in objects:
            if isinstance(each, Text):
                each.plain = printable_lines(each.plain)
        super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        """Raise instead of exiting."""
        raise BrokenPipeError


def _console(stream: IO[str]) -> Console:
    width = None if stream.isatty() or "COLUMNS" in os.environ else _WIDTH_OF_PIPE
    return _PipeConsole(file=stream, width=width, highlight=False, emoji=False, markup=False)


def _print(console: Console, lines: Iterable[Text]) -> None:
    for line in lines:
        for part in line.wrap(console, console.width):
            part.rstrip()
            console.print(part)


def _print_block(console: Console, block: Block) -> None:
    match block:
        case Table():
            lines = _table_lines(block, console.width)
        case Bars():
            lines = _bar_lines(block, console.width)
        case Notes():
            texts = []
            for note in block.notes:
                text = Text().append(note.lead, style=_STYLES[note.lead_tone])
                beside = f": {note.text}" if note.lead and note.text else note.text
                texts.append((note.label, text.append(beside, style=_STYLES[note.tone]), ""))
            _print_notes(console, texts)
            return
        case Message():
            texts = [(f"{block.severity}:", Text(block.text), _SEVERITIES.get(block.severity, ""))]
            if block.hint:
                texts.append(("hint:", Text(block.hint), "cyan"))
            _print_notes(console, texts)
            return
        case _:
            raise TypeError(f"a terminal cannot show {type(block).__name__}")
    for line in lines:
        # Wider than the terminal: let it wrap the line, as long as nothing is lost.
        console.print(line, no_wrap=True, crop=False, overflow="ignore", soft_wrap=True)


def _print_notes(console: Console, notes: Sequence[tuple[str, Text, str]]) -> None:
    """Labels with a style, and beside them sentences that wrap in a column of their own."""
    widest = max((cell_len(label) for label, _, _ in notes), default=0)
    width = widest + GAP if widest else 0
    for label, text, style in notes:
        for index, part in enumerate(text.wrap(console, max(20, console.width - width))):
            part.rstrip()
            beside = Text(_padded("" if index else label, width), style=style)
            console.print(beside.append_text(part) if not style else Text().append_text(beside).append_text(part))


def _padded(text: str, width: int, *, is_number: bool = False) -> str:
    blank = " " * (width - cell_len(text))
    return blank + text if is_number else text + blank


@attrs.frozen
class _Shown:
    """A column as this terminal shows it."""

    heading: list[str]
    cells: Sequence[str]
    is_number: bool
    # Once for the column: every row asks for it.
    width: int = attrs.field(init=False)

    @width.default
    def _widest(self) -> int:
        return max(map(cell_len, [*self.heading, *self.cells]))

    @classmethod
    def of(cls, column: Column, *, is_broken: bool) -> _Shown:
        heading = column.heading.split("\n") if is_broken else [column.label]
        return cls(heading, _once(column.cells) if column.is_grouped else column.cells, column.kind is Kind.number)


def _table_lines(table: Table, width: int) -> list[Text]:
    """Headings and rows; what costs a reader least goes first until they fit."""
    gap = GAP
    columns = list(table.columns)
    shown = _shown(columns)
    if _width(shown, gap) > width:
        shown = _shown(columns, is_broken=True)
    while _width(shown, gap) > width and (
        optional := [index for index, each in enumerate(columns) if each.is_optional]
    ):
        del columns[optional[-1]], shown[optional[-1]]
    for index, column in enumerate(columns):
        if column.kind is Kind.name:
            room = max(_NARROWEST_NAME, shown[index].width - max(0, _width(shown, gap) - width))
            shown[index] = attrs.evolve(shown[index], cells=shortened(column.cells, room))
    if _width(shown, gap) > width >= _width(shown, 1):
        gap = 1
    height = max(len(one.heading) for one in shown)
    headings = [["", "", *one.heading][-height:] for one in shown]
    lines = [Text(_row(shown, [heading[i] for heading in headings], gap), style="bold") for i in range(height)]
    for index in range(len(table.rows)):
        style = "dim" if index in table.quiet_rows else ""
        lines.append(Text(_row(shown, [one.cells[index] for one in shown], gap), style=style))
    return lines


def _shown(columns: Sequence[Column], *, is_broken: bool = False) -> list[_Shown]:
    return [_Shown.of(column, is_broken=is_broken) for column in columns]


def _width(columns: Sequence[_Shown], gap: int) -> int:
    return sum(column.width for column in columns) + gap * (len(columns) - 1)


def _row(columns: Sequence[_Shown], cells: Sequence[str], gap: int) -> str:
    parts = [_padded(cell, one.width, is_number=one.is_number) for one, cell in zip(columns, cells, strict=True)]
    return (" " * gap).join(parts).rstrip()


def _once(names: Sequence[str]) -> list[str]:
    """Each name where it begins, blanks where it goes on."""
    return [name if index == 0 or name != names[index - 1] else "" for index, name in enumerate(names)]


def shortened(names: Sequence[str], width: int) -> list[str]:
    """`names` in `width` cells each, as far as they stay apart: two kernels must not look like one.

    Kernel names differ at both ends, so that what goes is in the middle. Of those that would look alike the part stays
    in which they differ, or all.
    """
    found = {name: _without_middle(name, width) for name in names}
    for alike in _look_alikes(found):
        same = _common_words(alike)
        head = max(1, min(same, width // 3))
        found |= {name: f"{name[:head]}…{_without_end(name[same:], width - head - 1)}" for name in alike}
    for alike in _look_alikes(found):
        found |= {name: name for name in alike}
    return [found[name] for name in names]


def _common_words(names: Sequence[str]) -> int:
    """Length of what all `names` begin with, up to the last `_` or `/`."""
    same = next(index for index, characters in enumerate(zip_longest(*names)) if len(set(characters)) > 1)
    return max(names[0].rfind(mark, 0, same) for mark in "_/") + 1


def _look_alikes(found: Mapping[str, str]) -> list[list[str]]:
    """Names that are shortened to one and the same text."""
    by_text: dict[str, list[str]] = {}
    for name, text in found.items():
        by_text.setdefault(text, []).append(name)
    return [names for names in by_text.values() if len(names) > 1]


def _without_middle(name: str, width: int) -> str:
    if len(name) <= width:
        return name
    tail = (width - 1) // 3
    return f"{name[: width - 1 - tail]}…{name[len(name) - tail :]}"


def _without_end(name: str, width: int) -> str:
    return name if len(name) <= width else f"{name[: width - 1]}…"


def _bar_lines(bars: Bars, width: int) -> list[Text]:
    labels = [bar.label if bar.key == "whole" else f"  {bar.label}" for bar in bars.bars]
    columns = [_Shown([""], labels, False)]
    for index, heading in enumerate(bars.headings):
        columns.append(_Shown([heading], [bar.cells[index] for bar in bars.bars], True))
    room = max(10, min(60, width - _width(columns, GAP) - GAP))
    lines = [Text(_row(columns, [column.heading[0] for column in columns], GAP), style="bold")]
    for index, bar in enumerate(bars.bars):
        words = [_padded(one.cells[index], one.width, is_number=one.is_number) for one in columns]
        drawn = _bar(bar.start, bar.length, bars.whole, room)
        lines.append(Text(f"{'  '.join(words)}  ").append(drawn, style=_BAR_STYLES.get(bar.key, "red")))
    return lines


def _bar(start: float, length: float, whole: float, room: int) -> str:
    """A bar to an eighth of a cell at its end; a bar too short to see is still seen."""
    first = int(start / whole * room)
    eighths = max(1, round((start + length) / whole * room * 8) - first * 8)
    return " " * first + _BLOCKS[8] * (eighths // 8) + (_BLOCKS[eighths % 8] if eighths % 8 else "")
