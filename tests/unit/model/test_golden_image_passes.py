"""Whole passes with images against torch's count; `scripts/golden_image_passes.py` rewrites them."""

from __future__ import annotations

import copy
import re
from typing import Any

import attrs
import pytest

from nsys_pipeline.errors import ModelError, UsageError
from nsys_pipeline.model import Conventions, Estimator, Model
from nsys_pipeline.model.images import tokens_in_prompt, views
from nsys_pipeline.model.summary import Shape, convention_json, summarize
from nsys_pipeline.records import Step
from tests.unit.model.configs import FULL, golden, read_json

CONFIGS = read_json("image_pass_configs.json")
GOLDEN = golden("golden_image_passes.json")
REQUIRED = Conventions(attention="full")
#: Their processors fill up a row of patches, which counts as executed.
ROWS = ("pix2struct", "kosmos-2.5")


def passes(case: dict[str, Any]) -> tuple[Step, Step]:
    """The prefill of a case, logits of all positions, and the decode step after it."""
    batch, prompt = case["batch"], case["prompt"]
    first = Step.uniform(batch=batch, q_tokens=prompt, logits=batch * prompt)
    later = Step.uniform(batch=batch, q_tokens=1, kv_tokens=prompt)
    return attrs.evolve(first, images=case["images"]), attrs.evolve(later, seen_images=case["images"])


@pytest.mark.parametrize("name", CONFIGS)
def test_passes_with_images_equal_torchs_count(name: str) -> None:
    model = Model.from_config(CONFIGS[name]["config"], name)
    for case, counted in zip(CONFIGS[name]["cases"], GOLDEN[name]["flops"], strict=True):
        steps = passes(case)
        # Without the row that processors fill up, transformers runs what the model requires.
        is_bare = model.model_type in ROWS and "row" not in case
        estimator = Estimator(model, REQUIRED if is_bare else FULL)
        encoder = {"encoder_tokens": (case["encoder"],) * case["batch"]} if "encoder" in case else {}
        assert [estimator.estimate(step, **encoder).flops for step in steps] == counted, case
        assert [totals.flops for totals in estimator.totals(steps, **encoder)] == counted, case
    assert model.params == GOLDEN[name]["params"]


PIX2STRUCT = Model.from_config(CONFIGS["pix2struct"]["config"], "pix2struct")


def test_each_sequence_needs_its_image() -> None:
    prompt = Step.uniform(batch=2, q_tokens=3)
    for images in ((), ((5, 7),), ((5, 7),) * 3):
        with pytest.raises(ModelError, match=f"takes one image for each sequence, and {len(images)} are known for 2"):
            Estimator(PIX2STRUCT).estimate(attrs.evolve(prompt, images=images))


def test_images_of_an_encoder_are_no_tokens_of_the_prompt() -> None:
    assert tokens_in_prompt(PIX2STRUCT, [(5, 7)]) == 0
    assert tokens_in_prompt(Model.from_config(CONFIGS["kosmos-2.5"]["config"]), [(5, 7), (2, 2)]) == 2 * 9


def test_keys_and_values_of_an_encoded_image_are_written_once_and_read_by_each_step() -> None:
    estimator = Estimator(PIX2STRUCT)
    first, later = (estimator.estimate(step) for step in passes({"batch": 1, "prompt": 3, "images": ((5, 7),)}))
    # Two layers, K and V of 32 values, 2 bytes each; the padding of the row is nobody's.
    token = 2 * 2 * 32 * 2
    assert first.kv_write_bytes == (35 + 3) * token
    assert (later.kv_read_bytes, later.kv_write_bytes) == ((35 + 3) * token, token)


@pytest.mark.parametrize(
    ("size", "pix2struct", "kosmos"),
    [
        ((1024, 768), (52, 39), (73, 55)),
        ((480, 640), (39, 52), (55, 73)),
        ((30, 2000), (5, 369), (7, 522)),
        ((7, 7), (45, 45), (64, 64)),
        ((5000, 1), (2048, 1), (4096, 1)),
    ],
)
def test_pictures_fill_the_row(size: tuple[int, int], pix2struct: tuple[int, int], kosmos: tuple[int, int]) -> None:
    """From transformers' processors, which two thousand random sizes agreed with when this was written."""
    assert views(PIX2STRUCT, *size) == (pix2struct,)
    assert views(Model.from_config(CONFIGS["kosmos-2.5"]["config"]), *size) == (kosmos,)


def test_a_question_above_the_picture_has_a_height_that_nobody_knows() -> None:
    asked = Model.from_config({**PIX2STRUCT.config, "is_vqa": True}, "docvqa")
    with pytest.raises(UsageError, match="writes the question above the picture"):
        views(asked, 480, 640)


T5GEMMA2 = Model.from_config(CONFIGS["t5gemma2"]["config"], "t5gemma2")


def test_images_are_tokens_of_what_the_encoder_reads() -> None:
    shape = Shape(prompt_tokens=(1,), cached_tokens=(0,), context=(1,), encoder_tokens=(9,), images=((4, 4),) * 2)
    assert summarize(T5GEMMA2, shape).prefill.flops
    with pytest.raises(UsageError, match=re.escape("2 image(s) of `t5gemma2` are 8 tokens, but the prompts have 7")):
        summarize(T5GEMMA2, attrs.evolve(shape, encoder_tokens=(7,)))


@pytest.mark.parametrize(("window", "before", "after"), [(6, 2, 3), (7, 3, 3), (1, 0, 0)])
def test_windows_of_the_encoder_reach_further_ahead_than_back(window: int, before: int, after: int) -> None:
    """As transformers' mask has it: with 6, a token sees 2 before it and 3 after."""
    config = copy.deepcopy(T5GEMMA2.config)
    config["encoder"]["text_config"]["sliding_window"] = window
    ops = Estimator(Model.from_config(config)).estimate(Step.uniform(batch=1, q_tokens=1), encoder_tokens=(9,)).ops
    pairs = sum(1 for q in range(9) for key in range(9) if -before <= key - q <= after)
    (sliding,) = (op for op in ops if op.layer == "encoder.layers.sliding" and op.name == "attention")
    assert sliding.flops_model == 4 * pairs * 4 * 12


def test_one_attention_has_its_matrices_once() -> None:
    estimator = Estimator(T5GEMMA2)
    first, later = (
        estimator.estimate(step, encoder_tokens=(9,)) for step in passes({"batch": 1, "prompt": 3, "images": ()})
    )
    crossing = [op for op in first.ops if op.name == "cross_kv"]
    assert [(op.flops_model, op.weight_bytes) for op in crossing] == [(2 * 9 * 2 * 12 * 32, 0)] * 2
    assert not any(op.name == "cross_kv" for op in later.ops)
    # One head of 12 values, K and V, 2 bytes, in two layers: of 9 tokens of the encoder and 3 before.
    assert later.kv_read_bytes == 2 * (9 + 3) * 2 * 12 * 2


def test_patches_of_a_page_go_to_the_encoder_beside_its_text() -> None:
    config = CONFIGS["udop"]["config"]
    model = Model.from_config(config, "udop")
    assert tokens_in_prompt(model, [(3, 3)]) == 0
    shape = Shape(prompt_tokens=(1,) * 2, cached_tokens=(0,) * 2, context=(1,) * 2, encoder_tokens=(7, 5))
    summary = summarize(model, attrs.evolve(shape, images=((3, 3),) * 2))
    (crossing,) = {op.m for op in summary.prefill.ops if op.name == "cross_kv"}
    assert crossing == 7 + 9 + 5 + 9
    assert any("patches under a box of text" in note for note in convention_json(summary)["notes"])
    with pytest.raises(ModelError, match="one image for each sequence or none, and 1 are known for 2"):
        summarize(model, attrs.evolve(shape, images=((3, 3),)))
    with pytest.raises(ModelError, match="or none, and 4 are known for 2"):
        summarize(model, attrs.evolve(shape, images=((3, 3),) * 4))
    with pytest.raises(ModelError, match="`relative_bias_args` is"):
        Model.from_config({**config, "relative_bias_args": ["1d"]})
    with pytest.raises(ModelError, match="decoder_hidden_size` is not the decoder's"):
        Model.from_config({**CONFIGS["pp_formulanet"]["config"], "text_config": {"d_model": 64}})
