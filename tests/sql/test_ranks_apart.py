"""Traces of ranks that were not recorded together: rows in, rows out."""

from __future__ import annotations

import duckdb
import pytest

from nsys_pipeline.sqlmods import all_modules, macro_ddl

S = 1_000_000_000


def told(*ranks: tuple[int | None, int, int], clock_error_ns: int | None = 0) -> list[tuple[object, ...]]:
    """What is told of ranks: number, start and end of their GPU work in s. One operation of each has no times."""
    with duckdb.connect() as connection:
        connection.execute("""
            CREATE SCHEMA load;
            CREATE SCHEMA macros;
            CREATE TABLE load.gpu_ops(process_key BIGINT, device_id BIGINT, start_ns BIGINT, end_ns BIGINT);
            CREATE TABLE load.nvtx_marks(process_key BIGINT, at_ns BIGINT, "text" VARCHAR);
            CREATE TABLE load.trace_files(
                process_key BIGINT, rank BIGINT, "path" VARCHAR, host_id BIGINT, clock_error_ns BIGINT, replica BIGINT,
                problem VARCHAR
            )
        """)
        for key, (rank, start, end) in enumerate(ranks):
            spans = [(start * S, start * S + 9), (0, 0), (end * S - 9, end * S)]
            connection.executemany(f"INSERT INTO load.gpu_ops VALUES ({key}, 0, ?, ?)", spans)
            connection.execute(
                "INSERT INTO load.trace_files VALUES (?, ?, ?, 0, ?, NULL, NULL)",
                [key, rank, f"/a/{key}.sqlite", clock_error_ns],
            )
        connection.execute(macro_ddl(all_modules()["macros.is_timed"]))
        connection.execute(f"CREATE TABLE load.ranks AS {all_modules()['load.ranks'].sql}")
        query = all_modules()["findings.ranks_apart"].sql
        return connection.execute(f"SELECT what, gap_ns FROM ({query})").fetchall()


def test_ranks_of_two_runs_are_told_with_the_widest_gap() -> None:
    assert told((0, 1, 9), (1, 20, 30), (2, 100, 120), (3, 90, 95)) == [("rank 3 (`3.sqlite`)", 60 * S)]


@pytest.mark.parametrize(
    "ranks",
    [
        ((0, 1, 9),),
        ((0, 1, 9), (1, 8, 30), (2, 25, 40)),
        # One rank runs all the time, and the others by turns.
        ((0, 1, 99), (1, 5, 8), (2, 50, 60)),
        # Recordings of one process, whose names count them.
        ((None, 1, 9), (None, 20, 30)),
    ],
)
def test_ranks_that_ran_together_and_recordings_one_after_the_other_are_not(
    ranks: tuple[tuple[int | None, int, int], ...],
) -> None:
    assert told(*ranks) == []


def test_clocks_of_other_hosts_may_be_off() -> None:
    assert told((0, 1, 9), (1, 20, 30), clock_error_ns=None) == []
    assert told((0, 1, 9), (1, 80, 90), clock_error_ns=None) == [("rank 1 (`1.sqlite`)", 71 * S)]


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ([(0, 0), (0, 0)], []),
        ([(0, 0), (1, None)], []),
        ([(0, 0), (1, 19_611), (1, 19_611)], [("another host", 19_611)]),
        ([(0, 0), (1, 7), (2, 4_000), (3, None)], [("2 other hosts", 4_000)]),
    ],
)
def test_clocks_that_were_aligned_are_told_with_the_largest_error(
    hosts: list[tuple[int, int | None]], expected: list[tuple[str, int]]
) -> None:
    with duckdb.connect() as connection:
        connection.execute("CREATE SCHEMA load; CREATE TABLE load.ranks(host_id BIGINT, clock_error_ns BIGINT)")
        connection.execute("CREATE TABLE load.trace_files(host_id BIGINT, clock_error_ns BIGINT, moved_ns BIGINT)")
        connection.executemany("INSERT INTO load.ranks VALUES (?, ?)", hosts)
        query = all_modules()["findings.clocks_aligned"].sql
        assert connection.execute(f"SELECT hosts, error_ns FROM ({query})").fetchall() == expected
