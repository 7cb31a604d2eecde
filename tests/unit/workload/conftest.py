"""Markers without a profiler: what `--auto` says, written down as it is said."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from nsys_pipeline import markers
from nsys_pipeline.inputs.ended import without_ended
from nsys_pipeline.records import Step
from nsys_pipeline.workload import auto, gradients


class Recorder:
    """In the place of a profiler: ranges and marks as lines."""

    def __init__(self) -> None:
        self.open: list[str] = []
        self.passes: list[str] = []
        self.requests: list[list[str]] = []
        self.runs: list[dict[str, Any]] = []
        self.steps: list[Step] = []
        self.numbers: list[int] = []
        self.backwards: list[list[int]] = []
        self.told: list[dict[str, Any]] = []
        self.written: dict[int, list[int]] = {}

    def push(self, name: str) -> None:
        self.open.append(name)
        if name == markers.REQUEST:
            self.requests.append([])
            return
        self.passes.append(name)
        if markers.REQUEST in self.open:
            self.requests[-1].append(name)

    def pop(self) -> None:
        self.open.pop()

    def mark(self, text: str) -> None:
        name, _, payload = text.partition(" ")
        if name == markers.RUN_MARK:
            self.runs.append(json.loads(payload))
            return
        if name == markers.BACKWARD_MARK:
            # by the places of the passes that have a number
            self.backwards.append([self.numbers.index(number) for number in json.loads(payload)["of"]])
            return
        if name == markers.WRITTEN_MARK:
            mark = json.loads(payload)
            self.written[mark["request"]] = mark["tokens"]
            assert markers.REQUEST not in self.open
            return
        step = json.loads(payload)
        self.told.append(step)
        if "pass" in step:
            self.numbers.append(step["pass"])
        self.steps.append(markers.decode_step(payload))
        if "b" in step:
            self.passes[-1] += f" {step['b']}x{step['q']}+{step['kv']}, {step['logits']} logits"
        if "images" in step:
            self.passes[-1] += f" of {step['images']}"
        if "audio" in step:
            self.passes[-1] += f" of {step['audio']} frames"

    @property
    def useful(self) -> list[Step]:
        """The steps without sequences that had ended, as an analysis reads them."""
        return [
            without_ended(step, mark["written"], self.written[mark["request"]])
            if mark.get("request") in self.written
            else step
            for step, mark in zip(self.steps, self.told, strict=True)
        ]

    @property
    def shapes(self) -> list[str]:
        """Shapes of the passes that have one, without phases and logits."""
        return [line.split()[1].rstrip(",") for line in self.passes if " " in line]


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """`--auto` in this process, for one test."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    import torch
    import torch._dynamo.eval_frame
    import transformers.feature_extraction_utils
    import transformers.generation.logits_process
    import transformers.generation.stopping_criteria
    import transformers.generation.utils
    import transformers.modeling_utils
    import transformers.tokenization_utils_base

    patched = (
        (transformers.modeling_utils.PreTrainedModel, ("__call__", "get_compiled_call")),
        (transformers.generation.utils.GenerationMixin, ("generate",)),
        (
            transformers.generation.logits_process.UnbatchedClassifierFreeGuidanceLogitsProcessor,
            ("get_unconditional_logits",),
        ),
        (transformers.generation.stopping_criteria.StoppingCriteriaList, ("__call__",)),
        (transformers.feature_extraction_utils.BatchFeature, ("to",)),
        (transformers.tokenization_utils_base.BatchEncoding, ("to",)),
        (torch.Tensor, ("backward",)),
        (torch.autograd, ("backward",)),
        (torch.optim.Optimizer, ("profile_hook_step",)),
        (torch._dynamo.eval_frame.OptimizedModule, ("__call__",)),
        (torch._dynamo.eval_frame._TorchDynamoContext, ("__call__",)),
        # transformers has imported it, if it is there.
        (sys.modules.get("accelerate.utils.operations"), ("send_to_device",)),
    )
    for owner, names in patched:
        for name in names:
            if hasattr(owner, name):
                # Set as it is, so that monkeypatch puts it back.
                kept = owner.__dict__.get(name, getattr(owner, name))
                monkeypatch.setattr(owner, name, kept)
    recorder = Recorder()
    monkeypatch.setattr(markers, "_chosen", recorder)
    monkeypatch.setattr(markers, "_described", {})
    monkeypatch.setattr(auto, "_models", auto._Models())
    monkeypatch.setattr(gradients, "_trains_unsaid", False)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    auto.install()
    yield recorder
    assert recorder.open == []
