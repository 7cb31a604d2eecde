"""Communication: waiting and transfer, hidden and exposed, by copies, without a call, beside compute."""

from __future__ import annotations

import json

import pytest

from tests.cli.public_reports.common import ALL_REDUCE, FIVE_STEPS, US, codes, phase, spent
from tests.cli.run import MS, Cli, run
from tests.support.kineto import KinetoTrace
from tests.support.trace_builder import TraceBuilder
from tests.unit.trace.test_messages import job


def test_waiting_is_no_transfer(cli: Cli) -> None:
    trace = TraceBuilder().gpu(0).gpu(1)
    for rank, start in enumerate((1, 10)):
        main = trace.process(100 + rank).thread()
        main.mark(0, f'llmperf.run {{"v":1,"rank":{rank},"world":2}}', domain="llmperf")
        main.push(0, 50 * MS, "forward")
        main.launch(MS // 2, gpu=(start * MS, 11 * MS), name=ALL_REDUCE, device=rank)

    report = cli.analyze(trace)

    budget = phase(report, "forward")["budget"]
    assert (budget["wait_ns"], budget["transfer_ns"], budget["compute_ns"]) == (9 * MS, 2 * MS, 0)
    assert "late_rank" in codes(report)


def test_a_slow_backward_that_a_collective_hides_is_found(cli: Cli) -> None:
    """All ranks' backwards end with the collective, so that they take as long; one computes 54 ms, the other 24."""
    trace = TraceBuilder().gpu(0).gpu(1)
    for rank in range(2):
        main = trace.process(100 + rank).thread()
        autograd = main.process.thread(300 + rank)
        for at in range(0, 400 * MS, 100 * MS):
            main.push(at, at + 20 * MS, "forward").launch(at + MS, gpu=(at + 2 * MS, at + 20 * MS), device=rank)
            main.push(at + 20 * MS, at + 80 * MS, "backward")
            end = at + (45 + 30 * rank) * MS
            autograd.launch(at + 21 * MS, gpu=(at + 21 * MS, end), device=rank)
            autograd.launch(at + 22 * MS, gpu=(end, at + 79 * MS), name=ALL_REDUCE, device=rank, stream=20)
            main.call(at + 23 * MS, until=at + 79 * MS, api="cudaStreamSynchronize_v3020")
            main.push(at + 80 * MS, at + 95 * MS, "optimizer")
            main.launch(at + 81 * MS, gpu=(at + 82 * MS, at + 94 * MS), device=rank)

    report = cli.analyze(trace)

    backward = phase(report, "backward")
    assert (backward["bound"], backward["wall_ns"]) == ("waiting", 4 * 2 * 60 * MS)
    budget = backward["budget"]
    assert (budget["wait_ns"], budget["transfer_ns"]) == (4 * 30 * MS, 4 * 2 * 4 * MS)
    (late,) = [one["message"] for one in report["findings"] if one["code"] == "late_rank"]
    assert "wait 120.0 ms for process 101, each of them 30.0 ms a step" in late


def test_communication_that_is_half_hidden_is_told(cli: Cli) -> None:
    trace = TraceBuilder().gpu(0).gpu(1)
    for rank in range(2):
        main = trace.process(100 + rank).thread()
        main.mark(0, f'llmperf.run {{"v":1,"rank":{rank},"world":2}}', domain="llmperf")
        main.push(0, 30 * MS, "backward").launch(10, gpu=(MS, 11 * MS), name="gemm", device=rank)
        main.launch(20, gpu=(7 * MS, 17 * MS), stream=9, name=ALL_REDUCE, device=rank)

    report = cli.analyze(trace)

    assert phase(report, "backward")["budget"]["transfer_ns"] == 2 * 6 * MS
    (found,) = [one for one in report["findings"] if one["code"] == "exposed_communication"]
    assert found["at_stake_ns"] == 2 * 6 * MS


@pytest.mark.parametrize("is_hidden", [True, False])
def test_communication_of_a_tenth_of_the_time_is_a_tenth(is_hidden: bool, cli: Cli) -> None:
    trace = KinetoTrace(distributedInfo={"backend": "nccl", "rank": 0, "world_size": 2})
    for step, at in enumerate(FIVE_STEPS):
        trace.annotation(f"ProfilerStep#{step}", at, at + 100 * MS)
        trace.launch(at + MS, gpu=(at + 2 * MS, at + 80 * MS), name="nvjet_tst")
        reduced = at + (40 if is_hidden else 80) * MS
        trace.launch(at + 2 * MS, gpu=(reduced, reduced + 10 * MS), name=ALL_REDUCE, stream=20)
        trace.launch(at + 3 * MS, gpu=(at + 90 * MS, at + 98 * MS), name="adam")

    budget = spent(cli, trace)
    rows, _ = cli.sql(trace, "SELECT count(*) AS steps FROM training_steps")

    assert budget.get("transfer", 0) == (0 if is_hidden else 50)
    assert budget["compute"] == 430
    assert sum(budget.values()) == pytest.approx(500)
    # Each begins in the nanosecond in which the one before it ends, and none holds another.
    assert rows == [{"steps": 5}]


def test_overlap_is_told_of_each_gpu_whatever_its_streams(cli: Cli) -> None:
    """All-reduces end at 90 ms on all GPUs; those of GPU d begin 10 x d ms before the compute ends at 60."""
    trace = TraceBuilder()
    for device in range(4):
        trace.gpu(device)
        main, stream = trace.process(100 + device).thread(), 17 if device else 7
        for at in FIVE_STEPS:
            main.push(at, at + 99 * MS, "step")
            main.launch(at + MS, gpu=(at + 2 * MS, at + 60 * MS), name="nvjet_tst", device=device, stream=stream)
            reduced = (at + (60 - 10 * device) * MS, at + 90 * MS)
            main.launch(at + 2 * MS, gpu=reduced, name=ALL_REDUCE, device=device, stream=20 if device else 7)

    query = """SELECT w.device_id, sum(o.overlapped_ns) / 1e6 AS hidden, sum(o.exposed_ns) / 1e6 AS exposed
        FROM attribute.communication_overlap AS o JOIN attribute.gpu_work AS w USING (op_id) GROUP BY 1 ORDER BY 1"""
    rows, _ = cli.sql(trace, query)

    assert [(row["hidden"], row["exposed"]) for row in rows] == [(0, 150), (50, 150), (100, 150), (150, 150)]
    budget = spent(cli, trace)
    assert budget["compute"] == 4 * 5 * 58
    assert budget.get("transfer", 0) + budget.get("wait", 0) == 4 * 5 * 30


def test_communication_on_the_stream_of_the_products_is_no_compute(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in range(0, 100 * MS, 20 * MS):
        main.push(at, at + 20 * MS, "forward")
        for start in range(at, at + 20 * MS, 5 * MS):
            main.launch(start, gpu=(start + MS, start + 3 * MS), name="sm90_xmma_gemm_bf16")
            main.launch(start + US, gpu=(start + 3 * MS, start + 5 * MS), name="ncclDevKernel_AllGather_RING_LL")

    report = cli.analyze(trace)

    budget = phase(report, "forward")["budget"]
    assert (budget["compute_ns"], budget["transfer_ns"] + budget["wait_ns"]) == (5 * 4 * 2 * MS, 5 * 4 * 2 * MS)
    assert "exposed_communication" in codes(report)


def test_communication_without_kernels_is_told(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for name, kind, at in (("forward", 10, 0), ("backward", 8, 100 * MS)):
        main.push(at, at + 90 * MS, name)
        main.memcpy(at + MS, (at + 2 * MS, at + 32 * MS), kind=kind, size_bytes=3 << 20, srcKind=2, dstKind=2)
        main.launch(at + 2 * MS, gpu=(at + 32 * MS, at + 80 * MS))

    (found,) = [one for one in cli.analyze(trace)["findings"] if one["code"] == "copies_between_gpus"]

    assert found["message"].startswith("in forward 1 copies between GPUs, of 3 MiB in all")
    assert (found["phase"], found["at_stake_ns"]) == ("forward", 30 * MS)


def test_communication_without_a_call_is_outside(cli: Cli) -> None:
    trace = KinetoTrace()
    trace.annotation("decode", 0, 150_000)
    # A call whose number is 0, too, is not that of all of them.
    trace.call("hipExtLaunchKernel", 1_000, 2_000, 0)
    trace.launch(5_000, gpu=(10_000, 60_000), name="Cijk_Alik_Bljk")
    for at in (60_000, 80_000):
        trace.kernel("ncclDevKernel_Generic(ncclDevComm*, channelMasks, ncclWork*)", at, at + 15_000, 0)

    report = cli.analyze(trace)

    assert phase(report, "decode")["kernel_count"] == 1
    assert report["unattributed"]["reasons"]["no_api_call"] == {"count": 2, "time_ns": 30_000}


def test_what_a_link_carries_of_an_exchange_of_all_is_unknown(cli: Cli) -> None:
    path = job(cli.folder, "ncclDevKernel_SendRecv(ncclDevKernelArgsStorage<4096ul>)", 4)

    query = "SELECT count(*) AS kernels, sum(message_bytes) AS bytes, sum(bus_bytes) AS bus FROM collectives"
    _, out, _ = run(cli.capsys, "sql", "--no-cache", path, query, "--format", "json")

    assert json.loads(out) == {"kernels": 4, "bytes": 4 * 8_000_000, "bus": None}


def test_names_of_communication(cli: Cli) -> None:
    names = [
        ALL_REDUCE, "ncclKernel_AllReduce_RING_LL_Sum_half(ncclWork)", "ncclAllReduceRingLLKernel_sum_f32(ncclColl)",
        "ncclSymkDevKernel_AllReduce_RSxLDMC_AGxSTMC_sum_bf16(ncclSymkDevWorkArgs4K)",
        "void vllm::cross_device_reduce_1stage<__nv_bfloat16, 2>(vllm::RankData*, vllm::RankSignals)",
        "void flashinfer::trtllm_allreduce_fusion::allreduce_fusion_kernel_oneshot_lamport<P>(P)",
        "multimem_all_reduce_kernel",
    ]  # fmt: skip

    assert cli.families(names) == [{"family": "communication", "n": len(names)}]


def test_kernels_that_carry_tokens_to_experts_are_communication(cli: Cli) -> None:
    names = (
        "void dpsk::ep::internode::dispatch_ll<3, 10, 7168>(void*)", "EpCombineInterNodeKernel_bf16",
        "void mori::moe::EpDispatchIntraNodeKernel<__hip_bfloat16, false>(int)", "moeA2ADispatchKernel",
        "void nixl_ep::ep_kernels::dispatch<true, 7168>(void*)", "void uccl::internode_ll::combine<true>(void*)",
        "void hybrid_ep::dispatch_kernel<128, 8>(int)", "void deep_ep::intranode::notify_dispatch<8>(int)",
    )  # fmt: skip
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for number, name in enumerate(names):
        main.launch(number * MS, gpu=(number * MS + 10, number * MS + 20), name=name)

    rows, _ = cli.sql(trace, "SELECT DISTINCT family FROM kernels")

    assert rows == [{"family": "communication"}]


@pytest.mark.parametrize("name", ["AllGather_RING_LL", "ReduceScatter_Sum_bf16_RING_LL"])
def test_a_rank_of_a_ring_sends_what_the_others_have(name: str, cli: Cli) -> None:
    """16 MiB in all on 8 ranks: each sends 7 parts of 2 MiB in 100 µs."""
    path = job(cli.folder, f"ncclDevKernel_{name}", 8, message=2 << 20)

    query = "SELECT message_bytes, bus_bytes_per_s, link_ratio FROM collective_summary"
    _, out, _ = run(cli.capsys, "sql", "--no-cache", path, query, "--format", "json")

    found = json.loads(out)
    assert found["message_bytes"] == 16 << 20
    assert found["bus_bytes_per_s"] == pytest.approx((16 << 20) * 7 / 8 / 100e-6, rel=1e-4)
    assert found["link_ratio"] == pytest.approx(found["bus_bytes_per_s"] / 450e9, rel=1e-6)


def test_queued_collectives_do_not_overlap(cli: Cli) -> None:
    """Four all-reduces, launched within 3 ms, run one after the other; 26 of their 105 ms are beside a kernel."""
    trace = KinetoTrace()
    for step in range(4):
        at = step * 160 * MS
        trace.annotation(f"ProfilerStep#{step}", at, at + 158 * MS)
        end = at + 20 * MS
        for number, length in enumerate((9, 31, 23, 42)):
            compute = at + (20 + 10 * number) * MS
            trace.launch(at + (400 + 700 * number) * US, gpu=(compute, compute + 9 * MS), name="nvjet_tst")
            start = max(end, compute + 9 * MS)
            end = start + length * MS
            trace.launch(at + (600 + 700 * number) * US, gpu=(start, end), name=ALL_REDUCE, stream=20)

    rows, _ = cli.sql(trace, "SELECT kernel_count, time_ns, exposed_ns FROM collective_summary")

    # The first runs from 29 to 38 ms, the others from 39 to 135; kernels from 30 to 39, 40 to 49 and 50 to 59.
    assert [tuple(row.values()) for row in rows] == [(16, 4 * 105 * MS, 4 * (105 - 8 - 18) * MS)]
