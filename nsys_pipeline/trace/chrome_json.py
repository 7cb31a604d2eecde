"""Read a Chrome trace, one event at a time: the file is never in memory as a whole."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from nsys_pipeline.errors import TraceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import SupportsRead

EVENTS = "traceEvents"
CHUNK_BYTES = 1 << 20
# Of one event, or of one value beside the events: real ones have some kilobytes.
MAX_VALUE_CHARS = 32 << 20

_BETWEEN = re.compile(r"[\s,]*")
_BLANK = re.compile(r"\s*")
# torch.profiler writes a name as it is, quotes too, which makes it no JSON. Its objects end on lines of their own.
_OBJECT_END = re.compile(r"\n\s*\}(?=\s*,?\s*\n)")
_MAX_OBJECTS_IN_EVENT = 4
_NAME = re.compile(r'("name": ")(.*)(",\s*"(?:pid|ph|cat|ts)":)')


class ChromeTrace:
    """The events of a trace, and what stands beside them.

    Numbers with a fraction are texts, so that no digit is lost. `facts` is whole once `events` has ended. Raises
    TraceError, which calls the file `shown`, if it is damaged, cut off or something else.
    """

    def __init__(self, stream: SupportsRead[bytes], shown: str) -> None:
        self.facts: dict[str, object] = {}
        self.is_tail_damaged = False
        """Whether what follows the events cannot be read: a message with quotes, or what another process wrote."""
        self.repaired_names = 0
        self._stream, self._shown = stream, shown
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        self._scan: Callable[[str, int], tuple[object, int]] = json.JSONDecoder(
            parse_float=str, strict=False
        ).raw_decode
        self._text, self._at, self._is_end = "", 0, False
        self._count = 0
        self._in_events = False

    def events(self) -> Iterator[object]:
        """Every element of the list of events, in the order of the file."""
        self._fill()
        self._text = self._text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
        first = self._next_char(_BLANK)
        if first == "[":
            self._at += 1
            yield from self._list()
            self._end()
            return
        if first != "{":
            raise TraceError(f"`{self._shown}` is no JSON object", hint="is it the file that torch.profiler wrote?")
        self._at += 1
        has_events = False
        while True:
            char = self._next_char(_BETWEEN)
            if char == "}":
                self._at += 1
                self._end()
                break
            try:
                key = self._value()
                if not isinstance(key, str) or self._next_char(_BLANK) != ":":
                    raise self._damaged("a name and a colon are missing")
                self._at += 1
                if key == EVENTS and self._next_char(_BLANK) == "[":
                    has_events = True
                    self._at += 1
                    yield from self._list()
                else:
                    self._next_char(_BLANK)
                    self.facts[key] = self._value()
            except TraceError:
                if not has_events or self._in_events:
                    raise
                self.is_tail_damaged = True
                break
        if not has_events:
            raise TraceError(
                f"`{self._shown}` is JSON, but no trace: it has no `{EVENTS}`",
                hint="llmperf reads what torch.profiler's `export_chrome_trace` writes",
            )

    def _end(self) -> None:
        """Nothing may follow the trace. Another one is refused: two processes wrote this file."""
        try:
            char = self._next_char(_BLANK)
        except TraceError:
            return
        if char in "{[":
            raise TraceError(
                f"`{self._shown}` holds several traces, one behind the other",
                hint="several processes wrote this file: let each rank write one of its own, in one folder, or cut it",
            )
        self.is_tail_damaged = True

    def _list(self) -> Iterator[object]:
        self._in_events = True
        while self._next_char(_BETWEEN) != "]":
            value = self._value()
            self._count += 1
            yield value
        self._at += 1
        self._in_events = False

    def _next_char(self, skipped: re.Pattern[str]) -> str:
        while True:
            match = skipped.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if self._is_end:
                raise self._damaged("it ends too early")
            self._fill()

    def _value(self) -> object:
        """The value that starts here; more of the file is read if it is not whole."""
        while True:
            try:
                value, end = self._scan(self._text, self._at)
            except RecursionError as error:
                raise self._damaged("values are nested too deep") from error
            except json.JSONDecodeError as error:
                repaired = self._repair()
                if repaired is not None:
                    return repaired
                if self._is_end:
                    raise self._damaged(
                        "it ends too early" if self._is_cut() else f"it is no JSON: {error.msg}"
                    ) from error
            except ValueError as error:  # a whole number of thousands of digits
                raise self._damaged(str(error)) from error
            else:
                # A number may go on in what was not read yet.
                if end < len(self._text) or self._is_end:
                    self._at = end
                    return value
            if len(self._text) - self._at > MAX_VALUE_CHARS:
                raise self._damaged("a value is larger than any that torch.profiler writes, or not closed")
            self._fill()

    def _is_cut(self) -> bool:
        """Whether the value that starts here has more opening than closing brackets: its end is missing."""
        rest = re.sub(r'"(?:[^"\\]|\\.)*"?', "", self._text[self._at :])
        return rest.count("{") + rest.count("[") > rest.count("}") + rest.count("]")

    def _repair(self) -> object | None:
        """The event that starts here, which has quotes in its name; None if that is not it."""
        if not self._in_events:
            return None
        for end in islice(_OBJECT_END.finditer(self._text, self._at), _MAX_OBJECTS_IN_EVENT):
            text = _NAME.sub(_escaped, self._text[self._at : end.end()])
            try:
                value, _ = self._scan(text, 0)
            except (ValueError, RecursionError):
                continue
            self._at = end.end()
            self.repaired_names += 1
            return value
        return None

    def _fill(self) -> None:
        """Read on, and forget what was read before the current place."""
        chunk = self._stream.read(max(CHUNK_BYTES, len(self._text) - self._at))
        self._is_end = not chunk
        self._text = self._text[self._at :] + self._decode(chunk, not chunk)
        self._at = 0

    def _damaged(self, problem: str) -> TraceError:
        where = f"after {self._count:,} events" if self._count else "at its start"
        return TraceError(
            f"`{self._shown}` is damaged {where}: {problem}",
            hint="the profiler or a copy did not finish; make it again",
        )


def _escaped(found: re.Match[str]) -> str:
    return found[1] + json.dumps(found[2])[1:-1] + found[3]
