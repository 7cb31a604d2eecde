"""Batches: sequences that are packed into rows, as transformers tells them apart, and tokens with a label."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from nsys_pipeline.workload import batches
from tests.support.tiny_models import build, prompt
from tests.unit.workload.conftest import Recorder

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

PAIR = [[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6]]


@pytest.mark.parametrize(
    ("positions", "tokens", "expected"),
    [
        (PAIR, 12, (5, 7)),
        # a row for each sequence, from wherever it begins
        ([[0, 1, 2], [4, 5, 6]], 6, ()),
        # padding at the end stands alone
        ([[0, 1, 0, 0], [0, 1, 2, 3]], 8, (2, 1, 1, 4)),
        ([[0], [0]], 2, ()),
        # the same positions for two rows
        (PAIR, 24, (5, 7, 5, 7)),
    ],
)
def test_runs_of_positions(positions: list[list[int]], tokens: int, expected: tuple[int, ...]) -> None:
    given = torch.tensor(positions)
    assert batches.packed_lengths({"position_ids": given}, tokens) == expected
    # with a mask, transformers does not look at positions
    assert batches.packed_lengths({"position_ids": given, "attention_mask": torch.ones(1, 1)}, tokens) == ()


def test_lengths_are_as_transformers_tells_them(marked: Recorder) -> None:
    """Its mask of packed sequences: tokens of one number see each other."""
    masking = pytest.importorskip("transformers.masking_utils")
    if not hasattr(masking, "find_packed_sequence_indices"):
        pytest.skip("this transformers finds no packed sequences")
    positions = torch.tensor([[0, 1, 2, 0, 1, 0, 3, 4], [5, 6, 7, 8, 9, 10, 11, 12]])
    numbers = masking.find_packed_sequence_indices(positions)
    expected = [int(n) for row in numbers for n in row.unique_consecutive(return_counts=True)[1]]
    assert list(batches.packed_lengths({"position_ids": positions}, 16) or ()) == expected == [3, 2, 1, 2, 8]


@pytest.mark.parametrize("bounds", [{}, {"cu_seq_lens_q": torch.tensor([0, 5, 12], dtype=torch.int32)}])
def test_a_packed_batch_is_its_sequences(marked: Recorder, bounds: dict[str, Any]) -> None:
    model, tokens = build("llama").train(), prompt(1, 12)
    if not bounds:
        model(input_ids=tokens, labels=tokens, position_ids=torch.tensor(PAIR)).loss.backward()
    else:
        model(input_ids=tokens, labels=tokens, **bounds, max_length_q=7, max_length_k=7).loss.backward()
    # two sequences, of which no token sees the other's
    assert marked.steps == [{"q": [5, 7], "kv": 0, "logits": 12}]


def test_lengths_on_the_device_alone_are_not_guessed(marked: Recorder) -> None:
    model, tokens = build("llama").train(), prompt(1, 12)
    with torch.device("meta"):
        positions = torch.empty(1, 12, dtype=torch.long)
    assert batches.packed_lengths({"position_ids": positions}, 12) is None
    model(input_ids=tokens, labels=tokens, position_ids=torch.arange(12)[None]).loss.backward()
    assert marked.steps == [{"q": 12, "kv": 0, "b": 1, "logits": 12}]


def test_a_data_loader_remembers_what_it_moves() -> None:
    module = ModuleType("accelerate.data_loader")
    module.send_to_device = lambda data, device: {name: value.to(device) for name, value in data.items()}  # type: ignore[attr-defined]
    batches.remember_batches(module)
    batch = {"position_ids": torch.tensor(PAIR), "cu_seq_lens_q": torch.tensor([0, 5, 12]), "other": torch.ones(1)}
    moved = module.send_to_device(batch, "meta")
    assert batches.packed_lengths({"position_ids": moved["position_ids"]}, 12) == (5, 7)
    assert batches.packed_lengths({"cu_seq_lens_q": moved["cu_seq_lens_q"]}, 12) == (5, 7)
    # what is not a batch goes on as it is
    assert module.send_to_device({}, "meta") == {}


def test_a_fused_head_runs_for_tokens_with_a_label() -> None:
    labels = torch.tensor([[3, -100, 5, 6], [-100, -100, -100, 7]])
    # off the GPU for all that have a token before them
    assert batches.scored_positions({"labels": labels}) == 6
    assert batches.scored_positions({"labels": labels, "shift_labels": labels}) == 8
    module = ModuleType("accelerate.data_loader")
    module.send_to_device = lambda data, device: {name: value.to(device) for name, value in data.items()}  # type: ignore[attr-defined]
    batches.remember_batches(module)
    moved = module.send_to_device({"labels": labels}, "meta")
    assert batches.scored_positions(moved) == 3
    assert batches.scored_positions({"shift_labels": moved["labels"]}) == 4
    # made on the device
    assert batches.scored_positions({"labels": labels.to("meta")}) is None


@pytest.mark.parametrize(
    ("is_known", "expected"),
    [
        (True, {"q": 8, "kv": 0, "b": 2, "logits": 14}),
        (False, {"q": 8, "kv": 0, "b": 2, "logits": 0, "head": "unknown"}),
    ],
)
def test_a_head_that_is_fused_with_the_loss(
    marked: Recorder, monkeypatch: pytest.MonkeyPatch, is_known: bool, expected: dict[str, Any]
) -> None:
    model, tokens = build("llama").train(), prompt(2, 8)
    # in the place of TRL's
    forward = type(model).forward
    monkeypatch.setattr(
        type(model), "forward", lambda self, input_ids, fused_lm_head, labels: forward(self, input_ids, labels=labels)
    )
    if not is_known:
        monkeypatch.setattr("nsys_pipeline.workload.auto.scored_positions", lambda _arguments: None)
    model(input_ids=tokens, labels=tokens, fused_lm_head=True)
    assert marked.steps == [expected]
