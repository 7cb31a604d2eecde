"""The NVTX ranges of a trace and what they count as."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nsys_pipeline.report.document import Column, Document, Section, Table
from nsys_pipeline.report.numbers import UNKNOWN


def ranges_document(ranges: Sequence[dict[str, Any]]) -> Document:
    """One table of `ranges`."""
    texts = [f"{row['domain']}:{row['name']}" if row["domain"] else row["name"] for row in ranges]
    roles = [f"phase {row['phase']}" if row["role"] == "phase" else row["role"] or UNKNOWN for row in ranges]
    columns = [
        Column.count("ranges", [row["count"] for row in ranges]),
        Column.amount("total ms", [row["total_ns"] for row in ranges], "ms"),
        Column.text("counts as", roles),
        Column.text("by rule", [row["rule"] or "" for row in ranges]),
        # Last, and never shortened: it is what a --phase expression has to match.
        Column.text("domain:text", [text or "(no text)" for text in texts]),
    ]
    return Document("", (), (Section("ranges", (Table(columns),), title="NVTX ranges, the longest in total first"),))
