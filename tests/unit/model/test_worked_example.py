"""The worked example of docs/flops.md holds the numbers that the estimator gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsys_pipeline.hardware import find_gpu
from nsys_pipeline.model import Conventions, estimate, load_model
from nsys_pipeline.records import Step

TEXT = (Path(__file__).parents[3] / "docs" / "flops.md").read_text(encoding="utf-8")
PREFILL, DECODE = Step.uniform(batch=1, q_tokens=2048), Step.uniform(batch=1, q_tokens=1, kv_tokens=2048)


@pytest.mark.parametrize("step", [PREFILL, DECODE])
def test_totals(step: Step) -> None:
    result = estimate(load_model("llama-3-8b"), step)
    for number in (result.flops, result.bytes, result.kv_read_bytes or result.kv_write_bytes):
        assert f"{number:,}" in TEXT


def test_ops_of_the_prefill() -> None:
    ops = {op.name: op.total_flops_model for op in estimate(load_model("llama-3-8b"), PREFILL).ops}
    for name in ("qkv", "o", "gate_up", "down", "attention", "lm_head"):
        assert f"| {ops[name]:,} |" in TEXT


def test_full_attention() -> None:
    full = estimate(load_model("llama-3-8b"), PREFILL, Conventions(attention="full"))
    assert f"{full.flops:,}" in TEXT


def test_speed_of_light() -> None:
    gpu = find_gpu("H100 SXM")
    assert gpu is not None
    sol_ns = estimate(load_model("llama-3-8b"), DECODE).sol_ns(gpu)
    assert sol_ns is not None
    assert f"{sol_ns / 1e6:.2f} ms" in TEXT
