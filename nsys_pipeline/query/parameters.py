"""Parameters as they are typed."""

from __future__ import annotations

from collections.abc import Iterable

from nsys_pipeline.errors import UsageError


def parse_parameters(texts: Iterable[str]) -> dict[str, int | float | str]:
    """Values of `NAME=VALUE`: whole numbers and numbers are that, anything else is text. Raises UsageError."""
    parameters: dict[str, int | float | str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"`{text}` is no parameter", hint="write NAME=VALUE")
        parameters[name] = parse_value(value)
    return parameters


def parse_value(text: str) -> int | float | str:
    """Read `text` as a whole number, a number or itself."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
