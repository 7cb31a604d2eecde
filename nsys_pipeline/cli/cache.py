"""`llmperf cache`: where prepared tables are kept, how large they are, and how they go."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import Annotated

import attrs
import typer

from nsys_pipeline.errors import UsageError
from nsys_pipeline.text import printable
from nsys_pipeline.trace import cache as store


class CacheAction(StrEnum):
    """What to do with the cache."""

    show = "show"
    clear = "clear"


def cache(
    action: Annotated[CacheAction, typer.Argument(metavar="[show|clear]", help="List what is there, or remove it.")] = (
        CacheAction.show
    ),
    *,
    output_format: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
) -> None:
    """Show where llmperf keeps prepared tables of traces and how large they are, or remove them all.

    It is the user's cache folder, or $LLMPERF_CACHE_DIR. Entries that were not used for longest go as soon as there are
    more than 20 GiB. Removing them costs nothing but the time to make them again. No tables are kept below a folder
    with a question mark in its name.
    """
    if output_format not in ("table", "json"):
        raise UsageError(f"`{output_format}` is not one of table, json")
    place = store.default_cache_dir()
    usages = store.usage(place) if action is CacheAction.show else store.clear(place)
    total = sum(usage.bytes for usage in usages)
    if output_format == "json":
        key = "entries" if action is CacheAction.show else "removed"
        document = {
            "path": str(place), "limit_bytes": store.MAX_CACHE_BYTES, "total_bytes": total,
            key: [attrs.asdict(usage) for usage in usages],
        }  # fmt: skip
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        return
    sys.stdout.write(f"{printable(str(place))}\n")
    if "?" in str(place):
        sys.stdout.write("no tables are kept there: DuckDB opens no file below a folder with a question mark\n")
    for usage in usages:
        sys.stdout.write(f"{_size(usage.bytes):>10}  {usage.files:>6,} files  {store.FOLDERS[usage.folder]}\n")
    end = (
        f"removed {_size(total)}"
        if action is CacheAction.clear
        else f"{_size(total)} of {_size(store.MAX_CACHE_BYTES)}"
    )
    sys.stdout.write(f"{end}\n")


def _size(count: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} B"
