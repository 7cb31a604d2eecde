"""Families of kernels by their names, and calls of other APIs."""

from __future__ import annotations

from typing import Any

from tests.cli.public_reports.common import marked
from tests.cli.run import MS, Cli
from tests.support.kineto import KinetoTrace
from tests.support.trace_builder import TraceBuilder

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

    rows, err = cli.sql(trace, "SELECT kernel_count FROM phase_summary")

    assert cli.families(mamba) == [{"family": "recurrence", "n": len(mamba)}]
    # It is the model: six of its eight layers have a state, two attend.
    assert "it is another model" not in err
    assert rows == [{"kernel_count": len(layers) + 1}]


def test_kernels_of_gated_delta_layers(cli: Cli) -> None:
    names = [
        "chunk_fwd_kernel_o", "chunk_fwd_kernel_h", "chunk_bwd_kernel_dqkwg", "prepare_wy_repr_fwd_kernel",
        "recompute_w_u_fwd_kernel", "chunk_gated_delta_rule_fwd_kernel_h_blockdim64",
    ]  # fmt: skip

    assert cli.families(names) == [{"family": "recurrence", "n": len(names)}]


def test_what_a_template_fuses_is_no_kind_of_its_own(cli: Cli) -> None:
    products = ["triton_tem_fused__to_copy_addmm_relu_2", "triton_tem_fused_addmm_gelu_7", "triton_tem_fused_mm_t_4"]
    # Made around a product: its operands, or what follows it.
    around = ["triton_poi_fused__scaled_mm_add_0", "triton_poi_fused_addmm_native_dropout_1"]

    found = {one["family"]: one["n"] for one in cli.families(products + around)}

    assert found == {"gemm": 3, "elementwise": 2}


def test_kernels_of_amds_libraries(cli: Cli) -> None:
    products = ["Cijk_Alik_Bljk_HHS_BH_Bias_MT64x32x256_MI16x16x1", "Cijk_Ailk_Bljk_SB_MT64x64x16_SN_1LDSB0"]
    tiles = "void ck_tile::kentry<256, 2, ck_tile::FmhaFwdKernel<ck_tile::half_t>>(ck_tile::FmhaFwdKernel<int>::Kargs)"

    found = {one["family"]: one["n"] for one in cli.families([*products, tiles])}

    assert found == {"gemm": 2, "attention": 1}


def test_rotary_positions_of_ggml_are_no_norm(cli: Cli) -> None:
    names = ["void rope_norm<true, false, float>(float*)", "void rope_neox<true, false, float>(float*)"]

    assert cli.families(names) == [{"family": "embedding", "n": 2}]


def test_calls_of_hip_are_what_those_of_cuda_are(cli: Cli) -> None:
    trace = KinetoTrace()
    for step in range(3):
        at = step * 400_000
        trace.annotation("decode", at, at + 390_000)
        trace.call("hipExtModuleLaunchKernel", at + 20_000, at + 60_000, 2 * step + 1)
        trace.kernel("Cijk_Alik_Bljk", at + 50_000, at + 100_000, 2 * step + 1)
        trace.call("hipGraphLaunch", at + 110_000, at + 150_000, 2 * step + 2)
        for node in range(4):
            trace.kernel("attn_fwd", at + 150_000 + node * 10_000, at + 160_000 + node * 10_000, 2 * step + 2)
        trace.call("hipDeviceSynchronize", at + 160_000, at + 300_000, 0)
        trace.call("hipMalloc", at + 300_000, at + 380_000, 0)

    rows, _ = cli.sql(trace, "SELECT class, time_ns FROM time_budget")
    budget = {row["class"]: row["time_ns"] for row in rows}

    # The wait goes on for 110 µs after the last kernel of a step; launches are entered 30 and 40 µs before theirs run.
    assert (budget["sync"], budget["api"], budget["launch"]) == (3 * 110_000, 3 * 80_000, 3 * 70_000)
