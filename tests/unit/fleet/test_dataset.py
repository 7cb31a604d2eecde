"""What a dataset holds: the numbers of single analyses, of each trace all or nothing."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import duckdb
import fsspec
import pytest

from nsys_pipeline.errors import TraceError, UsageError
from nsys_pipeline.fleet import dataset, work
from nsys_pipeline.fleet.dataset import VIEWS, Dataset, analysis_id
from nsys_pipeline.fleet.places import find_traces
from nsys_pipeline.fleet.query import open_dataset
from nsys_pipeline.fleet.storage import Storage
from nsys_pipeline.fleet.work import run_job
from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.query.session import Session
from nsys_pipeline.trace import open_trace
from tests.cli.run import run
from tests.support.fleet import OPTIONS, analyze_here, ask, job_of, steps_trace, write_fleet
from tests.support.real_traces import unpack_by_name


@pytest.fixture
def few_views(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test that is not about the numbers needs: half of the time."""
    monkeypatch.setattr(dataset, "VIEWS", ("phases", "trace_checks"))


def comparable(rows: list[tuple[Any, ...]]) -> list[str]:
    return sorted(repr([int(one) if isinstance(one, Decimal) else one for one in row]) for row in rows)


def test_every_table_has_the_rows_of_the_single_analysis(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    real = unpack_by_name("h100_train", tmp_path / "in")

    assert [result.error for result in analyze_here(tmp_path / "in", tmp_path / "out")] == [None]

    with (
        Session.of(open_trace(real, OPTIONS), AnalysisOptions(), close_off=False) as session,
        open_dataset(str(tmp_path / "out")) as kept,
    ):
        session.build(*(f"views.{table}" for table in VIEWS))
        for table in VIEWS:
            with session.query(f"FROM {table}") as single:
                expected = single.rows()
            query = f"SELECT * EXCLUDE (run, trace_rank, analysis) FROM {table} WHERE run = '{real.stem}'"
            with kept.query(query) as rows:
                assert comparable(rows.rows()) == comparable(expected), table


@pytest.mark.usefixtures("few_views")
def test_a_trace_says_where_when_and_with_what_it_was_recorded(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    steps_trace(hostname="node7", driver="575.5").write(tmp_path / "in" / "job_rank3.sqlite")
    analyze_here(tmp_path / "in", tmp_path / "out")

    assert ask(
        tmp_path / "out",
        "SELECT run, trace_rank, hostname, driver_version, cuda_version, gpu, gpu_count, nsys_version, "
        "started_at::VARCHAR, kernel_count, kernel_time_ns FROM traces",
    ) == [
        ("job", 3, "node7", "575.5", "13.0", "NVIDIA H100 80GB HBM3", 1, "2025.3.2.0", "2001-09-09 01:46:40", 8, 4000)
    ]


@pytest.mark.usefixtures("few_views")
def test_what_is_half_written_is_not_there_and_the_next_run_completes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_fleet(tmp_path / "in", ["a.sqlite"])
    put, left = Storage.put, iter([True] * 2)

    def fails_in_the_middle(self: Storage, file: Path, name: str) -> None:
        if not next(left, False):
            raise KeyboardInterrupt
        put(self, file, name)

    monkeypatch.setattr(Storage, "put", fails_in_the_middle)
    with pytest.raises(KeyboardInterrupt):
        analyze_here(source, tmp_path / "out")
    monkeypatch.undo()

    assert len(list((tmp_path / "out").rglob("*.parquet"))) == 2
    assert all(
        ask(tmp_path / "out", f"SELECT count(*) FROM {table}") == [(0,)] for table in ("traces", "failures", "phases")
    )
    analyze_here(source, tmp_path / "out")
    assert ask(tmp_path / "out", "SELECT count(*), sum(kernel_count) FROM phases") == [(8, 8)]


@pytest.mark.usefixtures("few_views")
def test_a_full_disk_stops_everything_and_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_fleet(tmp_path / "in", ["a.sqlite"])

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    (result,) = analyze_here(source, tmp_path / "out")

    assert result.stops_all
    assert "No space left on device" in (result.error or "")
    assert "goes on" in (result.hint or "")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [
        tmp_path / "out" / "llmperf-fleet.json"
    ]


def changing(monkeypatch: pytest.MonkeyPatch, trace: Path, times: int, change: Callable[[], None]) -> None:
    """Have `trace` change the first `times` that it has been read."""
    write_tables, left = work._write_tables, iter(range(times))

    def read_then_change(*arguments: Any) -> dict[str, Any]:
        row = write_tables(*arguments)
        if next(left, None) is not None:
            change()
        return row

    monkeypatch.setattr(work, "_write_tables", read_then_change)


@pytest.mark.usefixtures("few_views")
def test_a_trace_that_changes_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_fleet(tmp_path / "in", ["a.sqlite"])
    trace = source / "a.sqlite"

    def change() -> None:
        trace.unlink()
        steps_trace(steps=5).write(trace)

    changing(monkeypatch, trace, 1, change)

    assert [result.error for result in analyze_here(source, tmp_path / "out")] == [None]
    assert ask(tmp_path / "out", "SELECT count(*) FROM phases") == [(5,)]
    # What the next run would look for.
    (place,) = find_traces([str(source)])
    analysis = analysis_id(place, job_of(place, Dataset.at(str(tmp_path / "out"))).options_key)
    assert ask(tmp_path / "out", "SELECT analysis FROM traces") == [(analysis,)]


@pytest.mark.usefixtures("few_views")
def test_a_trace_that_never_holds_still_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_fleet(tmp_path / "in", ["a.sqlite"])
    times = iter(range(1, 100))
    changing(monkeypatch, source / "a.sqlite", 99, lambda: os.utime(source / "a.sqlite", (5, next(times))))

    (result,) = analyze_here(source, tmp_path / "out")

    assert "changed while it was read" in (result.error or "")
    assert ask(tmp_path / "out", "SELECT run, error LIKE '%changed while%' FROM failures") == [("a", True)]
    assert ask(tmp_path / "out", "SELECT count(*) FROM traces") == [(0,)]


@pytest.mark.usefixtures("few_views")
def test_a_trace_that_changed_replaces_its_rows(tmp_path: Path) -> None:
    source = write_fleet(tmp_path / "in", ["a.sqlite"])
    analyze_here(source, tmp_path / "out")
    ((old,),) = ask(tmp_path / "out", "SELECT analysis FROM traces")
    (source / "a.sqlite").unlink()
    steps_trace(steps=5).write(source / "a.sqlite")
    (place,) = find_traces([str(source)])
    job = job_of(place, Dataset.at(str(tmp_path / "out")))

    run_job(attrs.evolve(job, replaces=str(old)))

    assert ask(tmp_path / "out", "SELECT count(*) FROM phases") == [(5,)]
    assert not list((tmp_path / "out").rglob(f"{old}.parquet"))


@pytest.mark.usefixtures("few_views")
def test_a_bad_trace_is_a_row_until_it_is_good(tmp_path: Path) -> None:
    source = write_fleet(tmp_path / "in", ["good.sqlite"])
    (source / "bad.sqlite").write_text("not a trace")

    bad, good = analyze_here(source, tmp_path / "out")

    assert "text file" in (bad.error or "")
    assert good.error is None
    assert ask(tmp_path / "out", "SELECT run FROM failures") == [("bad",)]
    write_fleet(source, ["bad.sqlite"])
    analyze_here(source, tmp_path / "out")
    assert ask(tmp_path / "out", "SELECT run FROM failures") == []
    assert ask(tmp_path / "out", "SELECT run FROM traces ORDER BY run") == [("bad",), ("good",)]


@pytest.mark.usefixtures("few_views")
def test_traces_and_dataset_may_lie_in_buckets(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    (tmp_path / "in").mkdir()
    steps_trace().write(tmp_path / "in" / "trace-rank0.sqlite")
    memory.put_file(str(tmp_path / "in" / "trace-rank0.sqlite"), "/bucket/job a/trace-rank0.sqlite")

    assert [result.error for result in analyze_here("memory://bucket", "memory://lake/fleet")] == [None]

    assert ask("memory://lake/fleet", "SELECT run, trace_rank, path FROM traces") == [
        ("job a", 0, "memory:///bucket/job a/trace-rank0.sqlite")
    ]
    assert ask("memory://lake/fleet", "SELECT count(*), sum(wall_ns) FROM phases") == [(8, 8000)]


@pytest.mark.usefixtures("few_views")
@pytest.mark.parametrize("name", ["a'b=ü*[x]?&%2F"])
def test_names_of_folders_mean_nothing(tmp_path: Path, name: str) -> None:
    source = write_fleet(tmp_path / name / "in", [f"{name}/trace.sqlite"])

    assert [result.error for result in analyze_here(source, tmp_path / name / "out")] == [None]

    assert ask(tmp_path / name / "out", "SELECT DISTINCT run FROM phases") == [(name,)]


def test_other_folders_are_no_datasets(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")

    with pytest.raises(UsageError, match="holds something else"):
        Dataset.create(str(tmp_path))
    with pytest.raises(UsageError, match="holds something else"):
        Dataset.create(str(tmp_path / "x"))
    with pytest.raises(UsageError, match="no dataset"):
        Dataset.at(str(tmp_path))
    (tmp_path / "llmperf-fleet.json").write_text('{"schema": "llmperf.fleet/9"}')
    with pytest.raises(UsageError, match=r"llmperf.fleet/9"):
        Dataset.at(str(tmp_path))


def test_the_documentation_names_every_table() -> None:
    text = (Path(__file__).parents[3] / "docs" / "fleet.md").read_text(encoding="utf-8")
    assert [name for name in (*VIEWS, "traces", "failures") if f"`{name}`" not in text] == []


@pytest.mark.usefixtures("few_views")
def test_a_table_that_lost_files_is_told_and_the_next_run_makes_it_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = write_fleet(tmp_path / "in", ["a.sqlite", "b.sqlite"]), tmp_path / "out"
    analyze_here(source, out)
    (lost,) = out.glob("phases/run=a/*/*.parquet")
    lost.unlink()

    code, printed, err = run(capsys, "sql", out, "SELECT DISTINCT run FROM phases", "--format", "csv")
    assert (code, printed.split()) == (0, ["run", "b"])
    assert "1 trace has lost its rows of `phases`" in err
    with open_dataset(str(out)) as session:
        assert [one.code for one in session.findings("FROM phases")] == ["dataset_incomplete"]
    assert "lost" not in run(capsys, "sql", out, "SELECT count(*) FROM trace_checks")[2]
    with duckdb.connect() as con:
        assert len(Dataset.at(str(out)).analyses(con)) == 1
    shutil.rmtree(out / "phases")
    assert "2 traces have lost" in run(capsys, "sql", out, "SELECT DISTINCT run FROM phases")[2]

    analyze_here(source, out)
    assert "lost" not in run(capsys, "sql", out, "SELECT DISTINCT run FROM phases")[2]
    broken = next(out.glob("traces/*.parquet"))
    broken.write_bytes(b"no Parquet")
    code, _, err = run(capsys, "sql", out, "SELECT DISTINCT run FROM phases")
    assert (code, broken.name in err) == (1, True), err
    with duckdb.connect() as con, pytest.raises(TraceError, match=broken.name):
        Dataset.at(str(out)).analyses(con)
    broken.unlink()
    analyze_here(source, out)
    assert run(capsys, "sql", out, "SELECT DISTINCT run FROM phases")[0] == 0


def test_traces_and_dataset_have_folders_of_their_own(tmp_path: Path) -> None:
    source = write_fleet(tmp_path / "in", ["a.sqlite"])
    with pytest.raises(UsageError, match="where the dataset goes"):
        find_traces([str(source)], leave_out=str(source))
    Dataset.create(str(tmp_path / "out"))
    with pytest.raises(UsageError, match="where the dataset goes"):
        find_traces([str(tmp_path / "out" / "phases")], leave_out=str(tmp_path / "out"))
    with pytest.raises(UsageError, match="lies inside the dataset"):
        Dataset.create(str(tmp_path / "out" / "phases" / "more"))


@pytest.mark.usefixtures("few_views")
def test_views_over_a_dataset_copy_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake, target = tmp_path / "la'ke[1]", tmp_path / "views.duckdb"
    analyze_here(write_fleet(tmp_path / "in", ["a/trace-rank0.sqlite"]), lake)

    assert run(capsys, "export", lake, "--to", "duckdb", "-o", target) == (0, f"{target}\n", "")

    with duckdb.connect() as con:
        con.execute(f"ATTACH '{target}' AS fleet (READ_ONLY)")
        query = "SELECT run, trace_rank, count(*), sum(wall_ns)::BIGINT FROM fleet.phases GROUP BY ALL"
        assert con.execute(query).fetchall() == [("a", 0, 8, 8000)]
        described = "SELECT view_name FROM duckdb_views() WHERE database_name = 'fleet' AND comment IS NOT NULL"
        assert set(con.execute(described).fetchall()) == {(name,) for name in dataset.VIEWS}
        # what comes into the dataset later is there, and rows that no trace names never are
        analyze_here(write_fleet(tmp_path / "in", ["b.sqlite"]), lake)
        next(lake.glob("traces/*.parquet")).unlink()
        assert con.execute("SELECT count(*) FROM fleet.traces").fetchall() == [(1,)]
        assert con.execute("SELECT count(*) FROM fleet.phases").fetchall() == [(8,)]
    for argv, said in (
        (("export", lake, "--to", "parquet"), "`--to duckdb` writes views"),
        (("analyze", lake), "no trace"),
    ):
        code, _, err = run(capsys, *argv)
        assert (code, said in err) == (2 if argv[0] == "export" else 1, True), err


@pytest.mark.parametrize(
    "argv",
    [
        ("fleet", "memory://b/runs", "--out", "OUT"),
        ("fleet", "IN", "--out", "memory://b/lake"),
        ("fleet", "memory://b/lake"),
        ("sql", "memory://b/lake", "from traces"),
        ("export", "IN", "--to", "duckdb", "-o", "memory://b/x.duckdb"),
    ],
)
def test_a_store_that_does_not_answer_is_named(
    argv: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoCredentialsError(Exception):
        """As the packages of stores raise them: of no common base."""

    def fails(*_: object, **__: object) -> None:
        raise NoCredentialsError("unable to locate credentials")

    for name in ("exists", "cat_file", "info", "ls", "find"):
        monkeypatch.setattr(fsspec.get_filesystem_class("memory"), name, fails)
    places = {"IN": write_fleet(tmp_path / "in", ["a.sqlite"]), "OUT": tmp_path / "out"}

    code, out, err = run(capsys, *(places.get(word, word) for word in argv))

    url = next(word for word in argv if "://" in word)
    assert (code, out, err) == (2, "", f"error: `{url}` cannot be reached: unable to locate credentials\n")
