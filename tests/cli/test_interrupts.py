"""Ctrl-C and time limits in the middle of a query, of one that DuckDB does not end, too."""

from __future__ import annotations

import _thread
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsys_pipeline.errors import Abandoned, ExitCode, Interrupted, QueryError
from nsys_pipeline.query import interrupt
from nsys_pipeline.query.interrupt import has_left_work, interruptible
from tests.cli.run import run
from tests.support.small_trace import small_trace


def test_ctrl_c_during_a_query_is_no_bug(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # given what DuckDB 2.0 makes of a Ctrl-C during `execute`
    def ask() -> None:
        raise RuntimeError("Query interrupted")

    monkeypatch.setattr("nsys_pipeline.cli.gpus.all_gpus", ask)
    assert run(capsys, "gpus") == (130, "", "\ninterrupted\n")


class Deaf:
    """What is busy, and ends after it was interrupted so many times; None for never."""

    def __init__(self, times: int | None) -> None:
        self.left = times
        self.end = threading.Event()
        self.is_over = True

    def interrupt(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left <= 0:
                self.end.set()

    def failure(self) -> QueryError:
        return QueryError("the query took longer than 1 s")


@pytest.fixture
def _is_hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupt, "_TICK_S", 0.01)
    monkeypatch.setattr(interrupt, "_left", [])


@pytest.fixture
def _hears_ctrl_c() -> Iterator[None]:
    """What a shell starts in the background ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_is_hasty")
def test_what_goes_on_after_the_time_limit_is_left_to_itself() -> None:
    deaf = Deaf(None)

    with pytest.raises(Abandoned, match="longer than 1 s"):
        interruptible(deaf.end.wait, deaf, limit=deaf)

    assert has_left_work()
    deaf.end.set()
    for thread in interrupt._left:
        thread.join()
    assert not has_left_work()


@pytest.mark.usefixtures("_is_hasty", "_hears_ctrl_c")
@pytest.mark.parametrize(("times", "expected"), [(3, Interrupted), (None, Abandoned)])
def test_ctrl_c_waits_for_what_ends_and_leaves_the_rest(times: int | None, expected: type[QueryError]) -> None:
    deaf = Deaf(times)

    def work() -> None:
        _thread.interrupt_main()
        deaf.end.wait()

    with pytest.raises(expected) as raised:
        interruptible(work, deaf)

    assert raised.value.exit_code == ExitCode.INTERRUPTED
    assert has_left_work() == (times is None)
    deaf.end.set()


@pytest.mark.usefixtures("_is_hasty", "_hears_ctrl_c")
def test_a_second_ctrl_c_waits_no_longer() -> None:
    class Impatient(Deaf):
        def interrupt(self) -> None:
            raise KeyboardInterrupt

    deaf = Impatient(None)

    def work() -> None:
        _thread.interrupt_main()
        deaf.end.wait()

    with pytest.raises(Abandoned) as raised:
        interruptible(work, deaf)

    assert raised.value.exit_code == ExitCode.INTERRUPTED
    assert has_left_work()
    deaf.end.set()


def test_one_long_call_of_duckdb_ends_with_the_time_limit(tmp_path: Path) -> None:
    # given a function that takes minutes for two texts, and never looks at an interrupt
    trace = small_trace().write(tmp_path / "trace.sqlite")
    text = "(SELECT count(*) FROM kernels)::VARCHAR"
    query = f"SELECT damerau_levenshtein(repeat('a', 40000) || {text}, repeat('b', 40000))"
    command = [sys.executable, "-m", "nsys_pipeline", "sql", str(trace), query, "--time-limit", "0.1"]

    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: the query took longer than 0.1 s\n\nhint: raise --time-limit, or ask for less\n"
