"""Turn DuckDB's errors into ours: what is wrong, where in the query, and the nearest name that exists."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from nsys_pipeline.errors import QueryError
from nsys_pipeline.nearest import nearest

if TYPE_CHECKING:
    import duckdb

_FILES = re.compile(
    "file system operations are disabled|No extension found that is capable|disabled through configuration|"
    "external extensions",
    re.IGNORECASE,
)
_LOCKED = re.compile(r"configuration has been locked|Cannot change configuration", re.I)
_WRITES = re.compile(r"read-only mode|Cannot write to database", re.I)
_NO_TABLE = re.compile(r'(?:Table with name|Referenced table) "?([^"\n]+?)"? (?:does not exist|not found)')
_FILE_NAME = re.compile(r"[/\\*]|\.(?:csv|tsv|json|jsonl|ndjson|parquet|db|duckdb|sqlite|txt|xz|gz|zst)$", re.I)
_NO_FUNCTION = re.compile(r"(?:Function|Macro) with name (\S+) does not exist")
_TIP = re.compile(r"\n?(?:Did you mean|Candidate tables:|Candidate bindings:)[^\n]*\n?")


def explain(error: duckdb.Error, *, tables: Iterable[str] = (), functions: Iterable[str] = ()) -> QueryError:
    """The QueryError that `error` stands for; `tables` and `functions` are names to suggest."""
    text = str(error).strip()
    message = re.sub(r"^\w[\w ]* Error: ", "", text)
    message = re.sub(r"^\(?\w+Context\)? Error: ", "", message)
    if _FILES.search(text):
        return QueryError(
            "a query may not read files or load extensions: it has the views of the trace, and nothing else",
            hint="`llmperf schema` lists the views; `-o FILE` writes a result",
        )
    if _LOCKED.search(text):
        return QueryError("a query may not change settings", hint="use the options of `llmperf sql`")
    if _WRITES.search(text):
        return QueryError("a query may only read", hint="write one SELECT")
    hint = None
    match = _NO_TABLE.search(text)
    if match and _FILE_NAME.search(match[1]):
        return QueryError(
            f"`{match[1]}` is no view, and a query may not read files", hint="`llmperf schema` lists the views"
        )
    if match:
        name = match[1]
        if f"nsys.{name}".lower() in text.lower():  # a table of the export was asked for, not a view
            name, tables = f"nsys.{name}", [one for one in tables if one.startswith("nsys.")]
        hint = nearest(name, tables, "`llmperf schema` lists the views") if "with name" in match[0] else None
        # DuckDB would suggest what is internal.
        message = _TIP.sub("\n", message) if "with name" in match[0] else message
    elif match := _NO_FUNCTION.search(text):
        hint = nearest(match[1], functions, None)
        message = _TIP.sub("\n", message) if hint else message
    elif re.search(r'Referenced column "?.*"? not found', text):
        hint = _columns(text)
        message = _TIP.sub("\n", message) if hint else message
    return QueryError(re.sub(r"\n{2,}", "\n", message), hint=hint)


def _columns(text: str) -> str | None:
    candidates = re.search(r"Candidate bindings: ([^\n]*)", text)
    wanted = re.search(r'Referenced column "?([^"\n]*?)"? not found', text)
    if not candidates or not wanted:
        return None
    names = [name.strip().strip('"').rpartition(".")[2] for name in candidates[1].split(",")]
    # DuckDB names the most similar columns alone, and of a wrong guess none is the right one.
    near = nearest(wanted[1], names, "it has " + ", ".join(f"`{name}`" for name in names))
    return f"{near} `llmperf schema VIEW` lists the columns of a view"
