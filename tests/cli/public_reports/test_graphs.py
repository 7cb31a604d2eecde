"""CUDA graphs: whole, by their nodes, hidden, recorded inside a step, and the gaps around them."""

from __future__ import annotations

import pytest

from tests.cli.public_reports.common import MODULE, US, codes, message, outside, phase
from tests.cli.run import MS, Cli
from tests.support.kineto import KinetoTrace
from tests.support.trace_builder import TraceBuilder


def test_whole_graphs_and_their_calls_count_once(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 50 * MS, "decode")
    main.graph_launch(MS, gpu=(2 * MS, 12 * MS)).graph_launch(20 * MS, gpu=(21 * MS, 30 * MS))
    main.launch(32 * MS, gpu=(33 * MS, 34 * MS))

    report = cli.analyze(trace)

    decode = phase(report, "decode")
    assert (decode["kernel_count"], decode["graph_launch_count"], decode["gpu_busy_ns"]) == (1, 2, 20 * MS)
    assert "whole_graphs" in codes(report)


def test_the_kernels_of_a_graph_have_one_launch(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 60 * MS, "decode")
    main.graph_launch(MS, nodes=[(3 * MS + 1000 * node, 3 * MS + 1000 * node + 900) for node in range(400)])

    rows, _ = cli.sql(trace, "SELECT kernel_count, launch_call_count, api_time_ns FROM phases")

    assert rows == [{"kernel_count": 400, "launch_call_count": 1, "api_time_ns": 2}]


def test_kernels_of_a_graph_without_its_call(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    process = trace.process()
    process.thread().push(0, 50 * MS, "decode").launch(MS, gpu=(2 * MS, 3 * MS))
    process.kernel((4 * MS, 9 * MS), correlation=777, name="node", graphNodeId=1 << 32)

    report = cli.analyze(trace)

    assert phase(report, "decode")["kernel_count"] == 1
    assert report["unattributed"]["reasons"] == {"no_api_call": {"count": 1, "time_ns": 5 * MS}}


def test_kernels_that_a_replay_launches_beside_its_graph(cli: Cli) -> None:
    """Two fills before each graph of a hundred nodes."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    fill = "void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<long>>"
    for at in range(0, 60 * MS, 10 * MS):
        main.push(at, at + 9 * MS, "decode")
        for start in (at + 300 * US, at + 320 * US):
            main.launch(start, gpu=(start + 20 * US, start + 22 * US), name=fill)
        starts = range(at + 500 * US, at + 2_500 * US, 20 * US)
        main.graph_launch(at + 400 * US, nodes=[(start, start + 15 * US) for start in starts])

    decode = phase(cli.analyze(trace), "decode")
    rows, _ = cli.sql(trace, "SELECT node_count FROM graph_launches")

    assert (decode["kernel_count"], decode["launch_call_count"]) == (6 * 102, 6 * 3)
    assert decode["gpu_busy_ns"] == 6 * (100 * 15 + 2 * 2) * US
    assert [row["node_count"] for row in rows] == [100] * 6


def test_steps_that_are_graphs_are_no_idle_time(cli: Cli) -> None:
    """Decode: the graph is recorded as a whole; prefill: old recorders left out graphs and what is in them."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for step in range(10):
        at, name = 20 * MS * step, ("decode", "prefill")[step % 2]
        main.push(at, at + 20 * MS, name).launch(at, gpu=(at + MS, at + 2 * MS))
        main.graph_launch(at + 2, gpu=(at + 2 * MS, at + 19 * MS) if name == "decode" else None)

    report = cli.analyze(trace)

    assert (phase(report, "decode")["gpu_busy_ns"], phase(report, "prefill")["gpu_busy_ns"]) == (5 * 18 * MS, 5 * MS)
    assert {"whole_graphs", "untraced_graphs"} <= codes(report)
    (told,) = [one["message"] for one in report["findings"] if one["code"] == "untraced_graphs"]
    assert "5 of 10 CUDA graph launches" in told


def test_graphs_whose_kernels_the_profiler_hides_are_told(cli: Cli) -> None:
    trace = TraceBuilder("2026.1").gpu()
    main = trace.process().thread()
    for step in range(4):
        at = step * 100 * MS
        main.push(at, at + 90 * MS, "decode").graph_launch(at + MS).launch(
            at + 50 * MS, gpu=(at + 60 * MS, at + 61 * MS)
        )

    (found,) = [one for one in cli.analyze(trace)["findings"] if one["code"] == "untraced_graphs"]

    assert (found["severity"], "in 4 of 4 CUDA graph launches" in found["message"]) == ("error", True)


def test_loops_inside_graphs_are_told(cli: Cli) -> None:
    nsys = TraceBuilder().gpu()
    main = nsys.process().thread()
    main.call(MS, api="cudaGraphConditionalHandleCreate_v12030")
    main.push(10 * MS, 50 * MS, "decode").graph_launch(11 * MS, nodes=[(12 * MS, 13 * MS), (13 * MS, 15 * MS)])
    torch = KinetoTrace()
    torch.annotation("decode", 0, 90_000)
    torch.call("cudaGraphConditionalHandleCreate", 1_000, 2_000, 7)
    torch.launch(10_000, gpu=(20_000, 45_000))

    assert "conditional_graphs" in codes(cli.analyze(nsys))
    assert "conditional_graphs" in codes(cli.analyze(torch))


def test_steps_that_record_a_graph_compute_nothing(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 40 * MS, "decode")
    for place, name in enumerate(("cudaStreamBeginCapture", "cudaLaunchKernel", "cudaStreamEndCapture")):
        main.call(MS * (1 + place), api=f"{name}_v10000")
    for step in range(1, 4):
        at = 50 * MS * step
        main.push(at, at + 40 * MS, "decode").graph_launch(at + MS, nodes=[(at + 2 * MS, at + 12 * MS)])

    report = cli.analyze(trace, "--model", "tiny-llama", "--shape", "1x16+4")

    assert phase(report, "decode")["measured_occurrences"] == 3
    assert "cold_first_occurrence" in codes(report)


def test_ranges_that_nodes_of_a_graph_open_are_told(cli: Cli) -> None:
    """Host functions between the nodes open them, on a thread of CUDA's; another thread launched the graph."""
    trace = TraceBuilder().gpu()
    process = trace.process()
    main, callbacks = process.thread(), process.thread(300)
    for at in range(0, 500 * MS, 100 * MS):
        main.graph_launch(at + MS, nodes=[(at + (3 + node) * MS, at + (4 + node) * MS) for node in range(80)])
        callbacks.push(at + 2 * MS, at + 43 * MS, "prefill")
        callbacks.push(at + 43 * MS, at + 91 * MS, "decode")

    report = cli.analyze(trace)

    told = [one["message"] for one in report["findings"] if one["code"] == "phases_of_other_threads"]
    assert [("200 GPU operations" in one, "5 measured ranges" in one) for one in told] == [(True, True)] * 2
    assert outside(cli, trace) == 400


def test_the_wait_before_a_graph_is_launch_latency(cli: Cli) -> None:
    """A decode step that is a CUDA graph, whose first kernel starts 2 ms after the call has returned."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in range(0, 80 * MS, 20 * MS):
        main.push(at, at + MS, "replay_prepare")
        main.push(at + MS, at + 2 * MS, "replay")
        main.graph_launch(at + 2 * MS - 2, nodes=[(at + n * MS, at + (n + 1) * MS) for n in range(4, 16)])
        main.call(at + 2 * MS, until=at + 17 * MS, api="cudaStreamSynchronize_v3020")

    rows, _ = cli.sql(
        trace,
        "SELECT class, sum(time_ns)::BIGINT AS ns FROM time_budget GROUP BY class HAVING sum(time_ns) > 100",
        "--phase", "decode=^replay$",
    )  # fmt: skip

    assert {row["class"]: row["ns"] for row in rows} == {
        "compute": 4 * 12 * MS, "host": pytest.approx(4 * MS, abs=100), "latency": pytest.approx(8 * MS, abs=100),
    }  # fmt: skip


@pytest.mark.parametrize("where", ["in the graph", "before it"])
def test_idle_time_that_recording_a_graph_makes_is_told(where: str, cli: Cli) -> None:
    """28 % between the nodes, or while the graph is launched."""
    trace = KinetoTrace()
    gap, launch = (4 * US, 40 * US) if where == "in the graph" else (0, 1_600 * US)
    for step in range(5):
        at = step * 6 * MS
        trace.annotation("execute_context_0(0)_generation_128(128)", at, at + 5_900 * US)
        trace.correlation += 1
        trace.call("cudaGraphLaunch", at + 20 * US, at + 20 * US + launch, trace.correlation)
        for node in range(400):
            start = at + 30 * US + launch + node * (10 * US + gap)
            trace.kernel("nvjet_tst", start, start + 10 * US, trace.correlation)

    code = "gaps_in_graphs" if where == "in the graph" else "launch_bound_steps"
    (found,) = [one for one in cli.analyze(trace)["findings"] if one["code"] == code]

    assert "nodes" in found["hint"]
    told = "torch.profiler makes the gaps longer" if where == "in the graph" else "`capture --cuda-graph whole` shows"
    assert told in found["hint"]


@pytest.mark.parametrize("kind", ["nodes", "whole", "missing"])
def test_command_buffers_of_xla_are_work_of_their_step(kind: str, cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in range(0, 500 * MS, 100 * MS):
        main.push(at, at + 90 * MS, MODULE, domain="TSL")
        main.push(at + MS, at + 3 * MS, "Thunk:#name=command_buffer,hlo_op=command_buffer.1#", domain="TSL")
        if kind == "nodes":
            main.graph_launch(at + 2 * MS, nodes=[(at + (4 + node) * MS, at + (5 + node) * MS) for node in range(80)])
        elif kind == "whole":
            main.graph_launch(at + 2 * MS, gpu=(at + 4 * MS, at + 84 * MS))
        else:
            main.graph_launch(at + 2 * MS)
        main.launch(at + 3 * MS, gpu=(at + 84 * MS, at + 86 * MS), name="loop_add_fusion")

    report = cli.analyze(trace)

    assert phase(report, "step")["gpu_busy_ns"] == 5 * (2 if kind == "missing" else 82) * MS
    expected = {"nodes": set(), "whole": {"whole_graphs"}, "missing": {"untraced_graphs"}}[kind]
    assert codes(report) & {"whole_graphs", "untraced_graphs"} == expected


def test_work_that_graphs_hide_from_operators_is_told(cli: Cli) -> None:
    trace = KinetoTrace()
    for step in range(3):
        at = step * 200_000
        trace.annotation("decode", at, at + 90_000)
        # One runs on the GPU; what the other records into a graph does later, if at all.
        for start in (1_000, 10_000):
            trace.op("aten::mm", at + start, at + start + 8_000, [[4, 8], [8, 2]])
        trace.launch(at + 2_000, gpu=(at + 5_000, at + 9_000))
        trace.correlation += 1
        trace.call("hipGraphLaunch", at + 20_000, at + 25_000, trace.correlation)
        for node in range(20):
            start = at + 26_000 + node * 2_000
            trace.kernel("gemm", start, start + 1_800, trace.correlation)

    rows, err = cli.sql(trace, "SELECT calls, flops, flops_per_s FROM operators")

    # `work_without_operators`: 36 of 40 µs in each step.
    assert "in decode 90 % of the GPU time was launched outside every operator of torch, 90 % by CUDA graphs" in err
    # The rate is that of the products that a GPU computed, in 4 µs each.
    product = 2 * 4 * 8 * 2
    assert rows == [{"calls": 6, "flops": 6 * product, "flops_per_s": pytest.approx(product / 4e-6)}]


def test_training_steps_of_whole_graphs(cli: Cli) -> None:
    """Layers are graphs in both directions, as Megatron captures them, and nsys was not asked for their nodes."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for number, at in enumerate(range(0, 800 * MS, 200 * MS)):
        main.push(at, at + 190 * MS, f"training_step_{number}")
        main.launch(at + MS, gpu=(at + 2 * MS, at + 5 * MS), name="indexSelectLargeIndex")
        for layer in range(16):
            start = at + (5 + 9 * layer) * MS
            main.graph_launch(at + 2 * MS + layer * US, gpu=(start, start + 9 * MS), graph_id=layer + 1)
        main.launch(at + 3 * MS, gpu=(at + 149 * MS, at + 154 * MS), name="multi_tensor_apply_kernel")

    report = cli.analyze(trace)

    step = phase(report, "step")
    assert (step["kernel_count"], step["graph_launch_count"], step["gpu_busy_ns"]) == (8, 64, 4 * 152 * MS)
    assert step["budget"]["compute_ns"] == 4 * 152 * MS
    assert "64 CUDA graph launches were recorded as a whole" in message(report, "whole_graphs")
