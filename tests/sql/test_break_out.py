"""A query reads the trace and nothing else: every way out that DuckDB offers is tried."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsys_pipeline.errors import Interrupted, LlmperfError, QueryError
from nsys_pipeline.query.session import Session
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.ask import ask_session, open_session
from tests.support.edge_traces import EDGE_TRACES
from tests.support.real_traces import SUFFIX, TRACES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outside")
    (folder / "secret.csv").write_text("a,b\n1,2\n")
    (folder / "secret.json").write_text('{"a": 1}\n')
    return folder


@pytest.fixture(scope="module")
def session(folder: Path) -> Iterator[Session]:
    with open_session(EDGE_TRACES["work_of_every_kind"](), folder) as opened:
        yield opened


REFUSED = {
    "copy": "COPY (SELECT 1) TO '{folder}/out.csv'",
    "copy from": "COPY phases FROM '{folder}/secret.csv'",
    "copy in a CTE": "WITH a AS (COPY (SELECT 1) TO '{folder}/out.csv') SELECT 1",
    "insert in a CTE": "WITH a AS (INSERT INTO attribute.phase_ranges FROM attribute.phase_ranges RETURNING 1) FROM a",
    "delete in a CTE": "WITH a AS (DELETE FROM attribute.phase_ranges RETURNING 1) FROM a",
    "export": "EXPORT DATABASE '{folder}/out'",
    "attach": "ATTACH '{folder}/other.duckdb' AS other",
    "attach in memory": "ATTACH ':memory:' AS other",
    "detach": "DETACH store",
    "use": "USE store",
    "read_csv": "FROM read_csv('{folder}/secret.csv')",
    "read_csv_auto": "FROM read_csv_auto('{folder}/secret.csv')",
    "sniff_csv": "FROM sniff_csv('{folder}/secret.csv')",
    "read_text": "FROM read_text('{folder}/secret.csv')",
    "read_blob": "FROM read_blob('/etc/passwd')",
    "read_json": "FROM read_json('{folder}/secret.json')",
    "read_parquet": "FROM read_parquet('{folder}/x.parquet')",
    "file as a table": "FROM '{folder}/secret.csv'",
    "glob": "FROM glob('{folder}/*')",
    "nested": "SELECT (SELECT count(*) FROM (SELECT * FROM read_csv('{folder}/secret.csv')))",
    "query()": "FROM query('FROM read_csv(''{folder}/secret.csv'')')",
    "query() of another kind": "FROM query('DROP SCHEMA report CASCADE')",
    "query_table": "FROM query_table('{folder}/secret.csv')",
    "a comment before": "/* SELECT */ COPY (SELECT 1) TO '{folder}/out.csv'",
    "a comment inside": "SELECT 1; -- one\nDROP SCHEMA report CASCADE",
    "install": "INSTALL httpfs",
    "load": "LOAD httpfs",
    "load a file": "LOAD '{folder}/x.duckdb_extension'",
    "url": "FROM read_csv('https://example.com/x.csv')",
    "pragma": "PRAGMA enable_profiling",
    "pragma function": "PRAGMA database_list",
    "set": "SET memory_limit = '100GB'",
    "set through a function": "FROM enable_logging()",
    "profiling through a function": "FROM enable_profiling()",
    "reset": "RESET enable_external_access",
    "external access": "SET enable_external_access = true",
    "unlock": "SET lock_configuration = false",
    "drop": "DROP TABLE attribute.gpu_work",
    "drop schema": "DROP SCHEMA report CASCADE",
    "create": "CREATE TABLE mine AS SELECT 1",
    "create temp": "CREATE TEMP TABLE mine AS SELECT 1",
    "create view": "CREATE OR REPLACE VIEW views.phases AS SELECT 1",
    "create macro": "CREATE MACRO islands(x) AS TABLE SELECT 1",
    "create secret": "CREATE SECRET s (TYPE s3)",
    "insert": "INSERT INTO attribute.phase_ranges FROM attribute.phase_ranges",
    "update": "UPDATE attribute.phase_ranges SET phase = 'x'",
    "delete": "DELETE FROM attribute.phase_ranges",
    "truncate": "TRUNCATE attribute.phase_ranges",
    "alter": "ALTER TABLE attribute.phase_ranges DROP phase",
    "comment": "COMMENT ON TABLE attribute.phase_ranges IS 'x'",
    "vacuum": "VACUUM",
    "checkpoint": "CHECKPOINT",
    "call": "CALL force_checkpoint()",
    "force checkpoint": "FROM force_checkpoint()",
    "begin": "BEGIN",
    "commit": "COMMIT",
    "prepare": "PREPARE p AS SELECT 1",
    "execute": "EXECUTE p",
    "explain analyze": "EXPLAIN ANALYZE SELECT 1",
    "two selects": "SELECT 1; SELECT 2",
    "select and drop": "SELECT 1; DROP SCHEMA report CASCADE",
    "hidden second": "SELECT 1 /* ; */; COPY (SELECT 1) TO '{folder}/out.csv'",
    "quoted semicolon": "SELECT ';'; DROP SCHEMA report CASCADE",
    "nothing": "",
    "only a comment": "-- nothing",
    "only semicolons": ";;",
    "extensions": "FROM duckdb_extensions()",
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=list(REFUSED))
def test_ways_out_are_refused(text: str, session: Session, folder: Path) -> None:
    before = snapshot(folder)
    with pytest.raises(QueryError) as raised:
        ask_session(session, text.format(folder=folder))
    assert raised.value.message
    assert "Traceback" not in raised.value.message
    assert snapshot(folder) == before
    # and what was asked for is still there
    assert ask_session(session, "SELECT count(*) AS n FROM attribute.phase_ranges") == "n\n2"


@pytest.mark.parametrize(
    "text",
    [
        "FROM phases",
        "FROM phases;",
        "-- a comment first\nSELECT 1 /* ; */ -- and last;",
        "WITH a AS (FROM phases) FROM a",
        "DESCRIBE phases",
        "SUMMARIZE phases",
        "SHOW TABLES",
        "VALUES (1)",
        "TABLE phases",
        "SELECT 'DROP TABLE phases; COPY x TO y'",
        "FROM phases PIVOT (count(*) FOR phase IN ('prefill', 'decode'))",
    ],
)
def test_what_reads_is_allowed(text: str, session: Session) -> None:
    assert ask_session(session, text)


def snapshot(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_other_people_s_statements_leave_the_engine_whole(session: Session) -> None:
    """Search path and settings of one query do not reach the next."""
    assert ask_session(session, "SELECT current_setting('enable_external_access') AS a") == "a\nfalse"
    assert ask_session(session, "SELECT current_setting('lock_configuration') AS a") == "a\ntrue"


def test_raw_tables_and_views_are_still_built_after_closing_off(session: Session) -> None:
    ask_session(session, "FROM phases")
    assert ask_session(session, "SELECT count(*) AS n FROM nsys.CUPTI_ACTIVITY_KIND_MEMCPY") == "n\n1"
    assert ask_session(session, "SELECT count(*) AS n FROM memops") == "n\n2"


def test_a_cross_join_is_stopped_by_the_time_limit(session: Session) -> None:
    started = time.monotonic()
    with (
        pytest.raises(QueryError, match=r"took longer than 0\.3 s"),
        session.query("SELECT count(*) FROM range(100000000) AS a, range(100000000) AS b", time_limit_s=0.3) as result,
    ):
        result.rows()
    assert time.monotonic() - started < 5


def test_a_cross_join_that_streams_is_stopped_by_the_time_limit(session: Session) -> None:
    with (
        pytest.raises(QueryError, match="took longer"),
        session.query("FROM range(100000000) AS a, range(100000000) AS b", time_limit_s=0.3) as result,
    ):
        for _batch in result.batches():
            pass


def test_a_query_past_the_memory_limit_is_refused(tmp_path: Path) -> None:
    path = EDGE_TRACES["work_of_every_kind"]().write(tmp_path / "trace.sqlite")
    trace = open_trace(path, TraceOptions(use_cache=False, memory_limit="50MB"))
    with Session.of(trace) as session, pytest.raises(QueryError) as raised:
        # A list cannot be spilled.
        ask_session(session, "SELECT len(list(a.range::VARCHAR || repeat('x', 100))) FROM range(3000000) AS a")
    assert raised.value.message == "the query does not fit the memory limit of 50MB"
    assert raised.value.hint


def test_an_interrupted_query_says_so(session: Session) -> None:
    import signal
    import threading

    # What is started in the background of a shell ignores SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises((Interrupted, KeyboardInterrupt)):
            ask_session(session, "SELECT count(*) FROM range(100000000) AS a, range(100000000) AS b")
    finally:
        signal.signal(signal.SIGINT, before)
    assert ask_session(session, "SELECT 1 AS a") == "a\n1"


def test_the_folder_of_a_parquet_export_is_all_that_can_be_read(tmp_path: Path) -> None:
    """Its tables are read when they are needed, so that this one folder stays open."""
    import duckdb

    export = tmp_path / "export"
    export.mkdir()
    (tmp_path / "secret.csv").write_text("a\n1\n")
    with duckdb.connect() as con:
        con.execute(f"COPY (SELECT 1 AS id, 'x' AS value) TO '{export}/StringIds.parquet'")
        con.execute(
            'COPY (SELECT 1 AS start, 5 AS "end", 59 AS eventType, 1::BIGINT << 24 AS globalTid, 1 AS textId, '
            f"0 AS domainId) TO '{export}/NVTX_EVENTS.parquet'"
        )
    with Session.of(open_trace(export, TraceOptions(use_cache=False))) as session:
        assert ask_session(session, "SELECT name FROM nvtx_ranges") == "name\nx"
        assert ask_session(session, 'SELECT "end" FROM nsys.NVTX_EVENTS') == "end\n5"
        for outside in (f"{tmp_path}/secret.csv", f"{export}/../secret.csv"):
            with pytest.raises(LlmperfError):
                ask_session(session, f"FROM read_csv('{outside}')")
        copy = f"WITH a AS (COPY (SELECT 1) TO '{export}/out.csv') SELECT 1"
        hidden = f"SELECT (SELECT count(*) FROM query('{copy.replace(chr(39), chr(39) * 2)}'))"
        for text in (copy, hidden, f"SELECT * FROM ({copy})"):
            with pytest.raises(LlmperfError):
                ask_session(session, text)
        assert not (export / "out.csv").exists()


def test_closing_off_holds_for_a_packed_trace() -> None:
    trace = open_trace(TRACES / f"h100_train{SUFFIX}", TraceOptions(use_cache=False))
    with Session.of(trace) as session:
        assert ask_session(session, "SELECT count(*) > 0 AS a FROM devices") == "a\ntrue"
        assert ask_session(session, "SELECT count(*) > 0 AS a FROM nsys.ENUM_CUDA_MEMCPY_OPER") == "a\ntrue"
        with pytest.raises(QueryError):
            ask_session(session, "FROM glob('/*')")
