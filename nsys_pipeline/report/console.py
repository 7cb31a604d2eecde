"""Rich's console, except that a reader of a pipe who goes away is no failure."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from nsys_pipeline.text import printable_lines


class PipeConsole(Console):
    """A console that lets BrokenPipeError through, where rich exits with 1: the command line knows what it means."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print texts with their control characters visible: some are names, and a terminal would obey them."""
        for each in objects:
            if isinstance(each, Text):
                each.plain = printable_lines(each.plain)
        super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        """Raise instead of exiting."""
        raise BrokenPipeError
