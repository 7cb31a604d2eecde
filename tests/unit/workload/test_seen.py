"""Images under `--auto`: the stages of a tiny model of transformers, and their sizes as the host knows them."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest

from nsys_pipeline.workload import padding, seen
from nsys_pipeline.workload.moved import remembering
from nsys_pipeline.workload.stages import mark_stages
from tests.support.tiny_models import known
from tests.support.tiny_vlms import QWEN
from tests.unit.workload.conftest import Recorder

GRIDS = [[1, 4, 6], [1, 2, 2]]
TOKENS = 6 + 1


@pytest.fixture
def model() -> Any:
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    if not known("qwen2_5_vl") or not hasattr(transformers, "AutoModelForImageTextToText"):
        pytest.skip("this transformers has no Qwen2.5-VL of this kind")
    config = transformers.AutoConfig.for_model(**QWEN)
    built = transformers.AutoModelForImageTextToText.from_config(config).eval()
    built.generation_config.eos_token_id = None
    return built


def inputs(model: Any = None) -> dict[str, Any]:
    """A prompt with two images, as far as `model` takes its parts: transformers 5.0 has no types of tokens."""
    import torch

    image = QWEN["image_token_id"]
    ids = torch.tensor([[5, *[image] * 6, 6, image, 7]])
    rows = sum(height * width for _, height, width in GRIDS)
    parts = {
        "input_ids": ids,
        "pixel_values": torch.zeros(rows, 3 * 2 * 14 * 14),
        "image_grid_thw": torch.tensor(GRIDS),
        "mm_token_type_ids": (ids == image).int(),
    }
    taken = parts if model is None else inspect.signature(model.forward).parameters
    return {name: part for name, part in parts.items() if name in taken}


def test_stages_and_sizes_of_an_unmodified_program(marked: Recorder, model: Any) -> None:
    model.generate(**inputs(model), max_new_tokens=2, do_sample=False)

    stages = ["vision.tower", "vision.merger"]
    prefill, decode = "prefill 1x10+0, 1 logits", "decode 1x1+10, 1 logits"
    images = " of [[4, 6], [2, 2]]"
    # transformers before 5.20 runs the tower inside the prefill.
    older = [prefill + images, *stages, decode]
    assert marked.passes in (["vision" + images, *stages, prefill, decode], older)
    assert marked.open == []

    # Called as it is, the tower is always part of the pass.
    del marked.passes[:]
    model(**inputs(model))
    assert marked.passes == ["prefill 1x10+0, 10 logits" + images, *stages]


def test_a_tower_that_fails_closes_its_ranges_and_a_copy_has_none(marked: Recorder, model: Any) -> None:
    mark_stages(model)
    copied = copy.deepcopy(model)
    broken = inputs(model) | {"pixel_values": inputs()["pixel_values"][:, :7]}
    with pytest.raises(RuntimeError):
        model(**broken)
    assert marked.open == []
    del marked.passes[:]
    copied.model.visual(inputs()["pixel_values"], grid_thw=inputs()["image_grid_thw"])
    assert not [line for line in marked.passes if line.startswith("vision.")]


def test_sizes_that_were_moved_are_remembered_and_others_are_not_asked_for() -> None:
    pytest.importorskip("torch")
    features = pytest.importorskip("transformers.feature_extraction_utils")
    fresh: Any = type("BatchFeature", (features.BatchFeature,), {})
    fresh.to = remembering(fresh.to, padding.READING, seen.READING)
    config = type("Config", (), {})()

    moved = fresh(inputs()).to("meta")

    assert seen.images_of(config, moved) == ((4, 6), (2, 2))
    assert seen.images_of(config, {**inputs()}) == ((4, 6), (2, 2))
    # No more than that: a tensor of the device holds what nobody knows.
    unknown = {**moved, "image_grid_thw": inputs()["image_grid_thw"].to("meta")}
    assert seen.images_of(config, unknown) is None
    assert seen.images_of(config, {"input_ids": moved["input_ids"]}) == ()
    # Moved on, it is still known; changed there, no more.
    again = fresh(dict(moved)).to("meta")
    assert seen.images_of(config, again) == ((4, 6), (2, 2))
    again["image_grid_thw"].add_(1)
    assert seen.images_of(config, again) is None
