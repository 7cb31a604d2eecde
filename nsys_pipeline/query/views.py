"""The documentation of the public views, read from the headers of their modules."""

from __future__ import annotations

from typing import Any

from nsys_pipeline.errors import QueryError
from nsys_pipeline.query.explain import nearest
from nsys_pipeline.sqlmods import Module, all_modules


def public_views() -> list[Module]:
    """Every public view, by name."""
    return sorted((module for module in all_modules().values() if module.is_public), key=lambda one: one.relation)


def find_view(name: str) -> Module:
    """The public view `name`. Raises QueryError, with the nearest names, where there is none."""
    for module in public_views():
        if module.relation == name.lower():
            return module
    hint = nearest(name, [module.relation for module in public_views()], "`llmperf schema` lists them")
    raise QueryError(f"there is no view `{name}`", hint=hint)


def view_as_json(module: Module) -> dict[str, Any]:
    """Name, description, grain and columns of a view."""
    return {
        "name": module.relation,
        "description": module.doc,
        "grain": module.grain,
        "columns": [{"name": one.name, "type": one.type, "description": one.doc} for one in module.columns],
    }


def view_as_markdown(module: Module, level: int = 2) -> str:
    """A section of Markdown with the view's columns as a table."""
    lines = [
        f"{'#' * level} {module.relation}", "", module.doc, "", f"Grain: {module.grain}", "",
        "| column | type | what it is |", "| --- | --- | --- |",
    ]  # fmt: skip
    lines += [f"| `{one.name}` | {one.type} | {_escape(one.doc)} |" for one in module.columns]
    return "\n".join([*lines, ""])


def _escape(text: str) -> str:
    return text.replace("|", r"\|").replace("<", r"\<")
