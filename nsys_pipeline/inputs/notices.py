"""What only Python can tell about the numbers, as rows that the view `findings` has among its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nsys_pipeline.duck import create_from_rows
from nsys_pipeline.inputs import recording
from nsys_pipeline.records import Notice

if TYPE_CHECKING:
    from nsys_pipeline.inputs.inputs import Inputs

# Code → severity, as findings of sql/findings have it in their headers. docs/findings.md explains each.
CODES = {
    "model_not_understood": "warning",
    "no_estimate": "warning",
    "encoder_has_no_decode": "warning",
    "bad_step_marks": "warning",
    "shapes_ignored": "warning",
    "requests_without_shape": "warning",
    "unknown_gpu": "warning",
    "partial_gpu": "warning",
    "derived_peak": "warning",
    "unknown_bandwidth": "warning",
    "kernels_missing": "error",
    "no_gpu_work": "warning",
    "nsys_diagnostic": "warning",
}
# Beside what the costs need.
NEEDS = recording.NEEDS
_TYPES = {
    "code": "VARCHAR", "severity": "VARCHAR", "phase": "VARCHAR", "message": "VARCHAR", "hint": "VARCHAR",
    "at_stake_ns": "BIGINT",
}  # fmt: skip


def create_notices(inputs: Inputs) -> None:
    """`input.notices`: one row per notice."""
    rows = [(one.code, CODES[one.code], None, one.message, one.hint, None) for one in _notices(inputs)]
    create_from_rows(inputs.connection, "input.notices", _TYPES, rows)


def _notices(inputs: Inputs) -> Iterator[Notice]:
    yield from inputs.run.notices
    yield from inputs.steps.notices
    yield from inputs.peaks.notices
    yield from inputs.costs.notices
    yield from recording.recording_notices(inputs.connection)
