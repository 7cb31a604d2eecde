"""Multimodal models of which only the text decoder has a reading, which are rows of text_only.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from nsys_pipeline.model.architecture import Architecture
from nsys_pipeline.model.families.common import Builder, Verified
from nsys_pipeline.model.families.towers import text_decoder
from nsys_pipeline.model.fields import Fields

_ROWS: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_name("text_only.toml").read_text(encoding="utf-8"))


def _builder(row: Mapping[str, Any]) -> Builder:
    def build(f: Fields) -> Architecture:
        text = text_decoder(f, row["text"], flat=row.get("flat", False))
        return attrs.evolve(text, family=f.model_type, text_only=True, why=row.get("why", ""))

    return Verified(build) if row.get("verified") else build


TEXT_ONLY: dict[str, Builder] = {name: _builder(row) for name, row in _ROWS.items()}
