"""Rich's console, except that a reader of a pipe who goes away is no failure."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from nsys_pipeline.text import printable


class PipeConsole(Console):
    """A console that lets BrokenPipeError through, where rich exits with 1: the command line knows what it means."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print texts, a line each, with control characters visible: names may hold any, and a terminal would obey."""
        for each in objects:
            if isinstance(each, Text):
                each.plain = printable(each.plain)
        super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        """Raise instead of exiting."""
        raise BrokenPipeError
