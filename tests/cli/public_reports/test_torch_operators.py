"""Operators of torch.profiler: their FLOPs, and their own GPU time."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.public_reports.common import LLAMA, US, ops, pairs, phase
from tests.cli.run import MS, Cli
from tests.support.kineto import KinetoTrace


def operator_flops(cli: Cli, trace: KinetoTrace) -> list[int | None]:
    """FLOPs of the operators of a trace, in the order of their calls."""
    rows, _ = cli.sql(trace, "SELECT flops FROM operators ORDER BY operator, shapes")
    return [row["flops"] for row in rows]


def test_attention_inside_attention_counts_once(cli: Cli) -> None:
    trace = KinetoTrace()
    trace.annotation("forward", 0, 90_000)
    shapes = [[2, 5, 9, 4], [2, 5, 9, 4], [2, 5, 9, 4], [], [], [], []]
    trace.op("aten::scaled_dot_product_attention", 1_000, 30_000, shapes)
    trace.op("aten::_scaled_dot_product_flash_attention", 2_000, 29_000, shapes)
    trace.op("aten::_flash_attention_forward", 3_000, 28_000, [[2, 9, 5, 4]] * 3)
    trace.launch(10_000, gpu=(20_000, 45_000))

    assert sum(flops or 0 for flops in operator_flops(cli, trace)) == 2 * 2 * 5 * 9 * 9 * (4 + 4)


def test_causal_attention_with_more_keys_than_queries(cli: Cli) -> None:
    trace = KinetoTrace()
    trace.annotation("forward", 0, 90_000)
    inputs = {
        "Input Dims": [[1, 8, 4, 64], [1, 2, 10, 64], [1, 2, 10, 32], [], [], [], [], []],
        "Concrete Inputs": ["", "", "", "", "True", "0.", "True", ""],
    }
    trace.event("cpu_op", "aten::_scaled_dot_product_efficient_attention", 2_000, 29_000, **inputs)
    trace.launch(10_000, gpu=(20_000, 45_000))

    # torch's `is_causal` aligns the mask at the first key; a prompt behind a cache sees all of it.
    assert operator_flops(cli, trace) == [2 * 8 * pairs(4) * (64 + 32)]
    printed = cli.flops(LLAMA, "--prompt-tokens", 4, "--cached-tokens", 6)
    assert ops(printed, "attention") == 4 * 4 * 8 * 64 * (4 * 6 + pairs(4))


def test_layouts_of_attention_differ_by_operator(cli: Cli) -> None:
    # (batch, heads, tokens, size), and (batch, tokens, heads, size) one call further down.
    calls = [
        ("_scaled_dot_product_efficient_attention", [2, 16, 8, 64]),
        ("_efficient_attention_forward", [2, 8, 16, 64]),
    ]
    trace = KinetoTrace()
    for number, (name, shape) in enumerate(calls):
        trace.op(f"aten::{name}", 1_000 * (number + 1), 20_000 - 1_000 * number, [shape] * 3)
    trace.launch(5_000, gpu=(25_000, 30_000))

    rows, _ = cli.sql(trace, "SELECT sum(flops) AS n FROM operators")

    assert rows == [{"n": 2 * 2 * 2 * 16 * 8 * 8 * 64}]


def operators(cli: Cli, *called: tuple[str, Any]) -> dict[str, int | None]:
    """FLOPs by name of the operators, called one after the other; an operator in an operator begins with a blank."""
    trace = KinetoTrace()
    trace.annotation("decode", 0, 900_000)
    for number, (name, dims) in enumerate(called):
        at = 1_000 + number * 20_000 - (19_000 if name[0] == " " else 0)
        trace.op(f"aten::{name.strip()}", at, at + (5_000 if name[0] == " " else 15_000), dims)
        trace.launch(at + 1_000, gpu=(at + 5_000, at + 9_000))
    rows, _ = cli.sql(trace, "SELECT operator, flops FROM operators")
    return {row["operator"].removeprefix("aten::"): row["flops"] for row in rows}


def test_attention_by_any_name_has_flops_or_none(cli: Cli) -> None:
    qkv = [[1, 12, 64, 64]] * 3
    kinds = ("flash_attention_for_cpu", "flash_attention", "efficient_attention", "cudnn_attention")

    found = operators(cli, *((f"_scaled_dot_product_{kind}", qkv) for kind in kinds), ("my_attention", qkv))

    assert found.pop("my_attention") is None
    # Two products of 12 heads: 64 queries, 64 keys, 64 values wide.
    assert found == {f"_scaled_dot_product_{kind}": 2 * 2 * 12 * 64 * 64 * 64 for kind in kinds}


def test_gradients_of_grouped_queries_count_the_heads_of_queries(cli: Cli) -> None:
    queries, keys = [1, 8, 16, 64], [1, 2, 16, 64]
    trace = KinetoTrace()
    name = "aten::_scaled_dot_product_flash_attention_backward"
    trace.op(name, 0, 10_000, [queries, queries, keys, keys, queries])
    trace.launch(1_000, gpu=(20_000, 45_000))

    # Scores again, gradients of queries and keys over the width of keys; of scores and values over that of values.
    assert operator_flops(cli, trace) == [2 * 8 * 16 * 16 * (3 * 64 + 2 * 64)]


@pytest.mark.parametrize(
    ("weight", "data", "groups", "multiply_adds"),
    [
        ([4, 6, 4, 4], [2, 4, 8, 8], 1, 49_152),
        ([4, 1, 3, 3], [2, 4, 8, 8], 4, 4_608),
        ([6, 2, 2, 2], [2, 6, 8, 8], 3, 6_144),
    ],
)
def test_transposed_convolutions_of_groups(
    weight: list[int], data: list[int], groups: int, multiply_adds: int, cli: Cli
) -> None:
    trace = KinetoTrace()
    trace.annotation("forward", 0, 90_000)
    values = ["", "", "", "[2, 2]", "[1, 1]", "[1, 1]", "True", "[0, 0]", str(groups)]
    inputs = {"Input Dims": [data, weight, [], [], [], [], [], [], []], "Concrete Inputs": values}
    trace.event("cpu_op", "aten::convolution", 2_000, 29_000, **inputs)
    trace.launch(10_000, gpu=(20_000, 45_000))

    assert operator_flops(cli, trace) == [2 * multiply_adds]


def test_products_of_vectors_and_of_broadcast_batches(cli: Cli) -> None:
    found = operators(
        cli,
        ("dot", [[8], [8]]),
        ("mv", [[4, 8], [8]]),
        ("addmv", [[4], [4, 8], [8], [], []]),
        ("addmm", [[5], [4, 8], [8, 5], [], []]),
        # (2, 1, 4, 8) times (3, 8, 5).
        ("matmul", [[2, 1, 4, 8], [3, 8, 5]]),
        (" bmm", [[6, 4, 8], [6, 8, 5]]),
    )

    assert found == {"dot": 16, "mv": 64, "addmv": 64, "addmm": 320, "matmul": None, "bmm": 1920}


@pytest.mark.parametrize(
    ("width", "scales", "packed"),
    [(4096, [], 1), (4096, [256, 1], 1), (4096, [256, 32], 1), (4096, [2, 32], 1), (4096, [256 * 128], 1),
     (2048, [256 * 256], 2), (2048, [256, 128], 2), (2048, [65536], 2), (64, [256 * 4], None)],
)  # fmt: skip
def test_shapes_of_packed_operands_count_pairs_of_values(
    width: int, scales: list[int], packed: int | None, cli: Cli
) -> None:
    trace = KinetoTrace()
    trace.op("aten::_scaled_mm", 0, 10_000, [[256, width], [width, 512], scales, scales])
    trace.launch(1_000, gpu=(20_000, 45_000))

    assert operator_flops(cli, trace) == [packed and 2 * 256 * width * packed * 512]


def test_kernels_that_torch_compiles_have_no_flops_of_operators(cli: Cli) -> None:
    """A product of torch, and one that Inductor generated, which takes four times as long and has no operator."""
    trace = KinetoTrace()
    trace.annotation("forward", 0, 300_000)
    for at, name, duration in ((0, "aten::mm", 20_000), (100_000, "triton_tem_fused_mm_0", 80_000)):
        trace.op(name, at, at + 50_000, [[64, 128], [128, 256]])
        trace.launch(at + 1000, gpu=(at + 10_000, at + 10_000 + duration), name=name)

    rows, err = cli.sql(trace, "SELECT operator, flops FROM operators")
    families, _ = cli.sql(trace, "SELECT name, family FROM kernels ORDER BY name")

    assert rows == [{"operator": "aten::mm", "flops": 2 * 64 * 128 * 256}]
    assert "in forward 80 % of the GPU time was launched outside every operator of torch" in err
    assert "kernels that torch.compile generates" in err
    assert {"name": "triton_tem_fused_mm_0", "family": "gemm"} in families


def test_wrappers_have_no_gpu_time_of_their_own(cli: Cli) -> None:
    """A softmax with a cast inside: 300 and 100 µs on the GPU, under three wrappers and two annotations."""
    trace = KinetoTrace()
    nested = [("softmax", 10, 60), ("to", 11, 30), ("_to_copy", 12, 29), ("copy_", 13, 28), ("_softmax", 31, 59)]
    for step in range(4):
        at = step * MS
        trace.annotation("decode", at, at + 900 * US)
        trace.annotation("auto_dtype", at + 5 * US, at + 800 * US)
        for name, start, end in nested:
            trace.op(f"aten::{name}", at + start * US, at + end * US, [[16, 8, 512, 512]])
        trace.launch(at + 14 * US, gpu=(at + 100 * US, at + 200 * US), name="elementwise_kernel")
        trace.launch(at + 33 * US, gpu=(at + 200 * US, at + 500 * US), name="softmax_warp_forward")
        trace.event("gpu_user_annotation", "decode", at + 100 * US, at + 500 * US, 0, 7)
        trace.event("gpu_user_annotation", "auto_dtype", at + 100 * US, at + 500 * US, 0, 7)

    report = cli.analyze(trace)

    own = {one["operator"]: one["gpu_self_ns"] for one in report["torch_operators"]}
    whole = {one["operator"]: one["gpu_time_ns"] for one in report["torch_operators"]}
    assert {name: time for name, time in own.items() if time} == {
        "aten::_softmax": 1200 * US, "aten::copy_": 400 * US,
    }  # fmt: skip
    assert (whole["aten::softmax"], whole["aten::to"]) == (1600 * US, 400 * US)
    assert sum(own.values()) == report["totals"]["kernel_time_ns"] == phase(report, "decode")["gpu_busy_ns"]


def test_times_of_operators_inside_each_other_add_up_once(cli: Cli) -> None:
    trace = KinetoTrace()
    trace.annotation("forward", 0, 90_000)
    for at in range(0, 80_000, 20_000):
        for depth, name in enumerate(("aten::linear", "aten::matmul", "aten::mm")):
            trace.op(name, at + 1000 * depth, at + 15_000 - 1000 * depth, [[4, 8], [8, 8]])
        trace.launch(at + 3000, gpu=(at + 5_000, at + 17_000))

    rows, _ = cli.sql(
        trace,
        "SELECT operator, gpu_time_ns AS whole, gpu_self_ns AS own, gpu_self_ratio AS share "
        "FROM operators ORDER BY own",
    )

    assert {row["operator"]: row["whole"] for row in rows} == dict.fromkeys(
        ("aten::linear", "aten::matmul", "aten::mm"), 48_000
    )
    assert [row["own"] for row in rows] == [0, 0, 48_000]
    assert sum(row["share"] for row in rows) == 1


def test_operators_in_operators_have_each_kernel_once(cli: Cli) -> None:
    trace = KinetoTrace()
    trace.annotation("forward", 0, 900_000)
    chains = [("conv2d", "convolution", "_convolution", "cudnn_convolution"), ("linear", "addmm")] * 3
    for number, chain in enumerate(chains):
        at = 1_000 + number * 100_000
        for depth, name in enumerate(chain):
            trace.op(f"aten::{name}", at + depth * 1_000, at + 30_000 - depth * 1_000)
        took = 50_000 if number % 2 == 0 else 20_000
        trace.launch(at + 5_000, gpu=(at + 10_000, at + 10_000 + took))

    report = cli.analyze(trace, "--top", 10)

    found = {one["operator"].removeprefix("aten::"): one for one in report["torch_operators"]}
    inner = {"cudnn_convolution": 150_000, "addmm": 60_000}
    assert {name: one["gpu_self_ns"] for name, one in found.items()} == {
        name: inner.get(name, 0) for chain in chains[:2] for name in chain
    }
    assert sum(inner.values()) == phase(report, "forward")["kernel_time_ns"]
    for chain in chains[:2]:
        assert {found[name]["gpu_time_ns"] for name in chain} == {inner[chain[-1]]}
