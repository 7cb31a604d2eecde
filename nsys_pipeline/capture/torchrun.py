"""What torchrun says when its ranks fail: a page that hides what the ranks said, and names the first of them."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

# All versions, whose logs begin differently, name the module and then say one of these.
_EPILOGUE = re.compile(r"torch[./]distributed[./]elastic.*(Sending process \d+ closing signal|failed \(exitcode: )")
_ROOT_CAUSE = re.compile(r"Root Cause\b.*?^\s*rank\s*: (\d+).*?^\s*exitcode\s*: (-?\d+)", re.DOTALL | re.MULTILINE)


def last_words(lines: Sequence[str]) -> list[str]:
    """Return what the ranks said, without torchrun's own report of their failure.

    Where torchrun names the rank that failed first, and torch marked the lines of its traceback, these alone: the other
    ranks only say that they lost it.
    """
    ends = [place for place, line in enumerate(lines) if _EPILOGUE.search(line)]
    # With `--max-restarts` there is an epilogue for each attempt, and the whole report after the last.
    said = [line for line in lines[: ends[-1] if ends else None] if not _EPILOGUE.search(line)]
    root = _ROOT_CAUSE.search("\n".join(lines))
    of_first = [line for line in said if root and line.startswith(f"[rank{root[1]}]:")]
    return of_first or said


def first_failure(lines: Sequence[str]) -> str | None:
    """Say which rank torchrun calls the root cause, and how it ended; None where it names none."""
    root = _ROOT_CAUSE.search("\n".join(lines))
    if root is None:
        return None
    return f"rank {root[1]} failed first, {_ending(int(root[2]))}"


def _ending(code: int) -> str:
    """How a process ended: below 0 by a signal, and above 128 where nsys passes the signal of its target on."""
    number = -code if code < 0 else code - 128
    try:
        return f"by {signal.Signals(number).name}"
    except ValueError:
        return f"by signal {number}" if code < 0 else f"with exit code {code}"
