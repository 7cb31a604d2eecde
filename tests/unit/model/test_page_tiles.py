"""Granite Docling and Molmo 2: what their processors cut, and what a pass costs of which torch counts only a part."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model import Conventions, Estimator, Model
from nsys_pipeline.model.images import tokens_in_prompt, views
from nsys_pipeline.records import Step
from nsys_pipeline.workload.grids import grids_of
from tests.unit.model.configs import read_json

TOWERS = read_json("tower_configs.json")
SMALL_MOLMO, ROUTED = (Model.from_config(TOWERS[name]["config"]) for name in ("molmo2", "granite_docling_router"))
#: With the tiles of the published checkpoints.
MOLMO = Model.from_config({**TOWERS["molmo2"]["config"], "vision_config": {}})
DOCLING = Model.from_config(
    {**TOWERS["granite_docling"]["config"], "vision_config": {"hidden_size": 48, "out_hidden_size": 32}}
)

# What the image processors of transformers 5.24 make of pictures: Molmo's canvas, tiles of Granite Docling.
PROCESSED = [
    ((30, 300), (27, 27), 11),
    ((97, 41), (27, 27), 22),
    ((1, 150), (27, 27), 17),
    ((480, 640), (46, 46), 13),
    ((1023, 769), (65, 46), 13),
    ((769, 600), (65, 46), 21),
    ((3000, 400), (160, 27), 31),
]


@pytest.mark.parametrize(("size", "canvas", "tiles"), PROCESSED)
def test_views_are_those_of_the_processors(size: tuple[int, int], canvas: tuple[int, int], tiles: int) -> None:
    assert views(MOLMO, *size) == (canvas,)
    assert views(DOCLING, *size) == ((32, 32),) * tiles


def test_tokens_of_an_image_of_molmo_2() -> None:
    # 14 x 14 of the whole, and half of 65 x 46 patches, rounded up.
    assert tokens_in_prompt(MOLMO, [(65, 46)]) == 14 * 14 + 33 * 23


def test_an_image_that_is_no_canvas_of_molmo_2_is_refused() -> None:
    step = Step((), (), 0, images=((28, 27),))
    with pytest.raises(ModelError, match="28x27 patches are no canvas of crops of 27: each side is 8 patches and"):
        Estimator(MOLMO).estimate(step)


def test_published_configs_of_molmo_2_name_fields_otherwise() -> None:
    config = TOWERS["molmo2"]["config"]
    vision = {**config["vision_config"], "image_default_input_size": [154, 154], "image_patch_size": 14}
    # Layers behind the last one that is pooled are in the config, but not in the weights.
    vision |= {"num_hidden_layers": 5, "image_num_pos": 121, "image_size": None}
    adapter = {**config["adapter_config"], "vit_layers": [-3, 0]}
    del adapter["vision_feature_layer"]
    published = {**config, "vit_config": vision, "adapter_config": adapter}
    del published["vision_config"]
    assert Model.from_config(published).architecture == SMALL_MOLMO.architecture


def test_all_image_tokens_of_a_prompt_of_molmo_2_see_each_other() -> None:
    exact = Estimator(SMALL_MOLMO, Conventions(attention="exact"))

    def pairs(step: Step) -> int:
        ops = exact.estimate(step).ops
        # Of 4 heads of 8 values, 4 FLOPs for each pair and value.
        return sum(op.flops_model for op in ops if op.name == "attention" and op.layer == "layers") // (4 * 4 * 8)

    canvas, other = (11, 11), (14, 11)
    # Rows of 6 tokens and their end, a token before and behind; twice: the canvas and the whole. Then 7 rows of 6.
    one, two = 2 * (6 * 7 + 2), (7 * 7 + 2) + (6 * 7 + 2)
    triangle = 200 * 201 // 2
    both = one + two
    assert pairs(Step((200,), (0,), 1)) == triangle
    assert pairs(Step((200,), (0,), 1, images=(canvas, other))) == triangle + both * (both - 1) // 2
    alone = 2 * triangle + one * (one - 1) // 2 + two * (two - 1) // 2
    assert pairs(Step((200, 200), (0, 0), 2, images=(canvas, other))) == alone
    with pytest.raises(ModelError, match="3 images do not divide among 2 sequences"):
        pairs(Step((400, 200), (0, 0), 2, images=(canvas, other, canvas)))


def test_the_router_of_granite_docling_looks_once_at_each_prompt() -> None:
    images = ((4, 4),) * 6
    for batch in (1, 2, 3):
        ops = Estimator(ROUTED).estimate(Step((90,) * batch, (0,) * batch, batch, images=images)).ops
        rows = {op.name: op.m for op in ops if op.name.startswith("router_")}
        assert (rows["router_pool"], rows["router_1"], rows["router_2"]) == (6 * 16, batch, batch)


def test_mergers_without_a_layer_are_refused() -> None:
    config = TOWERS["granite_docling"]["config"]
    vision = {**config["vision_config"], "deepstack_visual_indexes": [0, 3]}
    with pytest.raises(
        ModelError, match=r"`vision_config.deepstack_visual_indexes` is \[0, 3\], but there are 3 layers"
    ):
        Model.from_config({**config, "vision_config": vision})


def test_tiles_that_a_batch_is_filled_up_with_are_not_told_apart() -> None:
    def sides(*shape: int) -> list[tuple[int, int]] | None:
        vision = SimpleNamespace(patch_size=16)
        pixels = SimpleNamespace(shape=shape, ndim=len(shape))
        config = SimpleNamespace(model_type="granite_docling", vision_config=vision)
        return grids_of(config, {"pixel_values": pixels})

    assert sides(1, 3, 3, 512, 512) == [(32, 32)] * 3
    assert sides(2, 3, 3, 512, 512) is None
