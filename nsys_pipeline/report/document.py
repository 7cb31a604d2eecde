"""What a reader sees, before anyone knows where: titles, tables, bars, notes and messages.

A document is built once from records. Its texts are final: numbers are rounded, control characters are visible. A
renderer decides only how they look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Enum, StrEnum

import attrs

from nsys_pipeline.records import Bound, Timeline
from nsys_pipeline.report import numbers
from nsys_pipeline.text import printable


class Blank(Enum):
    """The value of a cell to which its column does not apply; None is a value that is not known."""

    BLANK = ""


BLANK = Blank.BLANK
Value = float | str | None | Blank


class Kind(StrEnum):
    """What is in a column, and so how it is aligned, sorted and cut."""

    text = "text"
    name = "name"  # of a kernel or a range: monospaced, and the only one that a narrow terminal may shorten
    number = "number"


class Tone(StrEnum):
    """How loud something is."""

    plain = "plain"
    quiet = "quiet"
    strong = "strong"
    good = "good"
    bad = "bad"


class Depth(StrEnum):
    """How deep a section lies."""

    headline = "headline"
    detail = "detail"  # what Markdown folds
    appendix = "appendix"  # what a terminal, which cannot fold, leaves out
    page = "page"  # what only a page shows


def _printable(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(printable, texts))


def _columns(columns: Iterable[Column]) -> tuple[Column, ...]:
    return tuple(columns)


def _notes(notes: Iterable[Note]) -> tuple[Note, ...]:
    return tuple(notes)


def _bars(bars: Iterable[Bar]) -> tuple[Bar, ...]:
    return tuple(bars)


def _series(series: Iterable[Series]) -> tuple[Series, ...]:
    return tuple(series)


def _blocks(blocks: Iterable[Block]) -> tuple[Block, ...]:
    return tuple(blocks)


def _values(values: Iterable[Value]) -> tuple[Value, ...]:
    return tuple(values)


def _heading(text: str) -> str:
    return "\n".join(_printable(text.split("\n")))


def _known(values: Sequence[Value]) -> list[float | None]:
    return [value if isinstance(value, int | float) else None for value in values]


@attrs.frozen
class Column:
    """A heading and the cells under it.

    A line break in the heading is where a narrow terminal breaks it. `cells` are what is shown, `values` what is sorted
    by, in `unit` if they have one.
    """

    heading: str = attrs.field(converter=_heading)
    cells: tuple[str, ...] = attrs.field(converter=_printable)
    values: tuple[Value, ...] = attrs.field(converter=_values)
    kind: Kind = Kind.number
    unit: str | None = None
    #: Cells like the one above are left blank if the format has no other use for them.
    is_grouped: bool = False
    #: A narrow terminal leaves it out.
    is_optional: bool = False
    #: Where each cell leads in a page: relative addresses.
    links: tuple[str | None, ...] = ()

    @classmethod
    def text(
        cls,
        heading: str,
        cells: Iterable[str],
        *,
        is_grouped: bool = False,
        is_optional: bool = False,
        links: Iterable[str | None] = (),
    ) -> Column:
        """Words."""
        texts, given = tuple(cells), tuple(links)
        return cls(heading, texts, texts, Kind.text, is_grouped=is_grouped, is_optional=is_optional, links=given)

    @classmethod
    def name(cls, heading: str, cells: Iterable[str]) -> Column:
        """Names that a program gave."""
        texts = tuple(cells)
        return cls(heading, texts, texts, Kind.name)

    @classmethod
    def count(cls, heading: str, values: Iterable[Value], *, is_optional: bool = False) -> Column:
        """Integers with thousands separators."""
        return cls._of(heading, values, lambda known: list(map(numbers.count, known)), None, is_optional)

    @classmethod
    def amount(cls, heading: str, values: Iterable[Value], unit: str, *, is_optional: bool = False) -> Column:
        """Numbers with equally many decimals. Values are in ns, FLOPs or bytes; `unit` is what the heading says."""
        base = {"ms": "ns"}.get(unit, unit.removeprefix("T").removeprefix("G"))
        return cls._of(heading, values, lambda known: numbers.amounts(known, unit), base, is_optional)

    @classmethod
    def percent(cls, heading: str, values: Iterable[Value], *, most: int = 1, is_optional: bool = False) -> Column:
        """Ratios as percentages, with `most` decimals where one would hide a small one."""
        return cls._of(heading, values, lambda known: numbers.percentages(known, most=most), "ratio", is_optional)

    @classmethod
    def prefixed(cls, heading: str, values: Iterable[Value], unit: str, *, is_optional: bool = False) -> Column:
        """FLOPs, bytes or durations, each with a prefix of its own."""
        return cls._of(
            heading, values, lambda known: [numbers.prefixed(value, unit) for value in known], unit, is_optional
        )

    def signed(self, bounds: Iterable[Bound | None]) -> Column:
        """Cells with the signs of numbers that are not exact."""
        return attrs.evolve(self, cells=map(numbers.signed, self.cells, bounds))

    @classmethod
    def _of(
        cls,
        heading: str,
        values: Iterable[Value],
        write: Callable[[list[float | None]], list[str]],
        unit: str | None,
        is_optional: bool,
    ) -> Column:
        given = tuple(values)
        written = write(_known(given))
        cells = ["" if value is BLANK else text for value, text in zip(given, written, strict=True)]
        return cls(heading, cells, given, Kind.number, unit, is_optional=is_optional)

    @property
    def label(self) -> str:
        """The heading on one line."""
        return self.heading.replace("\n", " ")


@attrs.frozen
class Table:
    """Columns of equal length. `quiet_rows` are indices of rows that matter less than the others."""

    columns: tuple[Column, ...] = attrs.field(converter=_columns)
    quiet_rows: frozenset[int] = frozenset()

    @columns.validator
    def _of_equal_length(self, _attribute: object, columns: tuple[Column, ...]) -> None:
        if len({len(column.cells) for column in columns}) > 1:
            raise ValueError(f"columns of different length: {[(c.heading, len(c.cells)) for c in columns]}")

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The cells, row by row."""
        return list(zip(*(column.cells for column in self.columns), strict=True))


@attrs.frozen
class Note:
    """A label and a sentence; `lead` is what it says in a word, said louder."""

    label: str = attrs.field(converter=printable)
    text: str = attrs.field(converter=printable)
    lead: str = attrs.field(default="", converter=printable)
    lead_tone: Tone = Tone.strong
    tone: Tone = Tone.plain


@attrs.frozen
class Notes:
    """Notes whose labels stand in one column."""

    notes: tuple[Note, ...] = attrs.field(converter=_notes)


@attrs.frozen
class Message:
    """What the reader must know about the numbers, and what to do about it."""

    severity: str  # 'error', 'warning' or 'info'
    text: str = attrs.field(converter=printable)
    hint: str | None = attrs.field(default=None, converter=attrs.converters.optional(printable))


@attrs.frozen
class Bar:
    """`length` from `start` on, in the unit of its `Bars`; `key` says what it is to a style sheet."""

    key: str
    label: str = attrs.field(converter=printable)
    start: float
    length: float
    cells: tuple[str, ...] = attrs.field(converter=_printable)
    about: str = ""


@attrs.frozen
class Bars:
    """Bars between 0 and `whole` under each other, as a fall from the whole to what is left of it."""

    title: str = attrs.field(converter=printable)
    headings: tuple[str, ...] = attrs.field(converter=_printable)
    whole: float
    bars: tuple[Bar, ...] = attrs.field(converter=_bars)


def _numbers(values: Iterable[float | None]) -> tuple[float | None, ...]:
    # What a chart of a thousand pixels can show.
    return tuple(None if value is None else float(f"{value:.6g}") for value in values)


@attrs.frozen
class Axis:
    """What is measured along one side of a chart, with its unit."""

    label: str
    is_log: bool = False


@attrs.frozen
class Series:
    """Points of one kind, in order of x, in the units of the axes; `labels` name them. A line, or points alone."""

    name: str = attrs.field(converter=printable)
    xs: tuple[float | None, ...] = attrs.field(converter=_numbers)
    ys: tuple[float | None, ...] = attrs.field(converter=_numbers)
    labels: tuple[str, ...] = attrs.field(default=(), converter=_printable)
    is_line: bool = True


@attrs.frozen
class Chart:
    """A chart, which only a page can draw; its values stand beside it for who cannot see it."""

    title: str = attrs.field(converter=printable)
    x: Axis
    y: Axis
    series: tuple[Series, ...] = attrs.field(converter=_series)


@attrs.frozen
class TimelineFigure:
    """The timeline, which only a page can draw."""

    timeline: Timeline


Block = Table | Bars | Notes | Message | Chart | TimelineFigure


@attrs.frozen
class Section:
    """Blocks under a title. `name` is the short title, and the address of the section in a page."""

    name: str
    blocks: tuple[Block, ...] = attrs.field(converter=_blocks)
    title: str = attrs.field(default=attrs.Factory(lambda self: self.name, takes_self=True), converter=printable)
    depth: Depth = Depth.headline

    @property
    def caption(self) -> str:
        """What the title says beyond the name."""
        return self.title.removeprefix(self.name).lstrip(" ,:")

    @property
    def is_titled(self) -> bool:
        """Whether it has what needs a title; notes and messages speak for themselves, unless it was given one."""
        return self.title != self.name or any(isinstance(block, Table | Bars) for block in self.blocks)


@attrs.frozen
class Document:
    """A title, lines that say what it is about, and sections."""

    title: str = attrs.field(converter=printable)
    subtitles: tuple[str, ...] = attrs.field(converter=_printable)
    sections: tuple[Section, ...]
