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
from typing import IO, Any, TypeVar

import attrs
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from nsys_pipeline import __version__
from nsys_pipeline.report.document import (
    Bars,
    Blank,
    Block,
    Chart,
    Document,
    Message,
    Notes,
    Section,
    Series,
    Table,
    TimelineFigure,
    Value,
)
from nsys_pipeline.report.numbers import UNKNOWN

PAGE = Path(__file__).parent / "page"
_TABLE_POINTS = 50
_UPLOT = "vendor/uplot"
_B = TypeVar("_B", bound=Block)
#: What a reader wants first comes first, what explains last; the rest is in the order of the document.
_FIRST = (
    "verdict", "budget", "worth doing", "findings", "phases", "timeline", "roofline", "steps", "latency",
    "counters over time",
)  # fmt: skip
_LAST = ("how to read this", "checks", "environment", "glossary")


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

    charts = _blocks_of(document, Chart)

    def render(block: Block, section: Section) -> Any:
        match block:
            case Table():
                return blocks.table(block, section)
            case Bars():
                return blocks.bars(block)
            case Notes():
                return blocks.notes(block)
            case Message():
                return blocks.message(block)
            case Chart():
                return blocks.chart(block, charts.index(block))
            case TimelineFigure():
                return blocks.timeline(block)

    stream.write(
        environment.get_template("page.html.j2").render(
            document=document,
            sections=_ordered(document.sections),
            render=render,
            style=_style(document),
            scripts=_scripts(document),
            data=_data(document),
            licenses=_licenses(document),
            version=__version__,
        )
    )


def _blocks_of(document: Document, kind: type[_B]) -> list[_B]:
    return [block for section in document.sections for block in section.blocks if isinstance(block, kind)]


def _scripts(document: Document) -> list[_Script]:
    scripts = [_Script.of("page.js")]
    if _blocks_of(document, Chart):
        scripts.append(_Script.of(f"{_UPLOT}/uPlot.iife.min.js", "charts.js"))
    if _blocks_of(document, TimelineFigure):
        scripts.append(_Script.of("timeline_model.js", "timeline.js"))
    return scripts


def _data(document: Document) -> list[_Data]:
    figures = _blocks_of(document, TimelineFigure)
    data = [_Data.packed("timeline-data", figure.timeline.data) for figure in figures]
    if charts := _blocks_of(document, Chart):
        data.append(_Data.json("chart-data", [attrs.asdict(chart) for chart in charts]))
    return data


def _style(document: Document) -> Markup:
    names = ["page.css", f"{_UPLOT}/uPlot.min.css"] if _blocks_of(document, Chart) else ["page.css"]
    return Markup("\n".join((PAGE / name).read_text(encoding="utf-8") for name in names))  # noqa: S704 - own files


def _licenses(document: Document) -> list[dict[str, str]]:
    if not _blocks_of(document, Chart):
        return []
    return [{"name": "uPlot", "text": (PAGE / _UPLOT / "LICENSE").read_text(encoding="utf-8")}]


def _sampled(series: Series) -> list[tuple[float | None, float | None, str]]:
    """Points of `series` as a table can hold them: all, or as many evenly chosen ones."""
    labels = series.labels or ("",) * len(series.xs)
    points = list(zip(series.xs, series.ys, labels, strict=True))
    last = len(points) - 1
    if last < _TABLE_POINTS:
        return points
    return [points[index * last // (_TABLE_POINTS - 1)] for index in range(_TABLE_POINTS)]


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "slug": _slug,
        "sentence": _sentence,
        "raw": _raw,
        "code": _code,
        "sampled": _sampled,
        "number": _number,
    }
    return environment


def _ordered(sections: tuple[Section, ...]) -> list[Section]:
    """Sections of a page from top to bottom. Only the report of a trace has a glossary; others keep their own order."""
    if not any(section.name == "glossary" for section in sections):
        return list(sections)
    places = {name: place for place, name in enumerate((*_FIRST, "", *_LAST))}
    return sorted(sections, key=lambda section: places.get(section.name, places[""]))


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
