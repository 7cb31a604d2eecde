"""Which forward passes a backward goes through, as `--auto` says it."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from nsys_pipeline.workload import gradients
from tests.support.tiny_models import build, prompt
from tests.unit.workload.conftest import Recorder

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.fixture(autouse=True)
def nothing_waits() -> Iterator[None]:
    """Passes of other tests have no backward any more."""
    gradients._waiting.clear()
    yield
    gradients._waiting.clear()


def test_a_backward_is_of_all_passes_of_its_loss(marked: Recorder) -> None:
    model = build("qwen3").train()
    query, document = model(prompt(4, 5)), model(prompt(4, 11))
    # of neither
    model(prompt(1, 3))
    (query.logits[:, -1] * document.logits[:, -1]).mean().backward()
    assert marked.backwards == [[0, 1]]


def test_micro_batches_have_one_each(marked: Recorder) -> None:
    model, tokens = build("llama").train(), prompt(2, 8)
    for _ in range(2):
        model(input_ids=tokens, labels=tokens).loss.backward()
    first, second = (model(input_ids=tokens, labels=tokens).loss for _ in range(2))
    second.backward()
    first.backward(retain_graph=True)
    first.backward()
    assert marked.backwards == [[0], [1], [3], [2], [2]]


def test_backwards_of_several_tensors_and_of_stages_of_a_pipeline(marked: Recorder) -> None:
    model, tokens = build("llama").train(), prompt(2, 8)
    torch.autograd.backward(model(input_ids=tokens, labels=tokens).loss)
    outputs = [model(input_ids=tokens).logits for _ in range(2)]
    torch.autograd.backward(outputs, [torch.ones_like(one) for one in outputs])
    assert marked.backwards == [[0], [1, 2]]
    assert [name.split()[0] for name in marked.passes] == ["forward", "backward", "forward", "forward", "backward"]


@pytest.mark.parametrize("on_another_thread", [False, True])
def test_checkpoints_run_no_backward_of_their_own(on_another_thread: bool, marked: Recorder) -> None:
    """Reentrant checkpointing asks for gradients inside a backward, on a GPU on one of autograd's threads."""
    model, tokens = build("llama").train(), prompt(2, 8)
    loss, inner = model(input_ids=tokens, labels=tokens).loss, torch.nn.Linear(4, 4)(torch.ones(4)).sum()

    def again(gradient: Any) -> Any:
        if on_another_thread:
            thread = threading.Thread(target=torch.autograd.backward, args=(inner,))
            thread.start()
            thread.join()
        else:
            torch.autograd.backward(inner)
        return gradient

    loss.register_hook(again)
    loss.backward()
    assert [name.split()[0] for name in marked.passes] == ["forward", "backward"]
    assert inner.grad_fn is not None


def test_a_head_of_one_s_own_on_hidden_states(marked: Recorder) -> None:
    model, head = build("llama").train(), torch.nn.Linear(32, 1)
    states = model(prompt(2, 8), output_hidden_states=True).hidden_states
    head(states[-1]).mean().backward()
    assert marked.backwards == [[0]]


def test_a_model_below_its_head_says_so_in_training(marked: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(marked, "mark", said.append)
    model = build("llama").train()
    model.model(prompt(2, 8))
    model(prompt(2, 8))
    with torch.no_grad():
        model.model(prompt(2, 8))
    assert ['"head":"apart"' in text for text in said if text.startswith("llmperf.step")] == [True, False, False]


def test_a_model_that_returns_a_tensor(marked: Recorder) -> None:
    from transformers import LlamaForCausalLM

    class Scores(LlamaForCausalLM):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return super().forward(*args, **kwargs).logits

    Scores(build("llama").config).train()(input_ids=prompt(2, 8)).mean().backward()
    assert marked.backwards == [[0]]


def test_training_in_evaluation_mode_is_known_by_its_first_backward(marked: Recorder) -> None:
    """Checkpoints are loaded in evaluation mode, and losses are programs' own."""
    model = build("llama").eval()
    for _ in range(3):
        model(prompt(2, 8)).logits.logsumexp(-1).mean().backward()
    assert [name.split()[0] for name in marked.passes] == ["prefill", "backward", *["forward", "backward"] * 2]
    # The first has no pass that a mark could name.
    assert marked.backwards == [[0], [1]]


def test_inference_with_gradients_on_is_no_training(marked: Recorder) -> None:
    model = build("llama").eval()
    head = torch.nn.Linear(8, 1)
    for _ in range(2):
        model(prompt(2, 8))
        head(torch.ones(1, 8)).sum().backward()
    assert [name.split()[0] for name in marked.passes] == ["prefill", "backward"] * 2
    assert marked.backwards == [[], []]


def test_a_pass_without_a_shape_has_a_backward_of_its_own(marked: Recorder) -> None:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, image_size=16, patch_size=8
    )  # fmt: skip
    ViTForImageClassification(config).train()(pixel_values=torch.rand(2, 3, 16, 16)).logits.sum().backward()
    assert [name for name in marked.passes if "." not in name] == ["forward", "backward"]
    # Not that of another model.
    assert marked.backwards == []


def test_a_loss_of_two_models_is_not_of_one(marked: Recorder) -> None:
    one, other = build("llama").train(), build("qwen3").train()
    one(prompt(2, 8)).logits.mean().backward()
    (one(prompt(2, 8)).logits.mean() + other(prompt(2, 8)).logits.mean()).backward()
    with torch.no_grad():
        other(prompt(2, 8))
    one(prompt(2, 8)).logits.mean().backward()
    assert marked.backwards == [[0], [], [2]]


def test_a_backward_of_several_tensors_is_one(marked: Recorder) -> None:
    """As schedules of pipelines call it; checkpointed layers call it inside of a backward."""
    model = build("llama").train()
    with warnings.catch_warnings():
        # Its name since transformers 5.24 is another one.
        warnings.simplefilter("ignore", FutureWarning)
        model.gradient_checkpointing_enable({"use_reentrant": True})
    model.enable_input_require_grads()
    logits = model(prompt(2, 8), use_cache=False).logits
    torch.autograd.backward([logits], [torch.ones_like(logits)])
    assert [name.split()[0] for name in marked.passes] == ["forward", "backward"]
    assert marked.backwards == [[0]]


def test_saving_what_a_pass_returned_warns_of_nothing(marked: Recorder) -> None:
    logits = build("llama").train()(prompt(1, 4)).logits
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.save(logits, io.BytesIO())
    logits.mean().backward()
    assert marked.backwards == [[0]]


def test_a_frozen_model_has_no_backward(marked: Recorder) -> None:
    model, head = build("llama").train().requires_grad_(requires_grad=False), torch.nn.Linear(32, 1)
    for _ in range(2):
        head(model.model(prompt(2, 8)).last_hidden_state).mean().backward()
    assert marked.backwards == [[], []]


def test_what_was_taken_from_inside_is_not_said_to_be_nothing(marked: Recorder) -> None:
    model, inside = build("llama").train(), []
    model.model.layers[0].register_forward_hook(lambda _module, _inputs, output: inside.append(output))
    model(prompt(2, 8))
    inside[0].mean().backward()
    assert marked.passes[-1] == "backward"
    assert marked.backwards == []


def test_backwards_at_once_are_not_told_apart(marked: Recorder) -> None:
    inside, done = threading.Event(), threading.Event()

    def wait() -> None:
        with gradients.told():
            inside.set()
            done.wait(10)

    thread = threading.Thread(target=wait)
    thread.start()
    inside.wait(10)
    tokens = prompt(1, 4)
    build("llama").train()(input_ids=tokens, labels=tokens).loss.backward()
    done.set()
    thread.join()
    assert marked.backwards == []
