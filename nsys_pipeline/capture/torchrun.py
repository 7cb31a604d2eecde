"""What torchrun says when its ranks fail: a page that hides what the ranks said, and names the first of them."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

# All versions, whose logs begin differently, name the module and then say one of these.
_EPILOGUE = re.compile(r"torch[./]distributed[./]elastic.*(Sending process \d+ closing signal|failed \(exitcode: )")
_ROOT_CAUSE = re.compile(r"Root Cause\b.*?^\s*rank\s*: (\d+).*?^\s*exitcode\s*: (-?\d+)", re.DOTALL | re.MULTILINE)


def without_epilogue(lines: Sequence[str]) -> Sequence[str]:
    """Leave torchrun's own report of failed ranks out: what the ranks themselves said last is before it."""
    end = next((place for place, line in enumerate(lines) if _EPILOGUE.search(line)), len(lines))
    return lines[:end]


def first_failure(lines: Sequence[str]) -> str | None:
    """Say which rank torchrun calls the root cause, and how it ended; None where it names none."""
    found = _ROOT_CAUSE.search("\n".join(lines))
    if found is None:
        return None
    rank, code = found[1], int(found[2])
    return f"rank {rank} failed first, {f'with exit code {code}' if code >= 0 else f'by {_signal_name(-code)}'}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
