"""Questions that people ask again and again, as files of ``sql/recipes``: a query with its documentation.

A header says what is asked, which parameters there are with their defaults, and what comes back::

    -- The question?
    -- More about it.
    -- params:
    --   top=10  Rows to show.
    -- columns:
    --   phase VARCHAR  Name of the phase.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import attrs

from nsys_pipeline.errors import QueryError
from nsys_pipeline.nearest import nearest
from nsys_pipeline.query.parameters import parse_value
from nsys_pipeline.sqlmods import Column, ModuleError, parse_columns, sql_root


@attrs.frozen
class Parameter:
    """A parameter of a recipe; the type of its default is what a value must be."""

    name: str
    default: int | float | str
    doc: str


@attrs.frozen
class Recipe:
    """One file of ``sql/recipes``."""

    name: str
    question: str
    doc: str
    parameters: tuple[Parameter, ...]
    columns: tuple[Column, ...]
    sql: str

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Values for all parameters. Raises QueryError for an unknown name or a value of another type."""
        known = {parameter.name: parameter for parameter in self.parameters}
        values: dict[str, Any] = {name: parameter.default for name, parameter in known.items()}
        for name, value in given.items():
            if name not in known:
                has = ", ".join(f"`{one}`" for one in known) or "none"
                raise QueryError(f"the recipe `{self.name}` has no parameter `{name}`", hint=f"it has {has}")
            default = known[name].default
            if isinstance(default, str):
                values[name] = str(value)
            elif isinstance(value, int) or (isinstance(value, float) and isinstance(default, float)):
                values[name] = value
            else:
                kind = "number" if isinstance(default, float) else "whole number"
                raise QueryError(f"`{name}` of the recipe `{self.name}` is a {kind}, not `{value}`")
        return values


def parse_recipe(name: str, text: str) -> Recipe:
    """Parse one recipe. Raises ModuleError where its header is not as the module says."""
    lines = text.splitlines()
    header: list[str] = []
    while lines and lines[0].startswith("--"):
        header.append(lines.pop(0)[2:].removeprefix(" "))
    prose: list[str] = []
    sections: dict[str, list[str]] = {"params:": [], "columns:": []}
    current = prose
    for line in header:
        if line in sections:
            current = sections[line]
        else:
            current.append(line)
    sql = "\n".join(lines).strip()
    if not prose or not prose[0].endswith("?") or not sql:
        raise ModuleError(f"recipe {name}: begins with a question and ends with one SELECT")
    return Recipe(
        name=name,
        question=prose[0],
        doc=" ".join(prose[1:]),
        parameters=tuple(_parse_parameter(name, line) for line in sections["params:"]),
        columns=parse_columns(f"recipe {name}", sections["columns:"]),
        sql=sql,
    )


def _parse_parameter(recipe: str, line: str) -> Parameter:
    match = re.fullmatch(r"  (\w+)=(\S+)\s+(\S.*)", line)
    if not match:
        raise ModuleError(f"recipe {recipe}: parameter line is not `name=default  description`: {line!r}")
    return Parameter(match[1], parse_value(match[2]), match[3])


@cache
def all_recipes() -> Mapping[str, Recipe]:
    """Every recipe by name."""
    files = sorted((sql_root() / "recipes").glob("*.sql"))
    return {file.stem: parse_recipe(file.stem, file.read_text(encoding="utf-8")) for file in files}


def find_recipe(name: str) -> Recipe:
    """Look a recipe up. Raises QueryError, with the nearest names, where there is none."""
    recipes = all_recipes()
    if name not in recipes:
        hint = nearest(name, recipes, "`llmperf schema --recipes` lists them")
        raise QueryError(f"there is no recipe `{name}`", hint=hint)
    return recipes[name]
