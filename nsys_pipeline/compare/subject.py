"""What two runs must have in common before their times are compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

SHAPE_SQL = "regexp_replace(shape, ' @.*', '')"
"""The column `shape` as `without_context` has it."""


def without_context(shape: str) -> str:
    """What is before the `@`: contexts grow from step to step, and steps of one request are of one shape."""
    return shape.partition(" @")[0]


@attrs.frozen
class Subject:
    """What a run ran, and on what; None where it is not known."""

    gpu: str | None = None
    model: str | None = None
    dtype: str | None = None

    @classmethod
    def of(cls, model: Mapping[str, Any] | None, gpus: Iterable[str | None]) -> Subject:
        """That of a run of `model`, as the JSON report has it, on GPUs of these names."""
        model = model or {}
        return cls(
            gpu=", ".join(sorted({name or "unknown" for name in gpus})) or None,
            model=f"{model.get('name')} of {model.get('params'):,} parameters" if model else None,
            dtype=str(model["dtype"]) if model.get("dtype") else None,
        )


def obstacles(base: Subject, new: Subject, *, shares_shapes: bool) -> list[str]:
    """Why two runs do not compare: what is known of both and differs, and that no phase has a shape that is in both."""
    reasons = [
        f"{what} {one} against {other}"
        for what, one, other in (
            ("GPU", base.gpu, new.gpu), ("model", base.model, new.model), ("dtype", base.dtype, new.dtype),
        )
        if one is not None and other is not None and one != other
    ]  # fmt: skip
    return reasons if shares_shapes else [*reasons, "no phase has a shape that is in both"]
