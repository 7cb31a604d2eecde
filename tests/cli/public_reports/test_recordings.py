"""Recordings that lack a part, say something else than what ran, or are of ranks that count alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.public_reports.common import ALL_REDUCE, FIVE_STEPS, codes, message, phase, spent
from tests.cli.run import MS, Cli, run
from tests.support.kineto import KinetoTrace, gpu
from tests.support.trace_builder import TraceBuilder
from tests.unit.trace.test_messages import job

US = 1_000


# -- launches and steps ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("api", ["cuLaunchKernelEx", "cudaLaunchKernelExC"])
def test_launches_with_attributes_are_launches(api: str, cli: Cli) -> None:
    """The GPU waits for the host from 20 to 60 ms of each step, for the call until 61, and 50 µs for the kernel."""
    trace = KinetoTrace()
    for at in FIVE_STEPS:
        trace.annotation("step", at, at + 100 * MS)
        trace.launch(at + MS, gpu=(at + MS + 10 * US, at + 20 * MS), name="nvjet_tst")
        trace.correlation += 1
        cat = "cuda_driver" if api.startswith("cuL") else "cuda_runtime"
        trace.event(cat, api, at + 60 * MS, at + 61 * MS, cbid=652, correlation=trace.correlation)
        trace.kernel("triton_poi_fused_add_0", at + 61 * MS + 50 * US, at + 90 * MS, trace.correlation)

    budget = spent(cli, trace)

    assert budget["launch"] == pytest.approx(5 * (1 + 0.002))
    assert budget["latency"] == pytest.approx(5 * (0.05 + 0.008))
    assert budget["host"] == pytest.approx(5 * (1 + 40 + 10))
    assert phase(cli.analyze(trace), "step")["launch_call_count"] == 10


def test_a_step_that_compiles_is_in_no_time_of_the_others(cli: Cli) -> None:
    trace, at, steps = KinetoTrace(), 0, 5
    for step in range(steps):
        length = 100 * MS if step else 2_000 * MS
        trace.annotation(f"ProfilerStep#{step}", at, at + length)
        for start in range(at + 100 * MS, at + 180 * MS, 10 * MS) if step == 0 else ():
            trace.launch(start, gpu=(start + MS, start + 9 * MS), name="triton_poi_fused_add_0")
        trace.launch(at + MS, gpu=(at + length - 90 * MS, at + length - 10 * MS), name="nvjet_tst")
        at += length

    report = cli.analyze(trace)

    found = phase(report, "step")
    assert "cold_first_occurrence" in codes(report)
    assert (found["median_wall_ns"], found["median_busy_ns"]) == (100 * MS, 80 * MS)
    # Sums hold all; what is left out is beside them.
    assert (found["wall_ns"], found["cold_wall_ns"]) == (2_400 * MS, 2_000 * MS)
    assert (found["gpu_busy_ns"], found["cold_busy_ns"]) == (464 * MS, 144 * MS)


@pytest.mark.parametrize("grows", ["waiting", "prompt"])
def test_a_first_step_that_waits_for_other_profilers_is_cold(grows: str, cli: Cli) -> None:
    """Four kernels of 100 µs and four collectives of 10 a step; the first collective of all waits 17 s, or all compute.

    A first step that computes for longer is of a longer prompt: its tokens are not known.
    """
    trace, at, steps = KinetoTrace(), MS, 6
    for step in range(steps):
        start = at
        for layer in range(4):
            gemm = 17_000_000 * US if (step, grows) == (0, "prompt") else 100 * US
            wait = 17_000_000 * US if (step, layer, grows) == (0, 0, "waiting") else 10 * US
            for name, length in (("nvjet_tst", gemm), ("vllm::cross_device_reduce_2stage", wait)):
                trace.launch(at, gpu=(at + 5 * US, at + 5 * US + length), name=name)
                at += 5 * US + length
        trace.annotation("forward", start, at)
        at += 10 * US

    report = cli.analyze(trace)

    forward = phase(report, "forward")
    assert ("cold_first_occurrence" in codes(report)) == (grows == "waiting")
    if grows == "waiting":
        assert forward["cold_occurrences"] == 1
        assert forward["budget"]["transfer_ns"] == 5 * 4 * 10 * US
        assert forward["budget"]["compute_ns"] == 5 * 4 * 100 * US


def test_kernels_that_begin_as_the_one_before_ends_count_once(cli: Cli) -> None:
    """Twenty kernels of 100 µs, each launched by PDL 20 µs before the end of the one before: 1,620 µs."""
    trace = TraceBuilder("2026.1").gpu()
    main = trace.process().thread()
    for at in range(0, 60 * MS, 3 * MS):
        main.push(at, at + 2_500 * US, "decode")
        for number in range(20):
            start = at + 100 * US + number * 80 * US
            main.launch(at + (10 + 4 * number) * US, gpu=(start, start + 100 * US), name="nvjet_tst")

    report = cli.analyze(trace)

    decode = phase(report, "decode")
    assert (decode["gpu_busy_ns"], decode["kernel_time_ns"]) == (20 * 1_620 * US, 20 * 2_000 * US)
    assert "kernels_inside_kernels" not in codes(report)


# -- GPUs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_process", [False, True])
def test_a_gpu_that_never_works_is_in_no_utilization(is_process: bool, cli: Cli) -> None:
    """One of two GPUs works for 90 of each 100 ms. A process that marks the same steps and never works is told."""
    trace = TraceBuilder().gpu(0).gpu(1)
    for pid in (100, 200)[: 1 + is_process]:
        main = trace.process(pid).thread()
        for at in FIVE_STEPS:
            main.push(at, at + 100 * MS, "decode")
            if pid == 100:
                main.launch(at + MS, gpu=(at + 2 * MS, at + 92 * MS), name="nvjet_tst")

    report = cli.analyze(trace)

    assert phase(report, "decode")["busy_ratio"] == pytest.approx(0.9)
    assert ("phases_without_work" in codes(report)) == is_process


@pytest.mark.parametrize("schema", ["2024.2", "2025.3"])
def test_numbers_of_cuda_and_of_nsys_may_differ(schema: str, cli: Cli) -> None:
    """Two processes on CUDA's GPU 0, the H100, which is nsys' GPU 1."""
    trace = TraceBuilder(schema)
    trace.gpu(0, name="NVIDIA RTX A4000", sm_count=48, memory_bandwidth=448_000_000_000)
    trace.gpu(1, name="NVIDIA H100 80GB HBM3")
    for row in trace._rows["TARGET_INFO_GPU"]:
        row["cuDevice"] = 1 - row["id"]
    for number, pid in enumerate((100, 200)):
        if schema == "2025.3":
            for device in (0, 1):
                trace.row("TARGET_INFO_CUDA_DEVICE", gpuId=1 - device, cudaId=device, pid=pid)
        main = trace.process(pid).thread()
        for at in FIVE_STEPS:
            main.push(at, at + 99 * MS, "decode")
            start = at + (2 + 40 * number) * MS
            main.launch(at + MS, gpu=(start, start + 40 * MS), name="nvjet_tst", stream=7 + number)

    rows, _ = cli.sql(trace, "SELECT name FROM devices WHERE has_work")
    path = cli.write(trace)
    code, out, err = run(cli.capsys, "analyze", path, "--no-cache")

    assert rows == [{"name": "NVIDIA H100 80GB HBM3"}]
    assert code == 0, err
    assert "threads that share a GPU have decode open at once" in " ".join(out.split())


# -- counters --------------------------------------------------------------------------------------------------------


def sampled(trace: TraceBuilder, metrics: dict[str, Any], device: int = 0) -> TraceBuilder:
    """A sample each ms of each metric: what `metrics` has for the ms within a step."""
    source = 1 << 48 | device
    for number, (name, value) in enumerate(metrics.items()):
        trace.row("TARGET_INFO_GPU_METRICS", typeId=source, sourceId=source, metricId=number, metricName=name)
        for at in range(0, 500 * MS, MS):
            trace.row("GPU_METRICS", timestamp=at, typeId=source, metricId=number, value=value(at % (100 * MS) // MS))
    return trace


@pytest.mark.parametrize(
    ("name", "percent", "is_told"),
    [
        ("NVIDIA H100 80GB HBM3", 0, True),
        ("NVIDIA H100 80GB HBM3", 40, False),
        ("NVIDIA GH200 480GB", 0, False),
    ],
)
def test_a_link_that_is_still_while_copies_run_is_told(name: str, percent: int, is_told: bool, cli: Cli) -> None:
    """Copies to the GPU for 30 of each 100 ms."""
    trace = TraceBuilder().gpu(name=name)
    main = trace.process().thread()
    for at in FIVE_STEPS:
        main.push(at, at + 99 * MS, "prefill")
        main.memcpy(at + MS, gpu=(at + 2 * MS, at + 32 * MS), kind=1, size_bytes=750_000_000)
        main.launch(at + 2 * MS, gpu=(at + 32 * MS, at + 92 * MS), name="nvjet_tst")
    metrics = {
        "SMs Active [Throughput %]": lambda ms: 95 if 32 <= ms < 92 else 0,
        "PCIe RX Throughput [Throughput %]": lambda ms: percent if 2 <= ms < 32 else 0,
        "PCIe TX Throughput [Throughput %]": lambda ms: 0,
    }

    report = cli.analyze(sampled(trace, metrics))

    assert ("links_without_activity" in codes(report)) == is_told
    if is_told:
        assert "nothing passed PCIe to it, while Host-to-Device copies ran for 150.0 ms" in message(
            report, "links_without_activity"
        )


@pytest.mark.parametrize("percent", [40, 0])
def test_a_rate_of_nvlink_is_no_counter(percent: int, cli: Cli) -> None:
    """42 % in each direction for 20 of the 90 busy ms of a step: 9.3 %, rounding off."""
    trace = TraceBuilder()
    parts = [f"NVLink {way} {what} Data [Throughput %]" for way, what in (
        ("RX", "Responses User"), ("RX", "Responses Protocol"), ("TX", "Requests User"), ("TX", "Requests Protocol"),
    )]  # fmt: skip
    for device in (0, 1):
        main = trace.gpu(device).process(100 + device).thread()
        for at in FIVE_STEPS:
            main.push(at, at + 99 * MS, "step")
            main.launch(at + MS, gpu=(at + 2 * MS, at + 72 * MS), name="nvjet_tst", device=device)
            main.launch(at + 2 * MS, gpu=(at + 72 * MS, at + 92 * MS), name=ALL_REDUCE, device=device, stream=20)
        metrics: dict[str, Any] = {"SMs Active [Throughput %]": lambda ms: 95 if 2 <= ms < 92 else 0}
        for part in parts:
            value = percent if "User" in part else percent // 20
            metrics[part] = lambda ms, value=value: value if 72 <= ms < 92 else 0
        metrics |= dict.fromkeys(
            ("PCIe RX Throughput [Throughput %]", "PCIe TX Throughput [Throughput %]"), lambda _: 0
        )
        sampled(trace, metrics, device)

    rows, _ = cli.sql(trace, "SELECT nvlink_rx_ratio AS mean, nvlink_rx_busy_ratio AS busy FROM phase_counters")
    report = cli.analyze(trace)

    expected = 1.05 * percent / 100 * 20 / 90
    assert [row["mean"] for row in rows] == pytest.approx([expected] * 2)
    assert [row["busy"] for row in rows] == pytest.approx([expected] * 2, abs=0.01)
    # Neither NVLink nor PCIe moved anything while the GPUs communicated.
    assert ("links_without_activity" in codes(report)) == (percent == 0)


# -- times -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recorder", ["nsys", "torch.profiler"])
def test_gaps_that_nodes_without_times_leave_are_told(recorder: str, cli: Cli) -> None:
    """Graphs of ten nodes, 100 µs apart; in the last twenty launches of forty each third node has no times."""
    nsys, torch = TraceBuilder().gpu(), KinetoTrace()
    main = nsys.process().thread()
    for number in range(40):
        at = 10 * MS * (number + 1)
        starts = range(at + 200 * US, at + 5_200 * US, 500 * US)
        nodes = [(start, start + 400 * US) for start in starts]
        if number >= 20:
            epoch = 0 if recorder == "nsys" else -5_031_268_000_000_000
            nodes[1::3] = [(epoch, epoch)] * 3
        if recorder == "nsys":
            main.push(at, at + 9 * MS, "decode").graph_launch(at + 100 * US, nodes=nodes)
        else:
            torch.annotation("decode", at, at + 9 * MS)
            torch.correlation += 1
            torch.call("cudaGraphLaunch", at + 100 * US, at + 110 * US, torch.correlation)
            for span in nodes:
                torch.kernel("nvjet_tst", *span, torch.correlation)

    report = cli.analyze(nsys if recorder == "nsys" else torch)

    assert "60 GPU operations were recorded without their times" in message(report, "untimed_work")
    # Nine gaps in each of twenty launches.
    assert "idle for 18.0 ms between the nodes of CUDA graphs (180 gaps of 100.0 µs" in message(
        report, "gaps_in_graphs"
    )


@pytest.mark.parametrize("seen", ["all", "launches", "until", "from"])
def test_steps_behind_the_last_cuda_call_are_told(seen: str, cli: Cli) -> None:
    """Ten operators in each of five steps. CUDA's records end in the fourth one, or begin with the second."""
    trace = KinetoTrace()
    for step, at in enumerate(FIVE_STEPS):
        trace.annotation(f"ProfilerStep#{step}", at, at + 100 * MS)
        for number in range(10):
            start = at + (5 + 9 * number) * MS
            trace.op("aten::mm", start - 4 * MS, start - 3 * MS, [[512, 512], [512, 512]])
            is_lost = step == 0 if seen == "from" else (step, number) >= (3, 4)
            trace.correlation += 1
            if seen in ("all", "launches") or not is_lost:
                trace.call("cudaLaunchKernel", start - 4 * MS, start - 4 * MS + 5 * US, trace.correlation)
            if seen == "all" or not is_lost:
                trace.kernel("nvjet_tst", start, start + 8 * MS, trace.correlation)

    report = cli.analyze(trace)

    assert ("gpu_recording_shorter" in codes(report)) == (seen in ("until", "from"))
    assert ("torch_profiler_lost_work" in codes(report)) == (seen == "launches")
    if seen == "until":
        assert "until 328.0 ms of the recording alone: 2 of 5" in message(report, "gpu_recording_shorter")
    if seen == "from":
        assert "from 101.0 ms of the recording alone: 1 of 5" in message(report, "gpu_recording_shorter")


@pytest.mark.parametrize(("recorder", "is_submission"), [("nsys", True), ("nsys", False), ("torch.profiler", True)])
def test_copies_that_start_with_their_submission_are_told(recorder: str, is_submission: bool, cli: Cli) -> None:
    """Ten copies of 3 ms, one behind the other; from their submissions on, 10 µs apart, they take 174 ms."""
    nsys, torch = TraceBuilder().gpu(), KinetoTrace()
    main = nsys.process().thread()
    for at in FIVE_STEPS:
        main.push(at, at + 95 * MS, "step")
        torch.annotation("step", at, at + 95 * MS)
        for number in range(10):
            call, end = at + MS + number * 10 * US, at + (5 + 3 * number) * MS
            span = (call + 10 * US if is_submission else end - 3 * MS, end)
            main.memcpy(call, gpu=span, size_bytes=100_000_000)
            torch.correlation += 1
            torch.call("cudaMemcpyAsync", call, call + 5 * US, torch.correlation)
            torch.event(
                "gpu_memcpy", "Memcpy HtoD (Pinned -> Device)", *span, 0, 7, device=0, context=1, stream=7,
                correlation=torch.correlation, bytes=100_000_000,
            )  # fmt: skip
        nsys_and_torch = {"at": at + 2 * MS, "gpu": (at + 33 * MS, at + 63 * MS), "name": "nvjet_tst"}
        main.launch(**nsys_and_torch)  # type: ignore[arg-type]
        torch.launch(**nsys_and_torch)  # type: ignore[arg-type]

    report = cli.analyze(nsys if recorder == "nsys" else torch)

    assert ("copies_hold_waiting" in codes(report)) == is_submission
    total = sum(4 + 3 * n - 0.01 * (n + 1) for n in range(10)) if is_submission else 30
    assert phase(report, "step")["memop_time_ns"] == pytest.approx(5 * total * MS)
    if is_submission:
        # From 1.02 to 32 ms something is copied, whatever waits meanwhile.
        waited = 5 * (total - (32 - 1.01))
        assert f"ran: {waited:.1f} ms of the" in message(report, "copies_hold_waiting")


# -- ranges ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_phase", [True, False])
def test_ranges_that_another_thread_ends_unseen_are_told(is_phase: bool, cli: Cli) -> None:
    """Of ten start/end ranges nsys finds the end of four."""
    trace = TraceBuilder().gpu()
    process = trace.process()
    main, proxy = process.thread(), process.thread(200)
    for number in range(10):
        at = 10 * MS * number
        end = at + 9 * MS if number % 5 < 2 else None
        if is_phase:
            main.start_end(at, end, "decode", ended_by=proxy)
        else:
            main.push(at, at + 9 * MS, "decode").start_end(at + MS, end, "Send", domain="ofi", ended_by=proxy)
        main.launch(at + MS, gpu=(at + 2 * MS, at + 8 * MS), name="nvjet_tst")

    report = cli.analyze(trace)

    (found,) = [one for one in report["findings"] if one["code"] == "unclosed_ranges"]
    assert "the end of 6 ranges was not recorded" in found["message"]
    assert "that another thread ends" in found["hint"]
    assert phase(report, "decode")["kernel_time_ns"] == 60 * MS


@pytest.mark.parametrize("kind", ["nsys", "torch.profiler", "reused"])
def test_ranges_that_end_before_they_start_fail_a_check(kind: str, cli: Cli) -> None:
    """Ends a millisecond before the start in four of ten; ids of ranges that are used again are no problem."""
    trace: TraceBuilder | KinetoTrace = KinetoTrace() if kind == "torch.profiler" else TraceBuilder().gpu()
    main = trace.process().thread() if isinstance(trace, TraceBuilder) else None
    for number in range(10):
        at = 10 * MS * number
        end = at - MS if number % 3 == 0 and kind != "reused" else at + 9 * MS
        if isinstance(trace, KinetoTrace):
            trace.annotation("decode", at, end)
        elif main is not None and kind == "reused":
            main._nvtx(60, at, end, "decode", None, None, rangeId=7)
        elif main is not None:
            main.push(at, end, "decode")
        (main or trace).launch(at + MS, gpu=(at + 2 * MS, at + 8 * MS), name="nvjet_tst")  # type: ignore[union-attr]

    report = cli.analyze(trace, code=0 if kind == "reused" else 1)

    failed = [check["name"] for check in report["checks"] if not check["passed"]]
    assert failed == ([] if kind == "reused" else ["times.possible"])
    if kind == "reused":
        assert phase(report, "decode")["wall_ns"] == 90 * MS


# -- ranks -----------------------------------------------------------------------------------------------------------


def test_a_switch_that_adds_up_carries_more_than_the_links(cli: Cli) -> None:
    """275 GB/s by eight GPUs are a bus bandwidth of 481 GB/s; the NVLink of an H200 carries 450 in one direction."""
    path = job(cli.folder, ALL_REDUCE, 8, message=27_500_000)

    code, out, err = run(cli.capsys, "analyze", path, "--no-cache")
    _, rows, _ = run(
        cli.capsys, "sql", path, "SELECT algorithm, protocol, link_ratio FROM collective_summary", "--format", "csv"
    )

    assert code == 0, err
    assert "481.2 GB/s" in out  # and `bus_above_links` says:
    assert "bus bandwidth of 481.2 GB/s, 107 % of the GPU's NVLink" in " ".join(out.split())
    # A name with RING and LL says nothing: NVLS and all protocols run in that kernel.
    assert rows.splitlines()[1] == ",,"


@pytest.mark.parametrize(("who", "told"), [("one", "12 of 12"), ("by turns", None), ("once", "1 of 12")])
def test_a_rank_that_is_late_once_is_not_late_always(who: str, told: str | None, cli: Cli) -> None:
    """Twelve steps of four ranks; the late one computes for 20 ms longer."""
    trace = TraceBuilder()
    threads = [trace.gpu(rank).process(100 + rank).thread() for rank in range(4)]
    for step in range(12):
        at = 100 * MS * step
        late = {"one": 1, "by turns": step % 4, "once": 2 if step == 5 else None}[who]
        for rank, main in enumerate(threads):
            main.push(at, at + 99 * MS, "step")
            met = at + (42 + (20 if rank == late else 0)) * MS
            main.launch(at + MS, gpu=(at + 2 * MS, met), name="nvjet_tst", device=rank)
            end = at + (47 + (0 if late is None else 20)) * MS
            main.launch(at + 2 * MS, gpu=(met, end), name=ALL_REDUCE, device=rank, stream=20)

    report = cli.analyze(trace)

    assert ("late_rank" in codes(report)) == (told is not None)
    if told is not None:
        assert f"it comes last to {told} collectives" in message(report, "late_rank")
        # 240 ms in all; before the first collective nobody knows when the ranks began.
        assert f"at least {220 if who == 'one' else 20}.0 ms longer" in message(report, "late_rank")


def of_rank(rank: int, world: int, process: int, busy_ms: int, *, is_told: bool = True) -> KinetoTrace:
    """Five decode steps of one rank, on the GPU that it calls by its number."""
    told = {"distributedInfo": {"backend": "nccl", "rank": rank, "world_size": world}} if is_told else {}
    trace = KinetoTrace(deviceProperties=[gpu(number) for number in range(world)], **told)
    for at in FIVE_STEPS:
        trace.annotation("execute_context_0(0)_generation_4(4)", at, at + 99 * MS)
        trace.launch(at + MS, gpu=(at + 2 * MS, at + (2 + busy_ms) * MS), name="nvjet_tst", device=rank)
    for event in trace.events:
        event |= {key: process for key in ("pid", "tid") if event.get(key) == 4711}
    return trace


@pytest.mark.parametrize(("is_told", "tensor"), [(True, 1), (False, 2)])
def test_ranks_of_replicas_have_gpus_of_their_own(is_told: bool, tensor: int, cli: Cli) -> None:
    """Each of two replicas counts its ranks and its GPUs from 0, and works for 78 or 88 ms a step."""
    folder = cli.folder / "traces"
    folder.mkdir()
    for replica in (0, 1):
        for rank in range(tensor):
            number = replica * tensor + rank
            name = f"dp{replica}_pp0_tp{rank}_dcp0_ep{number}_rank{rank}.17908570260{number}.pt.trace.json"
            of_rank(rank, tensor, 1000 + number, 78 + 10 * replica, is_told=is_told).write(folder / name)

    code, out, err = run(cli.capsys, "analyze", folder, "--no-cache", "--format", "json")
    _, rows, _ = run(cli.capsys, "sql", folder, "SELECT rank FROM ranks ORDER BY rank", "--no-cache", "--format", "csv")

    assert code == 0, err
    report = json.loads(out)
    decode = phase(report, "decode")
    assert decode["gpu_busy_ns"] == tensor * 5 * (78 + 88) * MS
    assert not codes(report) & {"ranks_repeated", "open_at_once", "gpus_not_told_apart"}
    assert [int(row) for row in rows.split()[1:]] == list(range(2 * tensor))


@pytest.mark.parametrize(("how", "code"), [("appended", 1), ("mixed", 1), ("tail", 0)])
def test_a_file_that_all_ranks_write_is_refused_or_told(how: str, code: int, cli: Cli) -> None:
    first, second = (of_rank(0, 1, process, 78, is_told=False) for process in (500, 600))
    path: Path = cli.folder / "trace.json"
    if how == "mixed":
        first.events[10:] = second.events[10:]
    path.write_text(first.text() + {"appended": second.text(), "mixed": "", "tail": second.text()[-300:]}[how])

    status, out, err = run(cli.capsys, "analyze", path, "--no-cache")

    assert status == code
    text = " ".join((out + err).split())
    assert {
        "appended": "holds several traces, one behind the other",
        "mixed": "holds several processes, 500 and 600",
        "tail": "what follows the events is no JSON and is not read",
    }[how] in text


def test_active_sms_are_not_the_active_engine(cli: Cli) -> None:
    """Ten kernels a step, on a tenth of the SMs more each; the graphics engine is active all the time."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in FIVE_STEPS:
        main.push(at, at + 100 * MS, "step")
        for number, start in enumerate(range(at, at + 100 * MS, 10 * MS)):
            main.launch(start + 1, gpu=(start + US, start + 10 * MS), gridX=13 * (number + 1), gridY=1, gridZ=1)
    metrics: dict[str, Any] = {
        "GR Active [Throughput %]": lambda ms: 100,
        "SMs Active [Throughput %]": lambda ms: 10 * (ms // 10 + 1),
    }

    rows, _ = cli.sql(sampled(trace, metrics), "SELECT sm_active_ratio FROM phase_counters")

    assert [row["sm_active_ratio"] for row in rows] == [pytest.approx(0.55, abs=0.005)]
