"""Operators of torch by phase and shapes: against sums in Python, nsys against Kineto, FLOPs against torch's count."""

from __future__ import annotations

import json
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.inputs.operator_shapes import operator_cost
from nsys_pipeline.report.document import Table
from nsys_pipeline.report.sections import report_document
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.ask import open_session
from tests.support.kineto import KinetoTrace
from tests.support.trace_builder import TraceBuilder

GEMM = "sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64"
MM = [[512, 1024], [1024, 2048]]


def ask(trace: Path, query: str) -> list[tuple[Any, ...]]:
    with open_session(trace, trace.parent) as session, session.query(query) as result:
        return list(result.rows())


def _nested() -> KinetoTrace:
    trace = KinetoTrace()
    trace.annotation("prefill", 0, 900_000)
    trace.op("aten::linear", 10_000, 100_000, [*MM, []])
    trace.annotation("my part", 15_000, 95_000)
    trace.op("aten::mm", 20_000, 60_000, MM)
    trace.launch(30_000, gpu=(40_000, 140_000), name=GEMM)
    trace.launch(70_000, gpu=(140_000, 141_000), name="bias")
    trace.op("aten::add", 200_000, 300_000, [[4], [4], []])
    trace.op("aten::add", 210_000, 290_000, [[4], [4], []])
    trace.launch(220_000, gpu=(230_000, 231_000), name="add_kernel")
    trace.op("aten::relu", 1_000_000, 1_001_000)
    # None of these is an operator.
    trace.annotation("cub::DeviceScan", 1_010_000, 1_011_000)
    trace.op("autograd::engine::evaluate_function: MmBackward0", 1_020_000, 1_021_000)
    return trace


def test_self_and_total_on_a_trace_that_can_be_added_up_by_hand(tmp_path: Path) -> None:
    path = _nested().write(tmp_path / "trace.json")

    rows = ask(
        path,
        "SELECT phase, operator, calls, host_time_ns, host_self_ns, gpu_time_ns, gpu_self_ns, flops FROM operators "
        "ORDER BY operator",
    )

    assert rows == [
        ("prefill", "aten::add", 2, 100_000, 100_000, 1_000, 1_000, None),
        ("prefill", "aten::linear", 1, 90_000, 50_000, 101_000, 1_000, None),
        ("prefill", "aten::mm", 1, 40_000, 40_000, 100_000, 100_000, 2 * 512 * 1024 * 2048),
        (None, "aten::relu", 1, 1_000, 1_000, 0, 0, None),
    ]


def test_each_kernel_has_its_operator_or_a_reason(tmp_path: Path) -> None:
    rows = ask(
        _nested().write(tmp_path / "trace.json"),
        "SELECT name, operator, source, flops::BIGINT, bytes::BIGINT, reason FROM kernel_operators ORDER BY kernel_id",
    )

    assert rows == [
        (GEMM, "aten::mm", "operators", 2 * 512 * 1024 * 2048, 2 * (512 * 1024 + 1024 * 2048 + 512 * 2048), None),
        # Innermost around it is somebody's annotation.
        ("bias", None, None, None, None, "the estimate counts products and attention alone, and this is neither"),
        ("add_kernel", "aten::add", "operators", None, None, "the FLOPs of aten::add are not known"),
    ]


def test_rate_and_roofline(tmp_path: Path) -> None:
    path = _nested().write(tmp_path / "trace.json")

    (row,) = ask(path, "SELECT flops_per_s, bytes, sol_ns, roofline_ratio FROM operators WHERE flops IS NOT NULL")
    ((peak, bandwidth),) = _peaks(path)

    flops, size = 2 * 512 * 1024 * 2048, 2 * (512 * 1024 + 1024 * 2048 + 512 * 2048)
    sol_ns = max(flops / peak, size / bandwidth) * 1e9
    assert row == (pytest.approx(flops / 100e-6), size, pytest.approx(sol_ns), pytest.approx(sol_ns / 100_000))


def _peaks(path: Path) -> list[tuple[Any, ...]]:
    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        analyze(opened)
        peaks = "SELECT flops_per_s, bandwidth_bytes_per_s FROM input.peaks WHERE dtype = 'bf16'"
        return opened.connection.execute(peaks).fetchall()


def test_the_same_table_from_the_ranges_of_emit_nvtx(tmp_path: Path) -> None:
    kineto = _nested().write(tmp_path / "trace.json")
    builder = TraceBuilder().gpu()
    thread = builder.process(pid=4711).thread(4711)
    number = 0
    for event in json.loads(kineto.read_text(), parse_float=Decimal)["traceEvents"]:
        if event["ph"] != "X":
            continue
        start = int(event["ts"] * 1000) - _first(kineto)
        end = start + int(event["dur"] * 1000)
        if event["cat"] == "cpu_op":
            number += 1
            dims = event["args"].get("Input Dims")
            sizes = f", sizes = {dims}, input_op_ids = [[{number}, 0]]" if dims else ""
            thread.push(start, end, f"{event['name']}, seq = {number}, op_id = {number}{sizes}")
        elif event["cat"] == "user_annotation":
            thread.push(start, end, event["name"])
        elif event["cat"] == "cuda_runtime":
            call = start, end
        else:
            thread.launch(call[0], gpu=(start, end), name=event["name"])
    query = (
        "SELECT phase, operator, shapes, calls, host_time_ns, host_self_ns, gpu_time_ns, gpu_self_ns, flops, sol_ns "
        "FROM operators ORDER BY ALL"
    )

    assert ask(builder.write(tmp_path / "nsys.sqlite"), query) == ask(kineto, query)


def _first(kineto: Path) -> int:
    events = json.loads(kineto.read_text(), parse_float=Decimal)["traceEvents"]
    return min(int(event["ts"] * 1000) for event in events if event["ph"] == "X")


@pytest.mark.parametrize("seed", range(2))
def test_random_trees_add_up(seed: int, tmp_path: Path) -> None:
    random, trace = Random(seed), KinetoTrace()
    trace.annotation("decode", 0, 10_000_000)
    for tid in (4711, 4712):
        _tree(random, trace, 0, 1_000_000, tid)
    path = trace.write(tmp_path / "trace.json")

    found = ask(
        path,
        "SELECT operator, sum(calls), sum(host_time_ns), sum(host_self_ns), sum(gpu_time_ns), sum(gpu_self_ns) "
        "FROM operators GROUP BY operator ORDER BY operator",
    )

    assert found == sorted((name, *sums) for name, sums in _by_stack(trace).items())


def _tree(random: Random, trace: KinetoTrace, start: int, end: int, tid: int, depth: int = 0) -> None:
    """Calls inside each other, one after the other, with launches between them."""
    at = start
    while end - at > 10_000 and depth < 5:
        length = random.randrange(5_000, max(5_001, (end - at) // 2))
        if random.random() < 0.4:
            trace.launch(at, gpu=(2_000_000, 2_000_000 + random.randrange(1, 9_999)), name="k", tid=tid)
            at += 3_000
        elif random.random() < 0.2:
            trace.annotation("part", at, at + length, tid=tid)
            _tree(random, trace, at + 10, at + length - 10, tid, depth + 1)
            at += length + 1
        else:
            trace.op(
                random.choice(["aten::a", "aten::b", "my_lib::c"]), at, at + length, [[random.randrange(2)]], tid=tid
            )
            _tree(random, trace, at + 10, at + length - 10, tid, depth + 1)
            at += length + 1


def _by_stack(trace: KinetoTrace) -> dict[str, list[int]]:
    """Operator → calls, host total and self, GPU total and self, by looking at every pair of events."""

    def ns(event: dict[str, Any]) -> tuple[int, int]:
        start = int(Decimal(event["ts"]) * 1000)
        return start, start + int(Decimal(event["dur"]) * 1000)

    events = [event for event in trace.events if event["ph"] == "X"]
    work = {one["args"]["correlation"]: ns(one)[1] - ns(one)[0] for one in events if one["cat"] == "kernel"}
    ops = [(one["name"], one["tid"], *ns(one)) for one in events if one["cat"] == "cpu_op"]
    sums: dict[str, list[int]] = defaultdict(lambda: [0] * 5)

    def around(tid: int, start: int, end: int) -> list[tuple[str, int, int, int]]:
        """Operators of the thread around these times, the outermost first."""
        return sorted((op for op in ops if op[1] == tid and op[2] <= start and end <= op[3]), key=lambda op: op[2])

    for name, tid, start, end in ops:
        chain = around(tid, start, end)[:-1]
        sums[name][0] += 1
        sums[name][1] += 0 if any(outer[0] == name for outer in chain) else end - start
        sums[name][2] += end - start
        if chain:
            sums[chain[-1][0]][2] -= end - start
    for event in events:
        if event["cat"] != "cuda_runtime":
            continue
        chain = around(event["tid"], ns(event)[0], ns(event)[0])
        for name in {op[0] for op in chain}:
            sums[name][3] += work[event["args"]["correlation"]]
        if chain:
            sums[chain[-1][0]][4] += work[event["args"]["correlation"]]
    return sums


def test_what_autograd_launches_has_the_phase_of_its_work(tmp_path: Path) -> None:
    trace = KinetoTrace()
    trace.meta("thread_name", 4711, 5, name="thread 5 (pt_autograd_0)")
    trace.annotation("backward", 0, 100_000)
    trace.op("autograd::engine::evaluate_function: MmBackward0", 9_000, 60_000, tid=5)
    trace.op("aten::mm", 10_000, 50_000, MM, tid=5)
    trace.launch(20_000, gpu=(30_000, 40_000), name=GEMM, tid=5)
    path = trace.write(tmp_path / "trace.json")

    assert ask(path, "SELECT phase, operator, gpu_self_ns FROM operators") == [("backward", "aten::mm", 10_000)]


def test_flops_equal_those_of_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    from torch.profiler import ProfilerActivity, profile
    from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

    def run() -> None:
        functional.linear(torch.randn(3, 5, 16), torch.randn(7, 16), torch.randn(7))
        torch.baddbmm(torch.randn(2, 3, 4), torch.randn(2, 3, 5), torch.randn(2, 5, 4))
        torch.matmul(torch.randn(2, 3, 5), torch.randn(2, 5, 4))
        functional.conv1d(torch.randn(2, 3, 17), torch.randn(6, 3, 3), stride=2, padding=1)
        functional.conv2d(torch.randn(1, 4, 15, 9), torch.randn(8, 2, 3, 2), stride=(2, 1), dilation=2, groups=2)
        functional.conv_transpose2d(torch.randn(1, 4, 5, 5), torch.randn(4, 3, 2, 2), stride=2)

    q, kv = torch.randn(2, 4, 6, 8), torch.randn(2, 4, 10, 8)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], record_shapes=True) as recorded:
        run()
        # The counter does not know what this is on the CPU.
        functional.scaled_dot_product_attention(q, kv, kv)
    path = tmp_path / "trace.json"
    recorded.export_chrome_trace(str(path))

    ((flops,),) = ask(path, "SELECT sum(flops)::BIGINT FROM operators")

    assert flops == counter.get_total_flops() + sdpa_flop_count(q.shape, kv.shape, kv.shape)


_Q, _K, _V = [1, 8, 4, 16], [1, 2, 4, 16], [1, 2, 4, 32]
_KV = [1, 1, 5, 16]


@pytest.mark.parametrize(
    ("operator", "shapes", "arguments", "flops"),
    [
        ("aten::_scaled_dot_product_flash_attention", str([_Q, _K, _V]), "", 2 * 8 * 16 * 48),
        ("aten::_scaled_dot_product_flash_attention", str([_Q, _K, _V]), "is_causal = True", 2 * 8 * 10 * 48),
        ("aten::_scaled_dot_product_cudnn_attention_backward", str([[1, 1, 4, 16], [1, 1, 4, 16], _KV, _KV]), "",
         2 * 20 * 5 * 16),
        ("aten::_grouped_mm", "[[10, 4], [3, 4, 5], [3], [], []]", "", 2 * 10 * 4 * 5),
        ("aten::mv", "[[3, 4], [4]]", "", 24),
        ("aten::dot", "[[4], [4]]", "", 8),
        ("aten::convolution", "[[1, 3, 8, 8], [4, 3, 3, 3], []]", "", None),
        ("aten::mm", "[[3, 4], [5, 6]]", "", None),
        ("aten::mm", "[[3, 4]]", "", None),
        ("aten::mm", "[[3, 4], [4, 9223372036854775807]]", "", None),
        ("aten::mm", "[[[[[[", "", None),
        ("aten::mm", "[[-3, 4], [4, 5]]", "", None),
        ("aten::add", "[[4], [4]]", "", None),
        ("aten::convolution", "[[1, 3, 8, 8], [4, 3, 3, 3], []]",
         "stride = [0, 1], padding = [0, 0], dilation = [1, 1], transposed = False", None),
    ],
)  # fmt: skip
def test_flops_of_shapes(operator: str, shapes: str, arguments: str, flops: int | None) -> None:
    cost = operator_cost(operator, shapes, arguments)

    assert (cost and cost[0]) == flops


@pytest.mark.parametrize(("rows", "groups_read"), [(2, 2), (3, 3), (10, 3)])
def test_a_grouped_product_reads_no_more_groups_than_it_has_rows(rows: int, groups_read: int) -> None:
    """One token of a mixture of experts reads the experts that it chose, not all of them."""
    cost = operator_cost("aten::_grouped_mm", str([[rows, 4], [3, 4, 5], [3], [], []]), "")

    assert cost == (2 * rows * 4 * 5, rows * 4 + groups_read * 4 * 5 + rows * 5)


def test_the_report_shows_as_many_as_asked_for(tmp_path: Path) -> None:
    path = _nested().write(tmp_path / "trace.json")
    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        report = analyze(opened, AnalysisOptions(top_kernels=1))

    assert [(row.phase, row.operator) for row in report.torch_operators] == [
        ("prefill", "aten::mm"),
        (None, "aten::relu"),
    ]
    assert "torch operators" in {section.name for section in report_document(report).sections}


def test_operators_without_shapes_are_said(tmp_path: Path) -> None:
    trace = KinetoTrace()
    trace.op("aten::mm", 0, 5_000)
    path = trace.write(tmp_path / "trace.json")

    (row,) = ask(path, "SELECT message FROM findings WHERE code = 'operators_without_shapes'")
    assert row[0].startswith("the 1 calls")


def test_the_innermost_marked_module_of_an_operator_is_said(tmp_path: Path) -> None:
    trace = KinetoTrace()
    trace.annotation("prefill", 0, 900_000)
    trace.annotation("llmperf:vision.tower", 5_000, 95_000)
    trace.op("aten::mm", 10_000, 20_000, MM)
    trace.launch(12_000, gpu=(40_000, 50_000), name=GEMM)
    trace.annotation("llmperf:vision.sam", 30_000, 60_000)
    trace.op("aten::mm", 35_000, 50_000, MM)
    for index, start in enumerate((100_000, 300_000)):
        trace.annotation(f"llmperf:layer.{index}.attn", start, start + 100_000)
        trace.op("aten::mm", start, start + 50_000, MM)
    # Between two marked blocks.
    trace.op("aten::mm", 250_000, 260_000, MM)
    path = trace.write(tmp_path / "trace.json")

    rows = ask(path, "SELECT module, calls, gpu_self_ns FROM operators ORDER BY module")
    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        section = next(s for s in report_document(analyze(opened)).sections if s.name == "torch operators")

    assert rows == [("layer.attn", 2, 0), ("vision.sam", 1, 0), ("vision.tower", 1, 10_000), (None, 1, 0)]
    (found,) = section.blocks
    assert isinstance(found, Table)
    assert [column.heading for column in found.columns][:2] == ["phase", "module"]
