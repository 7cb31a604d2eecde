"""Random configs against torch's count on the meta device; only where torch and transformers are installed.

One config of each model type, and 20 with ``LLMPERF_EXAMPLES=many``.
"""

from __future__ import annotations

import importlib.util
import json
import warnings
from pathlib import Path
from random import Random
from typing import Any

import attrs
import pytest

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model import Model, estimate
from nsys_pipeline.model.families import VERIFIED
from nsys_pipeline.model.verify import OTHER_CONVENTION, MetaModel, compare_step
from nsys_pipeline.records import Step
from tests.support.examples import examples
from tests.support.random_configs import TEXT_TYPES, random_config

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None,
    reason="needs torch and transformers (extra `verify`)",
)
ROUNDS = examples(1, 20)
#: batch, new tokens, cached tokens, LM-head positions per sequence: a prompt, a decode step, a chunk of a prompt.
STEPS = ((2, 9, 0, 1), (3, 1, 11, 1), (2, 5, 6, 5))


@pytest.mark.parametrize("model_type", TEXT_TYPES)
def test_random_configs_equal_torchs_count(model_type: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(ROUNDS):
            model = Model.from_config(random_config(model_type, Random(f"{model_type} {number}")))
            meta = MetaModel(model)
            assert model.params == meta.params, model.config
            for batch, q, cached, keep in STEPS:
                step = Step.uniform(batch=batch, q_tokens=q, kv_tokens=cached, logits=batch * keep)
                rows = compare_step(meta, step).items()
                different = {name: row for name, row in rows if row[0] != row[1] and name != OTHER_CONVENTION}
                assert not different, (step, model.config)


def _small_configs() -> dict[str, Any]:
    path = Path(__file__).parent / "small_configs.json"
    configs: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return configs


@pytest.mark.parametrize("name", _small_configs())
def test_configs_are_read_alike_as_published_and_as_transformers_saves_them(name: str) -> None:
    """What transformers derives from a config, and leaves out of it, is in the file that it saves."""
    import transformers

    config = _small_configs()[name]
    parsed = transformers.AutoConfig.for_model(**config)
    model = Model.from_config(config)
    step = attrs.evolve(Step.uniform(batch=2, q_tokens=3, kv_tokens=20), prompts=(20, 20))
    for saved in (parsed.to_dict(), parsed.to_diff_dict()):
        again = Model.from_config({**json.loads(json.dumps(saved, default=str)), "model_type": config["model_type"]})
        assert again.params == model.params
        assert estimate(again, step).flops == estimate(model, step).flops


def test_a_difference_would_be_seen() -> None:
    model = Model.from_config(random_config("llama", Random("llama 0")))
    bigger = Model.from_config({**model.config, "intermediate_size": int(model.config["intermediate_size"]) + 8})
    meta = MetaModel(model)
    meta.model = bigger
    step = Step.uniform(batch=1, q_tokens=3, kv_tokens=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert any(ours != theirs for ours, theirs in compare_step(meta, step).values())


def test_generated_types_are_verified_or_hybrid() -> None:
    assert len(TEXT_TYPES) > 80
    assert len([name for name in TEXT_TYPES if name in VERIFIED]) > 60


def test_generated_configs_are_the_same_each_time() -> None:
    for model_type in TEXT_TYPES:
        assert random_config(model_type, Random(7)) == random_config(model_type, Random(7))


def test_a_type_without_an_implementation_is_refused_by_name() -> None:
    config = {"model_type": "internlm2", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = Model.from_config({**config, "intermediate_size": 48, "vocab_size": 50})
    with pytest.raises(ModelError, match="internlm2"):
        MetaModel(model)
