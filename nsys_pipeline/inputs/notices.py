"""What only Python can tell about the numbers, as rows that the view `findings` has among its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nsys_pipeline.duck import create_from_rows
from nsys_pipeline.inputs import recording
from nsys_pipeline.records import Notice

if TYPE_CHECKING:
    from nsys_pipeline.inputs.inputs import Inputs

_COSTS = ("input.shape_costs", "input.shape_ops", "input.operator_costs")
_PEAKS = ("input.peaks", "input.shape_device_costs")
_SHAPES = ("input.occurrence_shapes",)
_WORK = ("load.gpu_ops",)
# Code → severity, and the relations that it concerns, as findings of sql/findings have both in their headers.
# docs/findings.md explains each.
CODES: dict[str, tuple[str, tuple[str, ...]]] = {
    "model_not_understood": ("warning", _COSTS),
    "config_not_read": ("warning", _COSTS),
    "quantization_not_read": ("warning", _COSTS),
    "experts_of_other_ranks": ("warning", _COSTS),
    "adapters_of_experts": ("warning", _COSTS),
    "trained_weights_change": ("warning", _COSTS),
    "trained_weights_unknown": ("warning", _COSTS),
    "layers_dropped": ("warning", _COSTS),
    "model_changes": ("warning", _COSTS),
    "copied_experts": ("warning", _COSTS),
    "latents_not_cached": ("warning", _COSTS),
    "weights_cast": ("warning", _COSTS),
    "adapters_not_counted": ("warning", _COSTS),
    "prompts_of_several_ranks": ("error", _COSTS),
    "cache_of_other_ranks": ("warning", _COSTS),
    "cache_of_two_dtypes": ("warning", _COSTS),
    "cache_format_not_read": ("warning", _COSTS),
    "no_estimate": ("warning", _COSTS),
    "encoder_has_no_decode": ("warning", _COSTS),
    "bad_step_marks": ("warning", _SHAPES),
    "shapes_ignored": ("warning", _SHAPES),
    "images_ignored": ("warning", _SHAPES),
    "audio_ignored": ("warning", _SHAPES),
    "images_skipped": ("warning", _SHAPES),
    "encoder_in_prefill": ("warning", _SHAPES),
    "images_not_whole": ("warning", _SHAPES),
    "images_of_other_size": ("warning", _SHAPES),
    "shapes_without_requests": ("warning", _SHAPES),
    "requests_without_shape": ("warning", _SHAPES),
    "unknown_gpu": ("warning", _PEAKS),
    "partial_gpu": ("warning", _PEAKS),
    "derived_peak": ("warning", _PEAKS),
    "unknown_bandwidth": ("warning", _PEAKS),
    "kernels_missing": ("error", _WORK),
    "no_gpu_work": ("warning", _WORK),
    "nsys_diagnostic": ("warning", _WORK),
}
# Beside what the costs need.
NEEDS = recording.NEEDS
_TYPES = {
    "code": "VARCHAR", "severity": "VARCHAR", "phase": "VARCHAR", "message": "VARCHAR", "hint": "VARCHAR",
    "at_stake_ns": "BIGINT",
}  # fmt: skip


def create_notices(inputs: Inputs) -> None:
    """`input.notices`: one row per notice."""
    rows = [(one.code, CODES[one.code][0], None, one.message, one.hint, None) for one in _notices(inputs)]
    create_from_rows(inputs.connection, "input.notices", _TYPES, rows)


def _notices(inputs: Inputs) -> Iterator[Notice]:
    yield from inputs.run.notices
    yield from inputs.steps.notices
    yield from inputs.peaks.notices
    yield from inputs.costs.notices
    yield from recording.recording_notices(inputs.connection, is_cut=inputs.is_cut)
