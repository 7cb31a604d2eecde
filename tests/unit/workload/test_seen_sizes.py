"""Sizes of images under `--auto`, of tiny models whose inputs say them in a way of their own."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.tiny_models import known
from tests.unit.model.configs import read_json
from tests.unit.workload.conftest import Recorder

CONFIGS = read_json("tower_configs.json")


def built(name: str) -> Any:
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    if not known(name) or not hasattr(transformers, "AutoModelForMultimodalLM"):
        pytest.skip(f"this transformers has no {name} of this kind")
    from nsys_pipeline.model.verify import multimodal_class

    config = transformers.AutoConfig.for_model(**CONFIGS[name]["config"])
    return multimodal_class(transformers, type(config)).from_config(config).eval().requires_grad_(False)


def test_crops_of_phi_4_are_seen_as_far_as_the_image_fills_them(marked: Recorder) -> None:
    model = built("phi4_multimodal")
    import torch

    vision = model.config.vision_config
    side, edge = vision.image_size // vision.patch_size, vision.image_size
    # Two crops beside each other, of which the image fills all rows but one, and one column of the right one; the
    # other image fills its only crop.
    masks = torch.ones(2, 3, side, side)
    masks[0, 1:, -1] = 0
    masks[0, 2, :, 1:] = 0
    masks[1, 2] = 0
    model(
        input_ids=torch.ones(1, 5, dtype=torch.long),
        image_pixel_values=torch.zeros(2, 3, 3, edge, edge),
        image_sizes=torch.tensor([[edge, 2 * edge], [edge, edge]]),
        image_attention_mask=masks,
    )
    assert marked.passes[0] == f"prefill 1x5+0, 5 logits of {[[side - 1, side + 1], [side, side]]}"


def test_canvases_of_molmo_2_are_seen_by_their_tokens(marked: Recorder) -> None:
    model = built("molmo2")
    import torch

    vision = model.config.vision_config
    side = vision.image_size[0] // vision.patch_size
    # A canvas of two crops, which share 8 patches, beside each other; 2 x 2 patches are a token.
    height, width = side, 2 * side - 8
    tokens = [-(-side // 2), -(-side // 2), -(-height // 2), -(-width // 2)]
    pooled = tokens[0] * tokens[1] + tokens[2] * tokens[3]
    with pytest.raises(ValueError, match="do not match"):
        model(
            input_ids=torch.ones(1, 5, dtype=torch.long),
            pixel_values=torch.zeros(3, side * side, 3 * vision.patch_size**2),
            image_token_pooling=torch.zeros(pooled, 4, dtype=torch.long),
            image_grids=torch.tensor([tokens]),
        )
    assert marked.passes[0] == f"prefill 1x5+0, 5 logits of {[[height, width]]}"


def test_a_video_is_said_to_have_no_size(marked: Recorder) -> None:
    model = built("lfm2_vl")
    import torch

    from nsys_pipeline.workload.seen import images_of

    patches = {"pixel_values": torch.zeros(1, 6, 588), "spatial_shapes": torch.tensor([[2, 3]])}
    assert images_of(model.config, patches) == ((2, 3),)
    assert images_of(model.config, patches | {"pixel_values_videos": torch.zeros(1)}) is None
    with pytest.raises(Exception, match=r"."):
        model(input_ids=torch.ones(1, 5, dtype=torch.long), pixel_values=torch.zeros(1, 6, 588))
    assert marked.steps[0].unsized == ("images",)


def test_what_makes_tokens_of_an_image_before_the_prompt_is_a_phase(marked: Recorder) -> None:
    model = built("chameleon")
    import torch

    # As many tokens as are left of 36 pixels after two halvings.
    ids = torch.full((1, 83), 5)
    ids[0, 1:82] = model.config.image_token_id
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = None, 0
    model.generate(input_ids=ids, pixel_values=torch.zeros(1, 3, 36, 36), max_new_tokens=2, do_sample=False)
    prefill, decode = "prefill 1x83+0, 1 logits", "decode 1x1+83, 1 logits"
    # transformers before 5.20 runs it inside the prefill.
    assert marked.passes in (["vision of [[9, 9]]", prefill, decode], [f"{prefill} of [[9, 9]]", decode])
