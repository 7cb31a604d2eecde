"""Every error that llmperf raises on purpose; the command line turns each into one line, one hint and an exit code.

    LlmperfError                exit 1
    ├── TraceError              the input is not a usable trace
    ├── QueryError              a SQL query of the user's is refused or fails
    │   └── Abandoned           DuckDB does not end it, so that it was left to itself
    ├── ModelError              a model config is missing, incomplete or impossible
    ├── HardwareError           a GPU or a peak is unknown or impossible
    ├── CheckError              a trace check (conservation, --verify) failed
    │   └── RuleBrokenError     a rule of --fail-if holds
    ├── UsageError              exit 2: options that do not fit together
    │   └── RuleError           a rule of --fail-if cannot be read
    ├── NsysError               exit 3: nsys is missing, too old or failed
    └── Interrupted             exit 130: Ctrl-C

Foreign exceptions (duckdb, sqlite3, OSError, …) are wrapped once, at the edge of the room that called the library,
with ``raise … from error``.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the command line."""

    OK = 0
    DATA = 1
    USAGE = 2
    NSYS = 3
    INTERRUPTED = 130


class LlmperfError(Exception):
    """What failed and on which object, in one sentence, with at most one thing to do about it as ``hint``."""

    exit_code: int = ExitCode.DATA
    #: Whether the message is several lines, of which the program put none into a name.
    has_lines: bool = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class TraceError(LlmperfError):
    """The input is not a trace, is damaged, or lacks what was asked of it."""


class QueryError(LlmperfError):
    """A query was refused (not one read-only SELECT) or failed."""

    has_lines = True


class Abandoned(QueryError):  # noqa: N818 - says what became of the query
    """DuckDB is in a call that nothing ends, such as one function over long texts; the query was left to itself.

    Its thread and memory are lost to the program, which should end.
    """

    def __init__(self, message: str, *, hint: str | None = None, exit_code: int = ExitCode.DATA) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


class ModelError(LlmperfError):
    """A model config is missing, incomplete, of an unknown type or impossible."""


class HardwareError(LlmperfError):
    """A GPU or one of its peaks is unknown or impossible."""


class CheckError(LlmperfError):
    """A check of the trace's own consistency failed."""


class RuleBrokenError(CheckError):
    """A rule of `--fail-if` holds; one line for each."""

    has_lines = True


class UsageError(LlmperfError):
    """Options that do not fit together."""

    exit_code = ExitCode.USAGE


class RuleError(UsageError):
    """A rule cannot be read; the second and third line point at the character."""

    has_lines = True


class NsysError(LlmperfError):
    """Nsight Systems is missing, too old for what was asked, or failed."""

    exit_code = ExitCode.NSYS


class Interrupted(LlmperfError):  # noqa: N818 - no error: the user asked for it
    """The user pressed Ctrl-C; what could be saved has been saved."""

    exit_code = ExitCode.INTERRUPTED
