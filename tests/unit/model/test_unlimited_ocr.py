"""Unlimited-OCR: a window that keeps the prompt, in any step, and what is known of it."""

from __future__ import annotations

import attrs
import pytest

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model import Conventions, Estimate, Estimator, Model
from nsys_pipeline.model.images import tokens_in_prompt, views
from nsys_pipeline.model.summary import Shape, summarize
from nsys_pipeline.records import Step
from tests.unit.model.configs import FULL, read_json

CONFIG = read_json("small_configs.json")["unlimited_ocr"]
MODEL = Model.from_config(CONFIG)
EXACT = Conventions(attention="exact")
#: FLOPs of a pair: 4 heads of 8 values, scores and values.
PAIR = 4 * 4 * 8

# A prompt of 6 tokens, then 7 single ones, a chunk of 3, one, and a chunk of 2: new and cached tokens, pairs that
# transformers' mask lets through in its two windowed layers (window 5) and its full one, summed (the attention weights
# above zero), and torch's count of a pass of two sequences with as many heads of keys as of queries.
STEPS = [
    (6, 0, 63, 747_008), (1, 6, 21, 135_936), (1, 7, 24, 136_704), (1, 8, 27, 137_472), (1, 9, 30, 138_240),
    (1, 10, 33, 139_008), (1, 11, 34, 139_264), (1, 12, 35, 139_520), (3, 13, 111, 398_336), (1, 16, 39, 140_544),
    (2, 17, 81, 270_336),
]  # fmt: skip


def attention(estimate: Estimate) -> int:
    return sum(op.layers * op.flops_model for op in estimate.ops if op.name == "attention")


@pytest.mark.parametrize(("q", "cached", "pairs", "counted"), STEPS)
def test_every_step_sees_the_prompt_and_a_window_behind_it(q: int, cached: int, pairs: int, counted: int) -> None:
    text = {**CONFIG["text_config"], "num_key_value_heads": 4}
    model = Model.from_config({**CONFIG, "text_config": text})
    step = attrs.evolve(Step.uniform(batch=2, q_tokens=q, kv_tokens=cached), prompts=(6, 6))
    assert attention(Estimator(model, EXACT).estimate(step)) == 2 * pairs * PAIR
    assert Estimator(model, FULL).estimate(step).flops == counted


def test_a_decode_step_reads_the_prompt_and_the_window() -> None:
    step = attrs.evolve(Step.uniform(batch=1, q_tokens=1, kv_tokens=100), prompts=(60,))
    # A token of a layer: keys and values of 2 heads of 8 in bf16. Two layers hold 60 and 4, the third one all 100.
    assert Estimator(MODEL).estimate(step).kv_read_bytes == (2 * (60 + 4) + 100) * 2 * 2 * 8 * 2


def test_flops_knows_where_the_prompt_ends() -> None:
    shape = Shape(prompt_tokens=(40,), cached_tokens=(20,), context=(100,))
    decode = summarize(MODEL, shape, EXACT).decode
    assert decode is not None
    assert attention(decode) == (2 * (60 + 5) + 101) * PAIR


def test_a_step_that_does_not_say_where_its_prompt_ends_is_refused_once_that_matters() -> None:
    estimator = Estimator(MODEL, EXACT)
    assert attention(estimator.estimate(Step.uniform(batch=1, q_tokens=1, kv_tokens=4))) == 3 * 5 * PAIR
    with pytest.raises(ModelError, match="the decoder sees the prompt and 5 tokens behind it, and a step after 5"):
        estimator.estimate(Step.uniform(batch=1, q_tokens=1, kv_tokens=5))
    with pytest.raises(ValueError, match="1 query lengths but 2 prompts"):
        attrs.evolve(Step.uniform(batch=1, q_tokens=1), prompts=(3, 4))


@pytest.mark.parametrize(
    ("size", "tiles"), [((640, 640), 0), ((641, 640), 4), ((480, 700), 6), ((3000, 400), 30), ((2000, 1500), 12)]
)
def test_views_are_those_of_the_processor(size: tuple[int, int], tiles: int) -> None:
    """Tiles as transformers' `get_number_of_image_patches` says; three thousand random sizes gave the same."""
    assert views(MODEL, *size) == ((40, 40),) * tiles + ((64, 64),)
    # Without the ends of rows and the separator.
    assert tokens_in_prompt(MODEL, views(MODEL, *size)) == 100 * tiles + 256


def test_the_published_config_names_the_decoder_otherwise() -> None:
    text = {**CONFIG["text_config"], "model_type": "deepseek_v2"}
    del text["sliding_window"]
    published = {key: value for key, value in CONFIG.items() if key != "text_config"}
    published |= {"language_config": text, "sliding_window": 5}
    assert Model.from_config(published).architecture == MODEL.architecture
