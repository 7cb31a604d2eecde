#!/usr/bin/env python
"""Run the commands that documents show, in this process, and compare with the output that they show.

    python scripts/shown_commands.py docs/howto/*.md            exit 1 where an output is stale
    python scripts/shown_commands.py --write docs/howto/*.md    store the outputs

A block of ```text that begins with `$ llmperf …` shows one command and what it prints: stdout, and stderr too if it
fails. `…` on a line of its own leaves lines out. Commands run in the repository's root, 100 columns wide.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

WIDTH = 100
GAP = "…"
_BLOCK = re.compile(r"^```text\n(\$ .*?)^```$", re.MULTILINE | re.DOTALL)


@attrs.frozen
class Shown:
    """A command that a document shows: its lines as they stand there, its words, and the output below it."""

    text: str
    words: tuple[str, ...]
    output: str


def shown_in(text: str) -> Iterator[Shown]:
    """The commands of the document `text`, in order: each ends with its line, unless in a backslash or in quotes."""
    for block in _BLOCK.findall(text):
        lines = block.splitlines(keepends=True)
        for end in range(1, len(lines) + 1):
            command = "".join(lines[:end])
            if command.endswith("\\\n"):
                continue
            try:
                words = tuple(shlex.split(command.removeprefix("$ ").replace("\\\n", "")))
            except ValueError:  # a quote is open
                continue
            yield Shown(command, words, "".join(lines[end:]))
            break


def run(words: tuple[str, ...]) -> str:
    """What `llmperf …` prints in the repository's root; stderr follows if it fails."""
    from nsys_pipeline.cli.app import app

    if words[0] != "llmperf":
        raise ValueError(f"`{words[0]}` is not llmperf")
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        contextlib.chdir(ROOT),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        _environment(COLUMNS=str(WIDTH)),
    ):
        try:
            app(list(words[1:]), prog_name="llmperf")
        except SystemExit as stop:
            code = int(stop.code or 0)
    return out.getvalue() + (err.getvalue() if code else "")


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def is_fresh(shown: str, printed: str) -> bool:
    """Whether `printed` is what is shown: the same, or all of its parts in order with lines left out between them."""
    parts = [part.strip("\n") for part in re.split(rf"^{GAP}\n", shown, flags=re.MULTILINE)]
    if len(parts) == 1:
        return shown.strip("\n") == printed.strip("\n")
    at, whole = 0, f"\n{printed.strip()}\n"
    for part in filter(None, parts):
        at = whole.find(f"\n{part}\n", at)
        if at < 0:
            return False
        at += len(part) + 1
    return True


def main(arguments: list[str]) -> int:
    """Check or, with --write, rewrite the documents; what leaves lines out is only checked."""
    write, stale = "--write" in arguments, 0
    for path in [Path(argument) for argument in arguments if argument != "--write"]:
        text = path.read_text(encoding="utf-8")
        for shown in shown_in(text):
            printed = run(shown.words)
            if is_fresh(shown.output, printed):
                continue
            if write and f"{GAP}\n" not in shown.output:
                text = text.replace(shown.text + shown.output + "```", f"{shown.text}{printed.strip()}\n```")
                path.write_text(text, encoding="utf-8")
                continue
            stale += 1
            print(f"{path}: not what is shown: {shown.text.strip()}\n{printed}", file=sys.stderr)
    return min(stale, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
