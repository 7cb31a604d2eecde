"""Inkling 2: what torch's count says nothing of: bytes of layers that run again, caches, pictures."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model import Estimator, Model
from nsys_pipeline.model.blocks import distinct_experts
from nsys_pipeline.model.images import views
from nsys_pipeline.records import Step
from nsys_pipeline.workload.grids import grids_of
from tests.unit.model.configs import read_json

TOWERS = read_json("tower_configs.json")
SEEN, LOOP = (Model.from_config(TOWERS[name]["config"]) for name in ("inkling2", "inkling2_loop"))
WIDTH, HIDDEN, EXPERTS, PICKED = 64, 24, 4, 2


def again(step: Step) -> list[Any]:
    return [op for op in Estimator(LOOP).estimate(step).ops if op.layer.endswith(".again")]


def test_layers_of_the_loop_read_their_weights_once_and_experts_that_no_token_met_before() -> None:
    ops = again(Step.uniform(batch=1, q_tokens=2))
    messages = {"messages", "message_gate_down", "message_gates"}
    read = {op.name: op.weight_bytes for op in ops if op.weight_bytes and not op.name.startswith("experts_")}
    assert set(read) == messages
    # A query of 64 float32 numbers for each of four messages.
    assert read["messages"] == 4 * WIDTH * 4
    up = [op for op in ops if op.name == "experts_gate_up"]
    # 4 layers, in each of two further runs.
    assert sum(op.layers for op in up) == 8
    one = 2 * HIDDEN * WIDTH * 2
    # After 2 tokens of two experts each, 4 and 6 tokens: 3, 3.75 and 3.9375 of four experts are met.
    met = [distinct_experts(EXPERTS, PICKED, tokens) for tokens in (2, 4, 6)]
    assert met == [3, 3.75, 3.9375]
    expected = {round(met[times + 1] * one) - round(met[times] * one) for times in (0, 1)}
    assert {op.weight_bytes for op in up} == expected


def test_each_run_of_a_layer_has_a_cache_of_its_own() -> None:
    written = [op for op in again(Step.uniform(batch=1, q_tokens=3)) if op.name == "attention"]
    # Of 4 layers in the loop, 2 slide (2 heads of 10) and 2 do not (4 heads of 12), twice: keys and values in bf16.
    assert sum(op.layers * op.kv_write_bytes for op in written) == 3 * 2 * 2 * 2 * (2 * 2 * 10 + 2 * 4 * 12)


def test_a_loop_that_is_no_whole_blocks_is_refused() -> None:
    config = TOWERS["inkling2_loop"]["config"]
    with pytest.raises(ModelError, match=r"`text_config\.loop_layer_index_start` and the end, 2 and 5, are no blocks"):
        Model.from_config({**config, "text_config": {**config["text_config"], "loop_layer_index_end": 5}})


def test_the_published_config_names_the_loop_otherwise() -> None:
    config = TOWERS["inkling2_loop"]["config"]
    text = {key: value for key, value in config["text_config"].items() if not key.startswith("loop_")}
    text["loop_config"] = {"core_start": 2, "core_end": 6, "num_passes": 3, "gate_rank": 7}
    assert Model.from_config({**config, "text_config": text}).architecture.decoder == LOOP.architecture.decoder


def test_a_loop_of_one_run_stores_what_it_does_not_run() -> None:
    config = TOWERS["inkling2_loop"]["config"]
    once = Model.from_config({**config, "text_config": {**config["text_config"], "loop_num_passes": 1}})
    assert once.params == LOOP.params
    assert not [op for op in Estimator(once).estimate(Step.uniform(batch=1, q_tokens=2)).ops if "message" in op.name]


def test_pictures_are_filled_up_to_squares_of_40_pixels() -> None:
    assert views(SEEN, 1, 41) == ((2, 4),)
    assert views(SEEN, 1080, 1920) == ((54, 96),)


def test_the_sides_that_inkling_2_gets_count_tokens() -> None:
    vision = SimpleNamespace(spatial_merge_size=2, patch_size=20)
    inputs, values = {"pixel_values": object(), "image_grid_thw": object()}, {"image_grid_thw": [[1, 3, 5], [1, 1, 2]]}
    config = SimpleNamespace(model_type="inkling2", vision_config=vision)
    assert grids_of(config, inputs, values) == [(6, 10), (2, 4)]
    config.model_type = "qwen3_vl"
    assert grids_of(config, inputs, values) == [(3, 5), (1, 2)]


def test_experts_that_were_counted_are_no_more_in_a_second_run() -> None:
    step = attrs.evolve(Step.uniform(batch=1, q_tokens=2), experts=3.0)
    assert not any(op.weight_bytes for op in again(step) if op.name == "experts_gate_up")
