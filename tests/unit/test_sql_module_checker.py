"""The checker of the SQL modules finds what it is there to find, and nothing in the modules themselves."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from nsys_pipeline.query.session import Session
from nsys_pipeline.query.views import public_macros, public_views
from nsys_pipeline.sqlmods import ModuleError, all_modules, parse
from tests.support.ask import open_session
from tests.support.trace_builder import TraceBuilder

ROOT = Path(__file__).resolve().parents[2]
HEADER = "-- Rows.\n-- Grain: a.\n"
LOAD = "load.x"
COLUMNS = "-- columns:\n--   a BIGINT  The a.\n"


@pytest.fixture(scope="module")
def checker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_sql_modules", ROOT / "scripts" / "check_sql_modules.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with open_session(TraceBuilder(), tmp_path_factory.mktemp("trace"), close_off=False) as opened:
        yield opened


def test_the_modules_are_in_order(checker: ModuleType) -> None:
    assert checker.problems(checker.DEFAULT_TRACE) == []


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        (LOAD, f"requires:\n{COLUMNS}SELECT pid AS a FROM nsys.PROCESSES", "reads nsys.PROCESSES without requiring it"),
        (LOAD, f"requires: nsys.PROCESSES\n{COLUMNS}SELECT 1 AS a", "requires nsys.PROCESSES without reading it"),
        (LOAD, f"requires: views.x\n{COLUMNS}SELECT a FROM views.x", "reads views.x, a layer to its right"),
        (
            "views.x",
            f"requires: nsys.PROCESSES\n{COLUMNS}SELECT pid AS a FROM nsys.PROCESSES",
            "reads nsys.PROCESSES: only sql/load knows nsys' tables",
        ),
        (LOAD, f"requires: nsys.X\n{COLUMNS}SELECT * FROM nsys.X", "has a top-level SELECT *"),
        (LOAD, f"requires: nsys.X\n{COLUMNS}SELECT a FROM nsys.X UNION ALL FROM nsys.X", "has a top-level SELECT *"),
        (
            LOAD,
            f"requires: nsys.X\n{COLUMNS}SELECT max(b) FILTER (c) OVER w + 1 AS a FROM nsys.X WINDOW w AS (ORDER BY b)",
            "has a FILTER on max over a window, which is quadratic",
        ),
        (
            LOAD,
            f"requires: nsys.X\n{COLUMNS}SELECT a FROM nsys.X QUALIFY count(*) FILTER (c) OVER (PARTITION BY b) > 1",
            "has a FILTER on count over a window, which is quadratic",
        ),
        (LOAD, f"requires: other.x\n{COLUMNS}SELECT a FROM other.x", "reads other.x, which is in no layer"),
        (LOAD, f"requires:\n{COLUMNS}CREATE TABLE x (a INT)", "is not one SELECT"),
        (LOAD, f"requires:\n{COLUMNS}SELECT 1; SELECT 2", "holds 2 statements"),
        (LOAD, "requires:\nSELECT 1 AS a", "does not say its columns"),
        (
            "attribute.x",
            f"requires: attribute._segment_slots\n-- empty without: attribute._segment_slots\n{COLUMNS}SELECT 1 AS a",
            "is empty without attribute._segment_slots, which may be gone by then",
        ),
        (
            LOAD,
            f"requires:\n-- materialize: table\n-- empty without: load.strings\n{COLUMNS}SELECT 1 AS a",
            "is empty without load.strings, which it is not made from",
        ),
        (
            LOAD,
            "requires:\n-- columns:\n--   a_ns BIGINT  Time.\nSELECT 1 AS a_ns",
            "column a_ns does not end in `Unit: ns.`",
        ),
        (LOAD, f"requires:\n{COLUMNS}--   a BIGINT  Again.\nSELECT 1 AS a", "documents a column twice"),
        (
            "views.x",
            f"requires: macros.islands\n{COLUMNS}SELECT group_id AS a FROM macros.islands('load.gpu_ops')",
            "reads load.gpu_ops without requiring it",
        ),
    ],
)
def test_bad_modules_are_found(name: str, text: str, complaint: str, checker: ModuleType, session: Session) -> None:
    module = parse(name, f"{HEADER}-- {text}")
    found = [*checker.check_header(module), *checker.check_statement(session.database, module)]
    assert any(complaint in one for one in found), found


def test_a_row_must_be_described(checker: ModuleType) -> None:
    module = parse(LOAD, f"-- Grain: a.\n-- requires:\n{COLUMNS}SELECT 1 AS a")
    assert list(checker.check_header(module)) == ["does not say what a row is"]


def test_columns_are_compared_by_name_type_and_order(checker: ModuleType, session: Session) -> None:
    columns = "-- columns:\n--   a VARCHAR  The a.\n--   b BIGINT  The b.\n--   c BIGINT  The c.\n"
    module = parse(
        "views.wrong", f"{HEADER}-- requires:\n{columns}SELECT 1::BIGINT AS a, 'x' AS c, 2::BIGINT AS b, 3 AS d"
    )
    session.database.execute(f"CREATE VIEW views.wrong AS {module.sql}")
    session.provider.trace.runner.built.add("views.wrong")
    assert list(checker.check_columns(session, module)) == [
        "column 1 is a BIGINT, documented as a VARCHAR",
        "column 2 is c VARCHAR, documented as b BIGINT",
        "column 3 is b BIGINT, documented as c BIGINT",
        "column 4 is d INTEGER, documented as absent",
    ]


@pytest.mark.parametrize(
    "text", ["SELECT 1", "-- Rows.\nSELECT 1", "-- Rows.\n-- Grain: a.\n-- columns:\n--   a\nSELECT 1 AS a"]
)
def test_malformed_headers_are_refused(text: str) -> None:
    with pytest.raises(ModuleError):
        parse("load.x", text)


def test_public_names_do_not_clash() -> None:
    """A macro and a view of one name would be told apart by brackets alone."""
    assert not {one.relation for one in public_views()} & {one.relation for one in public_macros()}
    assert all(module.layer != "recipes" for module in all_modules().values())
