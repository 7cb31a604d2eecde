"""Ctrl-C while DuckDB works: its threads do not look at signals, so the main thread must be free to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from nsys_pipeline.errors import Interrupted

Answer = TypeVar("Answer")


class Interruptible(Protocol):
    """A connection or a trace."""

    def interrupt(self) -> None:
        """Stop what another thread has it do."""
        ...


def interruptible(call: Callable[[], Answer], *busy: Interruptible) -> Answer:
    """Do `call` in a thread; Ctrl-C interrupts what `busy` do for it and raises Interrupted.

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

    threading.Thread(target=work, daemon=True).start()
    try:
        # From time to time: a library (Polars does) may have set SIGINT to restart what waits without a limit.
        while not ended.wait(0.1):
            pass
    except KeyboardInterrupt as error:
        while not ended.is_set():
            for one in busy:
                one.interrupt()
            ended.wait(0.1)
        raise Interrupted("the query was interrupted") from error
    if errors:
        raise errors[0]
    return answers[0]
