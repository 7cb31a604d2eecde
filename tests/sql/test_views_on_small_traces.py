"""Each public view on traces that fit on the screen: trace, query, answer."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsys_pipeline.query.session import Session
from nsys_pipeline.query.views import find_view, public_views
from tests.support.ask import ask, ask_session, open_session, table
from tests.support.trace_builder import TraceBuilder

OWN = "llmperf"


def nested() -> TraceBuilder:
    """A request with a prefill and a decode; the prefill has a layer; the last kernel is outside of all."""
    trace = TraceBuilder().gpu()
    main = trace.process(100, name="serve").thread(name="main")
    main.push(0, 100, "request").push(10, 50, "prefill").push(20, 40, "layer.0").push(60, 90, "decode")
    main.launch(15, gpu=(20, 30), name="gemm_a").launch(25, gpu=(30, 45), name="rms_norm")
    main.launch(70, gpu=(75, 80), name="gemm_a").launch(95, gpu=(99, 103), name="gemm_b")
    return trace


def test_gpu_work_has_the_innermost_range_and_the_phase_of_the_launch(tmp_path: Path) -> None:
    query = (
        "SELECT name, family, phase, occurrence, range_name, start_ns, dur_ns, launch_latency_ns, reason FROM gpu_work"
    )
    assert ask(nested(), f"{query} ORDER BY start_ns", tmp_path) == table("""
        name,     family, phase,   occurrence, range_name, start_ns, dur_ns, launch_latency_ns, reason
        gemm_a,   gemm,   prefill, 0,          prefill,    20,       10,     3,
        rms_norm, norm,   prefill, 0,          layer.0,    30,       15,     3,
        gemm_a,   gemm,   decode,  0,          decode,     75,       5,      3,
        gemm_b,   gemm,   ,        ,           request,    99,       4,      2,                 no_phase
    """)


@pytest.mark.parametrize("view", ["gpu_work", "kernel_summary"])
def test_kernels_without_a_demangled_name_have_a_family(view: str, tmp_path: Path) -> None:
    path = nested().write(tmp_path / "t.sqlite")
    with sqlite3.connect(path) as export:
        export.execute("ALTER TABLE CUPTI_ACTIVITY_KIND_KERNEL DROP COLUMN demangledName")
    assert ask(path, f"SELECT DISTINCT name, family FROM {view} ORDER BY name", tmp_path) == table("""
        name,     family
        gemm_a,   gemm
        gemm_b,   gemm
        rms_norm, norm
    """)


def test_kernel_that_ends_after_its_range_belongs_to_the_range_of_its_launch(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.process().thread().push(0, 20, "prefill").push(25, 40, "decode").launch(10, gpu=(30, 90)).launch(
        30, gpu=(90, 99)
    )
    assert ask(
        trace, "SELECT phase, gpu_start_ns, gpu_end_ns, gpu_busy_ns, wall_ns FROM phases ORDER BY 2", tmp_path
    ) == table("""
        phase,   gpu_start_ns, gpu_end_ns, gpu_busy_ns, wall_ns
        prefill, 30,           90,         60,          20
        decode,  90,           99,         9,           15
    """)


def test_overlapping_streams_count_once_in_busy_time(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu(0).gpu(1)
    main = trace.process().thread().push(0, 100, "decode")
    main.launch(10, gpu=(100, 130), stream=7).launch(12, gpu=(120, 140), stream=8).launch(14, gpu=(150, 160), stream=7)
    main.launch(16, gpu=(100, 130), device=1).launch(18, gpu=(130, 131), device=1)
    assert ask(trace, "FROM gpu_busy ORDER BY device_id, start_ns", tmp_path) == table("""
        device_id, start_ns, end_ns, dur_ns, op_count, idle_ns
        0,         100,      140,    40,     2,
        0,         150,      160,    10,     1,        10
        1,         100,      131,    31,     2,
    """)


def test_two_processes_with_equal_correlation_ids_keep_their_work_apart(tmp_path: Path) -> None:
    trace = TraceBuilder()
    first, second = trace.process(100).thread(), trace.process(200).thread()
    first.push(0, 50, "prefill").launch(10, gpu=(20, 30))
    second.push(0, 50, "decode").launch(12, gpu=(20, 60), device=1)
    query = "SELECT process_id, thread_id, device_id, phase, launch_start_ns, dur_ns FROM kernels ORDER BY process_id"
    assert ask(trace, query, tmp_path) == table("""
        process_id, thread_id, device_id, phase,   launch_start_ns, dur_ns
        100,        100,       0,         prefill, 10,              10
        200,        200,       1,         decode,  12,              40
    """)


def test_unattributed_kernel_says_why(tmp_path: Path) -> None:
    trace = TraceBuilder()
    process = trace.process()
    process.thread().push(10, 20, "prefill").push(40, 50, "load_weights").launch(5, gpu=(6, 7)).launch(45, gpu=(46, 47))
    process.kernel((60, 61), correlation=77)
    assert ask(
        trace, "SELECT start_ns, phase, range_name, reason, api_id IS NULL AS lost FROM kernels ORDER BY 1", tmp_path
    ) == table("""
        start_ns, phase, range_name,   reason,      lost
        6,        ,      ,             no_range,    false
        46,       ,      load_weights, no_phase,    false
        60,       ,      ,             no_api_call, true
    """)


def test_kernels_have_their_launch_configuration(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    main.launch(0, gpu=(5, 9), gridX=4, gridY=2, blockX=64, registersPerThread=40, staticSharedMemory=16,
                dynamicSharedMemory=1024, localMemoryPerThread=8)  # fmt: skip
    main.launch(10, gpu=(15, 19))
    query = (
        "SELECT start_ns, grid_x, grid_y, grid_z, block_x, registers_per_thread AS regs, "
        "static_shared_bytes AS static, dynamic_shared_bytes AS dynamic, local_bytes_per_thread AS local "
        "FROM kernels ORDER BY 1"
    )
    assert ask(trace, query, tmp_path) == table("""
        start_ns, grid_x, grid_y, grid_z, block_x, regs, static, dynamic, local
        5,        4,      2,      1,      64,      40,   16,     1024,    8
        15,       1024,   1,      1,      128,     32,   0,      0,       0
    """)


def test_memops_have_direction_memory_and_bandwidth(tmp_path: Path) -> None:
    trace = TraceBuilder()
    for number, label in ((1, "Host-to-Device"), (2, "Device-to-Host")):
        trace.row("ENUM_CUDA_MEMCPY_OPER", id=number, name=f"KIND_{number}", label=label)
    main = trace.process().thread().push(0, 100, "decode")
    main.memcpy(10, gpu=(20, 30), size_bytes=1000, kind=1).memcpy(
        40, gpu=(50, 50), size_bytes=4, kind=2, srcKind=2, dstKind=0
    )
    main.memset(60, gpu=(70, 75), size_bytes=64, value=7)
    query = "SELECT kind, direction, source_memory, target_memory, value, bytes, bytes_per_s, phase FROM memops"
    assert ask(trace, f"{query} ORDER BY start_ns", tmp_path) == table("""
        kind,   direction,      source_memory, target_memory, value, bytes, bytes_per_s,    phase
        memcpy, Host-to-Device, pinned,        device,        ,      1000,  100000000000.0, decode
        memcpy, Device-to-Host, device,        pageable,      ,      4,     ,               decode
        memset, ,               ,              device,        7,     64,    12800000000.0,  decode
    """)


def test_api_calls_are_placed_by_their_entry(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread().push(10, 20, "prefill").push(30, 60, "decode").push(40, 50, "layer.1")
    main.call(15, until=35, api="cudaStreamSynchronize_v3020")
    main.call(45, api="cudaLaunchKernel_v7000")
    main.call(55, api="cuLaunchKernelEx")
    main.call(70, api="cudaFree_v3020")
    query = "SELECT name, start_ns, dur_ns, range_name, phase FROM api_calls ORDER BY start_ns"
    assert ask(trace, query, tmp_path) == table("""
        name,                  start_ns, dur_ns, range_name, phase
        cudaStreamSynchronize, 15,       20,     prefill,    prefill
        cudaLaunchKernel,      45,       2,      layer.1,    decode
        cuLaunchKernelEx,      55,       2,      decode,     decode
        cudaFree,              70,       2,      ,
    """)


def test_nvtx_ranges_know_parent_depth_and_phase(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 100, "request").push(10, 50, "prefill").push(20, 30, "layer.0").push(30, 40, "layer.1")
    main.push(60, 90, "decode").push(15, 70, "ncclGroup", domain="NCCL").start_end(5, 95, "upload")
    query = """
        SELECT r.name, r.domain, r.kind, p.name AS parent, r.depth, r.phase, r.dur_ns
        FROM nvtx_ranges AS r LEFT JOIN nvtx_ranges AS p ON p.range_id = r.parent_id ORDER BY r.start_ns
    """
    assert ask(trace, query, tmp_path) == table("""
        name,      domain, kind,      parent,  depth, phase,   dur_ns
        request,   ,       push_pop,  ,        0,     ,        100
        upload,    ,       start_end, ,        ,      ,        90
        prefill,   ,       push_pop,  request, 1,     prefill, 40
        ncclGroup, NCCL,   push_pop,  ,        0,     prefill, 55
        layer.0,   ,       push_pop,  prefill, 2,     prefill, 10
        layer.1,   ,       push_pop,  prefill, 2,     prefill, 10
        decode,    ,       push_pop,  request, 1,     decode,  30
    """)


def test_graph_launches_by_node_and_as_a_whole(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread().push(0, 50, "decode")
    main.graph_launch(10, nodes=[(20, 30), (35, 45), (45, 50)], graph_id=3).graph_launch(40, gpu=(60, 90), graph_id=4)
    columns = "mode, graph_id, op_id IS NULL AS nodes, phase, start_ns, dur_ns, node_count, node_time_ns"
    assert ask(trace, f"SELECT {columns} FROM graph_launches ORDER BY start_ns", tmp_path) == table("""
        mode,  graph_id, nodes, phase,  start_ns, dur_ns, node_count, node_time_ns
        node,  3,        true,  decode, 20,       30,     3,          25
        graph, 4,        false, decode, 60,       30,     ,
    """)


def test_gpu_metrics_are_named_with_their_units(tmp_path: Path) -> None:
    trace = TraceBuilder()
    source = (1 << 48) + (1 << 32) + 1
    for number, name in ((0, "GPC Clock Frequency [MHz]"), (5, "Tensor Active [Throughput %]"), (6, "Plain")):
        trace.row(
            "TARGET_INFO_GPU_METRICS", typeId=source, sourceId=source, typeName="", metricId=number, metricName=name
        )
        trace.row("GPU_METRICS", timestamp=10 * number, typeId=source, metricId=number, value=number + 1)
    trace.row("GPU_METRICS", timestamp=90, typeId=source, metricId=99, value=1)
    trace.process().thread().call(0)
    assert ask(trace, "FROM gpu_metrics ORDER BY at_ns", tmp_path) == table("""
        device_id, at_ns, metric,              unit,         value
        1,         0,     GPC Clock Frequency, MHz,          1
        1,         50,    Tensor Active,       Throughput %, 6
        1,         60,    Plain,               ,             7
        1,         90,    ,                    ,             1
    """)


def test_small_views(tmp_path: Path) -> None:
    trace = nested()
    trace.diagnostic("Profiling   has\nstarted.", at=3)
    trace.capture_metadata(PLATFORM="linux")
    with open_session(trace, tmp_path) as session:
        assert ask_session(
            session, "SELECT device_id, name, sm_count, compute_capability, has_work FROM devices"
        ) == table("""
            device_id, name,                  sm_count, compute_capability, has_work
            0,         NVIDIA H100 80GB HBM3, 132,      9.0,                true
        """)
        assert ask_session(session, "SELECT process_id, name, has_api_call FROM processes") == table("""
            process_id, name,  has_api_call
            100,        serve, true
        """)
        assert ask_session(session, "SELECT process_id, thread_id, name FROM threads") == table("""
            process_id, thread_id, name
            100,        100,       main
        """)
        assert ask_session(session, "FROM diagnostics") == table("""
            diagnostic_id, at_ns, severity, process_id, message
            1,             3,     info,     ,           Profiling has started.
        """)
        assert ask_session(session, "FROM metadata WHERE source = 'capture'") == table("""
            source,  name,     value
            capture, PLATFORM, linux
        """)
        assert ask_session(session, "SELECT phase, name, count, time_ns FROM kernel_summary ORDER BY ALL") == table("""
            phase,   name,     count, time_ns
            decode,  gemm_a,   1,     5
            prefill, gemm_a,   1,     10
            prefill, rms_norm, 1,     15
            ,        gemm_b,   1,     4
        """)
        checks = ask_session(session, "SELECT DISTINCT passed FROM trace_checks")
        assert checks == "passed\ntrue"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with open_session(TraceBuilder(), tmp_path_factory.mktemp("empty")) as session:
        yield session


@pytest.mark.parametrize("view", [module.relation for module in public_views()])
def test_every_view_answers_on_an_empty_trace(view: str, empty: Session) -> None:
    """Nothing was recorded: every view is there, with its columns, and only says what there is to say."""
    answer = ask_session(empty, f"FROM {view}").splitlines()
    assert answer[0] == ",".join(column.name for column in find_view(view).columns)
    assert len(answer) == 1 or view in ("findings", "metadata", "trace_checks")
