"""The direction of imports, and what may be imported where: the drawing in the design, held by a test."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import nsys_pipeline

ROOT = Path(nsys_pipeline.__file__).parent
# Importable by every room.
COMMON = {"__version__", "duck", "errors", "markers", "nearest", "records", "sqlmods", "text"}
# Room → the other rooms that it may import. Only cli may import all.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "records": set(),
    "nvtx_injection": set(),
    "markers": {"nvtx_injection"},
    "nearest": set(),
    "sqlmods": set(),
    "text": set(),
    "duck": set(),
    "rules": set(),
    "model": set(),
    "hardware": set(),
    "report": set(),
    "ncu": {"rules"},
    "compare": {"query"},
    "nsys": set(),
    "capture": {"nsys"},
    "workload": {"model"},
    "infer": set(),
    "inputs": {"hardware", "infer", "model", "nsys", "rules"},
    "trace": {"inputs", "nsys", "rules"},
    "analyze": {"inputs", "model", "nsys", "trace"},
    "crosscheck": {"nsys", "trace"},
    "query": {"inputs", "trace"},
    "api": {"analyze", "hardware", "inputs", "model", "query", "rules", "trace"},
    "detail": {"trace"},
    "fleet": {"compare", "inputs", "query", "trace"},
    "__init__": {"api", "model"},
    "__main__": {"cli"},
    "cli": {
        "analyze",
        "api",
        "capture",
        "compare",
        "crosscheck",
        "detail",
        "fleet",
        "hardware",
        "inputs",
        "model",
        "ncu",
        "nsys",
        "query",
        "report",
        "rules",
        "trace",
        "workload",
    },
}
# What a plain install lacks, and the only modules that may import it, each inside a function.
EXTRAS = {"torch", "transformers", "nvtx", "flash_attn", "ncu_report", "perfetto", "distributed", "PIL"}
WITH_EXTRAS = (
    "workload/", "model/verify", "hardware/measure", "markers", "ncu/rep", "detail/perfetto", "fleet/cluster",
)  # fmt: skip
# What the command line must not pay for at its start.
HEAVY = {"adbc_driver_manager", "adbc_driver_sqlite", "duckdb", "jinja2", "polars", "rich"}


def modules() -> list[Path]:
    return sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))


def imports(path: Path, *, only_at_import: bool = False) -> Iterator[str]:
    """Full names that a module imports; with `only_at_import`, those that cost something when it is imported."""
    tree = ast.parse((ROOT / path).read_text())
    for node in at_import(tree) if only_at_import else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_import(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from at_import(node)


def room(path: Path) -> str:
    return path.with_suffix("").parts[0]


@pytest.mark.parametrize("path", modules(), ids=str)
def test_a_room_imports_only_rooms_that_it_may(path: Path) -> None:
    names = [name.split(".") for name in imports(path)]
    imported = {name[1] for name in names if name[0] == "nsys_pipeline" and len(name) > 1}
    assert imported - COMMON - ALLOWED[room(path)] <= {room(path)}


def test_the_map_of_the_rooms_has_no_arrow_up() -> None:
    lines = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines()
    table = lines[lines.index(next(line for line in lines if line.startswith("| `cli/`"))) :]
    cells = [line.split("|")[1] for line in table[: table.index("")]]
    place = {name: at for at, cell in enumerate(cells) for name in re.findall(r"`(\w+)(?:/|\.py)`", cell)}
    rooms = {room(path) for path in modules()} - {"__init__", "__main__"}

    assert rooms <= place.keys()
    above = {(one, other) for one in rooms for other in ALLOWED[one] & rooms if place[other] < place[one]}
    assert above == set()


def test_the_rooms_of_the_table_have_no_cycle() -> None:
    done: set[str] = set()
    rooms = {room(path) for path in modules()} | COMMON - {"__version__"}
    while rooms - done:
        ready = {one for one in rooms - done if ALLOWED[one] & rooms <= done}
        assert ready, f"cycle among {rooms - done}"
        done |= ready


@pytest.mark.parametrize("path", modules(), ids=str)
def test_extras_are_imported_only_where_they_belong(path: Path) -> None:
    if not str(path).startswith(WITH_EXTRAS):
        assert {name.split(".")[0] for name in imports(path)} & EXTRAS == set()
    assert {name.split(".")[0] for name in imports(path, only_at_import=True)} & EXTRAS == set()


@pytest.mark.parametrize("path", [path for path in modules() if room(path) == "cli"], ids=str)
def test_the_command_line_imports_nothing_heavy_at_its_start(path: Path) -> None:
    assert {name.split(".")[0] for name in imports(path, only_at_import=True)} & HEAVY == set()


def test_an_import_is_found_wherever_it_stands() -> None:
    tree = ast.parse("import a\nif x:\n    import b\nclass C:\n    import c\ndef f():\n    import d\n")
    found = [alias.name for node in at_import(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert found == ["a", "b", "c"]
