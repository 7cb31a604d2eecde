"""Read the marker contract out of an exported trace with nothing but sqlite3."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import attrs

from nsys_pipeline import markers
from nsys_pipeline.records import Step


@attrs.frozen
class Range:
    """One push/pop range of the llmperf domain; `steps` are the step marks directly inside it."""

    name: str
    start: int
    end: int
    thread: int
    parents: tuple[str, ...]
    steps: tuple[Step, ...]


def llmperf_events(trace: Path) -> tuple[list[Range], list[dict[str, Any]]]:
    """Ranges in order of start, and the run marks."""
    connection = sqlite3.connect(f"file:{trace}?mode=ro", uri=True)
    rows = connection.execute(
        """SELECT n.start, n.end, n.eventType, coalesce(n.text, s.value), n.globalTid
           FROM NVTX_EVENTS AS n LEFT JOIN StringIds AS s ON s.id = n.textId
           WHERE n.eventType IN (34, 59) AND EXISTS (
             SELECT 1 FROM NVTX_EVENTS AS d WHERE d.eventType = 75 AND d.domainId = n.domainId
               AND d.globalTid >> 24 = n.globalTid >> 24 AND d.text = ?)
           ORDER BY n.start, n.eventType DESC""",
        (markers.DOMAIN,),
    ).fetchall()
    connection.close()
    ranges = [row for row in rows if row[2] == 59]
    found = []
    for start, end, _, name, thread in ranges:
        parents = tuple(r[3] for r in ranges if r[4] == thread and r[0] < start and r[1] >= end)
        marks = [
            markers.decode_step(text.removeprefix(markers.STEP_MARK))
            for at, _, kind, text, mark_thread in rows
            if kind == 34 and mark_thread == thread and start <= at <= end and text.startswith(markers.STEP_MARK)
        ]
        # Stages lie inside the pass whose mark it is.
        leaf = not any(r[4] == thread and start < r[0] < end and not r[3].startswith("vision.") for r in ranges)
        found.append(Range(name, start, end, thread, parents, tuple(marks) if leaf else ()))
    runs = [json.loads(row[3].removeprefix(markers.RUN_MARK)) for row in rows if row[3].startswith(markers.RUN_MARK)]
    return found, runs


def written_in(trace: Path) -> list[list[int]]:
    """Tokens that the sequences of each request wrote, as marks behind the requests say."""
    connection = sqlite3.connect(f"file:{trace}?mode=ro", uri=True)
    rows = connection.execute(
        """SELECT coalesce(n.text, s.value) AS text FROM NVTX_EVENTS AS n LEFT JOIN StringIds AS s ON s.id = n.textId
           WHERE n.eventType = 34 AND text LIKE ? ORDER BY n.start""",
        (f"{markers.WRITTEN_MARK} %",),
    ).fetchall()
    connection.close()
    return [json.loads(text.removeprefix(markers.WRITTEN_MARK))["tokens"] for (text,) in rows]
