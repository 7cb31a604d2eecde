"""Ctrl-C and time limits while DuckDB works: its threads do not look at signals, so the main thread must be free to.

DuckDB looks at an interrupt between chunks of rows. One function over a long text can take minutes without that, so
whoever waits for it goes away after a while.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TypeVar

from nsys_pipeline.errors import Abandoned, ExitCode, Interrupted, QueryError

Answer = TypeVar("Answer")


_TICK_S = 0.1
_PATIENCE_TICKS = 20
_left: list[threading.Thread] = []


def has_left_work() -> bool:
    """Whether a call that was left to itself still runs: then the program cannot end as usual."""
    return any(thread.is_alive() for thread in _left)


class Interruptible(Protocol):
    """A connection or a trace."""

    def interrupt(self) -> None:
        """Stop what another thread has it do."""
        ...


class Deadline(Protocol):
    """A limit that has what is busy interrupted when its time is over."""

    is_over: bool

    def failure(self) -> QueryError:
        """Say that the time was over."""
        ...


def interruptible(call: Callable[[], Answer], *busy: Interruptible, limit: Deadline | None = None) -> Answer:
    """Do `call` in a thread; Ctrl-C interrupts what `busy` do for it and raises Interrupted.

    Raises Abandoned where `call` goes on for two seconds after that, or after the `limit`.

    In another thread than the main one, which gets no signals, `call` is just called.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    answers: list[Answer] = []
    errors: list[BaseException] = []
    # Not `Thread.join`: Python 3.11 takes a thread for ended when Ctrl-C interrupts that.
    ended = threading.Event()

    def work() -> None:
        try:
            answers.append(call())
        except BaseException as error:
            errors.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=work, daemon=True)
    ticks = 0
    try:
        thread.start()
        # From time to time: a library (Polars does) may have set SIGINT to restart what waits without a limit.
        while not ended.wait(_TICK_S):
            ticks += bool(limit and limit.is_over)
            if limit and ticks > _PATIENCE_TICKS:
                _left.append(thread)
                failure = limit.failure()
                raise Abandoned(failure.message, hint=failure.hint)
    except KeyboardInterrupt as error:
        message = "the query was interrupted"
        with suppress(KeyboardInterrupt):  # who presses it again waits no longer
            for _ in range(_PATIENCE_TICKS):
                for one in busy:
                    one.interrupt()
                if ended.wait(_TICK_S):
                    raise Interrupted(message) from error
        _left.append(thread)
        raise Abandoned(message, exit_code=ExitCode.INTERRUPTED) from error
    if errors:
        raise errors[0]
    return answers[0]
