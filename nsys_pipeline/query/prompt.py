"""The prompt of `llmperf sql`: queries one after the other, with history, completion and commands."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nsys_pipeline.errors import Interrupted, LlmperfError, UsageError
from nsys_pipeline.query.complete import completions
from nsys_pipeline.query.describe import describe, list_recipes, list_views
from nsys_pipeline.query.parameters import parse_parameters
from nsys_pipeline.query.recipes import find_recipe
from nsys_pipeline.query.table import render_plan, render_table
from nsys_pipeline.query.views import find_view
from nsys_pipeline.query.write import write_csv, write_json
from nsys_pipeline.text import printable, printable_lines

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import Completer

    from nsys_pipeline.query.session import Session

MAX_ROWS = 1_000_000
HELP = """\
End a query with `;` or with an empty line. Ctrl-C stops a query or drops the line, Ctrl-D leaves.
  .schema [VIEW]               the views, or one view's columns
  .columns VIEW                the same
  .recipes                     questions that have a query already
  .recipe NAME [NAME=VALUE …]  run one
  .format table|csv|json       how to print results
  .rows N                      how many rows of a table to show
  .quit                        leave; `exit` and `quit` do, too
"""


# What fingers type that are used to other prompts.
_ALSO = {
    "help": ".help", "?": ".help", "\\?": ".help", "\\h": ".help",
    "exit": ".quit", "quit": ".quit", "\\q": ".quit", ".exit": ".quit", ".q": ".quit",
    "\\d": ".schema", "\\dt": ".schema", ".tables": ".schema",
}  # fmt: skip


class Prompt:
    """Reads queries and answers them until the user leaves. An error ends a query, never the prompt."""

    def __init__(self, session: Session, *, rows: int, time_limit_s: float | None, history: Path | None = None) -> None:
        self.session = session
        self.rows = rows
        self.time_limit_s = time_limit_s
        self.output_format = "table"
        self._history = history

    def run(self) -> None:
        """Talk until Ctrl-D or `.quit`."""
        reader = self._reader()
        sys.stdout.write("`.help` helps; end a query with `;`\n")
        while True:
            try:
                text = reader.prompt("llmperf> ")
            except KeyboardInterrupt:
                continue
            except EOFError:
                return
            text = as_command(text) or text.strip()
            if text == ".quit":
                return
            try:
                self.answer(text)
            except (KeyboardInterrupt, Interrupted):
                sys.stdout.write("interrupted\n")
            except LlmperfError as error:
                hint = f"hint: {printable(error.hint)}\n" if error.hint else ""
                sys.stdout.write(f"error: {printable_lines(error.message)}\n{hint}")

    def answer(self, text: str) -> None:
        """Run a query or a command. Raises LlmperfError where it fails."""
        if text.startswith("."):
            self._command(text)
        elif text.strip("; \n"):
            self._query(text, {})

    def _query(self, text: str, parameters: dict[str, Any], *, is_recipe: bool = False) -> None:
        started = time.monotonic()
        query = self.session.query_each if is_recipe else self.session.query
        with query(text, parameters, time_limit_s=self.time_limit_s) as result:
            if self.output_format == "csv":
                write_csv(result, sys.stdout)
            elif self.output_format == "json":
                write_json(result, sys.stdout)
            elif result.is_plan:
                render_plan(result.rows(), sys.stdout)
            else:
                found = result.rows(self.rows + 1)
                width = shutil.get_terminal_size().columns
                more = len(found) > self.rows
                render_table(
                    result.columns, result.types, found[: self.rows], sys.stdout, width=width, has_more=more,
                    more_hint=".rows N shows more, .format csv all",
                )  # fmt: skip
        sys.stdout.write(f"{time.monotonic() - started:.2f} s\n")
        for finding in self.session.findings(text):
            sys.stdout.write(printable(f"warning: {finding.message}") + "\n")

    def _command(self, text: str) -> None:
        try:
            name, *words = shlex.split(text.rstrip(";"))
        except ValueError as error:
            raise UsageError(f"`{text}`: {error}") from error
        commands: dict[str, Callable[[list[str]], None]] = {
            ".help": lambda _words: _print(HELP),
            ".schema": _schema,
            ".columns": _schema,
            ".recipes": lambda _words: _print(list_recipes(_width())),
            ".recipe": self._recipe,
            ".format": self._set_format,
            ".rows": self._set_rows,
        }
        if name not in commands:
            raise UsageError(f"there is no command `{name}`", hint="`.help` lists them")
        commands[name](words)

    def _recipe(self, words: list[str]) -> None:
        if not words:
            raise UsageError("which recipe?", hint="`.recipes` lists them")
        recipe = find_recipe(words[0])
        self._query(recipe.sql, recipe.arguments(parse_parameters(words[1:])), is_recipe=True)

    def _set_format(self, words: list[str]) -> None:
        if words not in (["table"], ["csv"], ["json"]):
            raise UsageError("a format is `table`, `csv` or `json`")
        self.output_format = words[0]

    def _set_rows(self, words: list[str]) -> None:
        if len(words) != 1 or not words[0].isdecimal() or not 0 < int(words[0]) <= MAX_ROWS:
            raise UsageError("how many rows?", hint=f"for example `.rows 500`; at most {MAX_ROWS:,}")
        self.rows = int(words[0])

    def _reader(self) -> PromptSession[str]:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.history import FileHistory, InMemoryHistory

        history: FileHistory | InMemoryHistory = InMemoryHistory()
        if self._history is not None:
            try:
                self._history.parent.mkdir(parents=True, exist_ok=True)
                self._history.touch(mode=0o600)
                history = FileHistory(str(self._history))
            except OSError:
                pass  # a home that cannot be written to: no history, and no reason to stop
        return PromptSession(
            history=history,
            multiline=True,
            completer=_completer(self.session),
            complete_while_typing=False,
            key_bindings=_key_bindings(),
            prompt_continuation="       > ",
        )


def as_command(text: str) -> str | None:
    """The command that `text` is under another name, as in `exit;`, or None."""
    return _ALSO.get(text.strip().rstrip(";").strip().lower())


def is_complete(text: str) -> bool:
    """Whether Enter ends the input: a command, a `;` at the end, or an empty line after the query."""
    stripped = text.strip()
    is_command = stripped.startswith(".") or as_command(text) is not None
    return not stripped or is_command or stripped.endswith(";") or text.endswith("\n")


def _key_bindings() -> Any:
    from prompt_toolkit.key_binding import KeyBindings

    bindings = KeyBindings()

    @bindings.add("enter")
    def _(event: Any) -> None:
        buffer = event.current_buffer
        if is_complete(buffer.text):
            buffer.validate_and_handle()
        else:
            buffer.insert_text("\n")

    return bindings


def _completer(session: Session) -> Completer:
    from prompt_toolkit.completion import Completer, Completion

    class SqlCompleter(Completer):
        def get_completions(self, document: Any, complete_event: Any) -> Iterable[Completion]:
            del complete_event
            word, names = completions(session, document.text_before_cursor)
            for name in names:
                yield Completion(name, start_position=-len(word))

    return SqlCompleter()


def _schema(words: list[str]) -> None:
    _print(describe(find_view(words[0]), _width()) if words else list_views(_width()))


def _width() -> int:
    return shutil.get_terminal_size().columns


def _print(text: str) -> None:
    sys.stdout.write(text)
