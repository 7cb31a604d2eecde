"""Write a result for programs: CSV, JSON lines, Parquet, Arrow. Rows are written as they come where the format can."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

if TYPE_CHECKING:
    import polars as pl

    from nsys_pipeline.query.session import QueryResult

BINARY_FORMATS = ("parquet", "arrow")
SUFFIXES = {
    ".csv": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json", ".parquet": "parquet", ".arrow": "arrow",
    ".ipc": "arrow", ".feather": "arrow", ".txt": "table",
}  # fmt: skip


def format_of(path: Path) -> str | None:
    """The format that the name of a file asks for, or None."""
    return SUFFIXES.get(path.suffix.lower())


def write_csv(result: QueryResult, stream: TextIO) -> None:
    """Comma-separated values with a header; NULL is empty, a list or struct is JSON."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(result.columns)
    for batch in result.batches():
        writer.writerows([_csv_value(value) for value in row] for row in batch)


def write_json(result: QueryResult, stream: TextIO) -> None:
    """One JSON object per row and line."""
    names = result.columns
    for batch in result.batches():
        for row in batch:
            stream.write(json.dumps(dict(zip(names, map(_plain, row), strict=True)), ensure_ascii=False, default=str))
            stream.write("\n")


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
