"""Muse Spark, Apertus 1.5 and Hunyuan 4 VL: what processors make of pictures, dtypes, heads and sound."""

from __future__ import annotations

import pytest

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model import Conventions, Estimator, Model
from nsys_pipeline.model.images import tokens_in_prompt, views
from nsys_pipeline.model.sound import read_audio
from nsys_pipeline.records import Step
from tests.unit.model.configs import read_json

TOWERS = read_json("tower_configs.json")
MUSE, APERTUS, HUNYUAN = (
    Model.from_config(TOWERS[name]["config"]) for name in ("muse_spark", "apertus1p5", "hy_v4_vl")
)

PROCESSED = [
    ((56, 56), (4, 4), (8, 8), (32, 32)),
    ((30, 300), (2, 20), (3, 26), (12, 102)),
    ((97, 41), (8, 4), (13, 6), (50, 22)),
    ((1, 150), (2, 12), (1, 98), (4, 392)),
    ((1023, 769), (72, 54), (64, 48), (64, 48)),
    ((3000, 4000), (110, 146), (75, 101), (110, 146)),
]


@pytest.mark.parametrize(("size", "muse", "apertus", "hunyuan"), PROCESSED)
def test_patches_of_processors(
    size: tuple[int, int], muse: tuple[int, int], apertus: tuple[int, int], hunyuan: tuple[int, int]
) -> None:
    """From transformers' functions that resize; six thousand random sizes gave the same when these were written."""
    assert [views(model, *size) for model in (MUSE, APERTUS, HUNYUAN)] == [(muse,), (apertus,), (hunyuan,)]


def test_rows_of_hunyuan_4_end_in_a_token() -> None:
    assert tokens_in_prompt(HUNYUAN, [(10, 14), (6, 2)]) == 5 * (7 + 1) + 3 * (1 + 1)


def test_the_tokenizer_of_apertus_stays_in_float32_whatever_the_models_dtype() -> None:
    step = Step((20,), (0,), 1, images=((2, 3),))
    totals = Estimator(APERTUS, Conventions(dtype="fp16")).estimate(step)
    assert set(totals.flops_by_dtype) == {"fp16", "fp32"}
    tower = Estimator(APERTUS, Conventions(dtype="fp16")).estimate(Step((), (), 0, images=((2, 3),)))
    assert set(tower.flops_by_dtype) == {"fp32"}
    vision = APERTUS.architecture.vision
    assert vision is not None
    # Norms and convolutions, all of them read once.
    assert tower.weight_bytes == 4 * vision.params


def test_the_head_of_apertus_lacks_the_rows_of_images_and_sound() -> None:
    config = TOWERS["apertus1p5"]["config"]
    text = {**config["text_config"], "output_vocab_size": None}
    whole = Model.from_config({**config, "text_config": text})
    assert whole.params - APERTUS.params == (300 - 90) * 32
    with pytest.raises(ModelError, match=r"`text_config\.output_vocab_size` is 301, for a table of 300"):
        Model.from_config({**config, "text_config": {**text, "output_vocab_size": 301}})
    assert APERTUS.not_counted == ("audio encoder",)


def test_sound_of_muse_spark_is_filled_up_to_whole_tokens() -> None:
    encoder = MUSE.architecture.audio
    assert encoder is not None
    # 240 samples of 10 x 6 x 4: a token for each 10 ms.
    frames = read_audio(MUSE, "0.25,1")
    assert [encoder.tokens(clip) for clip in frames] == [25, 100]
    published = Model.from_config({**TOWERS["muse_spark"]["config"], "audio_config": {}}).architecture.audio
    assert published is not None
    # 1,920 samples: 80 ms.
    assert [published.tokens(clip) for clip in (8, 9, 100)] == [1, 2, 13]


def test_fast_vlm_without_sub_configs_is_the_published_one() -> None:
    published = Model.from_config({"model_type": "fast_vlm"})
    # FastViT as timm counts its parameters without a classifier, and two layers of 3,072 and 3,584 values.
    projector = 3072 * 3584 + 3584 + 3584 * 3584 + 3584
    assert published.params - Model.from_config({"model_type": "fast_vlm", "vision_config": None}).params == (
        125_074_272 - 768 * 3072 - 768 + projector
    )
    assert views(published, 300, 900) == ((16, 16),)
    assert tokens_in_prompt(published, [(16, 16)]) == 256


def test_a_tower_of_fast_vlm_whose_sizes_are_not_known_is_refused() -> None:
    folded = {"architecture": "fastvit_mci3", "model_type": "timm_wrapper", "model_args": {"inference_mode": False}}
    model = Model.from_config({"model_type": "fast_vlm", "vision_config": folded})
    assert model.architecture.vision is None
    assert model.not_counted == ("vision tower",)
    assert "`model_args` {'inference_mode': False}, not its sizes" in model.architecture.why
