"""The NVTX ranges of a trace and what they count as."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nsys_pipeline.report.document import Column, Document, Note, Notes, Section, Table
from nsys_pipeline.report.numbers import UNKNOWN


def ranges_document(ranges: Sequence[dict[str, Any]]) -> Document:
    """One table of `ranges`."""
    texts = [f"{row['domain']}:{row['name']}" if row["domain"] else row["name"] for row in ranges]
    columns = [
        Column.count("ranges", [row["count"] for row in ranges]),
        Column.amount("total ms", [row["total_ns"] for row in ranges], "ms"),
        Column.text("counts as", map(_counts_as, ranges)),
        Column.text("by rule", [row["rule"] or "" for row in ranges]),
        # Last, and never shortened: it is what a --phase expression has to match.
        Column.text("domain:text", [text or "(no text)" for text in texts]),
    ]
    blocks = [Table(columns)]
    notes = []
    if any(row["texts"] > 1 for row in ranges):
        notes.append(Note("N", "a number: texts that differ in numbers alone are one line"))
    if any(row["role"] == "phase" and row["occurrences"] < row["count"] for row in ranges):
        notes.append(Note("of", "the other ranges are parts of a phase, or loops around occurrences of it"))
    return Document(
        "",
        (),
        (
            Section(
                "ranges",
                (*blocks, *([Notes(notes)] if notes else [])),
                title="NVTX ranges, the longest in total first",
            ),
        ),
    )


def _counts_as(row: dict[str, Any]) -> str:
    if row["role"] != "phase":
        return f"phase {row['role']}" if row["occurrences"] else row["role"] or UNKNOWN
    if row["occurrences"] == row["count"]:
        return f"phase {row['phase']}"
    return f"phase {row['phase']}, {row['occurrences']:,} of {row['count']:,}"
