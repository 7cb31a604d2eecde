"""A document as one page: a single file that works offline, from disk, without a server, and loads nothing.

Names in it are what programs chose. Jinja2 escapes them, a content security policy lets nothing run but the scripts
that llmperf put there, by their hashes, and lets nothing be loaded.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import IO, Any

import attrs
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from nsys_pipeline import __version__
from nsys_pipeline.report.document import (
    Bars,
    Blank,
    Block,
    Document,
    Message,
    Notes,
    Section,
    Table,
    TimelineFigure,
    Value,
)

PAGE = Path(__file__).parent / "page"
#: What a reader wants first comes first; the rest is in the order of the document.
_FIRST = ("verdict", "budget", "findings", "phases", "timeline")


@attrs.frozen
class _Script:
    """A script of llmperf, and the hash by which the policy knows it."""

    text: Markup
    hash: str

    @classmethod
    def of(cls, *names: str) -> _Script:
        text = "\n".join((PAGE / name).read_text(encoding="utf-8") for name in names)
        if "</script" in text.lower():
            raise ValueError(f"{names} would end its own element")
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        return cls(Markup(text), f"sha256-{digest}")  # noqa: S704 - a file of this package


@attrs.frozen
class _Data:
    """What a script reads: an element that is not run."""

    id: str
    type: str
    text: Markup

    @classmethod
    def json(cls, name: str, value: object) -> _Data:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        # No `<` means no tag, whatever the names in it are.
        return cls(name, "application/json", Markup(text.replace("<", "\\u003c")))  # noqa: S704

    @classmethod
    def packed(cls, name: str, data: bytes) -> _Data:
        return cls(name, "application/gzip", Markup(base64.b64encode(data).decode()))  # noqa: S704 - base64 has no `<`


def render_document(document: Document, stream: IO[str]) -> None:
    """Write `document` as a page."""
    environment = _environment()
    blocks: Any = environment.get_template("blocks.html.j2").module

    def render(block: Block, section: Section) -> str:
        kinds = {
            Table: blocks.table,
            Bars: blocks.bars,
            Notes: blocks.notes,
            Message: blocks.message,
            TimelineFigure: blocks.timeline,
        }
        html: str = kinds[type(block)](block, section)
        return html

    stream.write(
        environment.get_template("page.html.j2").render(
            document=document,
            sections=_ordered(document.sections),
            render=render,
            style=Markup((PAGE / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - a file of this package
            scripts=_scripts(document),
            data=_data(document),
            licenses=[],
            version=__version__,
        )
    )


def _figures(document: Document) -> list[TimelineFigure]:
    return [block for section in document.sections for block in section.blocks if isinstance(block, TimelineFigure)]


def _scripts(document: Document) -> list[_Script]:
    timeline = [_Script.of("timeline_model.js", "timeline.js")] if _figures(document) else []
    return [_Script.of("page.js"), *timeline]


def _data(document: Document) -> list[_Data]:
    return [_Data.packed("timeline-data", figure.timeline.data) for figure in _figures(document)]


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"slug": _slug, "sentence": _sentence, "raw": _raw, "code": _code}
    return environment


def _ordered(sections: tuple[Section, ...]) -> list[Section]:
    places = {name: place for place, name in enumerate(_FIRST)}
    return sorted(sections, key=lambda section: places.get(section.name, len(places)))


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _raw(value: Value) -> str:
    """A value as a script reads it; what is not known, or does not apply, is empty."""
    return "" if value is None or isinstance(value, Blank) else str(value)


def _code(text: str) -> Markup:
    """A sentence in which what stands between backticks is code."""
    *parts, last = text.split("`")
    if len(parts) % 2:  # one backtick too many
        last = f"{parts.pop()}`{last}"
    shown = [
        Markup("<code>{}</code>").format(part) if index % 2 else escape(part)
        for index, part in enumerate([*parts, last])
    ]
    return Markup("").join(shown)
