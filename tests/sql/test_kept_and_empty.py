"""What costs a small trace nothing: tables known to be empty, and findings that the next run has already."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.inputs.registry import OF_ANALYSIS
from nsys_pipeline.model import load_model
from nsys_pipeline.sqlmods import ALL_FINDINGS, KEPT_FINDINGS, all_modules, parse
from nsys_pipeline.trace import TraceOptions, open_trace
from nsys_pipeline.trace.runner import Runner
from nsys_pipeline.trace.trace_file import TraceFile
from tests.support.edge_traces import EDGE_TRACES
from tests.support.examples import some
from tests.support.small_trace import comparable_report, small_trace

EMPTY_WITHOUT = [module for module in all_modules().values() if module.empty_without]


@pytest.mark.parametrize("name", some(EDGE_TRACES, 9))
def test_a_table_said_to_be_empty_is(name: str, tmp_path: Path) -> None:
    assert EMPTY_WITHOUT
    with open_trace(EDGE_TRACES[name]().write(tmp_path / "t.sqlite"), TraceOptions(use_cache=False)) as trace:
        analyze(trace)
        con = trace.connection
        for module in EMPTY_WITHOUT:
            trace.build(*module.needed_rows_of)
            if not any(con.execute(f"SELECT 1 FROM {one} LIMIT 1").fetchall() for one in module.empty_without):
                # the query says so, too, and gives the columns that the table was made with
                trace.build(*module.requires)
                rows = con.execute(f"CREATE OR REPLACE TABLE main.asked AS {module.sql}").fetchall()
                assert rows == [(0,)], module.name
                if not module.is_finding:
                    trace.build(module.name)
                    asked, made = (con.execute(f"DESCRIBE {name}").fetchall() for name in ("main.asked", module.name))
                    assert [row[:2] for row in made] == [row[:2] for row in asked], module.name


MADE = """
-- A row.
-- Grain: a.
-- requires:
-- columns:
--   a BIGINT  A number.
SELECT 1::BIGINT AS a WHERE {}
"""
UNION = """
-- Rows of two.
-- Grain: a.
-- materialize: table
-- empty without: load.one; load.other WHERE a > 0
-- requires: load.one, load.other
-- columns:
--   a BIGINT  A number.
FROM load.one UNION ALL FROM load.other
"""


@pytest.mark.parametrize(("one", "other", "rows"), [(True, False, 1), (False, True, 1), (False, False, 0)])
def test_of_several_tables_one_with_a_row_is_enough(one: bool, other: bool, rows: int) -> None:
    texts = {"load.one": MADE.format(one), "load.other": MADE.format(other), "load.both": UNION}
    modules = {name: parse(name, text.strip()) for name, text in texts.items()}
    with duckdb.connect() as con:
        runner = Runner(con, lambda _: None, modules=modules)
        runner.build("load.both")
        assert con.execute("SELECT a FROM load.both").fetchall() == [(1,)] * rows

        assert modules["load.both"].needed_rows_of == ("load.one", "load.other")
        made = con.execute("SELECT sql FROM duckdb_tables() WHERE table_name = 'both'").fetchall()
        assert made == [('CREATE TABLE "load"."both"(a BIGINT);',)]


def test_findings_of_the_trace_alone_are_kept_and_the_others_made_anew(tmp_path: Path) -> None:
    path = small_trace().write(tmp_path / "t.sqlite")
    options = TraceOptions(cache_dir=tmp_path / "cache")
    made: list[list[str]] = []
    found = []
    for _ in range(2):
        with open_trace(path, options) as trace:
            built: list[str] = []
            trace.runner.on_module = built.append
            found.append(analyze(trace).findings)
            made.append(built)
            modules = trace.runner.modules
            # nothing that another model would change is kept
            assert not any(map(trace.runner.rests_on_passing, modules[KEPT_FINDINGS].requires))
            assert OF_ANALYSIS & set(modules[ALL_FINDINGS].requires)

    assert found[0] == found[1]
    assert KEPT_FINDINGS in made[0]
    assert KEPT_FINDINGS not in made[1]
    assert ALL_FINDINGS in made[1]


@pytest.mark.parametrize("name", some(EDGE_TRACES, 20))
def test_views_that_a_small_trace_has_as_tables_say_the_same(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = EDGE_TRACES[name]().write(tmp_path / "t.sqlite")
    copied = comparable_report(path)
    with open_trace(path, TraceOptions(use_cache=False)) as trace:
        trace.build("attribute.gpu_work")
        tables = trace.connection.execute(_TABLES).fetchall()
    monkeypatch.setattr(TraceFile, "is_small", lambda *_: False)

    assert ("gpu_work",) in tables
    assert comparable_report(path) == copied
    with open_trace(path, TraceOptions(use_cache=False)) as trace:
        trace.build("attribute.gpu_work")
        assert ("gpu_work",) not in trace.connection.execute(_TABLES).fetchall()


_TABLES = "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'attribute'"


def test_a_view_that_was_asked_for_stays_one_when_a_report_reads_it(tmp_path: Path) -> None:
    with open_trace(small_trace().write(tmp_path / "t.sqlite"), TraceOptions(use_cache=False)) as trace:
        trace.build("views.verdicts")
        before = trace.connection.execute("FROM views.verdicts").fetchall()
        trace.describe(AnalysisOptions(keep_cold=True))
        analyze(trace, AnalysisOptions(model=load_model("tiny-llama")))

        assert before
        assert trace.connection.execute("SELECT phase, bound FROM views.verdicts").fetchall()
