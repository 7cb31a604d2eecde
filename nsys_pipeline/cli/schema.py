"""`llmperf schema`: the public views and their columns."""

from __future__ import annotations

import json
import shutil
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nsys_pipeline.nearest import nearest

if TYPE_CHECKING:
    from nsys_pipeline.query.recipes import Recipe
    from nsys_pipeline.sqlmods import Module


class SchemaFormat(StrEnum):
    """Formats of the documentation."""

    table = "table"
    markdown = "markdown"
    json = "json"


def schema(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One view, macro or recipe; default: a list of all.")
    ] = None,
    *,
    recipes: Annotated[bool, typer.Option("--recipes", help="Recipes of `llmperf sql --recipe`, not views.")] = False,
    format: Annotated[SchemaFormat, typer.Option("--format", help="How to print it.")] = SchemaFormat.table,  # noqa: A002
) -> None:
    """List the views, macros and recipes that `llmperf sql` offers, or one's columns with their types and units."""
    from nsys_pipeline.query import describe, views
    from nsys_pipeline.query.recipes import all_recipes, find_recipe

    chosen: list[Any]
    if recipes:
        chosen = [find_recipe(name)] if name else list(all_recipes().values())
    else:
        chosen = [_find(name)] if name else [*views.public_views(), *views.public_macros()]
    if format is SchemaFormat.json:
        documents = [views.as_json(one) for one in chosen]
        json.dump(documents[0] if name else documents, sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")
    elif format is SchemaFormat.markdown:
        sys.stdout.write("\n".join(views.as_markdown(one) for one in chosen))
    else:
        width = shutil.get_terminal_size((120, 24)).columns
        if name:
            sys.stdout.write(describe.describe(chosen[0], width))
        else:
            sys.stdout.write(describe.list_recipes(width) if recipes else describe.list_views(width))


def _find(name: str) -> Module | Recipe:
    """The view, macro or recipe of that name, a view first. Raises QueryError, with the nearest of all names."""
    from nsys_pipeline.query import recipes, views

    found = recipes.all_recipes().get(name.lower())
    if found is not None and name.lower() not in views.names():
        return found
    return views.find_view(name, otherwise=nearest(name, recipes.all_recipes(), "`llmperf schema` lists them"))
