"""Families of kernels: names met in real traces and in public code, and what is left over on every real trace."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from nsys_pipeline.rules.kernels import OTHER, families, function_name, kernel_family
from tests.support import real_traces

AT = "void at::native::"
VECTOR = AT + "vectorized_elementwise_kernel<8, at::native::"
REDUCE = AT + "reduce_kernel<512, 1, at::native::ReduceOp<"
NAMES = [
    ("nvjet_sm90_tst_256x128_64x4_1x2_h_bz_coopA_TNT", "", "gemm"),
    ("nvjet_sm90_tst_64x8_64x16_2x1_v_bz_splitK_TNT", "", "gemm"),
    ("splitKreduce_kernel", "void cublasLt::splitKreduce_kernel<32, 16, int, float>", "gemm"),
    ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64", "", "gemm"),
    ("ampere_bf16_s16816gemm_bf16_128x64_ldg8_f2f_stages_64x4_tn", "", "gemm"),
    ("Kernel2", "void cutlass::Kernel2<cutlass_80_tensorop_s1688gemm_64x64_16x6_tn_align4>(T1::Params)", "gemm"),
    ("device_kernel", "void cutlass::device_kernel<cutlass::gemm::kernel::GemmUniversal<int>>(T1::Params)", "gemm"),
    ("Marlin", "void marlin::Marlin<8, 4, 4>", "gemm"),
    ("gemv2T_kernel_val", "void gemv2T_kernel_val<int, int, __nv_bfloat16>", "gemv"),
    ("gemmSN_TN_kernel", "void gemmSN_TN_kernel<float, 128, 16, 2, 4, 8, 9>", "gemm"),
    ("flash_fwd_kernel", "void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64, 128, 128>>", "attention"),
    ("flash_fwd_splitkv_combine_kernel", "void flash::flash_fwd_splitkv_combine_kernel<int>", "attention"),
    ("device_kernel", "void cutlass::device_kernel<flash::enable_sm90<flash::FlashAttnFwdSm90<int>>>", "attention"),
    ("fmha_cutlassF_bf16_aligned_64x64_rf_sm80", "", "attention"),
    ("cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_7_64x128x64_4x1x1", "", "attention"),
    ("paged_attention_v2_kernel", "void vllm::paged_attention_v2_kernel<int>", "attention"),
    ("BatchDecodeWithPagedKVCacheKernel", "void flashinfer::BatchDecodeWithPagedKVCacheKernel<int>", "attention"),
    ("ncclDevKernel_AllReduce_Sum_bf16_RING_LL", "", "communication"),
    ("cross_device_reduce_1stage", "void vllm::cross_device_reduce_1stage<__nv_bfloat16, 2>", "communication"),
    ("rms_norm_kernel", "void vllm::rms_norm_kernel<c10::BFloat16>", "norm"),
    ("vectorized_layer_norm_kernel", AT + "<unnamed>::vectorized_layer_norm_kernel<float, float>", "norm"),
    ("act_and_mul_kernel", "void vllm::act_and_mul_kernel<c10::BFloat16, &vllm::silu_kernel>", "activation"),
    ("vectorized_elementwise_kernel", VECTOR + "<unnamed>::silu_kernel(int)>", "activation"),
    ("elementwise_kernel", AT + "elementwise_kernel<128, 4, void direct_copy_kernel_cuda(int)>", "copy"),
    ("vectorized_elementwise_kernel", VECTOR + "CUDAFunctor_add<c10::BFloat16>>", "elementwise"),
    ("CatArrayBatchedCopy", AT + "<unnamed>::CatArrayBatchedCopy<int>", "copy"),
    ("reshape_and_cache_flash_kernel", "void vllm::reshape_and_cache_flash_kernel<int>", "copy"),
    ("rotary_embedding_kernel", "void vllm::rotary_embedding_kernel<c10::BFloat16, 1>", "embedding"),
    ("indexSelectSmallIndex", AT + "<unnamed>::indexSelectSmallIndex<c10::BFloat16>", "embedding"),
    ("topkGatingSoftmax", "void vllm::moe::topkGatingSoftmax<8, 64>", "moe routing"),
    ("moe_align_block_size_kernel", "void vllm::moe::moe_align_block_size_kernel<int>", "moe routing"),
    ("fused_moe_kernel", "fused_moe_kernel", "gemm"),
    ("reduce_kernel", REDUCE + "c10::BFloat16, at::native::ArgMaxOps<float>>>", "sampling"),
    ("reduce_kernel", REDUCE + "float, at::native::MeanOps<float>>>", "reduction"),
    ("triton_poi_fused_add_mul_silu_3", "triton_poi_fused_add_mul_silu_3", "activation"),
    ("triton_red_fused__to_copy_add_mean_mul_pow_rsqrt_4", "", "norm"),
    # what torch.compile makes around attention and matrix products is neither
    ("triton_poi_fused__scaled_dot_product_cudnn_attention_cat_unsqueeze_view_where_3", "", "elementwise"),
    ("triton_poi_fused__to_copy__unsafe_view_add_bmm_cos_mul_transpose_unsqueeze_view_2", "", "elementwise"),
    ("lean_reduction_kernel", "", "attention"),
    ("_fwd_kernel_stage2", "", "attention"),
    ("_fwd_grouped_kernel_stage1", "", "attention"),
    ("masked_multihead_attention_kernel", "", "attention"),
    ("mmha_kernel", "void tensorrt_llm::mmha::mmha_kernel<int>", "attention"),
    ("triton_poi_fused_clone_unsqueeze_view_7", "", "copy"),
    ("triton_poi_fused_embedding_0", "", "embedding"),
    ("triton_per_fused__softmax_2", "", "softmax and loss"),
    ("triton_red_fused_argmax_9", "", "sampling"),
    ("triton_red_fused_sum_1", "", "reduction"),
    ("triton_tem_fused_mm_t_4", "", "gemm"),
    ("triton_tem_fused_flex_attention_0", "", "attention"),
    ("kernel_cutlass_kernel_flash_attncuteflash_fwd_sm90FlashAttentionForwardSm90_object_at__None_0", "", "attention"),
    ("prepare_grouped_gemm_data", "void at::cuda::detail::prepare_grouped_gemm_data<cutlass::bfloat16_t>", "gemm"),
    ("triton_mm_kernel_0", "triton_mm_kernel_0", "gemm"),
    ("nobody_knows_this", "", OTHER),
    ("device_kernel", "", OTHER),
    ("Kernel2", "", "gemm"),
]  # fmt: skip


TABLE = Path(__file__).with_name("kernel_names.tsv")
ROWS = [tuple(line.split("\t")) for line in TABLE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


def test_families_of_real_kernels() -> None:
    assert len(ROWS) > 700
    assert {family for family, _, _ in ROWS} == set(families())

    wrong = [(full, family, kernel_family(short or full, full)) for family, short, full in ROWS]

    assert [row for row in wrong if row[1] != row[2]] == []


def test_the_name_alone_tells_the_family_of_what_is_no_template_of_everything() -> None:
    """Traces of old nsys, and names without templates, have nothing else."""
    generic = re.compile(
        r"elementwise|reduce_kernel|multi_tensor|device_kernel|Kernel2?$|^kernel$|_kernel_agent|^kentry$|op_kernel$"
    )
    names = [(function_name(full).rpartition("::")[2], family) for family, _, full in ROWS]
    scoped = {"compute_grad_weight", "dispatch", "combine", "prepare_varlen_num_blocks_kernel", "globalKernel"}
    scoped |= {"barrier_on_stream_kernel_threadgroup", "dispatch_ll", "dispatch_kernel", "notify_dispatch"}
    scoped |= {"computeBlockwiseWithinKCounts", "indexSelectSmallIndex", "indexSelectLargeIndex"}

    wrong = [(name, family) for name, family in names if not generic.search(name) and kernel_family(name) != family]

    assert {name for name, _ in wrong} <= scoped


@pytest.mark.parametrize(
    ("full", "name"),
    [
        ("nvjet_sm90_tst_64x8", "nvjet_sm90_tst_64x8"),
        ("void a::b<c<d, (int)4>, e>::kernel<x::y<z>>(int, float*)", "a::b::kernel"),
        ("void at::native::<unnamed>::f<[lambda() (instance 1)]>(T1)", "at::native::unnamed::f"),
        ("void (anonymous namespace)::f<T1>(T2*)", "unnamed::f"),
        ("std::enable_if<!T7, void>::type internal::gemvx::kernel<int, float>(T13)", "internal::gemvx::kernel"),
        ("void f<" + "a<" * 20 + ">" * 21 + "(int)", "f"),
        ("", ""),
    ],
)
def test_function_name(full: str, name: str) -> None:
    assert function_name(full) == name


@pytest.mark.parametrize(("short", "full", "family"), NAMES, ids=[f"{name[0][:40]}-{name[2]}" for name in NAMES])
def test_family_of_a_name(short: str, full: str, family: str) -> None:
    assert kernel_family(short, full or None) == family


def test_unnamed_kernels_are_other() -> None:
    assert kernel_family(None) == OTHER
    assert families()[-1] == OTHER


@pytest.mark.parametrize("name", real_traces.NAMES)
def test_little_time_is_left_over(name: str, tmp_path: Path) -> None:
    path = real_traces.unpack_by_name(name, tmp_path)
    times: Counter[str] = Counter()
    with closing(sqlite3.connect(path)) as trace:
        names = dict(trace.execute("SELECT id, value FROM StringIds"))
        for short, full, time in trace.execute(
            'SELECT shortName, demangledName, sum("end" - start) FROM CUPTI_ACTIVITY_KIND_KERNEL GROUP BY 1, 2'
        ):
            times[kernel_family(names[short], names[full])] += time

    assert times[OTHER] < 0.02 * times.total(), times
