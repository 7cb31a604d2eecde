"""Training beside frozen weights, as PEFT does it: gradients begin where `--auto` says, and cost what torch counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from nsys_pipeline.inputs.run import RunDescription
from nsys_pipeline.inputs.training import BACKWARD, FORWARD, OPTIMIZER, TrainingEstimator, TrainingFacts
from nsys_pipeline.model import Conventions, Model
from nsys_pipeline.records import Step
from nsys_pipeline.workload.trained import trained_fields
from tests.support.tiny_models import VOCABULARY, prompt
from tests.support.versions import counted_with_the_newest
from tests.unit.workload.conftest import Recorder
from tests.unit.workload.test_auto_heads import counted, made

pytest.importorskip("torch")
pytest.importorskip("transformers")

FULL = Conventions(attention="full", count="executed")
LAYERS, HEADS, WIDTH = 3, 4, 32
SIZES: dict[str, Any] = {
    "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": 2,
    "intermediate_size": 64, "vocab_size": VOCABULARY, "pad_token_id": 0,
}  # fmt: skip


def trainable(*shape: int) -> Any:
    import torch

    return torch.nn.Parameter(torch.randn(*shape))


def plain(model: Any) -> Any:
    return model(prompt(2, 9), use_cache=False)


def prompt_tuning(model: Any) -> Any:
    """Four virtual tokens before the others."""
    import torch

    virtual = trainable(1, 4, WIDTH).expand(2, -1, -1)
    return model(inputs_embeds=torch.cat([virtual, model.get_input_embeddings()(prompt(2, 9))], 1), use_cache=False)


def prefix_tuning(model: Any) -> Any:
    """Four virtual tokens in the cache."""
    import transformers

    cache = transformers.DynamicCache()
    for layer in range(LAYERS):
        cache.update(trainable(2, 2, 4, WIDTH // HEADS), trainable(2, 2, 4, WIDTH // HEADS), layer)
    taken = "cache" if tuple(map(int, transformers.__version__.split(".")[:2])) >= (5, 24) else "past_key_values"
    return model(prompt(2, 9), **{taken: cache}, use_cache=True)


def hooked(model: Any) -> Any:
    """As for checkpointing: embeddings have gradients though the first trained weight is in the last layer."""
    model.enable_input_require_grads()
    model.model.layers[-1].mlp.down_proj.weight.requires_grad_(True)
    return plain(model)


def biases(model: Any) -> Any:
    """BitFit, of queries and values."""
    import torch

    for layer in model.model.layers[1:]:
        for name in ("q_proj", "v_proj"):
            linear = getattr(layer.self_attn, name)
            linear.bias = torch.nn.Parameter(torch.zeros(linear.out_features))
    return plain(model)


def scales(model: Any) -> Any:
    """IA3: keys and values are scaled."""
    import torch

    class Scaled(torch.nn.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self, base: Any) -> None:
            super().__init__()
            self.base_layer = base
            self.ia3_l = torch.nn.ParameterDict({"default": torch.nn.Parameter(torch.ones(base.out_features))})

        def forward(self, x: Any) -> Any:
            return self.base_layer(x) * self.ia3_l["default"]

    for layer in model.model.layers:
        layer.self_attn.k_proj, layer.self_attn.v_proj = Scaled(layer.self_attn.k_proj), Scaled(layer.self_attn.v_proj)
    return plain(model)


def token_rows(model: Any) -> Any:
    """Some rows of the table, beside it."""
    import torch

    class Rows(torch.nn.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self, base: Any) -> None:
            super().__init__()
            self.base_layer = base
            self.trainable_tokens_delta = torch.nn.ParameterDict({"default": trainable(1, WIDTH)})

        def forward(self, ids: Any) -> Any:
            return self.base_layer(ids) + self.trainable_tokens_delta["default"]

    model.model.embed_tokens = Rows(model.model.embed_tokens)
    return plain(model)


WAYS = {
    "prompt tuning": prompt_tuning, "prefix tuning": prefix_tuning, "hook": hooked, "biases": biases,
    "scales": scales, "rows": token_rows,
}  # fmt: skip


def estimator(marked: Recorder, step: Step) -> TrainingEstimator:
    run = RunDescription(marked.runs[-1])
    only, rank, place, at = run.trained()
    model = run.model()
    assert isinstance(model, Model)
    return TrainingEstimator(
        model,
        FULL,
        TrainingFacts(shards=1, ranks=1, scalar="float"),
        train_only=only,
        lora_rank=rank,
        lora_on=place,
        lora_ranks=run.lora_ranks(),
        trained_at=at,
        is_frozen=step.is_frozen,
    )


@counted_with_the_newest
@pytest.mark.parametrize("way", WAYS)
def test_gradients_begin_where_torch_begins_them(marked: Recorder, way: str) -> None:
    run: Callable[[Any], Any] = WAYS[way]
    model = made("AutoModelForCausalLM", "llama", **SIZES).train().requires_grad_(False)
    outputs: list[Any] = []

    forward = counted(lambda: outputs.append(run(model)))
    backward = counted(lambda: outputs[0].logits.sum().backward())

    (step,) = marked.steps
    costs = estimator(marked, step)
    passes = [costs.cost(attrs.evolve(step, part=part)).run_flops for part in (FORWARD, BACKWARD)]
    assert passes == [forward, backward]
    # What the optimizer updates is beside the model's weights.
    known = costs.cost(Step((), (), 0, part=OPTIMIZER)).bytes
    assert (known is not None) == (way == "hook")


def test_a_forward_that_trains_weights_says_nothing_of_its_inputs(marked: Recorder) -> None:
    model = made("AutoModelForCausalLM", "llama", **SIZES).train()
    plain(model)
    (step,) = marked.steps
    assert (step.gradients_of, step.is_frozen) == (None, False)
    assert "trained_at" not in marked.runs[-1]


def test_a_mark_of_other_inputs_is_no_step() -> None:
    from nsys_pipeline import markers

    with pytest.raises(ValueError, match="no inputs with gradients"):
        markers.decode_step('{"q":9,"kv":0,"b":2,"grads":"weights"}')


def states(marked: Recorder) -> list[tuple[object, ...]]:
    return [tuple(run.get(name) for name in ("lora_rank", "adapters", "retrained")) for run in marked.runs]


def adapt(model: Any, rank: int, more: int = 0) -> None:
    """Adapters of `rank` on queries, as PEFT puts them there, each layer's by `more`; nothing else is trained."""
    import torch

    class Adapted(torch.nn.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self, base: Any) -> None:
            super().__init__()
            self.base_layer = base
            down, up = torch.nn.Linear(WIDTH, wide, bias=False), torch.nn.Linear(wide, WIDTH, bias=False)
            self.lora_A, self.lora_B = torch.nn.ModuleDict({"default": down}), torch.nn.ModuleDict({"default": up})

        def forward(self, x: Any) -> Any:
            return self.base_layer(x) + self.lora_B["default"](self.lora_A["default"](x))

    model.requires_grad_(False)
    for at, layer in enumerate(model.model.layers):
        wide = rank + more * at
        layer.self_attn.q_proj = Adapted(layer.self_attn.q_proj)


@counted_with_the_newest
def test_adapters_that_come_behind_the_first_pass(marked: Recorder) -> None:
    import torch

    model = made("AutoModelForCausalLM", "llama", **SIZES)
    with torch.no_grad():
        plain(model)
    adapt(model.train(), rank=4)
    outputs: list[Any] = []
    forward = counted(lambda: outputs.append(plain(model)))
    backward = counted(lambda: outputs[0].logits.sum().backward())
    plain(model).logits.sum().backward()

    assert states(marked) == [(None, None, None), (4, LAYERS, None)]
    costs, step = estimator(marked, marked.steps[1]), marked.steps[1]
    assert [costs.cost(attrs.evolve(step, part=part)).run_flops for part in (FORWARD, BACKWARD)] == [forward, backward]


@counted_with_the_newest
def test_each_adapter_has_its_own_rank(marked: Recorder) -> None:
    """As PEFT's `rank_pattern` gives them; a rank for all of them had the products of the most frequent one."""
    model = made("AutoModelForCausalLM", "llama", **SIZES).train()
    adapt(model, rank=4, more=3)
    outputs: list[Any] = []
    forward = counted(lambda: outputs.append(plain(model)))
    backward = counted(lambda: outputs[0].logits.sum().backward())

    costs, step = estimator(marked, marked.steps[0]), marked.steps[0]
    assert [costs.cost(attrs.evolve(step, part=part)).run_flops for part in (FORWARD, BACKWARD)] == [forward, backward]


def test_weights_that_are_thawed_between_steps_are_told_once(marked: Recorder) -> None:
    model = made("AutoModelForCausalLM", "llama", **SIZES).train()
    for trained in ("lm_head", "layers.2", ""):
        for name, weight in model.named_parameters():
            weight.requires_grad_(trained in name)
        for _ in range(2):
            plain(model).logits.sum().backward()

    assert [("train_only" in run, run.get("retrained")) for run in marked.runs] == [
        (True, None), (True, True), (False, True),
    ]  # fmt: skip


T5: dict[str, Any] = {
    "d_model": WIDTH, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": HEADS, "dropout_rate": 0.0,
    "vocab_size": VOCABULARY, "decoder_start_token_id": 0, "pad_token_id": 0,
}  # fmt: skip


@counted_with_the_newest
@pytest.mark.parametrize("padding", [0, 3])
def test_both_stacks_have_their_flops_in_training(padding: int, marked: Recorder) -> None:
    """The encoder reads the prompt, the decoder the labels; padding is computed, and no part of the model's FLOPs."""
    import torch

    model = made("AutoModelForSeq2SeqLM", "t5", **T5).train()
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[0, 9 - padding :] = 0
    batch = {"input_ids": prompt(2, 9), "labels": prompt(2, 5), "attention_mask": mask}
    outputs: list[Any] = []
    forward = counted(lambda: outputs.append(model(**batch)))
    backward = counted(outputs[0].loss.backward)

    (step,) = marked.steps
    assert (step.q_tokens, step.encoder_tokens) == ((5, 5), (9 - padding, 9))
    costs = estimator(marked, step)
    passes = [costs.cost(attrs.evolve(step.executed, part=part)).run_flops for part in (FORWARD, BACKWARD)]
    assert passes == [forward, backward]
    real = costs.cost(attrs.evolve(step, part=FORWARD)).run_flops
    assert real < forward if padding else real == forward


def test_frozen_weights_of_two_stacks_are_not_known(marked: Recorder) -> None:
    model = made("AutoModelForSeq2SeqLM", "t5", **T5).train()
    model.encoder.requires_grad_(False)
    model(input_ids=prompt(2, 9), labels=prompt(2, 5)).loss.backward()
    assert [run.get("trained_unknown") for run in marked.runs] == [True]


UNKNOWN: dict[str, tuple[str, dict[str, Any], str, bool]] = {
    "a layer of Gemma 3n": (
        "gemma3n_text",
        {"vocab_size_per_layer_input": VOCABULARY, "num_kv_shared_layers": 0},
        r"layers\.2\.",
        True,
    ),
    "Gemma 3n": ("gemma3n_text", {"vocab_size_per_layer_input": VOCABULARY, "num_kv_shared_layers": 0}, "", False),
    "a layer of JetMoE": ("jetmoe", {}, r"layers\.2\.", True),
    "a layer of DeBERTa": ("deberta-v2", {}, r"layer\.2\.", False),
    "MLPs of DeBERTa": ("deberta-v2", {}, "intermediate|output.dense", True),
    "layers of DeBERTa": ("deberta-v2", {}, r"layer\.|LayerNorm", False),
    "a layer and below, of DeBERTa": ("deberta-v2", {}, r"layer\.2\.|embeddings\.LayerNorm", True),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_gradients_freezing_leaves_is_known_or_told(case: str) -> None:
    import re

    import torch

    kind, more, trained, is_unknown = UNKNOWN[case]
    with torch.device("meta"):
        model = made("AutoModel", kind, **SIZES | {"num_hidden_layers": 3, "head_dim": 8} | more)
    for name, weight in model.named_parameters():
        weight.requires_grad_(bool(re.search(trained, name)))
    assert ("trained_unknown" in trained_fields(model)) == is_unknown
