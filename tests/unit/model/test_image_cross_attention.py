"""Decoders that look at images in layers of their own: whole passes against torch's count, and what is refused."""

from __future__ import annotations

import attrs
import pytest

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model import Estimator, Model
from nsys_pipeline.model.images import tokens_in_prompt, views
from nsys_pipeline.model.summary import Shape, summarize
from nsys_pipeline.records import Step
from tests.unit.model.configs import FULL, read_json

CONFIGS = read_json("tower_configs.json")
MLLAMA = Model.from_config(CONFIGS["mllama"]["config"], "mllama")
FOUR_TILES = (6, 6)


# Two sequences of 7 tokens, then a decode step; the same with an image each. FlopCounterMode on transformers 5.24.
COUNTED = {
    "mllama": (FOUR_TILES, [463_360, 73_728, 32_245_248, 110_592]),
    "blip": ((3, 3), [438_784, 73_728, 835_072 + 2 * 1_441_152, 95_232]),
}


@pytest.mark.parametrize("name", COUNTED)
def test_passes_with_images_equal_torchs_count(name: str) -> None:
    (grid, counted), model = COUNTED[name], Model.from_config(CONFIGS[name]["config"], name)
    prompt, step = Step.uniform(batch=2, q_tokens=7), Step.uniform(batch=2, q_tokens=1, kv_tokens=7)
    with_images = (attrs.evolve(prompt, images=(grid,) * 2), attrs.evolve(step, seen_images=(grid,) * 2))
    assert [Estimator(model, FULL).estimate(one).flops for one in (prompt, step, *with_images)] == counted


def test_a_prompt_after_the_tower_projects_what_it_encoded() -> None:
    estimator = Estimator(MLLAMA, FULL)
    prompt = Step.uniform(batch=1, q_tokens=7)
    whole = estimator.estimate(attrs.evolve(prompt, images=[FOUR_TILES])).flops
    apart = [Step((), (), 0, images=[FOUR_TILES]), attrs.evolve(prompt, seen_images=[FOUR_TILES])]
    assert sum(estimator.estimate(step).flops for step in apart) == whole


def test_keys_and_values_of_images_are_written_once_and_read_by_each_step() -> None:
    shape = Shape(prompt_tokens=(7,), cached_tokens=(0,), context=(7,), images=(FOUR_TILES,))
    bare = summarize(MLLAMA, attrs.evolve(shape, images=()))
    seen = summarize(MLLAMA, shape)
    assert seen.decode is not None
    assert bare.decode is not None
    # One layer, 40 tokens, 2 heads of 8 values, K and V, 2 bytes each.
    cached = 40 * 2 * 8 * 2 * 2
    assert seen.prefill.kv_write_bytes - bare.prefill.kv_write_bytes == cached
    assert seen.decode.kv_read_bytes - bare.decode.kv_read_bytes == cached
    assert seen.decode.weight_bytes > bare.decode.weight_bytes


def test_idefics_requires_less_of_a_decode_step_than_transformers_runs() -> None:
    model = Model.from_config(CONFIGS["idefics"]["config"])
    step = attrs.evolve(Step.uniform(batch=1, q_tokens=1, kv_tokens=7), seen_images=[(3, 3)])
    required = Estimator(model).estimate(step)
    executed = Estimator(model, FULL).estimate(step)
    # K and V of 5 latents of 48 values in two layers; two layers of a resampler of 3 heads of 8 on 10 tokens.
    projected = 2 * (2 * 5 * 48 * 2 * 32)
    inner = 3 * 8
    resampled = 2 * (
        2 * (10 + 5) * 48 * 2 * inner + 4 * 5 * (10 + 5) * inner + 2 * 5 * 2 * 48 * inner + 2 * 5 * 2 * 48 * 4 * 48
    )
    assert executed.flops - required.flops == projected + resampled
    assert executed.bytes == required.bytes
    # Two cross layers, 4 heads of 8 values, K and V, 2 bytes each, beside the cache of four layers.
    assert required.kv_read_bytes == 2 * 5 * 2 * 32 * 2 + 4 * 7 * 2 * 32 * 2


def test_a_prompt_without_an_image_runs_the_mlp_of_idefics_cross_layers() -> None:
    model = Model.from_config(CONFIGS["idefics"]["config"])
    ops = Estimator(model).estimate(Step.uniform(batch=1, q_tokens=7)).ops
    assert not any(op.name.startswith("cross_") and op.flops_model for op in ops)
    gated = [op for op in ops if op.layer == "layers.cross" and op.name == "gate_up"]
    assert [op.flops_model for op in gated] == [2 * 7 * 2 * 48 * 32] * 2


def test_layers_of_idefics_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ModelError, match="`num_hidden_layers` = 4 is not a multiple of `cross_layer_interval` = 3"):
        Model.from_config({**CONFIGS["idefics"]["config"], "cross_layer_interval": 3})
    with pytest.raises(ModelError, match="`alpha_type` is 'matrix'"):
        Model.from_config({**CONFIGS["idefics"]["config"], "alpha_type": "matrix"})


def test_images_are_one_token_each_of_the_prompt() -> None:
    assert tokens_in_prompt(MLLAMA, [FOUR_TILES, (3, 3)]) == 2


def test_images_that_do_not_fit_are_refused() -> None:
    estimator = Estimator(MLLAMA)
    with pytest.raises(ModelError, match="3 images do not divide among 2 sequences"):
        estimator.estimate(attrs.evolve(Step.uniform(batch=2, q_tokens=7), images=[(3, 3)] * 3))
    with pytest.raises(ModelError, match="an image of 20 patches is no number of tiles of 9 patches"):
        estimator.estimate(attrs.evolve(Step.uniform(batch=1, q_tokens=7), images=[(4, 5)]))


@pytest.mark.parametrize(
    ("size", "tiles"),
    [
        ((56, 56), (1, 1)),
        ((480, 640), (1, 2)),
        ((1023, 769), (2, 2)),
        ((2000, 1500), (2, 2)),
        ((30, 2000), (1, 4)),
        ((560, 1121), (1, 3)),
        ((1120, 1120), (2, 2)),
        ((400, 80), (1, 1)),
        ((1700, 500), (4, 1)),
    ],
)
def test_tiles_are_those_of_the_processor(size: tuple[int, int], tiles: tuple[int, int]) -> None:
    """From transformers' `get_optimal_tiled_canvas`; six thousand random sizes gave the same when this was written."""
    published = {**MLLAMA.config, "vision_config": {"image_size": 560}}
    assert views(attrs.evolve(MLLAMA, config=published), *size) == ((tiles[0] * 40, tiles[1] * 40),)
