"""`--auto` in `torch.nn.DataParallel`, which calls copies of the model in threads of their own."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from tests.unit.workload.conftest import Recorder

CONFIG = {
    "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 64,
    "num_hidden_layers": 2,
}  # fmt: skip


def replica(model: Any) -> Any:
    """A copy as `torch.nn.parallel.replicate` makes it for a GPU: what were parameters are plain tensors."""
    copies = {module: module._replicate_for_data_parallel() for module in model.modules()}
    for module, copy in copies.items():
        copy._former_parameters = OrderedDict()
        for name, parameter in module._parameters.items():
            setattr(copy, name, None if parameter is None else parameter.view_as(parameter))
            if parameter is not None:
                copy._former_parameters[name] = getattr(copy, name)
        for name, child in module._modules.items():
            setattr(copy, name, copies[child])
    return copies[model]


def test_copies_are_marked_and_described(marked: Recorder) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(LlamaConfig(**CONFIG)).train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = "layers.1" in name
    ids = torch.randint(3, 64, (4, 8))

    for _ in range(2):
        losses: list[Any] = []
        for half in ids.chunk(2):
            copy = replica(model)
            thread = threading.Thread(target=lambda: losses.append(copy(half, labels=half).loss))  # noqa: B023
            thread.start()
            thread.join()
        sum(losses).backward()

    assert marked.passes == [*["forward 2x8+0, 16 logits"] * 2, "backward"] * 2
    (run,) = marked.runs
    assert (run["dtype"], run["device"]) == ("float32", "cpu")
    assert r"layers\.(?:1)" in run["train_only"] or r"\.(?:1)\." in run["train_only"]
