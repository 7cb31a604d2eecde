"""Kernels of a trace against the model that is said to have run, its layers and its format: rows in, rows out."""

from __future__ import annotations

import duckdb
import pytest

from nsys_pipeline.sqlmods import all_modules, macro_ddl

# A model of 6 layers: query, key and value in one product or in three, gate and up in one or in two, and the head.
MODEL = (6, 25, 43)
MOE = (6, 31, None)
FIT = (6.0, 43.0, 6.0)
FORWARD = (
    "void cutlass::device_kernel<flash::enable_sm90_or_later<flash::FlashAttnFwdSm90<int, Scheduler>>>(T1::Params)"
)
COMBINE = "void cutlass::device_kernel<flash::FlashAttnFwdCombine<cute::tuple<cute::C<(int)8>>>>(T1::Params)"


def verdict(
    passes: dict[str, tuple[float, float, float]],
    model: tuple[int, int, int | None] = MODEL,
    others: tuple[str, ...] = (),
) -> list[tuple[object, ...]]:
    """(phase, attention kernels) that the finding tells; `passes`: attention, product and activation kernels of one."""
    with duckdb.connect() as connection:
        connection.execute("""
            CREATE SCHEMA input; CREATE SCHEMA estimate; CREATE SCHEMA attribute;
            CREATE TABLE input.model AS SELECT 'm' AS name;
            CREATE TABLE input.pass_ops(phase VARCHAR, attention BIGINT, products_min BIGINT, products_max BIGINT);
            CREATE TABLE attribute.pass_kernels(
                phase VARCHAR, attention_kernels DOUBLE, product_kernels DOUBLE, activation_kernels DOUBLE
            );
            CREATE TABLE estimate.phase_costs(phase VARCHAR, gpu_busy_ns BIGINT);
            CREATE TABLE attribute.phase_walls(phase VARCHAR);
            CREATE TABLE attribute.several_passes(phase VARCHAR, passes DOUBLE)
        """)
        for phase, kernels in passes.items():
            connection.execute("INSERT INTO input.pass_ops VALUES (?, ?, ?, ?)", [phase, *model])
            connection.execute("INSERT INTO attribute.pass_kernels VALUES (?, ?, ?, ?)", [phase, *kernels])
        for phase in (*passes, *others):
            connection.execute("INSERT INTO attribute.phase_walls VALUES (?)", [phase])
        connection.execute(f"CREATE TABLE estimate.other_models AS {all_modules()['estimate.other_models'].sql}")
        query = all_modules()["findings.model_does_not_fit"].sql
        return connection.execute(f"SELECT phase, attention_kernels FROM ({query})").fetchall()


@pytest.mark.parametrize(
    ("passes", "told"),
    [
        ({"decode": FIT}, []),
        ({"decode": (8, 33, 8)}, [("decode", 8)]),
        # What 8 layers have with nothing fused, and 6 could never have; and what 6 may have, too.
        ({"decode": (8, 58, 8)}, [("decode", 8)]),
        ({"decode": (8, 40, 8)}, [("decode", 8)]),
        ({"decode": (5, 21, 5), "prefill": (5, 20.5, 5)}, [("decode", 5)]),
        # Towers and drafts run in one phase only.
        ({"decode": (8, 33, 8), "prefill": (40, 210, 9)}, [("decode", 8)]),
        ({"decode": (8, 33, 8), "prefill": FIT}, []),
        ({"decode": (8, 33, 8), "prefill": (9, 37, 9)}, []),
        # Nothing beside attention says how many layers there are: a kernel that combines, by a name that is not known.
        ({"decode": (8, 33, 0)}, []),
        ({"decode": (9, 25, 6)}, []),
        # Layers that differ, and passes that differ.
        ({"decode": (8, 37, 8)}, []),
        ({"decode": (8.1, 33, 8.1)}, []),
        # Two passes in a range, fused; and cross-attention by kernels that nobody knows.
        ({"decode": (12, 42, 12)}, []),
        ({"decode": (3, 25, 3)}, []),
    ],
)
def test_even_passes_tell_another_number_of_layers_exactly(
    passes: dict[str, tuple[float, float, float]], told: list[tuple[str, int]]
) -> None:
    assert verdict(passes) == told


def test_a_few_layers_more_may_be_drafts() -> None:
    model = (28, 113, 197)
    assert verdict({"decode": (30, 122, 30)}, model) == []
    assert verdict({"decode": (36, 145, 36)}, model) == [("decode", 36)]


def test_drafts_that_have_a_phase_of_their_own_hide_the_number() -> None:
    assert verdict({"decode": (8, 33, 8)}, others=("draft",)) == []


@pytest.mark.parametrize("kernels", [(8, 41, 8), (4, 21, 4)])
def test_a_model_with_experts_is_told_too(kernels: tuple[float, float, float]) -> None:
    assert verdict({"decode": kernels}, MOE) == [("decode", kernels[0])]
    assert verdict({"decode": (6, 31, 6)}, MOE) == []


def test_kernels_that_combine_or_prepare_are_no_attention_of_a_layer() -> None:
    # given two passes of six layers, as FlashAttention 3 and SGLang's Triton kernels name them
    kernels = [
        ("device_kernel", FORWARD, "attention", 8),
        ("_fwd_grouped_kernel_stage1", None, "attention", 4),
        ("device_kernel", COMBINE, "attention", 5),
        ("_fwd_kernel_stage2", None, "attention", 4),
        ("create_flashinfer_kv_indices_triton", None, "attention", 2),
        ("fused_recurrent_gated_delta_rule_fwd_kernel", None, "attention", 6),
        ("nvjet_tst_128x8", None, "gemm", 48),
        ("splitKreduce_kernel", None, "gemm", 12),
        ("act_and_mul_kernel", None, "activation", 12),
    ]
    modules = all_modules()
    with duckdb.connect() as connection:
        connection.execute("""
            CREATE SCHEMA attribute; CREATE SCHEMA macros;
            CREATE TABLE attribute.phase_kernels(
                phase VARCHAR, name VARCHAR, full_name VARCHAR, family VARCHAR, "count" BIGINT
            );
            CREATE TABLE attribute.phase_walls AS
                SELECT 'decode' AS phase, 4 AS occurrences, 1 AS warmup_occurrences, 1 AS cold_occurrences;
            CREATE TABLE attribute.phase_devices AS SELECT 'decode' AS phase, 0 AS graph_launch_count
        """)
        connection.executemany("INSERT INTO attribute.phase_kernels VALUES ('decode', ?, ?, ?, ?)", kernels)
        for macro in ("is_attention_helper", "is_split_k_tail"):
            connection.execute(macro_ddl(modules[f"macros.{macro}"]))
        assert connection.execute(modules["attribute.pass_kernels"].sql).fetchall() == [("decode", 6, 24, 6)]


@pytest.mark.parametrize(
    ("dtype", "products", "told"),
    [
        ("fp32", {"prefill": "tf32", "decode": "fp32"}, ["prefill"]),
        # Single rows run without tensor cores, as in bf16; but a trace with nothing in tf32 did not have it on.
        ("tf32", {"prefill": "tf32", "decode": "fp32"}, []),
        ("tf32", {"prefill": "fp32", "decode": "fp32"}, ["decode", "prefill"]),
        ("tf32", {"prefill": "tf32", "decode": "bf16"}, ["decode"]),
    ],
)
def test_with_tf32_on_single_rows_run_in_fp32(dtype: str, products: dict[str, str], told: list[str]) -> None:
    names = {
        "tf32": "sm80_xmma_gemm_f32f32_tf32f32_f32_tn_n_tilesize128x64x32",
        "fp32": "void gemvNSP_kernel<float, float, float, float, 1, 16, 4>",
        "bf16": "nvjet_sm90_tst_128x8_64x12",
    }
    modules = all_modules()
    with duckdb.connect() as connection:
        connection.execute("""
            CREATE SCHEMA input; CREATE SCHEMA estimate; CREATE SCHEMA attribute; CREATE SCHEMA macros;
            CREATE TABLE input.pass_ops(phase VARCHAR, dtype VARCHAR);
            CREATE TABLE estimate.phase_costs(phase VARCHAR);
            CREATE TABLE attribute.phase_kernels(
                phase VARCHAR, name VARCHAR, full_name VARCHAR, family VARCHAR, time_ns BIGINT
            )
        """)
        connection.execute(macro_ddl(modules["macros.product_dtype"]))
        for phase, kernel in products.items():
            connection.execute("INSERT INTO input.pass_ops VALUES (?, ?)", [phase, dtype])
            connection.execute("INSERT INTO estimate.phase_costs VALUES (?)", [phase])
            connection.execute(
                "INSERT INTO attribute.phase_kernels VALUES (?, ?, ?, 'gemm', 9)", [phase, names[kernel], names[kernel]]
            )
        query = modules["findings.products_of_another_dtype"].sql
        assert connection.execute(f"SELECT phase FROM ({query}) ORDER BY phase").fetchall() == [(one,) for one in told]


CACHE_KERNEL = (
    "void vllm::reshape_and_cache_flash_kernel<__nv_bfloat16, {}, (vllm::Fp8KVCacheDataType){}>(__nv_bfloat16*)"
)
FP8, PLAIN = CACHE_KERNEL.format("unsigned char", 1), CACHE_KERNEL.format("__nv_bfloat16", 0)
# FlashInfer's, as nsys and as torch.profiler write them: formats of queries, keys and outputs; or how many elements a
# thread loads at once, and threads for a head.
PAGED_PREFILL = (
    "void flashinfer::BatchPrefillWithPagedKVCacheKernel<flashinfer::KernelTraits<(flashinfer::MaskMode)1, {}, "
    "(flashinfer::PosEncodingMode)0, __nv_bfloat16, {}, __nv_bfloat16, float, int, "
    "flashinfer::DefaultAttention<(bool)0, (bool)0, (bool)0, (bool)0>>, PagedParams>(T2)"
)
EIGHT = ", ".join(f"(unsigned int){size}" for size in (128, 2, 2, 8, 8, 4, 1))
PAGED_DECODE = (
    "void flashinfer::BatchDecodeWithPagedKVCacheKernel<(flashinfer::PosEncodingMode)0, (unsigned int)2, "
    "(unsigned int)1, (unsigned int){}, (unsigned int){}, (unsigned int)2, (unsigned int)4, "
    "flashinfer::DefaultAttention<(bool)0>, Params>(T9)"
)
FLASH_3 = (
    "void cutlass::device_kernel<flash::enable_sm90_or_later<flash::FlashAttnFwdSm90<"
    "flash::CollectiveMainloopFwdSm90<(int)2, cute::tuple<cute::C<(int)1>>, (int)128, cutlass::{}, float, "
    "cutlass::arch::Sm90, (bool)1>>>>(T1::Params)"
)
TENSORRT = "fmhaSm100fKernel_QBfloat16Kv{}H64PagedKvCausalP32VarSeqQ8Kv128"


@pytest.mark.parametrize(
    ("names", "dtype", "told"),
    [
        ([FP8], "bf16", "fp8"),
        ([FP8], "fp8", None),
        ([PLAIN], "bf16", None),
        ([PLAIN], "fp8", "16-bit"),
        ([PLAIN], "fp8_ds_mla", None),
        # Layers that `--kv-cache-dtype-skip-layers` leaves out.
        ([FP8, PLAIN], "bf16", None),
        ([FP8.replace("reshape_and_cache_flash", "indexer_k_quant_and_cache")], "bf16", None),
        ([TENSORRT.format("E4m3OBfloat16")], "bf16", "fp8"),
        ([TENSORRT.format("Bfloat16OE4m3")], "bf16", None),
        (["flash_fwd_splitkv_kernel"], "bf16", None),
        ([PAGED_PREFILL.format(EIGHT, "__nv_fp8_e4m3")], "bf16", "fp8"),
        ([PAGED_PREFILL.format("16u, 1u, 4u, 4u, 4u, 1u, 4u", "__nv_fp8_e5m2")], "bf16", "fp8"),
        ([PAGED_PREFILL.format(EIGHT, "__nv_bfloat16")], "fp8", "16-bit"),
        ([PAGED_PREFILL.format(EIGHT, "__nv_bfloat16")], "bf16", None),
        ([PAGED_PREFILL.format(EIGHT, "__nv_fp8_e4m3").replace("Paged", "Ragged", 1)], "bf16", None),
        # heads of 128: 16 bytes are 8 elements of two bytes for each of 16 threads, or 16 of one for each of 8
        ([PAGED_DECODE.format(8, 16)], "bf16", None),
        ([PAGED_DECODE.format(8, 16)], "fp8", "16-bit"),
        ([PAGED_DECODE.format(16, 8)], "bf16", "fp8"),
        ([PAGED_DECODE.format(16, 8).replace("(unsigned int)16", "16u")], "bf16", "fp8"),
        # heads of 512 take 16 elements of either
        ([PAGED_DECODE.format(16, 32)], "bf16", None),
        ([PAGED_DECODE.format(16, 32)], "fp8", None),
        ([FLASH_3.format("float_e4m3_t")], "bf16", "fp8"),
        ([FLASH_3.format("bfloat16_t")], "fp8", None),
    ],
)
def test_names_of_kernels_say_the_format_of_the_cache(names: list[str], dtype: str, told: str | None) -> None:
    with duckdb.connect() as connection:
        connection.execute("""
            CREATE SCHEMA input; CREATE SCHEMA estimate; CREATE SCHEMA attribute;
            CREATE TABLE input.pass_ops(phase VARCHAR, kv_dtype VARCHAR);
            CREATE TABLE estimate.phase_costs AS SELECT 'decode' AS phase, 7 AS gpu_busy_ns, 9 AS bytes;
            CREATE TABLE attribute.phase_kernels(phase VARCHAR, full_name VARCHAR)
        """)
        connection.execute("INSERT INTO input.pass_ops VALUES ('decode', ?)", [dtype])
        for name in names:
            connection.execute("INSERT INTO attribute.phase_kernels VALUES ('decode', ?)", [name])
        query = all_modules()["findings.cache_of_another_dtype"].sql
        rows = connection.execute(f"SELECT kernel_dtype, dtype FROM ({query})").fetchall()
    assert rows == ([] if told is None else [(told, dtype)])
