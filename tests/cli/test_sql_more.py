"""`llmperf sql` and `schema`: plans, recipes over several traces, values that are too large, and time for printing."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import polars as pl
import pytest

from nsys_pipeline.errors import QueryError
from nsys_pipeline.query.session import Session
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.cli.run import run
from tests.support.edge_traces import EDGE_TRACES
from tests.support.small_trace import small_trace


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMPERF_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "llmperf-cache"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return EDGE_TRACES["work_of_every_kind"]().write(tmp_path_factory.mktemp("small") / "trace.sqlite")


@pytest.mark.parametrize("prefix", ["EXPLAIN", "/* why? */\nexplain -- how\n"])
def test_a_plan(prefix: str, small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "sql", small, f"{prefix} SELECT count(*) FROM phases WHERE phase = 'decode'")

    assert (code, err) == (0, "")
    assert len(out.splitlines()) > 5
    assert "AGGREGATE" in out.upper()


def test_a_plan_of_what_is_no_select_is_refused(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for query in ("EXPLAIN DROP TABLE x", "EXPLAIN COPY phases TO 'x'", "EXPLAIN (FORMAT json) SELECT 1", "EXPLAIN"):
        code, out, err = run(capsys, "sql", small, query)
        assert (code, out) == (1, "")
        assert err.startswith("error: ")
    # a plan can be had of nothing that reads files
    assert run(capsys, "sql", small, "EXPLAIN SELECT * FROM read_text('/etc/passwd')")[0] == 1


def test_a_recipe_of_several_traces_names_each(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = small_trace().write(tmp_path / "other.sqlite")
    alone = {}
    for name, path in (("base", small), ("new", other)):
        code, out, _ = run(capsys, "sql", path, "--recipe", "phase_overview", "--format", "csv")
        assert code == 0
        alone[name] = out.splitlines()

    for suffix in ("csv", "parquet"):
        target = tmp_path / f"rows.{suffix}"
        code, _, err = run(capsys, "sql", f"base={small}", f"new={other}", "--recipe", "phase_overview", "-o", target)
        assert (code, err) == (0, "")
    lines = (tmp_path / "rows.csv").read_text().splitlines()
    assert lines[0] == f"trace,{alone['base'][0]}"
    assert lines[1:] == [f"{name},{row}" for name, rows in alone.items() for row in rows[1:]]
    frame = pl.read_parquet(tmp_path / "rows.parquet")
    assert frame["trace"].to_list() == [line.split(",")[0] for line in lines[1:]]
    assert frame["phase"].to_list() == [line.split(",")[1] for line in lines[1:]]


@pytest.mark.parametrize("recipe", ["busy_over_time", "top_kernels", "idle_by_phase"])
def test_recipes_with_macros_and_parameters_of_several_traces(
    recipe: str, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = small_trace().write(tmp_path / "other.sqlite")

    code, out, err = run(capsys, "sql", f"a={small}", f"b={other}", "--recipe", recipe, "--format", "csv")

    assert (code, err) == (0, "")
    assert {line.split(",")[0] for line in out.splitlines()[1:]} == {"a", "b"}


def test_schema_of_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "schema", "step_jitter")
    assert (code, out) == (0, run(capsys, "schema", "step_jitter", "--recipes")[1])

    assert "Grain: phase, name, family" in run(capsys, "schema", "top_kernels")[1], "a view of that name comes first"
    assert "$top" in run(capsys, "schema", "top_kernels", "--recipes")[1]

    assert "did you mean `stalling_synchronizations`?" in run(capsys, "schema", "stalling_synchronization")[2]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds what a process may write to")
@pytest.mark.parametrize(
    "query",
    [
        "SELECT repeat('x', 4000000000)",
        "SELECT length(repeat('x', 4000000000))",
        "SELECT string_agg(repeat('x', 1000000), '') FROM range(4000)",
    ],
)
def test_one_value_past_the_memory_limit(query: str, small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()

    code, out, err = run(capsys, "sql", small, query, "--memory-limit", "500MB")

    assert (code, out) == (1, "")
    assert err == (
        "error: the query does not fit the memory limit of 500MB\n\nhint: raise --memory-limit, or ask for less\n"
    )
    assert time.monotonic() - started < 60
    # the bound is gone with the query
    assert len(bytearray(900_000_000)) == 900_000_000


def test_a_long_value_is_cut_in_a_table_alone(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = "SELECT bitstring('1', 3000000) AS b"

    started = time.monotonic()
    code, out, _ = run(capsys, "sql", small, query)
    assert code == 0
    assert out.splitlines()[2] == "0" * 10_000 + "…"
    assert time.monotonic() - started < 30

    _, out, _ = run(capsys, "sql", small, query, "--format", "csv")
    assert out.splitlines()[1] == "0" * 2_999_999 + "1"


def test_printing_counts_towards_the_time_limit(small: Path) -> None:
    def print_slowly(session: Session) -> None:
        with session.query("SELECT * FROM range(100000)", time_limit_s=0.5) as result:
            for _ in result.batches():
                time.sleep(0.2)

    opened = Session.of(open_trace(small, TraceOptions(use_cache=False)))
    with opened as session, pytest.raises(QueryError, match=r"took longer than 0.5 s"):
        print_slowly(session)


@pytest.mark.parametrize(("verb", "query"), [("analyze", ()), ("sql", ("from phases",))])
def test_a_name_that_asks_for_no_known_format(
    verb: str, query: tuple[str, ...], small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "result.xlsx"

    code, out, err = run(capsys, verb, small, *query, "-o", target)

    assert (code, out) == (2, "")
    assert f"`{target}`: no format of " in err
    assert ".xlsx" in err
    assert not target.exists()
    # said outright, any name will do
    assert run(capsys, verb, small, *query, "-o", target, "--format", "json")[0] == 0


def test_shapes_and_a_model_that_nothing_can_use_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.support.trace_builder import TraceBuilder

    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 100, "warmup").launch(10, gpu=(20, 30)).push(200, 300, "optimizer").launch(210, gpu=(220, 230))
    path = trace.write(tmp_path / "train.sqlite")

    _, out, _ = run(capsys, "analyze", path, "--model", "tiny-llama", "--shape", "2x64+1", "--format", "json")

    assert '"shapes_without_requests"' in out
    assert "its phases are optimizer and warmup" in out
    assert '"model_unused"' in out
