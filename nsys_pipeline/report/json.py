"""The report as JSON, contract `llmperf.report/1`."""

from __future__ import annotations

import json
from typing import IO

import attrs

from nsys_pipeline.records import Report

SCHEMA = "llmperf.report/1"


def render_json(report: Report, stream: IO[str]) -> None:
    """Write one JSON object, and nothing else. What is not known is null."""
    json.dump({"schema": SCHEMA, **attrs.asdict(report)}, stream, indent=2, ensure_ascii=False, allow_nan=False)
    stream.write("\n")
