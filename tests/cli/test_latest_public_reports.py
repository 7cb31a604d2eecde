"""More of what test_public_reports.py has: layers with a state, engines side by side, operators that graphs hide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_public_reports import MS, Cli, codes, marked, phase
from tests.support.trace_builder import TraceBuilder


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(tmp_path, capsys)


# -- names of kernels --------------------------------------------------------------------------------------------------

HYBRID: dict[str, Any] = {
    "model_type": "qwen3_5_text", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 8,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 1000,
    "layer_types": [*["linear_attention"] * 3, "full_attention"] * 2, "linear_num_key_heads": 4,
    "linear_num_value_heads": 8, "linear_key_head_dim": 32, "linear_value_head_dim": 32, "linear_conv_kernel_dim": 4,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
# As transformers runs a layer: no two of its products are one.
STATE = [
    *(f"gemm_{name}" for name in ("qkv", "z", "b", "a")), "causal_conv1d_fwd_kernel",
    "chunk_local_cumsum_scalar_kernel", "chunk_scaled_dot_kkt_fwd_kernel", "solve_tril_16x16_kernel",
    "recompute_w_u_fwd_kernel", "chunk_gated_delta_rule_fwd_kernel_h_blockdim64", "chunk_fwd_kernel_o", "gemm_out",
]  # fmt: skip
FULL = [*(f"gemm_{name}" for name in "qkv"), "flash_fwd_kernel", "gemm_o"]
MLP = ["gemm_gate", "gemm_up", "silu_mul", "gemm_down"]


def test_kernels_of_layers_with_a_state(cli: Cli) -> None:
    mamba = [
        "void selective_scan_fwd_kernel<Selective_Scan_fwd_kernel_traits<128, 16>>(SSMParamsBase)",
        "_selective_scan_update_kernel", "_chunk_cumsum_fwd_kernel", "_chunk_state_fwd_kernel",
        "_state_passing_fwd_kernel", "_bmm_chunk_fwd_kernel", "_chunk_scan_fwd_kernel", "_causal_conv1d_update_kernel",
    ]  # fmt: skip
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 200 * MS, "prefill", domain="llmperf")
    main.mark(1, 'llmperf.step {"b":1,"q":64,"kv":0,"logits":1}', domain="llmperf")
    layers = [*[*STATE, *MLP] * 3, *FULL, *MLP] * 2
    for number, name in enumerate([*layers, "gemm_head"]):
        main.launch((number + 1) * MS, gpu=((number + 1) * MS + 9, (number + 2) * MS), name=name)
    marked(trace, HYBRID)

    report = cli.analyze(trace, "--keep-cold")

    assert cli.families(mamba) == [{"family": "recurrence", "n": len(mamba)}]
    # It is the model: six of its eight layers have a state, two attend.
    assert "model_does_not_fit" not in codes(report)
    assert phase(report, "prefill")["kernel_count"] == len(layers) + 1


def test_what_a_template_fuses_is_no_kind_of_its_own(cli: Cli) -> None:
    products = ["triton_tem_fused__to_copy_addmm_relu_2", "triton_tem_fused_addmm_gelu_7", "triton_tem_fused_mm_t_4"]
    # Made around a product: its operands, or what follows it.
    around = ["triton_poi_fused__scaled_mm_add_0", "triton_poi_fused_addmm_native_dropout_1"]

    assert cli.families(products) == [{"family": "gemm", "n": 3}]
    assert cli.families(around) == [{"family": "elementwise", "n": 2}]
