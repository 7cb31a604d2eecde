"""Sequences that ranks split: what a rank is charged, against pairs that are counted one by one."""

from __future__ import annotations

from typing import Any

import pytest

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model import Conventions, Model, estimate
from nsys_pipeline.model.training import training_flops
from nsys_pipeline.records import Step

LLAMA: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "torch_dtype": "bfloat16",
}  # fmt: skip
WINDOWED = LLAMA | {"model_type": "mistral", "sliding_window": 5, "head_dim": 16}


def pairs_of_ranks(tokens: int, ranks: int, window: int) -> list[int]:
    """Pairs of each rank if it has a piece of the start and its mirror image of the end, as load-balanced rings do."""
    piece = tokens // (2 * ranks)
    found = []
    for rank in range(ranks):
        places = [*range(rank * piece, (rank + 1) * piece), *range(tokens - (rank + 1) * piece, tokens - rank * piece)]
        found.append(sum(min(place + 1, window) for place in places))
    return found


@pytest.mark.parametrize(("config", "window"), [(LLAMA, 1 << 30), (WINDOWED, 5)])
@pytest.mark.parametrize("ranks", [2, 4])
def test_a_rank_is_charged_the_mean_of_all(config: dict[str, Any], window: int, ranks: int) -> None:
    model = Model.from_config(config, name="model")
    own = estimate(model, Step.uniform(batch=3, q_tokens=16, logits=48), Conventions(cp=ranks))
    alone = estimate(model, Step.uniform(batch=3, q_tokens=16, logits=48))
    pairs = pairs_of_ranks(16 * ranks, ranks, window)

    attention = sum(op.total_flops_model for op in own.ops if op.name == "attention")

    assert attention * ranks == 3 * 2 * 4 * 4 * 16 * sum(pairs)
    # Everything else is of its own tokens, and it reads all weights.
    assert own.flops - attention == alone.flops - sum(
        op.total_flops_model for op in alone.ops if op.name == "attention"
    )
    assert (own.weight_bytes, own.kv_write_bytes) == (alone.weight_bytes, alone.kv_write_bytes)


def test_ranks_of_a_training_step_add_up_to_the_whole() -> None:
    model = Model.from_config(LLAMA, name="model")
    whole = training_flops(model, Step.uniform(batch=1, q_tokens=64, logits=64))
    own = training_flops(model, Step.uniform(batch=1, q_tokens=16, logits=16), Conventions(cp=4))

    assert (4 * own.forward, 4 * own.backward) == (whole.forward, whole.backward)


def test_cached_tokens_are_refused() -> None:
    with pytest.raises(ModelError, match="4 ranks share each sequence, and its passes have cached tokens"):
        estimate(
            Model.from_config(LLAMA, name="model"), Step.uniform(batch=1, q_tokens=1, kv_tokens=9), Conventions(cp=4)
        )
