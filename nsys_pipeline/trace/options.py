"""How a trace is to be opened: what changes its tables, and what only changes how they are made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs

from nsys_pipeline.errors import UsageError
from nsys_pipeline.rules.phases import PhaseRule
from nsys_pipeline.trace.memory import parse_bytes
from nsys_pipeline.trace.window import Window

DEFAULT_MEMORY_LIMIT = "1500MB"


@attrs.frozen
class TraceOptions:
    """Options of `open_trace`.

    `phase_rules`, `is_strict` and `infers` decide which phase GPU work belongs to; the rest leaves every number as it
    is. `infers`: phases are inferred from the launches, and ranges are no phases (True); never (False); if no range is
    a phase (None). `window` decides what counts at all: what is cut away is in no table.
    `memory_limit` bounds the memory of the process ('1GB', '800MB'): past it, work spills to disk. `unpack_limit`
    bounds what a packed trace unpacks to ('50GB'; None: see `unpack.limit_of`). Raises UsageError for no amount, and
    for rules that say what is a phase beside `infers`.
    """

    phase_rules: tuple[PhaseRule, ...] = ()
    is_strict: bool = False
    infers: bool | None = None
    use_cache: bool = True
    cache_dir: Path | None = None
    window: Window | None = None
    memory_limit: str = DEFAULT_MEMORY_LIMIT
    unpack_limit: str | None = None
    threads: int | None = None
    nsys: str | None = None
    on_progress: Callable[[str], None] | None = None

    def __attrs_post_init__(self) -> None:
        if self.unpack_limit is not None and not parse_bytes(self.unpack_limit):
            raise UsageError(f"`{self.unpack_limit}` is no size", hint="for example --unpack-limit 50GB")
        if self.infers and (rule := next((rule for rule in self.phase_rules if rule.role == "phase"), None)):
            raise UsageError(
                f"`{rule.option}` has no effect with `--infer`, for which no range is a phase", hint="drop one of them"
            )

    @property
    def unpack_limit_bytes(self) -> int | None:
        """The `unpack_limit` as a number."""
        return parse_bytes(self.unpack_limit) if self.unpack_limit is not None else None

    def progress(self, text: str) -> None:
        """Say what is being done, to whom it may concern."""
        if self.on_progress:
            self.on_progress(text)

    def identity(self) -> str:
        """What of these options changes the tables of a trace: part of the key of its cache."""
        rules = ";".join(rule.option for rule in self.phase_rules)
        return f"strict={self.is_strict};infer={self.infers};{rules}"
