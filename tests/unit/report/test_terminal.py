"""Names in a terminal: short, and never two that look like one."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.report.terminal import shortened
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.trace_builder import TraceBuilder

GEMM = "nvjet_sm90_tst_{}_64x8_2x1_v_bz_coopA_bias_TNT"


def test_names_that_fit_stay() -> None:
    assert shortened(["gemm", "softmax"], 16) == ["gemm", "softmax"]


def test_the_middle_goes_first() -> None:
    assert shortened(["ncclDevKernel_AllReduce_Sum_bf16_RING_LL"], 20) == [
        "ncclDevKernel…RING_LL"[:13] + "…" + "ING_LL"
    ]


def test_kernels_that_differ_in_the_middle_keep_what_differs() -> None:
    first, second = shortened([GEMM.format("128x128"), GEMM.format("192x256")], 24)

    assert first != second
    assert "128x128" in first
    assert "192x256" in second
    assert max(len(first), len(second)) <= 24


def test_one_kernel_in_two_rows_is_one() -> None:
    long = GEMM.format("128x128")

    assert shortened([long, long], 24) == [shortened([long], 24)[0]] * 2


@pytest.mark.parametrize("width", range(6, 60))
def test_no_two_names_look_alike_at_any_width(width: int) -> None:
    names = [GEMM.format(f"{a}x{b}") for a in (64, 128, 192, 256) for b in (8, 64, 128, 256)]
    names += [f"triton_red_fused__to_copy__unsafe_view_add_mean_mul_pow_rsqrt_{index}" for index in range(20)]
    names += ["a" * 30 + "b", "a" * 31 + "b", "a" * 32]

    assert len(set(shortened(names, width))) == len(names)


def test_gemms_of_one_short_name_are_rows_of_their_own(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread().push(0, 1000, "prefill")
    names = ("cutlass_80_simt_sgemm_128x128_8x4_tn_align1", "cutlass_80_simt_sgemm_64x64_8x5_tn_align1")
    for index, name in enumerate(names):
        at = 100 * index
        full_name = trace.string(f"void cutlass::Kernel2<{name}>(T1::Params)")
        main.launch(at, gpu=(at + 10, at + 30 + index), name="Kernel2", demangledName=full_name)

    with open_trace(trace.write(tmp_path / "t.sqlite"), TraceOptions(use_cache=False)) as opened:
        kernels = analyze(opened).kernels

    assert [(kernel.name, kernel.count, kernel.family) for kernel in kernels] == [
        (f"Kernel2<{name}>", 1, "gemm") for name in reversed(names)
    ]
