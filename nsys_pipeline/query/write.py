"""Write a result for programs: CSV, JSON lines, Parquet, Arrow. Rows are written as they come where the format can."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from nsys_pipeline.errors import UsageError
from nsys_pipeline.text import printable

if TYPE_CHECKING:
    import polars as pl

    from nsys_pipeline.query.session import QueryResult

SUFFIXES = {
    ".csv": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json", ".parquet": "parquet", ".arrow": "arrow",
    ".ipc": "arrow", ".feather": "arrow", ".txt": "table", "": "table",
}  # fmt: skip


def format_of(path: Path) -> str:
    """The format that the name of a file asks for. Raises UsageError for an unknown suffix."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        known = ", ".join(filter(None, SUFFIXES))
        raise UsageError(f"`{path}`: no format of a result is called {suffix}", hint=f"use {known}, or --format")
    return SUFFIXES[suffix]


def write_csv(result: QueryResult, stream: TextIO) -> None:
    """Comma-separated values with a header; NULL is empty, a list or struct is JSON.

    On a terminal, which would obey them, control characters in values are shown; elsewhere values go out as they are.
    """
    writer = csv.writer(stream, lineterminator="\n")
    shown = _shown if stream.isatty() else _csv_value
    writer.writerow([shown(name) for name in result.columns])
    for batch in result.batches():
        writer.writerows([shown(value) for value in row] for row in batch)


def write_json(result: QueryResult, stream: TextIO) -> None:
    """One JSON object per row and line; on a terminal, characters that JSON lets through are shown, not obeyed."""
    names = result.columns
    is_terminal = stream.isatty()
    for batch in result.batches():
        for row in batch:
            line = json.dumps(dict(zip(names, map(_plain, row), strict=True)), ensure_ascii=False, default=str)
            stream.write(f"{printable(line) if is_terminal else line}\n")


def write_frame(frame: pl.DataFrame, output_format: str, stream: BinaryIO) -> None:
    """`frame` as Parquet (zstd-compressed) or as an Arrow IPC file (Feather v2)."""
    if output_format == "parquet":
        frame.write_parquet(stream)
    else:
        frame.write_ipc(stream)


def _csv_value(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, dict)):
        return json.dumps(_plain(value), ensure_ascii=False, default=str)
    return value


def _shown(value: Any) -> Any:
    plain = _csv_value(value)
    return printable(plain) if isinstance(plain, str) else plain


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no word for it
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, bytes):
        return value.hex()
    return value
