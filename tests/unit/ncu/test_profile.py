"""What ncu printed, read back: both of its CSV layouts, units, values it does not have."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsys_pipeline.ncu import KernelCounters, read_csv, summed
from nsys_pipeline.rules.kernels import short_name

HEADER = ("dram__bytes_read", "dram__bytes_write", "gpu__time_duration", "sm__ops_path_tensor_src_bf16_dst_fp32")
INSTRUCTIONS = tuple(f"smsp__sass_thread_inst_executed_op_{name}_pred_on" for name in ("fadd", "ffma", "fmul"))
COLUMNS = ",".join(f'"{name}.sum"' for name in HEADER + INSTRUCTIONS)
RAW = f"""==PROF== Profiling
"ID","Kernel Name",{COLUMNS}
"","","Mbyte","byte","us","","inst","inst","inst"
"0","void ns::gemm<float, (int)4>(int)","1.5","500","2","4,000,000","10","20","30"
"1","void ns::gemm<float, (int)4>(int)","0.5","500","3","1000000","0","0","0"
"2","copy(int)","n/a","500","1","0","1","1","1"
"""
LONG = """"ID","Kernel Name","Metric Name","Metric Unit","Metric Value"
"0","gemm","gpu__time_duration.sum","ns","1,500"
"0","gemm","dram__bytes_read.sum","byte","10"
"0","gemm","dram__bytes_write.sum","byte","20"
"0","gemm","sm__throughput.avg","%","33"
"""


def test_the_raw_page() -> None:
    gemm, copy = summed(read_csv(RAW).kernels)

    assert (gemm.name, gemm.count, gemm.time_ns) == ("gemm", 2, 5000)
    assert (gemm.tensor_flops, gemm.other_flops, gemm.flops) == (5e6, 10 + 2 * 20 + 30, 5e6 + 80)
    assert (gemm.dram_read_bytes, gemm.dram_write_bytes, gemm.dram_bytes) == (2e6, 1000, 2_001_000)
    assert (copy.dram_read_bytes, copy.dram_bytes) == (None, None)


def test_the_details_page() -> None:
    (gemm,) = read_csv(LONG).kernels

    assert (gemm.time_ns, gemm.dram_bytes, gemm.flops) == (1500, 30, None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("void at::native::<unnamed>::cat<float, 3>(int)", "cat"),
        ("void at::native::elementwise_kernel<(int)128, at::f(int)::{lambda(int)#1}>(int, T1)", "elementwise_kernel"),
        ("void (anonymous namespace)::softmax<c10::Half>(T1 *)", "softmax"),
        ("nvjet_sm90_tst_64x8", "nvjet_sm90_tst_64x8"),
        ("", ""),
    ],
)
def test_names_are_shortened_as_nsys_shortens_them(name: str, expected: str) -> None:
    assert short_name(name) == expected


def test_names_that_ncu_cut_scopes_out_of_are_known() -> None:
    # given names of an eager Llama's kernels in the CSV of ncu 2025.3.1, and of the same launches in its log
    text = (Path(__file__).resolve().parents[2] / "counters" / "ncu_names.tsv").read_text()
    pairs = [line.split("\t") for line in text.splitlines()]

    assert [KernelCounters.of(full, {}).name for _, full in pairs] == [name for name, _ in pairs]
    assert any(" unnamed>::" in full for _, full in pairs)


@pytest.mark.parametrize(
    ("capability", "cells", "flops"),
    [
        ("8.0", ("0", "4000", "5", "n/a"), 4005),  # an A100 has no counter of fp8
        ("12.0", ("1", "2", "3", "4"), 10),
        ("9.0", ("4000", "4000", "4000", "n/a"), 4000),  # one counts every kind
        ("", ("4000", "7", "7", "7"), 4000),
        ("9.0", ("n/a", "4000", "n/a", "n/a"), 4000),
        ("8.6", ("n/a", "n/a", "n/a", "n/a"), None),
    ],
)
def test_tensor_flops_are_the_sum_where_each_kind_of_input_is_counted_apart(
    capability: str, cells: tuple[str, ...], flops: int | None
) -> None:
    paths = ("bf16_dst_fp32", "fp16_dst_fp32", "tf32_dst_fp32", "fp8")
    columns = ",".join(f'"sm__ops_path_tensor_src_{path}.sum"' for path in paths)
    row = ",".join(f'"{cell}"' for cell in cells)
    text = f'"ID","Kernel Name","CC",{columns},"gpu__time_duration.sum"\n"","","","","","","","ns"\n'

    (gemm,) = read_csv(text + f'"0","gemm","{capability}",{row},"9"\n').kernels

    assert (gemm.tensor_flops, gemm.time_ns) == (flops, 9)


def test_a_value_that_is_missing_of_one_kernel_is_not_zero() -> None:
    # given a counter that the GPU has, and that was not collected of the second kernel
    text = '"ID","Kernel Name","CC","sm__ops_path_tensor_src_bf16_dst_fp32.sum","sm__ops_path_tensor_src_fp8.sum"\n'
    text += '"","","","",""\n"0","a","8.9","1","2"\n"1","b","8.9","1","n/a"\n'

    assert [kernel.tensor_flops for kernel in read_csv(text).kernels] == [3, None]
