"""What is handed over is read back by other tools: a second DuckDB, Polars."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest

from nsys_pipeline.errors import UsageError
from nsys_pipeline.query.handover import hand_over
from nsys_pipeline.query.session import Session
from nsys_pipeline.query.views import public_views
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.real_traces import SUFFIX, TRACES


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    trace = open_trace(TRACES / f"h100_cuda_graph_node{SUFFIX}", TraceOptions(use_cache=False))
    with Session.of(trace, close_off=False) as opened:
        yield opened


def test_duckdb(session: Session, tmp_path: Path) -> None:
    file = hand_over(session, tmp_path / "out" / "trace.duckdb", "duckdb")
    assert [path.name for path in file.parent.iterdir()] == ["trace.duckdb"]
    with duckdb.connect(str(file), read_only=True) as con:
        for module in public_views():
            rows = con.execute(
                "SELECT column_name, data_type, comment FROM duckdb_columns() "
                "WHERE table_name = ? ORDER BY column_index",
                [module.relation],
            ).fetchall()
            assert rows == [(one.name, one.type, one.doc) for one in module.columns]
            (same,) = session.frame(f"SELECT count(*) AS n FROM {module.relation}")["n"]
            assert con.execute(f"SELECT count(*) FROM {module.relation}").fetchall() == [(same,)]
        intervals = "WITH i AS (SELECT device_id AS group_id, start_ns, end_ns FROM gpu_work)"
        busy = f"{intervals} FROM macros.busy_ns('i')"
        gaps = f"{intervals} SELECT sum(dur_ns) FROM macros.gaps('i')"
        assert (
            con.execute(busy).fetchall()
            == con.execute("SELECT device_id, sum(dur_ns) FROM gpu_busy GROUP BY 1").fetchall()
        )
        assert con.execute(gaps).fetchall() == con.execute("SELECT sum(idle_ns) FROM gpu_busy").fetchall()


def test_parquet(session: Session, tmp_path: Path) -> None:
    folder = hand_over(session, tmp_path / "trace", "parquet")
    documented = json.loads((folder / "schema.json").read_text())
    assert [one["name"] for one in documented] == [module.relation for module in public_views()]
    for module in public_views():
        frame = pl.read_parquet(folder / f"{module.relation}.parquet")
        expected = session.frame(f"FROM {module.relation}")
        assert frame.columns == expected.columns
        assert frame.height == expected.height
        metadata = pl.read_parquet_metadata(folder / f"{module.relation}.parquet")
        assert metadata["description"] == module.doc
        assert all(metadata[one.name] == one.doc for one in module.columns)
    kernels = pl.read_parquet(folder / "kernels.parquet")
    assert kernels["dur_ns"].sum() == session.frame("SELECT sum(dur_ns) AS s FROM kernels")["s"].item()


def test_what_is_there_is_kept_without_force(session: Session, tmp_path: Path) -> None:
    target = tmp_path / "trace.duckdb"
    target.write_text("precious")
    with pytest.raises(UsageError, match="exists"):
        hand_over(session, target, "duckdb")
    with pytest.raises(UsageError, match="holds something else"):
        hand_over(session, tmp_path, "parquet", force=True)
    assert target.read_text() == "precious"
    hand_over(session, target, "duckdb", force=True)
    with duckdb.connect(str(target), read_only=True) as con:
        assert con.execute("SELECT count(*) FROM phases").fetchall() == [(33,)]


def test_unknown_formats_and_places(session: Session, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`xlsx` is no format"):
        hand_over(session, tmp_path / "x", "xlsx")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        hand_over(session, tmp_path / "file" / "x", "parquet")
