"""What may come next at the prompt: views, columns, macros, recipes, keywords."""

from __future__ import annotations

import re
from collections.abc import Iterable

from nsys_pipeline.query.recipes import all_recipes
from nsys_pipeline.query.session import Session
from nsys_pipeline.sqlmods import all_modules

COMMANDS = (".columns", ".format", ".help", ".quit", ".recipe", ".recipes", ".rows", ".schema")
KEYWORDS = (
    "FROM", "SELECT", "WHERE", "GROUP BY ALL", "ORDER BY", "LIMIT", "JOIN", "LEFT JOIN", "ASOF JOIN", "USING", "WITH",
    "AS", "HAVING", "QUALIFY", "WINDOW", "PARTITION BY", "OVER", "UNION ALL", "CASE", "WHEN", "THEN", "ELSE", "END",
    "BETWEEN", "DISTINCT", "DESC", "FILTER", "AND", "OR", "NOT", "NULL", "IN", "LIKE", "DESCRIBE", "SUMMARIZE",
    "count(*)", "sum(", "avg(", "min(", "max(", "median(", "quantile_cont(", "arg_max(", "regexp_matches(",
)  # fmt: skip


def completions(session: Session, text: str) -> tuple[str, list[str]]:
    """The word that `text` ends in, and what may stand in its place, best first."""
    match = re.search(r"[\w.]*$", text)
    word = match[0] if match else ""
    before = text[: len(text) - len(word)]
    if not before.strip() and word.startswith("."):
        return word, _starting(COMMANDS, word)
    if re.match(r"\s*\.(?:schema|columns)\s+$", before):
        return word, _starting(_views(), word)
    if re.match(r"\s*\.recipe\s+$", before):
        return word, _starting(all_recipes(), word)
    tables = session.table_names()
    clause = _last_clause(before)
    if re.search(r"(?i)\b(?:join|describe|summarize)\s+$", before) or re.search(
        r"(?i)^from\b(?:[\w\s.]*,)*\s*$", clause
    ):
        return word, _starting([*tables, *session.function_names()], word)
    names = [*_columns(session, text), *session.function_names(), *tables]
    return word, _starting(dict.fromkeys(names), word) + _starting(KEYWORDS, word)


def _last_clause(text: str) -> str:
    """`text` from its last SELECT or FROM on: after a comma the two want different names."""
    starts = [match.start() for match in re.finditer(r"(?i)\b(?:select|from)\b", text)]
    return text[starts[-1] :] if starts else text


def _starting(names: Iterable[str], word: str) -> list[str]:
    lower = word.lower()
    return [name for name in names if name.lower().startswith(lower) and name.lower() != lower]


def _views() -> list[str]:
    return sorted(module.relation for module in all_modules().values() if module.is_public)


def _columns(session: Session, text: str) -> list[str]:
    """Columns of the views and tables that `text` mentions; of all views while it mentions none."""
    words = {word.lower() for word in re.findall(r"\w+", text)}
    public = [module for module in all_modules().values() if module.is_public]
    mentioned = [module for module in public if module.relation in words] or public
    columns = [column.name for module in mentioned for column in module.columns]
    for table in re.findall(r"(?i)\bnsys\.(\w+)", text):
        columns += session.providers[0].raw_columns(table)
    return columns
