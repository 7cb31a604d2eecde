"""`llmperf schema`: the public views and their columns."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from enum import StrEnum
from typing import Annotated

import typer

from nsys_pipeline.sqlmods import Module


class SchemaFormat(StrEnum):
    """Formats of the documentation."""

    table = "table"
    markdown = "markdown"
    json = "json"


def schema(
    view: Annotated[
        str | None, typer.Argument(metavar="[VIEW]", help="One view, with its columns; default: all views.")
    ] = None,
    *,
    format: Annotated[SchemaFormat, typer.Option("--format", help="How to print it.")] = SchemaFormat.table,  # noqa: A002
) -> None:
    """List the views that `llmperf sql` offers, or one view's columns with their types and units."""
    from nsys_pipeline.query.views import find_view, public_views, view_as_json, view_as_markdown

    views = [find_view(view)] if view else public_views()
    if format is SchemaFormat.json:
        documents = [view_as_json(module) for module in views]
        json.dump(documents[0] if view else documents, sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")
    elif format is SchemaFormat.markdown:
        sys.stdout.write("\n".join(view_as_markdown(module) for module in views))
    elif view:
        sys.stdout.write(_one_view(views[0]))
    else:
        sys.stdout.write(_all_views(views))


def _width() -> int:
    return shutil.get_terminal_size((120, 24)).columns


def _all_views(views: list[Module]) -> str:
    rows = [(module.relation, f"{module.doc} ({len(module.columns)} columns)") for module in views]
    return _aligned(rows) + "\n`llmperf schema VIEW` shows columns; the export's own tables are under `nsys.`\n"


def _one_view(module: Module) -> str:
    width = _width()
    head = (
        "\n".join(textwrap.wrap(module.doc, width)) + "\n" + "\n".join(textwrap.wrap(f"Grain: {module.grain}", width))
    )
    types = max(len(one.type) for one in module.columns)
    rows = [(f"{one.name}", f"{one.type:{types}}  ", one.doc) for one in module.columns]
    names = max(len(row[0]) for row in rows)
    return f"{module.relation}\n{head}\n\n" + _aligned(
        [(f"{name:{names}}  {kind}".rstrip(), doc) for name, kind, doc in rows]
    )


def _aligned(rows: list[tuple[str, str]]) -> str:
    left = max(len(name) for name, _ in rows) + 2
    lines = []
    for name, text in rows:
        parts = textwrap.wrap(text, max(30, _width() - left)) or [""]
        lines.append(f"{name:{left}}{parts[0]}")
        lines += [" " * left + part for part in parts[1:]]
    return "\n".join(lines) + "\n"
