"""Rich's console, except that a reader of a pipe who goes away is no failure."""

from __future__ import annotations

from rich.console import Console


class PipeConsole(Console):
    """A console that lets BrokenPipeError through, where rich exits with 1: the command line knows what it means."""

    def on_broken_pipe(self) -> None:
        """Raise instead of exiting."""
        raise BrokenPipeError
