"""A program changes a model that has run: each pass says which run mark is about it, and that one costs what it ran."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from nsys_pipeline.model import Conventions, Estimator, Model
from tests.support.tiny_models import prompt
from tests.support.versions import counted_with_the_newest
from tests.unit.workload.conftest import Recorder
from tests.unit.workload.test_auto_heads import counted, made
from tests.unit.workload.test_trained_inputs import SIZES, adapt

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

FULL = Conventions(attention="full", count="executed")


def plain(model: Any) -> Any:
    with torch.no_grad():
        return model(prompt(2, 9), use_cache=False)


def replace_head(model: Any) -> None:
    model.lm_head = torch.nn.Linear(model.config.hidden_size, 13, bias=False)


def cut(model: Any) -> None:
    model.model.layers = model.model.layers[:2]


def narrow(model: Any) -> None:
    """What no config says: the MLP of the first layer is narrower."""
    mlp = model.model.layers[0].mlp
    mlp.gate_proj, mlp.up_proj = (torch.nn.Linear(32, 8, bias=False) for _ in range(2))
    mlp.down_proj = torch.nn.Linear(8, 32, bias=False)


CHANGES: dict[str, tuple[Callable[[Any], object], str]] = {
    "half": (lambda model: model.half(), "float16"),
    "bf16": (lambda model: model.to(torch.bfloat16), "bfloat16"),
    "resized": (lambda model: model.resize_token_embeddings(131), "float32"),
    "head": (replace_head, "float32"),
    "cut": (cut, "float32"),
}


def estimates(marked: Recorder) -> list[int]:
    """FLOPs of each pass, by the run mark that it names."""
    runs = {run.get("run", 0): Model.from_config(dict(run["model"])) for run in marked.runs}
    return [
        Estimator(runs[told.get("run", 0)], FULL).estimate(step).flops
        for told, step in zip(marked.told, marked.steps, strict=True)
    ]


@counted_with_the_newest
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_model_is_described_anew(marked: Recorder, change: str) -> None:
    model = made("AutoModelForCausalLM", "llama", **SIZES)
    do, dtype = CHANGES[change]
    passes = [counted(lambda: plain(model))]
    do(model)
    passes += [counted(lambda: plain(model)) for _ in range(2)]

    assert [(run["dtype"], run.get("run"), run.get("changed")) for run in marked.runs] == [
        ("float32", None, None), (dtype, 1, None),
    ]  # fmt: skip
    assert [told.get("run") for told in marked.told] == [None, 1, 1]
    assert estimates(marked) == passes


@counted_with_the_newest
def test_layers_that_were_cut_off_before_the_first_pass_are_not_counted(marked: Recorder) -> None:
    model = made("AutoModelForCausalLM", "llama", **SIZES)
    cut(model)
    assert [counted(lambda: plain(model))] == estimates(marked)
    assert marked.runs[0]["model"]["num_hidden_layers"] == 2


def test_what_the_config_does_not_say_is_told(marked: Recorder) -> None:
    model = made("AutoModelForCausalLM", "llama", **SIZES)
    plain(model)
    narrow(model)
    plain(model)
    assert [(run.get("run"), run.get("changed")) for run in marked.runs] == [(None, None), (1, True)]


def test_one_run_mark_for_each_state(marked: Recorder) -> None:
    model = made("AutoModelForCausalLM", "llama", **SIZES)
    for dtype in (torch.float32, torch.bfloat16, torch.float32, torch.bfloat16):
        plain(model.to(dtype))
    for context in (torch.autocast("cpu", torch.bfloat16), contextlib.nullcontext()):
        with context:
            plain(model.float())
    assert [told.get("run", 0) for told in marked.told] == [0, 1, 0, 1, 2, 0]
    assert [(run["dtype"], run.get("stored")) for run in marked.runs] == [
        ("float32", None), ("bfloat16", None), ("bfloat16", "float32"),
    ]  # fmt: skip


def test_a_twin_in_another_format_is_another_run(marked: Recorder) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        plain(made("AutoModelForCausalLM", "llama", **SIZES).to(dtype))
    assert [told.get("run", 0) for told in marked.told] == [0, 1]


def test_adapters_and_what_goes_in_and_out_again_change_no_run(marked: Recorder) -> None:
    """An adapter behind a pass, as tests of `trains` have it; activations and training modes are no change."""
    model = made("AutoModelForCausalLM", "llama", **SIZES)
    plain(model)
    adapt(model, rank=4)
    model.model.layers[0].mlp.act_fn = torch.nn.SiLU()
    plain(model)
    plain(model)
    assert [told.get("run", 0) for told in marked.told] == [0, 0, 0]
    assert [run.get("adapters") for run in marked.runs] == [None, 3]
