"""What a user may have meant by a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], otherwise: str | None) -> str | None:
    """A hint with the names among `known` that are most like `name`."""
    by_lower = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.55)
    if not close:
        close = [one for one in by_lower if name.lower() in one or one in name.lower()][:3]
    if not close:
        return otherwise
    return "did you mean " + " or ".join(f"`{by_lower[one]}`" for one in close) + "?"
