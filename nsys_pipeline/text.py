"""Text of a trace on a terminal: names of ranges and kernels are whatever the program put there."""

from __future__ import annotations

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Control characters become their pictures (U+2400 …), one for one, so that widths stay; what turns the direction of
# writing, and the second set of control characters, has none.
_VISIBLE = (
    {code: chr(0x2400 + code) for code in range(0x20)}
    | {0x7F: "\N{SYMBOL FOR DELETE}"}
    | dict.fromkeys((*range(0x80, 0xA0), 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)), _REPLACEMENT)
)
_VISIBLE_LINES = {code: picture for code, picture in _VISIBLE.items() if code != ord("\n")}


def printable(text: str) -> str:
    """`text` on one line, with every control character shown instead of obeyed by the terminal."""
    return text if text.isprintable() else text.translate(_VISIBLE)


def first_line(error: Exception) -> str:
    """First line of what an error of another library says; its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def printable_lines(text: str) -> str:
    """The same, keeping its lines."""
    return text if text.isprintable() else text.translate(_VISIBLE_LINES)
