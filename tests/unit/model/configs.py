"""Small configs for tests, and shorthands for steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nsys_pipeline.model import Conventions, Estimate, Model, estimate
from nsys_pipeline.records import Step

FULL = Conventions(attention="full", count="executed")


def read_json(name: str) -> dict[str, Any]:
    """A file of small configs by the names of their models, or of golden totals."""
    read: dict[str, Any] = json.loads((Path(__file__).parent / name).read_text(encoding="utf-8"))
    return read


def golden(name: str) -> dict[str, dict[str, Any]]:
    """Golden totals by the names of their models."""
    return {entry["model"]: entry for entry in read_json(name)["models"]}


def llama(**changes: Any) -> dict[str, Any]:
    config = {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "vocab_size": 100,
        "torch_dtype": "bfloat16",
    }
    return {**config, **changes}


def mixtral(**changes: Any) -> dict[str, Any]:
    return llama(model_type="mixtral", num_local_experts=8, num_experts_per_tok=2, sliding_window=None, **changes)


def model(config: dict[str, Any]) -> Model:
    return Model.from_config(config)


def prefill(
    config: dict[str, Any], tokens: int, batch: int = 1, conventions: Conventions | None = None, **step: Any
) -> Estimate:
    return estimate(model(config), Step.uniform(batch=batch, q_tokens=tokens, **step), conventions)


def decode(config: dict[str, Any], context: int, batch: int = 1, conventions: Conventions | None = None) -> Estimate:
    return estimate(model(config), Step.uniform(batch=batch, q_tokens=1, kv_tokens=context), conventions)


def op_flops(result: Estimate, name: str) -> int:
    return sum(op.layers * result.op_flops(op) for op in result.ops if op.name == name)


def op_weight_bytes(result: Estimate, name: str) -> int:
    return sum(op.layers * op.weight_bytes for op in result.ops if op.name == name)
