"""How much of the process's memory and how many threads DuckDB gets."""

import gzip
from pathlib import Path

import duckdb
import pytest

from nsys_pipeline.errors import UsageError
from nsys_pipeline.trace import TraceOptions, open_trace, trace_file
from nsys_pipeline.trace.memory import duckdb_limit_bytes
from nsys_pipeline.trace.trace import OPTIMIZERS
from tests.support.small_trace import small_trace


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2GB", 1_700_000_000),
        ("1500MB", 1_275_000_000),
        ("800 mb", 650_000_000),
        ("1GiB", 2**30 - int(2**30 * 0.15)),
        ("100MB", 75_000_000),
        ("1.5GB", 1_275_000_000),
        ("1000000", 750_000),
    ],
)
def test_the_rest_of_the_process_has_its_share(given: str, expected: int) -> None:
    assert duckdb_limit_bytes(given) == expected


@pytest.mark.parametrize("given", ["", "lots", "-1GB", "0", "0GB", "2PB", "GB", "nan"])
def test_anything_else_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="is no amount of memory"):
        duckdb_limit_bytes(given)


def test_a_small_trace_is_worked_on_by_one_thread_unless_told_otherwise(tmp_path: Path) -> None:
    path = small_trace().write(tmp_path / "t.sqlite")
    asked = "SELECT current_setting('threads')"
    with open_trace(path, TraceOptions(use_cache=False)) as trace:
        assert trace.connection.execute(asked).fetchall() == [(1,)]
    with open_trace(path, TraceOptions(use_cache=False, threads=3)) as trace:
        assert trace.connection.execute(asked).fetchall() == [(3,)]
    # a catalog in somebody else's database leaves that database as it is
    database = duckdb.connect(config={"threads": 3})
    with open_trace(path, TraceOptions(use_cache=False), database=database):
        assert database.execute(asked).fetchall() == [(3,)]


def test_a_small_trace_is_planned_by_a_few_optimizers(tmp_path: Path) -> None:
    asked = "SELECT current_setting('disabled_optimizers')"
    known = {name for (name,) in duckdb.execute("SELECT name FROM duckdb_optimizers()").fetchall()}
    path = small_trace().write(tmp_path / "t.sqlite")

    # a name that DuckDB does not have would leave out what it stood for
    assert set(OPTIMIZERS) < known
    with open_trace(path, TraceOptions(use_cache=False)) as trace:
        ((disabled,),) = trace.connection.execute(asked).fetchall()
        assert set(disabled.split(",")) == known - set(OPTIMIZERS)
    database = duckdb.connect()
    with open_trace(path, TraceOptions(use_cache=False), database=database):
        assert database.execute(asked).fetchall() == [("",)]


def test_what_little_unpacks_to_a_lot_is_no_small_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = "SELECT current_setting('disabled_optimizers')"
    export = small_trace().write(tmp_path / "t.sqlite")
    packed = tmp_path / "t.sqlite.gz"
    packed.write_bytes(gzip.compress(export.read_bytes()))
    options = TraceOptions(cache_dir=tmp_path / "cache")

    monkeypatch.setattr(trace_file, "SMALL_TABLES_BYTES", export.stat().st_size - 1)
    with open_trace(packed, options) as trace:
        assert trace.connection.execute(asked).fetchall() == [("",)]
        trace.build("attribute.gpu_work")
    # in the cache it is as large
    with open_trace(packed, options) as trace:
        assert trace.is_cached
        assert trace.connection.execute(asked).fetchall() == [("",)]
    monkeypatch.setattr(trace_file, "SMALL_TABLES_BYTES", export.stat().st_size)
    with open_trace(packed, TraceOptions(use_cache=False)) as trace:
        assert trace.connection.execute(asked).fetchall() != [("",)]
