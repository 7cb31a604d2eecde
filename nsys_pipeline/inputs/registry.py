"""Every relation that Python fills: what it is made from, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from nsys_pipeline.inputs import costs, inferred, notices, operator_shapes, ops, peaks, ranges, run, shapes, stages
from nsys_pipeline.inputs.inputs import Inputs
from nsys_pipeline.inputs.options import AnalysisOptions

_MARKS = ("load.nvtx_marks",)
_STEPS = (
    *_MARKS, "attribute.step_marks", "attribute.step_sequences", "attribute.written_tokens", "attribute.phase_texts",
    "attribute.phase_ranges", "attribute.training_passes", "attribute.optimizer_kernels",
)  # fmt: skip
_DEVICES = ("load.devices",)
_COSTS = (*_STEPS, *_DEVICES, "attribute.recomputation", "attribute.fused_heads")


@attrs.frozen
class Input:
    """One relation. `of_analysis`: it rests on AnalysisOptions, and is never kept for later runs.

    `is_told`: whether options change it; what the trace alone says is kept.
    """

    make: Callable[[Inputs], None]
    needs: tuple[str, ...] = ()
    of_analysis: bool = True
    is_told: Callable[[AnalysisOptions], bool] | None = None


INPUTS: Mapping[str, Input] = {
    "input.settings": Input(ranges.create_settings, of_analysis=False),
    "input.phase_rules": Input(ranges.create_phase_rules, of_analysis=False),
    "input.range_roles": Input(ranges.create_range_roles, ("load.range_names",), of_analysis=False),
    "input.library_ranges": Input(ranges.create_library_ranges, ("load.range_names",), of_analysis=False),
    # What they are made from is added if phases are to be inferred: see Trace.
    "input.unexplained": Input(inferred.create_unexplained, of_analysis=False),
    "input.unit_kinds": Input(inferred.create_unit_kinds, of_analysis=False),
    "input.inferred_phases": Input(inferred.create_inferred_phases, of_analysis=False),
    "input.inferred_requests": Input(inferred.create_inferred_requests, of_analysis=False),
    "input.inference": Input(inferred.create_inference, of_analysis=False),
    "input.overlay_segments": Input(ranges.create_overlay_segments, ("attribute._marked_phases",), of_analysis=False),
    "input.cut_phases": Input(ranges.create_cut_phases, of_analysis=False),
    "input.cut_phase_work": Input(ranges.create_cut_phase_work, of_analysis=False),
    "input.cut_work": Input(ranges.create_cut_work, of_analysis=False),
    "input.measuring": Input(ranges.create_measuring, of_analysis=False, is_told=lambda options: options.keep_cold),
    "input.goodput_limits": Input(ranges.create_goodput_limits),
    "input.step_sizes": Input(
        shapes.create_step_sizes, _STEPS, of_analysis=False, is_told=lambda options: bool(options.shapes)
    ),
    "input.model": Input(run.create_model, _STEPS),
    "input.other_runs": Input(run.create_other_runs, (*_MARKS, "attribute.step_marks", "attribute.phase_ranges")),
    "input.peaks": Input(peaks.create_peaks, _DEVICES),
    "input.occurrence_shapes": Input(shapes.create_occurrence_shapes, _STEPS),
    "input.shapes": Input(shapes.create_shapes, _STEPS),
    "input.shape_costs": Input(costs.create_shape_costs, _COSTS),
    "input.shape_device_costs": Input(costs.create_shape_device_costs, _COSTS),
    "input.shape_ops": Input(ops.create_shape_ops, _COSTS),
    "input.operator_costs": Input(ops.create_operator_costs, (*_COSTS, "attribute.layer_ranges")),
    "input.stage_costs": Input(stages.create_stage_costs, (*_COSTS, "attribute.stage_ranges")),
    "input.pass_ops": Input(ops.create_pass_ops, (*_COSTS, "attribute.occurrences", "attribute._inferred_phases")),
    "input.operator_shapes": Input(
        operator_shapes.create_operator_shapes, ("attribute.operator_ranges",), of_analysis=False
    ),
    "input.notices": Input(notices.create_notices, (*_COSTS, *notices.NEEDS)),
}

OF_ANALYSIS = frozenset(name for name, one in INPUTS.items() if one.of_analysis)


def passing(options: AnalysisOptions) -> frozenset[str]:
    """Relations that another analysis of the same trace than that of `options` may fill otherwise."""
    return OF_ANALYSIS | {name for name, one in INPUTS.items() if one.is_told and one.is_told(options)}


NEEDS: Mapping[str, tuple[str, ...]] = {name: one.needs for name, one in INPUTS.items()}
