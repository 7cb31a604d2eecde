"""Multimodal models of which only the text decoder has a reading, which are rows of text_only.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from nsys_pipeline.model.architecture import Architecture
from nsys_pipeline.model.families.common import Builder, Verified
from nsys_pipeline.model.families.towers import text_decoder
from nsys_pipeline.model.fields import Fields


def _only_text(architecture: Architecture, family: str) -> Architecture:
    return attrs.evolve(architecture, family=family, text_only=True)


def _nested(text: str) -> Builder:
    return lambda f: _only_text(text_decoder(f, text), f.model_type)


def _top(text: str) -> Builder:
    return lambda f: _only_text(text_decoder(f, text, flat=True), f.model_type)


def _thinker(inner: str) -> Builder:
    def build(f: Fields) -> Architecture:
        if not f.has("thinker_config"):
            raise f.missing("thinker_config")
        thinker = f.sub("thinker_config", model_type=inner)
        return _only_text(text_decoder(thinker, _ROWS[inner]["text"]), f.model_type)

    return build


_PLACES: Mapping[str, Callable[[str], Builder]] = {"nested": _nested, "top": _top, "thinker": _thinker}
_ROWS: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_name("text_only.toml").read_text(encoding="utf-8"))


def _builder(row: Mapping[str, Any]) -> Builder:
    read, why = _PLACES[row.get("at", "nested")](row["text"]), row.get("why", "")

    def build(f: Fields) -> Architecture:
        return attrs.evolve(read(f), why=why)

    return Verified(build) if row.get("verified") else build


TEXT_ONLY: dict[str, Builder] = {name: _builder(row) for name, row in _ROWS.items()}
