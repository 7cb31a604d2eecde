"""Recipes on traces that lead a plain sum astray; the right answers are counted by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.query.recipes import find_recipe
from tests.support.ask import ask, ask_session, open_session, table
from tests.support.trace_builder import TraceBuilder


def answer(trace: TraceBuilder, recipe: str, folder: Path, **parameters: Any) -> str:
    found = find_recipe(recipe)
    return ask(trace, found.sql, folder, found.arguments(parameters))


def answers(
    trace: TraceBuilder, folder: Path, options: AnalysisOptions | None = None, **recipes: dict[str, Any]
) -> str:
    with open_session(trace, folder, options) as session:
        found = {name: find_recipe(name) for name in recipes}
        return "\n".join(ask_session(session, found[n].sql, found[n].arguments(given)) for n, given in recipes.items())


def test_work_without_times_is_in_no_gap_no_wait_and_no_rate(tmp_path: Path) -> None:
    """A kernel and a copy from 0 to 0. The GPU is busy 10 ns four times; it first starts at 1020."""
    trace = TraceBuilder()
    main = trace.process().thread().push(1000, 1100, "decode").push(1200, 1300, "decode")
    main.launch(1010, gpu=(1020, 1030)).launch(1040, gpu=(0, 0)).launch(1050, gpu=(1060, 1070))
    main.launch(1210, gpu=(1220, 1230)).memcpy(1240, gpu=(0, 0), size_bytes=10**6)
    main.memcpy(1250, gpu=(1260, 1270), size_bytes=10**3)
    assert answers(
        trace, tmp_path, idle_by_phase={}, kernels_after_gaps={}, busy_over_time={"width_ns": 1000}, launch_latency={},
        copy_bandwidth={}, short_kernels={}, uneven_kernels={},
    ) == table("""
        device_id, phase, gap_count, idle_ns, share_ratio
        0, decode, 3, 210, 1.0
        phase, name, gap_count, idle_ns, mean_ns, max_ns
        decode, kernel, 2, 180, 90.0, 150
        decode, memcpy, 1, 30, 30.0, 30
        device_id, start_ns, busy_ns, busy_ratio
        0, 1000, 40, 0.04
        phase, count, mean, min, p50, p90, p99, max
        decode, 3, 8.0, 8, 8.0, 8.0, 8.0, 8
        direction, source_memory, target_memory, count, bytes, time_ns, bytes_per_s, max_bytes
        Host-to-Device, pinned, device, 2, 1001000, 10, 100000000000.0, 1000000
        phase, count, short_count, short_ratio, time_ns, short_time_ns
        decode, 4, 3, 0.75, 30, 30
        phase, name, grid, count, min_ns, p50_ns, max_ns, excess_ns
        decode, kernel, 1024x1x1, 3, 10, 10.0, 10, 0
    """)  # fmt: skip


def test_graphs_with_a_node_without_times(tmp_path: Path) -> None:
    """Nodes from 1020 to 1030 and from 1040 to 1050: 30 ns, a third of them idle."""
    trace = TraceBuilder()
    main = trace.process().thread().push(1000, 5000, "decode")
    main.graph_launch(1010, nodes=[(1020, 1030), (0, 0), (1040, 1050)])
    gaps = "SELECT launches, mean_ns, round(gap_ratio, 4) AS gap_ratio FROM (" + find_recipe("graph_gaps").sql + ")"
    assert ask(trace, gaps, tmp_path) == table("""
        launches, mean_ns, gap_ratio
        1,        30.0,    0.3333
    """)


def test_calls_that_are_recorded_twice_count_once(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread().push(0, 100, "decode")
    for at, took, api in (
        (10, 3, "cudaMalloc_v3020"),
        (20, 5, "cudaStreamSynchronize_v3020"),
        (30, 7, "cuLibraryLoad"),
    ):
        main.call(at, until=at + took, api=api, backtrace=True)
    main.launch(40, gpu=(50, 60), backtrace=True).launch(70, gpu=(80, 90))
    assert answers(
        trace, tmp_path, api_calls_by_phase={}, allocations={}, stalling_synchronizations={}, lazy_loading={},
        longest_idle_gaps={},
    ) == table("""
        phase, name, count, time_ns, mean_ns, max_ns
        decode, cuLibraryLoad, 1, 7, 7.0, 7
        decode, cudaStreamSynchronize, 1, 5, 5.0, 5
        decode, cudaLaunchKernel, 2, 4, 2.0, 2
        decode, cudaMalloc, 1, 3, 3.0, 3
        phase, name, count, time_ns, max_ns
        decode, cudaMalloc, 1, 3, 3
        phase, range_name, name, count, time_ns, max_ns
        decode, decode, cudaStreamSynchronize, 1, 5, 5
        phase, name, count, time_ns, first_ns, last_ns
        decode, cuLibraryLoad, 1, 7, 30, 30
        device_id, start_ns, idle_ns, phase, call_ns, longest_call, longest_ns
        0, 60, 20, decode, 2, cudaLaunchKernel, 2
    """)  # fmt: skip


def test_calls_that_wait_by_all_their_names(tmp_path: Path) -> None:
    """Those of per-thread default streams and copies of arrays wait; queries, and copies that are `Async`, do not."""
    waits = ("cudaStreamSynchronize_ptsz", "cudaMemcpy_ptds", "cuMemcpyDtoH", "cudaMemcpy2DFromArray", "hipMemcpy")
    others = ("cudaEventQuery", "cudaStreamQuery", "cudaMemcpyAsync", "cuMemcpyHtoDAsync", "cudaStreamWaitEvent")
    trace = TraceBuilder()
    main = trace.process().thread()
    for index, name in enumerate((*waits, *others)):
        main.call(100 * index, api=f"{name}_v7000")
    query = (
        "SELECT name FROM (" + find_recipe("stalling_synchronizations").sql.replace("$top", "20") + ") ORDER BY name"
    )
    assert ask(trace, query, tmp_path).split() == ["name", *sorted(waits)]


def test_between_steps_a_range_of_another_phase_is_no_time_between(tmp_path: Path) -> None:
    """A step goes on after its backward: 100 ns pass from its end to the next one, not the 700 from the backward's."""
    trace = TraceBuilder()
    main = trace.process().thread()
    for at in (0, 1100):
        main.push(at, at + 1000, "step").push(at + 10, at + 200, "forward").push(at + 210, at + 400, "backward")
        for launched in (20, 220, 500):
            main.launch(at + launched, gpu=(at + launched + 10, at + launched + 20))
    assert answer(trace, "between_steps", tmp_path) == table("""
        after_phase, before_phase, count, total_ns, median_ns, max_ns
        step,        step,         1,     100,      100.0,     100
        forward,     backward,     2,     20,       10.0,      10
    """)


def test_between_steps_a_step_that_does_not_count_is_no_time_between(tmp_path: Path) -> None:
    """Ten steps, 20 ns from each to the next; the fifth is warm-up and takes 500 ns: seven pairs are left."""
    trace = TraceBuilder()
    main, at = trace.process().thread(), 100
    for index in range(10):
        took = 500 if index == 4 else 100
        if index == 4:
            main.push(at - 1, at + took + 1, "warmup", domain="llmperf")
        main.push(at, at + took, "decode", domain="llmperf").launch(at + 10, gpu=(at + 20, at + 50))
        at += took + 20
    assert answer(trace, "between_steps", tmp_path) == table("""
        after_phase, before_phase, count, total_ns, median_ns, max_ns
        decode,      decode,       7,     140,      20.0,      20
    """)


def test_the_number_of_a_decode_step_counts_cold_ones(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread().push(0, 99_000, "request", domain="llmperf")
    for index in range(12):
        at, took = 1000 * index + 10, 100 if index else 900
        main.push(at, at + took, "decode", domain="llmperf").launch(at + 5, gpu=(at + 10, at + 50))
    rows = answer(trace, "tpot_and_context", tmp_path, width=1).splitlines()[1:]
    assert [row.split(",")[1] for row in rows] == [str(number) for number in range(1, 12)]


def test_two_gpus_of_a_range_are_half_busy_if_they_take_turns(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu(0).gpu(1)
    main = trace.process().thread().push(0, 100, "decode")
    main.launch(5, gpu=(10, 60)).launch(8, gpu=(50, 100), device=1)
    assert answer(trace, "launch_bound_ranges", tmp_path) == table("""
        occurrence_id, phase,  occurrence, wall_ns, gpu_busy_ns, idle_ns, busy_ratio
        1,             decode, 0,          100,     100,         50,      0.5
    """)


def test_idle_gaps_and_streams_are_of_the_processes_that_use_the_gpu(tmp_path: Path) -> None:
    """Two ranks on two GPUs, and a third process on GPU 0: its stream 7 is another one."""
    trace = TraceBuilder().gpu(0).gpu(1)
    first, second, third = (trace.process(pid).thread() for pid in (100, 200, 300))
    first.push(0, 500, "decode").launch(5, gpu=(10, 20)).launch(400, gpu=(410, 420))
    second.push(0, 500, "prefill").launch(5, gpu=(10, 490), device=1)
    second.call(15, until=480, api="cudaDeviceSynchronize_v3020")
    third.launch(3, gpu=(12, 18))
    assert answers(trace, tmp_path, longest_idle_gaps={"top": 1}, streams={}) == table("""
        device_id, start_ns, idle_ns, phase, call_ns, longest_call, longest_ns
        0, 20, 390, decode, 2, cudaLaunchKernel, 2
        device_id, process_id, stream_id, op_count, time_ns, busy_ns, device_busy_ns, concurrency
        0, 100, 7, 2, 20, 20, 20, 1.3
        0, 300, 7, 1, 6, 6, 20, 1.3
        1, 200, 7, 1, 480, 480, 480, 1.0
    """)


def test_the_work_of_a_range_is_that_of_ranges_of_other_domains_inside_it_too(tmp_path: Path) -> None:
    """And of no range that is open beside it: the last kernel is launched when `decode` has ended."""
    trace = TraceBuilder()
    main = trace.process().thread().push(0, 500, "decode", domain="llmperf").push(10, 100, "aten::mm")
    main.push(110, 600, "ncclAllReduce", domain="NCCL")
    main.launch(20, gpu=(30, 40)).launch(120, gpu=(130, 150)).launch(550, gpu=(560, 564)).launch(700, gpu=(710, 711))
    assert answer(trace, "range_gpu_times", tmp_path) == table("""
        domain,  name,          range_count, host_time_ns, own_gpu_ns, gpu_time_ns
        llmperf, decode,        1,           500,          0,          30
        NCCL,    ncclAllReduce, 1,           490,          24,         24
        ,        aten::mm,      1,           90,           10,         10
    """)


def test_counters_where_ranges_overlap_on_the_gpu(tmp_path: Path) -> None:
    """A long prefill, and a short decode beside it on another stream, which ends before the samples do."""
    trace = TraceBuilder()
    first, second = trace.process(1).thread(), trace.process(2).thread()
    first.push(0, 100, "prefill").launch(1, gpu=(10, 90))
    second.push(0, 100, "decode").launch(1, gpu=(20, 30), stream=8)
    trace.row("TARGET_INFO_GPU_METRICS", typeId=256, metricId=1, sourceId=0, metricName="GPC Clock Frequency [MHz]")
    for at, value in ((15, 1), (25, 2), (50, 3), (80, 6), (95, 9)):
        trace.row("GPU_METRICS", timestamp=at, typeId=256, metricId=1, value=value * 10**9)
    assert answer(trace, "gpu_counters", tmp_path) == table("""
        phase,   metric,              unit, samples, mean,         max
        decode,  GPC Clock Frequency, Hz,   1,       2000000000.0, 2000000000
        prefill, GPC Clock Frequency, Hz,   4,       3000000000.0, 6000000000
    """)


def test_the_first_range_of_another_process_is_no_later_one(tmp_path: Path) -> None:
    """Each rank tunes in its first step. Their kernels differ, as those of stages of a pipeline do."""
    trace = TraceBuilder().gpu(0).gpu(1)
    for rank in range(2):
        main = trace.process(100 + rank).thread()
        for step in range(3):
            at = 1000 * step + rank
            main.push(at, at + 100, "decode").launch(at + 5, gpu=(at + 10, at + 20), name=f"stage{rank}", device=rank)
            if step == 0:
                main.launch(at + 30, gpu=(at + 40, at + 60), name="tune", device=rank)
    assert answer(trace, "first_and_later_steps", tmp_path) == table("""
        phase,  name, first_count, later_count, first_time_ns, later_time_ns
        decode, tune, 1,           0.0,         20,            0.0
    """)


def test_a_graph_is_one_launch_per_token(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    for at in (0, 1000):
        main.push(at, at + 100, "decode").graph_launch(at + 10, nodes=[(at + 20, at + 30), (at + 30, at + 40)])
        main.launch(at + 50, gpu=(at + 60, at + 70))
    query = "SELECT occurrences, launches_per_range FROM (" + find_recipe("launches_per_token").sql + ")"
    assert ask(trace, query, tmp_path) == table("""
        occurrences, launches_per_range
        2,           2.0
    """)


def test_layers_of_cold_steps_are_left_out(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main, at = trace.process().thread(), 0
    for took in (90_000, *[1000] * 10):
        main.push(at, at + took, "decode").push(at + 10, at + 50, "layer.0.mlp")
        main.launch(at + 20, gpu=(at + 30, at + 130))
        at += took + 10
    assert answers(trace, tmp_path, layer_times={}, layer_parts={}) == table("""
        phase, layer, range_count, kernel_count, gpu_time_ns, mean_ns
        decode, layer.0.mlp, 10, 10, 1000, 100.0
        phase, part, range_count, gpu_time_ns, time_ratio
        decode, layer.*.mlp, 10, 1000, 1.0
    """)


def test_a_gpu_on_which_no_work_has_times_is_in_no_wait(tmp_path: Path) -> None:
    """The step's first work starts 20 ns after it, on GPU 0; that of GPU 1, and of the second step, has no times."""
    trace = TraceBuilder().gpu(0).gpu(1)
    main = trace.process().thread().push(1000, 1100, "decode").push(1200, 1300, "decode")
    main.launch(1010, gpu=(1020, 1030)).launch(1040, gpu=(0, 0), device=1).launch(1210, gpu=(0, 0))
    query = "SELECT gpu_span_ns FROM phases WHERE occurrence = 0"
    assert ask(trace, query, tmp_path) == "gpu_span_ns\n10"
    again = tmp_path / "again"
    again.mkdir()
    assert answer(trace, "time_to_first_kernel", again) == table("""
        phase,  count, mean, min, p50,  p90,  p99,  max
        decode, 1,     20.0, 20,  20.0, 20.0, 20.0, 20
    """)


def test_ranges_of_two_processes_with_one_pid_are_not_mixed(tmp_path: Path) -> None:
    """Two machines: which of them launched a kernel is not seen by pid and tid."""
    trace = TraceBuilder()
    for vm, name in ((1, "prefill"), (2, "decode")):
        main = trace.process(100, vm=vm).thread().push(0, 100, name)
        main.launch(10, gpu=(20, 20 + 10 * vm))
    assert answer(trace, "range_gpu_times", tmp_path) == table("""
        domain, name,    range_count, host_time_ns, own_gpu_ns, gpu_time_ns
        ,       decode,  1,           100,          20,
        ,       prefill, 1,           100,          10,
    """)
