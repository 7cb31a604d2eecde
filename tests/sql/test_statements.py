"""What a query's text is taken for: listings, names that are there twice, files."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nsys_pipeline.errors import QueryError
from nsys_pipeline.query.session import Session, distinct_names
from nsys_pipeline.query.views import public_views
from tests.support.ask import ask_session, open_session
from tests.support.small_trace import small_trace

VIEWS = [module.relation for module in public_views()]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with open_session(small_trace(), tmp_path_factory.mktemp("statements")) as opened:
        yield opened


def names(session: Session, query: str) -> list[str]:
    with session.query(query) as result:
        return [str(row[0]) for row in result.rows()]


@pytest.mark.parametrize("query", ["SHOW TABLES", "show tables;", "SHOW TABLES -- all of them"])
def test_show_tables_lists_the_public_views_and_nothing_else(session: Session, query: str) -> None:
    assert names(session, query) == VIEWS


@pytest.mark.parametrize("query", ["SHOW ALL TABLES", "DESCRIBE", "SHOW"])
def test_all_tables_are_the_views_and_the_tables_of_the_export(session: Session, query: str) -> None:
    listed = names(session, query)
    assert listed[: len(VIEWS)] == VIEWS
    assert "nsys.CUPTI_ACTIVITY_KIND_KERNEL" in listed
    assert all(name.startswith("nsys.") for name in listed[len(VIEWS) :])


def test_whatever_is_listed_can_be_read(session: Session) -> None:
    for name in names(session, "SHOW ALL TABLES"):
        with session.query(f"SELECT count(*) FROM {name}") as result:
            assert len(result.rows()) == 1


@pytest.mark.parametrize("query", ["FROM (SHOW TABLES)", "SHOW TABLES FROM main", "SHOW DATABASES", "SHOW SCHEMAS"])
def test_other_listings_would_show_internals(session: Session, query: str) -> None:
    with pytest.raises(QueryError, match="internal") as raised, session.query(query):
        pass
    assert raised.value.hint is not None
    assert "SHOW TABLES" in raised.value.hint


def test_show_describes_a_view_as_describe_does(session: Session) -> None:
    assert ask_session(session, "SHOW gpu_busy") == ask_session(session, "DESCRIBE gpu_busy")


@pytest.mark.parametrize("name", ["/etc/passwd", "data.parquet", "some/trace.sqlite", "*.csv", "https://host/x.json"])
def test_files_are_no_views(session: Session, name: str) -> None:
    with pytest.raises(QueryError, match="may not read files") as raised, session.query(f"FROM '{name}'"):
        pass
    assert raised.value.hint is not None
    assert "llmperf schema" in raised.value.hint


@pytest.mark.parametrize("name", ["pg_classs", "duckdb_table", "kernel", "NVTX_EVENTS", "we ird", "_device_interval"])
def test_suggestions_are_names_that_are_documented(session: Session, name: str) -> None:
    with pytest.raises(QueryError) as raised, session.query(f'FROM "{name}"'):
        pass
    said = raised.value.message + (raised.value.hint or "")
    assert "Did you mean" not in said
    suggested = (raised.value.hint or "").split("`")[1::2]
    assert suggested
    assert all(one in VIEWS or one.startswith("nsys.") or one == "llmperf schema" for one in suggested), suggested


def test_of_equal_names_the_later_get_numbers() -> None:
    assert distinct_names(["a", "b", "a", "a_1", "a"]) == ("a", "b", "a_2", "a_1", "a_3")


@pytest.mark.parametrize("end", ["", ";", " ; -- the end;", " /* ; */ ; ;"])
def test_columns_of_one_name_are_all_kept(session: Session, end: str) -> None:
    query = f"SELECT 1 AS a, 'é;' AS a, $x AS b{end}"
    assert ask_session(session, query, {"x": 3}) == "a,a_1,b\n1,é;,3"
    frame = session.frame(query, {"x": 3})
    assert frame.columns == ["a", "a_1", "b"]
    assert frame.rows() == [(1, "é;", 3)]


def test_rows_keep_their_order_when_columns_are_renamed(session: Session) -> None:
    frame = session.frame("SELECT range AS a, -range AS a FROM range(200000) ORDER BY hash(range)")
    assert frame["a"].to_list() == [-value for value in frame["a_1"]]
    assert (
        frame["a"].to_list()
        == session.frame("SELECT range AS a FROM range(200000) ORDER BY hash(range)")["a"].to_list()
    )
