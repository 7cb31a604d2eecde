"""The report as JSON, contract `llmperf.report/1`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import IO, Any

import attrs

from nsys_pipeline.records import Report

SCHEMA = "llmperf.report/1"
RANGES_SCHEMA = "llmperf.ranges/1"


def render_json(report: Report, stream: IO[str]) -> None:
    """Write one JSON object, and nothing else. What is not known is null."""
    warnings = [{"code": one.code, "message": one.message, "hint": one.hint} for one in report.warnings]
    document = {"schema": SCHEMA, **attrs.asdict(report), "warnings": warnings}
    _write(document, stream)


def render_ranges_json(ranges: Sequence[dict[str, Any]], stream: IO[str]) -> None:
    """Write one JSON object with the rows of `list_ranges`."""
    _write({"schema": RANGES_SCHEMA, "ranges": list(ranges)}, stream)


def _write(document: dict[str, Any], stream: IO[str]) -> None:
    json.dump(document, stream, indent=2, ensure_ascii=False, allow_nan=False)
    stream.write("\n")
