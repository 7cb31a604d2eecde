"""A document as GitHub-flavoured Markdown, for pull requests and notes: details are folded, names are escaped."""

from __future__ import annotations

import html
import re
from typing import IO

from nsys_pipeline.report.document import Bars, Block, Depth, Document, Kind, Message, Note, Notes, Section, Table

# What Markdown or HTML would take for its own, in text that a program chose.
_SPECIAL = re.compile(r"([\\`*_\[\]<#|~$])")
_AT_START = re.compile(r"^(\s*\d*)([-+=.)](?=\s)|>)")
_BAR_CELLS = 30


def render_document(document: Document, stream: IO[str]) -> None:
    """Write `document`."""
    if document.title:
        stream.write(f"### {literal(document.title)}\n\n")
    for line in document.subtitles:
        stream.write(f"{escaped(line)}\n\n")
    for section in document.sections:
        if section.depth is Depth.headline:
            heading = f"**{escaped(section.title)}**\n\n" if section.is_titled else ""
            stream.write(heading + _blocks(section))
    for section in document.sections:
        if section.depth in (Depth.detail, Depth.appendix):
            # Inside HTML nothing is Markdown.
            summary = html.escape(section.title)
            stream.write(f"<details><summary>{summary}</summary>\n\n{_blocks(section)}</details>\n\n")


def escaped(text: str) -> str:
    """A sentence as Markdown that shows it; what stands between backticks becomes code."""
    *parts, last = text.split("`")
    if len(parts) % 2:  # one backtick too many
        last = f"{parts.pop()}`{last}"
    shown = [code(part) if index % 2 else literal(part) for index, part in enumerate([*parts, last])]
    return "".join(shown)


def code(text: str) -> str:
    """`text` as code, whatever is in it."""
    if not text.strip():
        return literal(text)
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}".replace("|", "\\|")


def literal(text: str) -> str:
    """`text` as Markdown that shows it."""
    text = _AT_START.sub(r"\1\\\2", _SPECIAL.sub(r"\\\1", text.replace("&", "&amp;")))
    # No mention, no reference to an issue, no link.
    text = re.sub(r"(@|\\#)(?=\w)", "\\1&#8203;", text)
    return re.sub(r"(?i)\b(https?|ftp)://|\bwww\.", lambda found: f"{found[0][0]}&#8203;{found[0][1:]}", text)


def _blocks(section: Section) -> str:
    return "".join(f"{_block(block)}\n" for block in section.blocks)


def _block(block: Block) -> str:
    match block:
        case Table():
            kinds = [column.kind for column in block.columns]
            write = [code if kind is Kind.name else _cell for kind in kinds]
            rules = ["--:" if kind is Kind.number else ":--" for kind in kinds]
            rows = [[to(cell) for to, cell in zip(write, row, strict=True)] for row in block.rows]
            return _table([literal(column.label) for column in block.columns], rules, rows)
        case Bars():
            rows = [[literal(bar.label), *bar.cells, _bar(bar.start, bar.length, block.whole)] for bar in block.bars]
            return _table(["", *block.headings, ""], [":--", *["--:"] * len(block.headings), ":--"], rows)
        case Notes():
            return "".join(f"- {_note(note)}\n" for note in block.notes)
        case Message():
            hint = f"\\\n> hint: {escaped(block.hint)}" if block.hint else ""
            return f"> **{block.severity}:** {escaped(block.text)}{hint}\n"
        case _:
            raise TypeError(f"Markdown cannot show {type(block).__name__}")


def _cell(text: str) -> str:
    """`text` as a cell, in which the spaces that it begins with are seen: they say what is inside what."""
    shown = text.lstrip(" ")
    return "&nbsp;" * (len(text) - len(shown)) + literal(shown) if shown else literal(text)


def _note(note: Note) -> str:
    if note.lead:
        return f"{escaped(note.label)} **{escaped(note.lead)}**{': ' if note.text else ''}{escaped(note.text)}"
    return f"**{escaped(note.label)}** {escaped(note.text)}" if note.label else escaped(note.text)


def _table(headings: list[str], rules: list[str], rows: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in [headings, rules, *rows])


def _bar(start: float, length: float, whole: float) -> str:
    first = min(_BAR_CELLS - 1, round(start / whole * _BAR_CELLS))
    cells = max(1, round((start + length) / whole * _BAR_CELLS) - first)
    return f"`{'░' * first}{'█' * cells}{'░' * (_BAR_CELLS - first - cells)}`"
