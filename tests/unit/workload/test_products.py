"""The number format of products in the run mark of `--auto`, where weights are in another one."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.workload.conftest import Recorder

CONFIG = {
    "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 64,
    "num_hidden_layers": 2,
}  # fmt: skip


def around_the_call(model: Any, torch: Any) -> Callable[[Any], Any]:
    def run(ids: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return model(ids, labels=ids)

    return run


def around_forward(model: Any, torch: Any) -> Callable[[Any], Any]:
    """As accelerate does it: the function is wrapped, then bound, and an object around it casts what it returns."""

    class Casting:
        def __init__(self, forward: Callable[..., Any]) -> None:
            self.model_forward = forward

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return self.model_forward(*args, **kwargs)

    casting = Casting(torch.autocast("cpu", torch.bfloat16)(model.forward.__func__))

    def forward(*args: Any, **kwargs: Any) -> Any:
        return casting(*args, **kwargs)

    model.forward = types.MethodType(forward, model)
    return lambda ids: model(ids, labels=ids)


def in_fsdp(model: Any, torch: Any) -> Callable[[Any], Any]:
    """What `fully_shard` leaves on the model, with a policy of mixed precision."""
    state = types.SimpleNamespace(_mp_policy=types.SimpleNamespace(param_dtype=torch.bfloat16))
    model._get_fsdp_state = lambda: state
    return lambda ids: model(ids, labels=ids)


def nowhere(model: Any, _torch: Any) -> Callable[[Any], Any]:
    return lambda ids: model(ids, labels=ids)


@pytest.mark.parametrize(
    ("place", "dtype"),
    [(around_the_call, "bfloat16"), (around_forward, "bfloat16"), (in_fsdp, "bfloat16"), (nowhere, "float32")],
)
def test_autocast_says_what_products_are_in(
    place: Callable[[Any, Any], Callable[[Any], Any]], dtype: str, marked: Recorder
) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(LlamaConfig(**CONFIG)).train()

    place(model, torch)(torch.randint(3, 64, (2, 8)))

    assert marked.passes == ["forward 2x8+0, 16 logits"]
    (run,) = marked.runs
    assert run["dtype"] == dtype
    # Weights are float32 in all of them.
    assert run.get("stored") == (None if dtype == "float32" else "float32")
    assert "tp" not in run


def test_a_model_that_transformers_has_split_says_among_how_many(marked: Recorder) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(LlamaConfig(**CONFIG)).eval()
    model._tp_size = 2

    model(torch.randint(3, 64, (1, 8)))

    (run,) = marked.runs
    assert run["tp"] == 2


@pytest.mark.parametrize("is_on", [True, False])
def test_tf32_is_the_format_of_float32_products_on_a_gpu(is_on: bool) -> None:
    torch = pytest.importorskip("torch")
    from nsys_pipeline.workload.products import product_dtype

    matmul = torch.backends.cuda.matmul
    name, value = (
        ("fp32_precision", "tf32" if is_on else "ieee") if hasattr(matmul, "fp32_precision") else ("allow_tf32", is_on)
    )
    before = getattr(matmul, name)
    setattr(matmul, name, value)
    try:
        found = [
            product_dtype(None, types.SimpleNamespace(device=torch.device(device), dtype=dtype))
            for device, dtype in (("cuda", torch.float32), ("cpu", torch.float32), ("cuda", torch.bfloat16))
        ]
    finally:
        setattr(matmul, name, before)

    assert found == ["tf32" if is_on else torch.float32, torch.float32, torch.bfloat16]
