"""Passes whose work nobody knows before have no shape: layers left out at random, rows that a mask makes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from nsys_pipeline.workload.dropped import drops_layers
from tests.support.tiny_models import build, prompt
from tests.support.versions import counted_with_the_newest
from tests.unit.workload.conftest import Recorder
from tests.unit.workload.test_auto_heads import counted, made

SIZES: dict[str, Any] = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "vocab_size": 100, "max_position_embeddings": 64,
    "encoder_layerdrop": 0.0,
}  # fmt: skip


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_training_that_leaves_out_layers_has_no_shape(rate: float, marked: Recorder) -> None:
    pytest.importorskip("torch")
    model = made("AutoModelForSeq2SeqLM", "bart", **SIZES, decoder_layerdrop=rate).train()
    batch = {"input_ids": prompt(2, 9), "labels": prompt(2, 5)}
    model(**batch).loss.backward()
    assert marked.passes == (["forward", "backward"] if rate else ["forward 2x5+0, 10 logits", "backward"])
    assert marked.runs[-1].get("drops_layers", False) == (rate > 0)

    # in evaluation all layers run
    model.eval()(**batch)
    assert marked.passes[-1] == "forward 2x5+0, 10 logits"


@pytest.mark.parametrize(("where", "is_dropping"), [("text_config", True), ("", True), ("other", False)])
def test_rates_of_parts_count(where: str, is_dropping: bool) -> None:
    own = {"layerdrop": 0.1, "model_type": "opt"}
    fields: dict[str, Any] = {
        "": own,
        "text_config": {"text_config": SimpleNamespace(**own)},
        "other": {"dropout": 0.1},
    }
    model = SimpleNamespace(training=True, config=SimpleNamespace(**fields[where]))
    assert drops_layers(model) == is_dropping
    assert not drops_layers(SimpleNamespace(training=False, config=model.config))


@counted_with_the_newest
def test_a_mask_of_all_tokens_makes_rows_in_mamba(marked: Recorder) -> None:
    """Each pass of guidance is one token, and costs torch more with each column of the mask."""
    pytest.importorskip("torch")
    build("mamba").generate(prompt(2, 6), guidance_scale=1.5, max_new_tokens=3, do_sample=False)
    assert marked.passes == [
        "prefill 2x6+0, 2 logits", "guidance 2x1+0, 2 logits", "decode 2x1+6, 2 logits", "guidance",
        "decode 2x1+7, 2 logits", "guidance",
    ]  # fmt: skip


@counted_with_the_newest
def test_a_mask_as_long_as_the_cache_costs_mamba_more() -> None:
    torch = pytest.importorskip("torch")
    model, costs = build("mamba"), []
    for columns in (1, 7):
        cache = model(prompt(2, 6), use_cache=True).cache
        mask = torch.ones(2, columns, dtype=torch.long)
        costs.append(counted(lambda cache=cache, mask=mask: model(prompt(2, 1), cache=cache, attention_mask=mask)))
    assert costs[1] > 4 * costs[0]


def test_the_last_columns_of_a_mask_are_those_of_a_pass_whose_state_is_out_of_sight() -> None:
    numpy = pytest.importorskip("numpy")
    from nsys_pipeline.workload.padding import Mask

    mask = Mask(numpy.array([[False, True, True], [True, True, True]]))
    assert mask.of_last(1).lengths(2, 1, 0) == ([1, 1], [0, 0])
    assert mask.of_last(3).lengths(2, 3, 0) == ([2, 3], [0, 0])
