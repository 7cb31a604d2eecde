"""A backend of the markers that remembers, and what it remembers in a short form."""

from __future__ import annotations

import json
from typing import Any

from nsys_pipeline import markers


class Recorder:
    """Every range and mark in order: names as `+name`, `-`, and marks as their JSON."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def push(self, name: str) -> None:
        self.events.append(f"+{name}")

    def pop(self) -> None:
        self.events.append("-")

    def mark(self, text: str) -> None:
        kind, payload = text.split(" ", 1)
        self.events.append((kind.removeprefix("llmperf."), json.loads(payload)))

    def marks(self, kind: str) -> list[dict[str, Any]]:
        """JSON of the marks of one kind."""
        return [event[1] for event in self.events if isinstance(event, tuple) and event[0] == kind]

    @property
    def steps(self) -> list[tuple[str, list[int], list[int]]]:
        """Phase, q and kv of each step, checked: every mark can be read back, and stands first in its range."""
        found = []
        for before, event in zip(self.events, self.events[1:], strict=False):
            if isinstance(event, tuple) and event[0] == "step":
                step = markers.decode_step(json.dumps(event[1]))
                assert before.startswith("+")
                found.append((before[1:], list(step.q_tokens), list(step.kv_tokens)))
        return found

    @property
    def ranges(self) -> list[str]:
        """Names of the ranges in the order in which they were opened. Raises AssertionError where one is left open."""
        depth = 0
        names = []
        for event in self.events:
            if isinstance(event, str):
                depth += 1 if event.startswith("+") else -1
                assert depth >= 0
                names += [event[1:]] if event.startswith("+") else []
        assert depth == 0
        return names
