"""The documentation of the public views, read from the headers of their modules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nsys_pipeline.errors import QueryError
from nsys_pipeline.nearest import nearest
from nsys_pipeline.query.recipes import Recipe
from nsys_pipeline.sqlmods import Column, Module, all_modules


def public_views() -> list[Module]:
    """Every public view, by name."""
    return sorted((module for module in all_modules().values() if module.is_public), key=lambda one: one.relation)


# Macros for people; the rest of sql/macros sweeps over spans for the attribution.
_MACROS = frozenset(
    {
        "bucket_ns",
        "busy_ns",
        "exposed",
        "function_name",
        "gaps",
        "islands",
        "kernel_family",
        "overlap",
        "percentiles",
        "short_name",
    }
)


def public_macros() -> list[Module]:
    """Every documented macro, by name."""
    return [all_modules()[f"macros.{name}"] for name in sorted(_MACROS)]


def names() -> dict[str, Module]:
    """Every public view and macro by its name."""
    return {module.relation: module for module in (*public_views(), *public_macros())}


def find_view(name: str, *, otherwise: str | None = "`llmperf schema` lists them") -> Module:
    """Look a public view or macro up. Raises QueryError, with the nearest names or `otherwise`, where there is none."""
    known = names()
    if name.lower() not in known:
        raise QueryError(f"there is no view `{name}`", hint=nearest(name, known, otherwise))
    return known[name.lower()]


def as_json(one: Module | Recipe) -> dict[str, Any]:
    """Documentation of a view, macro or recipe as JSON: name, description, parameters, columns."""
    return _recipe_as_json(one) if isinstance(one, Recipe) else _view_as_json(one)


def as_markdown(one: Module | Recipe, level: int = 2) -> str:
    """Documentation of a view, macro or recipe as a section of Markdown."""
    return _recipe_as_markdown(one, level) if isinstance(one, Recipe) else _view_as_markdown(one, level)


def _view_as_json(module: Module) -> dict[str, Any]:
    return {
        "name": module.relation,
        "description": module.doc,
        "grain": module.grain,
        **({"parameters": list(module.params)} if module.is_macro else {}),
        **({"returns": {"type": module.returns.type, "description": module.returns.doc}} if module.returns else {}),
        "columns": [{"name": one.name, "type": one.type, "description": one.doc} for one in module.columns],
    }


def _recipe_as_json(recipe: Recipe) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "question": recipe.question,
        "description": recipe.doc,
        "parameters": [{"name": one.name, "default": one.default, "description": one.doc} for one in recipe.parameters],
        "columns": [{"name": one.name, "type": one.type, "description": one.doc} for one in recipe.columns],
        "sql": recipe.sql,
    }


def _view_as_markdown(module: Module, level: int) -> str:
    title = f"{module.relation}({', '.join(module.params)})" if module.is_macro else module.relation
    lines = [f"{'#' * level} {title}", "", module.doc, ""]
    if module.returns is not None:
        return "\n".join([*lines, f"Returns {module.returns.type}: {module.returns.doc}", ""])
    return "\n".join([*lines, f"Grain: {module.grain}", "", *_column_table(module.columns), ""])


def _recipe_as_markdown(recipe: Recipe, level: int) -> str:
    lines = [f"{'#' * level} {recipe.name}", "", recipe.question, *([recipe.doc] if recipe.doc else []), ""]
    if recipe.parameters:
        lines += ["| parameter | default | what it is |", "| --- | --- | --- |"]
        lines += [f"| `${one.name}` | {one.default} | {_escape(one.doc)} |" for one in recipe.parameters] + [""]
    return "\n".join([*lines, *_column_table(recipe.columns), "", "```sql", recipe.sql, "```", ""])


def _column_table(columns: Sequence[Column]) -> list[str]:
    lines = ["| column | type | what it is |", "| --- | --- | --- |"]
    return lines + [f"| `{one.name}` | {one.type} | {_escape(one.doc)} |" for one in columns]


def _escape(text: str) -> str:
    return text.replace("|", r"\|").replace("<", r"\<")
