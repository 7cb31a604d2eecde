"""The `llmperf` command itself; its verbs are listed in `group.COMMANDS`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from nsys_pipeline import __version__
from nsys_pipeline.cli.group import HELP_SETTINGS, Verbs

app = typer.Typer(
    cls=Verbs,
    pretty_exceptions_enable=False,
    # Rich would draw boxes around the help, at four times the time to its first line.
    rich_markup_mode=None,
    context_settings=HELP_SETTINGS,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"llmperf {__version__}\n")
        raise typer.Exit


@app.callback()
def llmperf(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")] = False,
) -> None:
    """Where the GPU time of a language model went, and how far it is from what the hardware can do."""
    del version, debug
