"""decoders.toml and text_only.toml are what their heads say."""

from __future__ import annotations

from collections import Counter

import pytest

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model.families import FAMILIES, VERIFIED, build_architecture
from nsys_pipeline.model.families.decoders import KEYS, PLAIN, read_decoders
from nsys_pipeline.model.families.dense import DENSE
from nsys_pipeline.model.model import Model

SIZES = {
    "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2,
    "num_hidden_layers": 4, "vocab_size": 320, "sliding_window": 8,
}  # fmt: skip
SWITCHES = ("qkv_bias", "o_bias", "mlp_bias", "head_bias", "qk_norm_if")


def test_each_row_says_what_it_is() -> None:
    rows = read_decoders()
    for row in rows:
        assert row.keys() <= KEYS
        assert row["about"]
        assert row["family"]
        assert row.get("types") or row.get("unchecked")
    named = Counter(name for row in rows for name in (*row.get("types", ()), *row.get("unchecked", ())))
    assert [name for name, times in named.items() if times > 1] == []
    assert not PLAIN.keys() & DENSE.keys()


def test_the_table_says_what_was_compared_with_torch() -> None:
    for row in read_decoders():
        assert set(row.get("types", ())) <= VERIFIED
        assert not set(row.get("unchecked", ())) & VERIFIED
        assert FAMILIES.keys() >= {*row.get("types", ()), *row.get("unchecked", ())}


def switches() -> list[tuple[str, str]]:
    """(model type, field of its config that turns something on)."""
    named = []
    for row in read_decoders():
        name = [*row.get("types", ()), *row.get("unchecked", ())][0]
        fields = {str(row[key]).partition(" = ")[0] for key in SWITCHES if isinstance(row.get(key), str)}
        named += [(name, field) for field in sorted(fields | set(row.get("norms_if", ())))]
    return named


@pytest.mark.parametrize(("model_type", "field"), switches())
def test_each_switch_changes_the_weights(model_type: str, field: str) -> None:
    on, off = ({**SIZES, "model_type": model_type, field: value} for value in (True, False))
    assert Model.from_config(on).architecture != Model.from_config(off).architecture


def test_three_sliding_layers_to_a_full_one() -> None:
    first = build_architecture({**SIZES, "model_type": "cwm"})[0].decoder
    last = build_architecture({**SIZES, "model_type": "cohere2"})[0].decoder
    assert first is not None
    assert last is not None
    full = [[i for group in stack.layers if "sliding" not in group.label for i in group.ids] for stack in (first, last)]
    assert full == [[0], [3]]


def test_a_switch_that_is_no_truth_value_is_refused() -> None:
    with pytest.raises(ModelError, match="attention_bias"):
        build_architecture({**SIZES, "model_type": "llama", "attention_bias": "yes"})
