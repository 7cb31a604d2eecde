"""What the relations of the schema ``input`` are made from: the connection, the options, and what follows from both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from nsys_pipeline.inputs.options import AnalysisOptions

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from nsys_pipeline.infer import Found, Inference
    from nsys_pipeline.inputs.costs import Costs
    from nsys_pipeline.inputs.peaks import Peaks
    from nsys_pipeline.inputs.run import ModelOfRun
    from nsys_pipeline.inputs.shapes import AssignedSteps
    from nsys_pipeline.records import Notice, Step
    from nsys_pipeline.rules.phases import PhaseRule, RangeRole


class Inputs:
    """Makes relations of the schema ``input`` on one connection.

    What a model, shapes and hardware make of the trace is worked out once, when it is first needed, from relations that
    `registry.INPUTS` names as needs: whoever reads a property directly builds them first.
    """

    def __init__(
        self,
        connection: DuckDBPyConnection,
        *,
        phase_rules: Sequence[PhaseRule] = (),
        is_strict: bool = False,
        is_inference_forced: bool = False,
    ) -> None:
        self.connection = connection
        self.phase_rules = tuple(phase_rules)
        self.is_strict = is_strict
        # What the analysis is told beside the trace.
        self.options = AnalysisOptions()
        self.is_inference_forced = is_inference_forced
        #: Whether phases are inferred from the launches; the trace decides it before anything reads them.
        self.infers = is_inference_forced
        #: Whether the tables are those of a window of the trace.
        self.is_cut = False

    def make(self, name: str) -> None:
        """Make the relation `name` anew; what it needs is there."""
        from nsys_pipeline.inputs.registry import INPUTS

        INPUTS[name].make(self)

    def describe(self, options: AnalysisOptions) -> bool:
        """Take other options, and say whether they differ: then the relations of the analysis have to be made anew."""
        if options == self.options:
            return False
        self.options = options
        for name in ("run", "steps", "peaks", "costs"):
            self.__dict__.pop(name, None)
        return True

    @cached_property
    def pattern_roles(self) -> Mapping[tuple[str, str], RangeRole]:
        """What the shipped rules say of the patterns of range texts. Needs load.range_names."""
        from nsys_pipeline.inputs.ranges import find_pattern_roles

        return find_pattern_roles(self)

    @cached_property
    def checks_guesses(self) -> bool:
        """Whether SGLang's model checks what a draft guessed. Needs load.range_names."""
        return any(role.rule == "sglang-verify" for role in self.pattern_roles.values())

    @cached_property
    def trains(self) -> bool:
        """Whether a range is a part of a training step, or a whole one. Needs load.range_names."""
        parts = {"backward", "optimizer", "forward_backward", "step"}
        named = {rule.phase for rule in self.phase_rules} | {role.phase for role in self.pattern_roles.values()}
        return bool(named & parts)

    @cached_property
    def passes(self) -> Inference:
        """Passes of language models, from the launches. Needs attribute._telling_launches if they are wanted."""
        from nsys_pipeline.inputs.inferred import find_passes

        return find_passes(self)

    @cached_property
    def repeats(self) -> Found:
        """What repeats, if there are no such passes. Needs attribute._sampled_launches then."""
        from nsys_pipeline.inputs.inferred import find_repeats

        return find_repeats(self)

    @cached_property
    def inference(self) -> Inference:
        """Phases inferred from the launches. Needs what `inferred.NEEDS` says if they are wanted."""
        from nsys_pipeline.inputs.inferred import find_phases

        return find_phases(self)

    @cached_property
    def run(self) -> ModelOfRun:
        """The model, and how its FLOPs are counted. Needs what `steps` needs."""
        from nsys_pipeline.inputs.run import ModelOfRun

        return ModelOfRun.of(self)

    @cached_property
    def marked_steps(self) -> tuple[Mapping[int, Step], Sequence[Notice]]:
        """What marks say about steps, whatever the options. Needs what `steps` needs."""
        from nsys_pipeline.inputs.shapes import marked_steps

        return marked_steps(self.connection)

    @cached_property
    def steps(self) -> AssignedSteps:
        """The shape of each occurrence. Needs attribute.step_marks, attribute.phase_texts, attribute.phase_ranges."""
        from nsys_pipeline.inputs.shapes import assign_steps

        return assign_steps(self)

    @cached_property
    def peaks(self) -> Peaks:
        """What each GPU could do. Needs load.devices."""
        from nsys_pipeline.inputs.peaks import find_peaks

        return find_peaks(self)

    @cached_property
    def costs(self) -> Costs:
        """FLOPs, bytes and ideal times of each shape. Needs all that `run`, `steps` and `peaks` need."""
        from nsys_pipeline.inputs.costs import find_costs

        return find_costs(self)
