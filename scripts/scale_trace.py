"""Repeat a real trace K times: the same work again and again on one clock, in one SQLite export.

    python scripts/scale_trace.py TRACE.sqlite[.xz] OUT.sqlite --copies 50

Every copy comes after the one before it: times move by the length of the trace, correlation ids (and the ids of grids
and ranges) by their largest value, so that every join finds its own copy only. Devices, processes, strings, domains and
the creation of CUDA graphs stay single, as they would in one long run. Counts that nsys notes about itself
("Number of CUDA events collected: …") are multiplied. All of it runs inside SQLite.
"""

from __future__ import annotations

import argparse
import lzma
import re
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

EVENT_TABLES = (
    "CUPTI_ACTIVITY_KIND_RUNTIME", "CUPTI_ACTIVITY_KIND_KERNEL", "CUPTI_ACTIVITY_KIND_MEMCPY",
    "CUPTI_ACTIVITY_KIND_MEMSET", "CUPTI_ACTIVITY_KIND_GRAPH_TRACE", "CUPTI_ACTIVITY_KIND_SYNCHRONIZATION",
    "CUPTI_ACTIVITY_KIND_CUDA_EVENT", "NVTX_EVENTS", "OSRT_API", "PROFILER_OVERHEAD", "GPU_METRICS",
)  # fmt: skip
TIME_COLUMNS = ("start", "end", "timestamp", "rawTimestamp")
ID_COLUMNS = ("correlationId", "gridId", "rangeId")
RANGE_EVENTS = "(59, 60, 70, 71)"
# Domains are created and destroyed once; a second creation row would make two domains of one.
KEPT_ONCE = {"NVTX_EVENTS": "eventType NOT IN (75, 76)"}
GAP_NS = 1_000_000


@contextmanager
def plain_sqlite(trace: Path) -> Iterator[Path]:
    """`trace` itself, or its unpacked copy while the context lasts."""
    if trace.suffix != ".xz":
        yield trace
        return
    unpacked = trace.with_name(f".{trace.stem}.unpacked-{time.monotonic_ns()}")
    try:
        with lzma.open(trace, "rb") as source, unpacked.open("wb") as target:
            shutil.copyfileobj(source, target)
        yield unpacked
    finally:
        unpacked.unlink(missing_ok=True)


def scale(source: Path, target: Path, copies: int) -> int:
    """Write `source` `copies` times over into `target`, replacing it. Returns the length of one copy in ns."""
    if copies < 1:
        raise ValueError(f"{copies} copies")
    part = target.with_name(f"{target.name}.part")
    shutil.copyfile(source, part)
    part.chmod(0o644)
    with closing(sqlite3.connect(part.resolve().as_uri(), uri=True, isolation_level=None)) as db:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE", "cache_size = -65536"):
            db.execute(f"PRAGMA {pragma}")
        db.execute("ATTACH ? AS original", (f"{source.resolve().as_uri()}?mode=ro",))
        columns = {table: _columns(db, table) for table in EVENT_TABLES if _columns(db, table)}
        first, last = _time_bounds(db, columns)
        period = last - first + GAP_NS
        id_steps = {column: _largest(db, columns, column) + 1 for column in ID_COLUMNS}
        db.execute("BEGIN")
        if "NVTX_EVENTS" in columns and copies > 1:
            # A push that was never popped ends with its copy; only that of the last copy stays open.
            db.execute(f'UPDATE NVTX_EVENTS SET "end" = ? WHERE "end" IS NULL AND eventType IN {RANGE_EVENTS}', (last,))
        for copy in range(1, copies):
            steps = dict.fromkeys(TIME_COLUMNS, copy * period) | {name: copy * id_steps[name] for name in ID_COLUMNS}
            for table, names in columns.items():
                _append(db, table, names, steps, open_end=None if copy == copies - 1 else last)
        _stretch_session(db, (copies - 1) * period)
        _multiply_counts(db, copies)
        db.execute("COMMIT")
        db.execute("DETACH original")
    part.replace(target)
    return period


def _columns(db: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in db.execute(f"PRAGMA original.table_info({table})")]


def _time_bounds(db: sqlite3.Connection, columns: dict[str, list[str]]) -> tuple[int, int]:
    """First and last instant of everything that is repeated."""
    edges: list[int] = []
    for table, names in columns.items():
        for column in {"start", "end", "timestamp"} & set(names):
            where = KEPT_ONCE.get(table, "1")
            found = db.execute(
                f'SELECT min("{column}"), max("{column}") FROM original.{table} WHERE {where}'
            ).fetchone()
            edges += [edge for edge in found if edge is not None]
    if not edges:
        raise ValueError("the trace has no events to repeat")
    return min(edges), max(edges)


def _largest(db: sqlite3.Connection, columns: dict[str, list[str]], column: str) -> int:
    tables = [table for table, names in columns.items() if column in names]
    found = (db.execute(f"SELECT max({column}) FROM original.{table}").fetchone()[0] for table in tables)
    return max((value for value in found if value is not None), default=0)


def _append(
    db: sqlite3.Connection, table: str, names: list[str], steps: dict[str, int], *, open_end: int | None
) -> None:
    """Insert one more copy of `table`, each column moved by its step; `open_end` ends ranges that have no end."""
    values = []
    for name in names:
        value = f'"{name}"'
        if name == "end" and table == "NVTX_EVENTS" and open_end is not None:
            value = f'CASE WHEN eventType IN {RANGE_EVENTS} THEN coalesce("end", {open_end}) ELSE "end" END'
        if name in TIME_COLUMNS:
            value = f"{value} + {steps[name]}"
        elif name in ID_COLUMNS:
            # Id 0 stands for "none" and stays.
            value = f"CASE WHEN {value} <> 0 THEN {value} + {steps[name]} ELSE {value} END"
        values.append(value)
    where = KEPT_ONCE.get(table, "1")
    listed = ", ".join(f'"{name}"' for name in names)
    selected = f"SELECT {', '.join(values)} FROM original.{table} WHERE {where} ORDER BY rowid"
    db.execute(f"INSERT INTO main.{table} ({listed}) {selected}")


def _stretch_session(db: sqlite3.Connection, by_ns: int) -> None:
    if _columns(db, "ANALYSIS_DETAILS"):
        db.execute("UPDATE ANALYSIS_DETAILS SET duration = duration + ?, stopTime = stopTime + ?", (by_ns, by_ns))


def _multiply_counts(db: sqlite3.Connection, copies: int) -> None:
    if not _columns(db, "DIAGNOSTIC_EVENT"):
        return

    def times(text: Any) -> Any:
        if not isinstance(text, str) or not text.startswith("Number of "):
            return text
        return re.sub(r"\d+", lambda found: str(int(found[0]) * copies), text)

    db.create_function("times", 1, times, deterministic=True)
    db.execute("UPDATE DIAGNOSTIC_EVENT SET text = times(text) WHERE text LIKE 'Number of % events %'")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--copies", type=int, default=50)
    parser.add_argument("--force", action="store_true", help="replace OUT")
    options = parser.parse_args()
    if options.out.exists() and not options.force:
        sys.exit(f"error: `{options.out}` exists\n\nhint: add --force to replace it")
    begun = time.monotonic()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with plain_sqlite(options.trace) as source:
        period = scale(source, options.out, options.copies)
    size = options.out.stat().st_size / 1e6
    print(
        f"{options.out}: {options.copies} copies of {period / 1e9:.3f} s, {size:.0f} MB,"
        f" written in {time.monotonic() - begun:.1f} s"
    )


if __name__ == "__main__":
    main()
