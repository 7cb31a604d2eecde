"""Training with some layers frozen: a backward costs what torch counts, wherever a model type has its norms.

Gradients begin at the lowest weight that is trained, which is a norm before the attention of most decoders, and the
matrices of attention itself where norms come behind, as in BERT.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from nsys_pipeline.inputs.training import BACKWARD, FORWARD
from tests.support.tiny_models import VOCABULARY, prompt
from tests.support.versions import counted_with_the_newest
from tests.unit.workload.conftest import Recorder
from tests.unit.workload.test_auto_heads import counted, made
from tests.unit.workload.test_trained_inputs import estimator

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

BERT: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64,
    "vocab_size": VOCABULARY, "max_position_embeddings": 64, "pad_token_id": 0, "hidden_dropout_prob": 0.0,
}  # fmt: skip
TYPES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("AutoModelForMaskedLM", BERT),
    "electra": ("AutoModelForMaskedLM", BERT | {"embedding_size": 32}),
    "distilbert": (
        "AutoModel",
        {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 64, "vocab_size": VOCABULARY, "pad_token_id": 0},
    ),
    "mpnet": ("AutoModelForMaskedLM", BERT),
    "esm": ("AutoModelForMaskedLM", BERT | {"position_embedding_type": "rotary"}),
    "megatron-bert": ("AutoModelForMaskedLM", BERT),
    "apertus": ("AutoModelForCausalLM", BERT | {"num_key_value_heads": 2}),
    "mpt": (
        "AutoModelForCausalLM",
        {"d_model": 32, "n_heads": 4, "n_layers": 3, "vocab_size": VOCABULARY, "max_seq_len": 64},
    ),
    "bloom": ("AutoModelForCausalLM", BERT | {"n_layer": 3, "n_head": 4}),
    "lfm2": (
        "AutoModelForCausalLM",
        BERT | {"num_key_value_heads": 2, "block_auto_adjust_ff_dim": False, "layer_types": ["full_attention"] * 3},
    ),
}
LAST = re.compile(r"\.2\.")
WAYS: dict[str, Callable[[str], object]] = {
    "last layer": LAST.search,
    "attention of the last layer": re.compile(r"\.2\..*att(entio)?n\b(?!.*(norm|ln))", re.IGNORECASE).search,
    "all but tables": lambda name: "embed" not in name and "wte" not in name,
}


@counted_with_the_newest
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", TYPES)
def test_gradients_begin_at_the_lowest_weight_that_is_trained(kind: str, way: str, marked: Recorder) -> None:
    model_class, sizes = TYPES[kind]
    model = made(model_class, kind, **sizes).train()
    for name, weight in model.named_parameters():
        weight.requires_grad_(bool(WAYS[way](name)))

    outputs: list[Any] = []
    forward = counted(lambda: outputs.append(model(prompt(2, 9))))
    backward = counted(lambda: outputs[0][0].sum().backward())

    (step,) = marked.steps
    costs = estimator(marked, step)
    assert [costs.cost(attrs.evolve(step, part=part)).run_flops for part in (FORWARD, BACKWARD)] == [forward, backward]
