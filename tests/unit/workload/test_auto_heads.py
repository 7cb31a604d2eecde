"""Heads that `--auto` says a model has, and how often a training pass runs them, against torch's count."""

from __future__ import annotations

import json
import types
from typing import Any

import pytest

from nsys_pipeline.inputs.training import FORWARD, TrainingEstimator, TrainingFacts
from nsys_pipeline.model import Conventions, Estimator, Model
from nsys_pipeline.records import Step
from nsys_pipeline.workload import auto, padding
from nsys_pipeline.workload.moved import remembering
from tests.support.tiny_models import CONFIGS, VOCABULARY, build, prompt
from tests.support.versions import counted_with_the_newest
from tests.unit.workload.conftest import Recorder

pytest.importorskip("torch")
pytest.importorskip("transformers")

FULL = Conventions(attention="full", count="executed")
ENCODER = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "vocab_size": VOCABULARY,
}  # fmt: skip


def made(kind: str, name: str, **config: Any) -> Any:
    """A model of the class that `transformers.<kind>` picks, with attention that torch counts."""
    import transformers

    fields = transformers.AutoConfig.for_model(name, **config)
    return getattr(transformers, kind).from_config(fields, attn_implementation="eager").eval()


def counted(call: Any) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("told", [None, ["BertForSequenceClassification"], ["BertForMaskedLM"]])
def test_a_masked_lm_has_its_head_whatever_the_checkpoint_was_saved_from(
    marked: Recorder, told: list[str] | None
) -> None:
    import torch

    model = made("AutoModelForMaskedLM", "bert", **ENCODER, architectures=told)
    with torch.no_grad():
        flops = counted(lambda: model(prompt(3, 9)))
    described = Model.from_config(dict(marked.runs[-1]["model"]))
    assert marked.passes == ["forward 3x9+0, 27 logits"]
    assert Estimator(described, FULL).estimate(Step.uniform(batch=3, q_tokens=9, logits=27)).flops == flops


def test_an_encoder_alone_has_no_head_of_the_checkpoint(marked: Recorder) -> None:
    import torch

    model = made("AutoModel", "bert", **ENCODER, architectures=["BertForMaskedLM"])
    with torch.no_grad():
        flops = counted(lambda: model(prompt(3, 9)))
    described = Model.from_config(dict(marked.runs[-1]["model"]))
    assert Estimator(described, FULL).estimate(Step.uniform(batch=3, q_tokens=9, logits=0)).flops == flops


@counted_with_the_newest
def test_a_generator_from_a_classifier_s_checkpoint_has_an_lm_head(marked: Recorder) -> None:
    import torch

    model = build("llama", architectures=["LlamaForSequenceClassification"])
    with torch.no_grad():
        flops = counted(lambda: model(prompt(2, 6)))
    described = Model.from_config(dict(marked.runs[-1]["model"]))
    assert Estimator(described, FULL).estimate(Step.uniform(batch=2, q_tokens=6, logits=12)).flops == flops


def test_a_generator_is_another_model_than_a_saved_classifier(marked: Recorder) -> None:
    import torch

    saved = {"architectures": ["LlamaForSequenceClassification"]}
    judge = made("AutoModelForSequenceClassification", "llama", **CONFIGS["llama"], **saved)
    with torch.no_grad():
        judge(prompt(1, 6))
        build("llama", **saved)(prompt(2, 6))
    assert marked.passes == ["forward 1x6+0, 0 logits", "llama.prefill"]


@counted_with_the_newest
@pytest.mark.parametrize("kind", ["AutoModelForCausalLM", "AutoModel", "AutoModelForSequenceClassification"])
def test_training_runs_the_head_as_often_as_the_mark_says(marked: Recorder, kind: str) -> None:
    model = made(kind, "llama", **CONFIGS["llama"]).train()
    flops, losses = [], []
    keep = {"logits_to_keep": 3} if kind == "AutoModelForCausalLM" else {}

    def forward() -> None:
        output = model(prompt(2, 8), **keep)
        losses.append((output.logits if hasattr(output, "logits") else output.last_hidden_state).mean())

    flops.append(counted(forward))
    flops.append(counted(losses[0].backward))
    logits = 6 if keep else 0
    assert marked.passes == [f"forward 2x8+0, {logits} logits", "backward"]
    described = Model.from_config(dict(marked.runs[-1]["model"]))
    estimator = TrainingEstimator(described, FULL, TrainingFacts())
    step = Step.uniform(batch=2, q_tokens=8, logits=logits)
    found = [
        sum(estimator.cost(Step(step.q_tokens, step.kv_tokens, logits, part=part)).flops_by_dtype.values())
        for part in (FORWARD, "backward")
    ]
    # scores of two labels, which are no logits over the vocabulary
    scores = 2 * 2 * 8 * 32 * 2 if "Sequence" in kind else 0
    assert found == [flops[0] - scores, flops[1] - 2 * scores]


def test_a_training_mark_without_logits_means_all() -> None:
    described = Model.from_config({"model_type": "llama", **CONFIGS["llama"]})
    estimator = TrainingEstimator(described, FULL, TrainingFacts())
    step, full = (Step((8, 8), (0, 0), logits, part=FORWARD) for logits in (2, 16))
    assert estimator.cost(step).flops_by_dtype == estimator.cost(full).flops_by_dtype


def test_a_loss_in_evaluation_mode_trains(marked: Recorder) -> None:
    import torch

    model, tokens = build("llama"), prompt(2, 8)
    model(input_ids=tokens, labels=tokens).loss.backward()
    with torch.no_grad():
        model(input_ids=tokens, labels=tokens)
    model.requires_grad_(requires_grad=False)(input_ids=tokens, labels=tokens)
    # somebody who forgot to switch gradients off
    model.requires_grad_()(input_ids=tokens)
    assert [line.split()[0] for line in marked.passes] == ["forward", "backward", *["prefill"] * 3]


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_passes_beside_a_request_are_no_steps_of_it(marked: Recorder, name: str) -> None:
    model = build(name)
    model.generate(prompt(2, 6), guidance_scale=1.5, max_new_tokens=3, do_sample=False)
    model.generate(
        prompt(2, 6), guidance_scale=1.5, negative_prompt_ids=prompt(2, 6), max_new_tokens=3, do_sample=False
    )
    shapes = [line.partition(",")[0] for line in marked.passes]
    assert shapes == [
        *["prefill 2x6+0", "guidance 2x1+0", "decode 2x1+6", "guidance 2x1+1", "decode 2x1+7", "guidance 2x1+2"],
        *["prefill 2x6+0", "guidance 2x6+0", "decode 2x1+6", "guidance 2x1+6", "decode 2x1+7", "guidance 2x1+7"],
    ]


@pytest.mark.parametrize("negative", [None, 4, 6, 9])
def test_guidance_without_a_cache(marked: Recorder, negative: int | None) -> None:
    """Each pass runs its sequences from their beginning: those of the guidance from the last token of the prompt on."""
    ids = None if negative is None else prompt(2, negative)
    build("llama").generate(
        prompt(2, 6), guidance_scale=1.5, negative_prompt_ids=ids, use_cache=False, max_new_tokens=3, do_sample=False
    )
    shapes = [line.partition(",")[0] for line in marked.passes]
    first = negative or 1
    assert shapes == [
        *["prefill 2x6+0", f"guidance 2x{first}+0", "decode 2x7+0", f"guidance 2x{first + 1}+0"],
        *["decode 2x8+0", f"guidance 2x{first + 2}+0"],
    ]


@pytest.mark.parametrize("merged", [False, True])
def test_a_run_says_that_adapters_run(marked: Recorder, merged: bool) -> None:
    import torch

    class Adapted(torch.nn.Linear):  # type: ignore[misc, unused-ignore]
        """What PEFT puts in the place of a layer, as far as the run mark looks at it."""

        def __init__(self) -> None:
            super().__init__(32, 32, bias=False)
            self.lora_A = torch.nn.ModuleDict({"default": torch.nn.Linear(32, 4, bias=False)})
            self.merged = merged

    model = build("llama")
    for layer in model.model.layers:
        layer.self_attn.q_proj = Adapted()
    with torch.no_grad():
        model(prompt(2, 6))
    assert marked.runs[-1].get("adapters") == (None if merged else 2)


def test_a_fused_head_runs_for_tokens_with_a_label() -> None:
    import torch

    labels = torch.tensor([[3, -100, 5, 6], [-100, -100, -100, 7]])
    # off the GPU for all that have a token before them
    assert padding.scored_positions({"labels": labels}) == 6
    assert padding.scored_positions({"labels": labels, "shift_labels": labels}) == 8
    move = remembering(lambda data, device: {name: value.to(device) for name, value in data.items()}, padding.READING)
    moved = move({"labels": labels}, "meta")
    assert padding.scored_positions(moved) == 3
    assert padding.scored_positions({"shift_labels": moved["labels"]}) == 4
    # made on the device
    assert padding.scored_positions({"labels": labels.to("meta")}) is None


@pytest.mark.parametrize(("is_known", "expected"), [(True, (14, "")), (False, (0, "unknown"))])
def test_a_head_that_is_fused_with_the_loss(
    marked: Recorder, monkeypatch: pytest.MonkeyPatch, is_known: bool, expected: tuple[int, str]
) -> None:
    model, tokens = build("llama").train(), prompt(2, 8)
    said: list[str] = []
    # in the place of TRL's
    forward = type(model).forward

    def fused(self: Any, input_ids: Any, *, labels: Any, fused_lm_head: bool, attention_mask: Any = None) -> Any:
        assert fused_lm_head
        return forward(self, input_ids, attention_mask=attention_mask, labels=labels)

    monkeypatch.setattr(type(model), "forward", fused)
    monkeypatch.setattr(marked, "mark", said.append)
    if not is_known:
        monkeypatch.setattr(auto, "scored_positions", lambda _arguments: None)
    # the second sequence begins with padding, which has no label of its own
    mask = prompt(2, 8).ne(-1).long()
    mask[1, :3] = 0
    for given in (None, mask):
        model(input_ids=tokens, labels=tokens, fused_lm_head=True, attention_mask=given)
    steps = [json.loads(text.partition(" ")[2]) for text in said if text.startswith("llmperf.step")]
    assert [(step["logits"], step.get("head", "")) for step in steps] == [expected] * 2
    assert steps[1]["q"] == [8, 5]


def test_a_program_that_calls_forward_by_its_name(marked: Recorder) -> None:
    """As sentence-transformers does, whose passes had no marks."""
    import torch

    class Transformer:
        def __init__(self) -> None:
            self.modality_config = {"text": {"method": "forward"}, "image": {"method": "get_image_features"}}
            self.model = made("AutoModel", "bert", **ENCODER)

        def forward(self, features: dict[str, Any]) -> Any:
            return self.model.forward(features["input_ids"], attention_mask=features["attention_mask"])

    auto._patch_sentence_transformers(types.SimpleNamespace(Transformer=Transformer))  # type: ignore[arg-type]
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[1, 5:] = 0
    with torch.no_grad():
        for modality in ("text", "image"):
            Transformer().forward({"input_ids": prompt(2, 9), "attention_mask": mask, "modality": modality})
    assert [step.q_tokens for step in marked.steps] == [(9, 5)]
    assert [name.split()[0] for name in marked.passes] == ["forward"]


@pytest.mark.parametrize(
    ("kind", "labels"),
    [("QuestionAnswering", 2), ("TokenClassification", 5), ("SequenceClassification", 5), ("MultipleChoice", 2)],
)
def test_a_head_of_a_config_without_architectures_is_that_of_the_class(
    kind: str, labels: int, marked: Recorder
) -> None:
    import torch

    model = made(f"AutoModelFor{kind}", "bert", **ENCODER, num_labels=labels)
    tokens = prompt(3, 9)
    with torch.no_grad():
        flops = counted(lambda: model(tokens[:, None] if kind == "MultipleChoice" else tokens))
    described = Model.from_config(dict(marked.runs[-1]["model"]))
    assert described.params == sum(weight.numel() for weight in model.parameters())
    assert Estimator(described, FULL).estimate(Step.uniform(batch=3, q_tokens=9, logits=0)).flops == flops


def test_scores_in_place_of_the_lm_head_of_a_checkpoint(marked: Recorder) -> None:
    """A reward model, made from a model that generates."""
    import torch

    saved = {"architectures": ["LlamaForCausalLM"], "tie_word_embeddings": False}
    model = made("AutoModelForSequenceClassification", "llama", **CONFIGS["llama"] | saved, num_labels=1)
    with torch.no_grad():
        model(prompt(1, 6))
    described = Model.from_config(dict(marked.runs[-1]["model"]))
    assert described.params == sum(weight.numel() for weight in model.parameters())
