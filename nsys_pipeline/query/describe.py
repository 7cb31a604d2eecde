"""The documentation of views, macros and recipes as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from nsys_pipeline.query.recipes import Recipe, all_recipes
from nsys_pipeline.query.views import public_macros, public_views
from nsys_pipeline.sqlmods import Column, Module


def list_views(width: int) -> str:
    """Every public view, then every macro, with a line each."""
    views = [(module.relation, first_sentence(module.doc)) for module in public_views()]
    macros = [
        (f"{module.relation}({', '.join(module.params)})", first_sentence(module.doc)) for module in public_macros()
    ]
    return (
        aligned(views, width) + "\nmacros\n" + aligned(macros, width)
        + "\n`llmperf schema NAME` shows columns. The export's own tables are under `nsys.`\n"
    )  # fmt: skip


def describe(one: Module | Recipe, width: int) -> str:
    """One view, macro or recipe with its parameters and columns."""
    return _recipe(one, width) if isinstance(one, Recipe) else _module(one, width)


def _module(module: Module, width: int) -> str:
    title = f"{module.relation}({', '.join(module.params)})" if module.is_macro else module.relation
    lines = [title, *textwrap.wrap(module.doc, width)]
    if module.returns is not None:
        lines += textwrap.wrap(f"Returns {module.returns.type}: {module.returns.doc}", width)
        return "\n".join([*lines, ""])
    lines += textwrap.wrap(f"Grain: {module.grain}", width)
    return "\n".join([*lines, "", _columns(module.columns, width)])


def list_recipes(width: int) -> str:
    """Every recipe with its question."""
    return aligned([(recipe.name, recipe.question) for recipe in all_recipes().values()], width)


def _recipe(recipe: Recipe, width: int) -> str:
    lines = [recipe.name, recipe.question, *textwrap.wrap(recipe.doc, width), ""]
    if recipe.parameters:
        rows = [(f"${one.name}", f"{one.doc} [{one.default}]") for one in recipe.parameters]
        lines += [aligned(rows, width)]
    return "\n".join([*lines, _columns(recipe.columns, width), recipe.sql, ""])


def _columns(columns: Sequence[Column], width: int) -> str:
    names = max(len(one.name) for one in columns)
    return aligned([(f"{one.name:{names}}  {one.type}", one.doc) for one in columns], width)


def first_sentence(text: str) -> str:
    """What a description begins with."""
    return text.split(". ", maxsplit=1)[0].rstrip(".") + "."


def aligned(rows: Sequence[tuple[str, str]], width: int) -> str:
    """Two columns, the second wrapped."""
    left = max(len(name) for name, _ in rows) + 2
    lines = []
    for name, text in rows:
        parts = textwrap.wrap(text, max(30, width - left)) or [""]
        lines.append(f"{name:{left}}{parts[0]}")
        lines += [" " * left + part for part in parts[1:]]
    return "\n".join(lines) + "\n"
