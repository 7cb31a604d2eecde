"""What was not recorded: kernels, libraries, collectives, ranks, passes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nsys_pipeline.capture.plan import CapturePlan, nsys_argv
from nsys_pipeline.nsys.install import Nsys
from tests.cli.public_reports.common import ALL_REDUCE, FIVE_STEPS, LLAMA, MODULE, US, codes, message, phase
from tests.cli.run import MS, Cli
from tests.support.kineto import KinetoTrace, gpu
from tests.support.trace_builder import TraceBuilder


def test_launches_without_kernels_are_no_idle_gpu(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 50 * MS, "prefill")
    main.call(MS)
    main.call(2 * MS, api="cudaLaunchKernelExC_v11060")

    (found,) = [one for one in cli.analyze(trace)["findings"] if one["code"] == "kernels_missing"]

    assert found["severity"] == "error"
    assert found["message"].startswith("2 kernel launches")


def test_kernels_that_nsys_lost_on_the_way_are_told(cli: Cli) -> None:
    """Eight decode steps of six launches; from the fourth on the trace has the calls, but no kernels."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for step in range(8):
        at = step * 20 * MS
        main.push(at, at + 18 * MS, "decode")
        for launch in range(at + MS, at + 13 * MS, 2 * MS):
            if step < 3:
                main.launch(launch, gpu=(launch + MS, launch + 2 * MS))
            else:
                main.call(launch)

    report = cli.analyze(trace)

    (found,) = [one for one in report["findings"] if one["code"] == "nsys_lost_work"]
    assert found["message"].startswith(
        "30 of 48 calls that launch kernels have none in the trace, the first 60 ms after"
    )


def test_ranks_of_which_no_kernel_was_recorded(cli: Cli) -> None:
    trace = TraceBuilder()
    for rank in range(3):
        trace.gpu(rank)
        main = trace.process(100 + rank).thread().push(0, 60 * MS, "decode")
        for at in range(MS, 10 * MS, MS):
            if rank == 0:
                main.launch(at, gpu=(at + 100, at + MS // 2))
            else:
                main.call(at)

    found = [one["message"] for one in cli.analyze(trace)["findings"] if one["code"] == "phases_without_work"]

    assert [message.partition(" (")[0] for message in found] == ["process 101", "process 102"]
    assert all(message.endswith("its GPU times are not 0, but unknown") for message in found)


def test_passes_whose_work_was_not_recorded_are_told(cli: Cli) -> None:
    """torch.profiler misses what runs right behind its start: all four mixed passes, and the first of four prefills."""
    trace = KinetoTrace()
    mark = f"llmperf:llmperf.run {json.dumps({'v': 1, 'model': LLAMA})}".replace('"', "%22")
    trace.annotation(mark, 0, 0)
    for number in range(12):
        at = 20 * MS * number
        name, tokens, cached = (("mixed", 8, 8), ("prefill", 64, 0), ("decode", 1, 64))[number // 4]
        trace.annotation(f"llmperf:{name}", at + 1, at + 19 * MS)
        step = f"%22b%22:1,%22q%22:{tokens},%22kv%22:{cached},%22logits%22:1"
        trace.annotation(f"llmperf:llmperf.step {{{step}}}", at + 2, at + 2)
        if number > 4:
            trace.launch(at + MS, gpu=(at + 2 * MS, at + 18 * MS))

    report = cli.analyze(trace)

    measured = {name: phase(report, name)["mfu_busy"] is not None for name in ("mixed", "prefill", "decode")}
    assert measured == {"mixed": False, "prefill": False, "decode": True}
    told = {one["phase"]: one["message"] for one in report["findings"] if one["code"] == "passes_without_work"}
    assert told.keys() == {"mixed", "prefill"}
    assert told["mixed"].startswith("4 of 4 measured passes of mixed have tokens and no GPU work")
    assert told["prefill"].startswith("1 of 4 measured passes of prefill have tokens and no GPU work")


@pytest.mark.parametrize("seen", ["launches", "copies", "waits", "kernels"])
def test_a_library_whose_kernels_are_not_recorded_is_told(seen: str, cli: Cli) -> None:
    """Of each step of 90 ms, 18 and 16 are torch's; for 41 or 42 the host waits for kernels that the trace lacks."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in FIVE_STEPS:
        main.push(at, at + 90 * MS, "step")
        main.launch(at + MS, gpu=(at + 2 * MS, at + 20 * MS), name="at::native::vectorized_elementwise_kernel")
        main.push(at + 20 * MS, at + 70 * MS, "k2::IntersectDense")
        if seen == "launches":
            for number in range(4):
                main.call(at + (21 + number) * MS)
        if seen == "kernels":
            main.launch(at + 21 * MS, gpu=(at + 26 * MS, at + 67 * MS), name="k2::GetArcs")
        if seen == "waits":
            main.call(at + 26 * MS, until=at + 68 * MS, api="cudaStreamSynchronize_v3020")
        else:
            copy = main.call(at + 26 * MS, until=at + 68 * MS, api="cudaMemcpy_v3020")
            main.process.memcpy((at + 67 * MS, at + 68 * MS), correlation=copy, kind=2)
        main.launch(at + 71 * MS, gpu=(at + 72 * MS, at + 88 * MS), name="nvjet_tst")

    report = cli.analyze(trace)

    assert ("waits_without_work" in codes(report)) == (seen != "kernels")
    if seen != "kernels":
        assert f"the host waits {5 * (42 if seen == 'waits' else 41)}.0 ms" in message(report, "waits_without_work")
    assert ("nsys_lost_work" in codes(report)) == (seen == "launches")


@pytest.mark.parametrize("seen", ["ranges", "launches", "neither", "kernels"])
def test_collectives_that_are_not_recorded_are_told(seen: str, cli: Cli) -> None:
    trace = KinetoTrace(distributedInfo={"backend": "nccl", "rank": 0, "world_size": 4})
    for step, at in enumerate(FIVE_STEPS):
        trace.annotation(f"ProfilerStep#{step}", at, at + 100 * MS)
        trace.launch(at + MS, gpu=(at + 2 * MS, at + 60 * MS), name="volta_sgemm_64x64_nt")
        if seen != "neither":
            trace.annotation("nccl:all_reduce", at + 5 * MS, at + 6 * MS)
            trace.op("record_param_comms", at + 5 * MS, at + 6 * MS)
        if seen == "launches":
            trace.correlation += 1
            trace.call("cudaLaunchKernelExC", at + 5 * MS, at + 5 * MS + 9 * US, trace.correlation)
        if seen == "kernels":
            trace.launch(at + 5 * MS, gpu=(at + 60 * MS, at + 85 * MS), name=ALL_REDUCE, stream=20)
        trace.launch(at + 61 * MS, gpu=(at + 85 * MS, at + 95 * MS), name="multi_tensor_apply_kernel<sgd>")

    report = cli.analyze(trace)

    assert ("communication_missing" in codes(report)) == (seen != "kernels")
    assert ("torch_profiler_lost_work" in codes(report)) == (seen == "launches")
    if seen == "neither":
        assert "trains on 4 ranks" in message(report, "communication_missing")
    elif seen != "kernels":
        assert "5 ranges of collectives" in message(report, "communication_missing")


def test_steps_without_kernels_around_one_that_never_ends_are_told(cli: Cli) -> None:
    """32 steps: all kernels are of the first and the last, but for one that has 99 % of the time."""
    trace = KinetoTrace()
    for step in range(32):
        at = step * 55 * MS
        trace.annotation("step[DECODE bs=64]", at, at + 54 * MS)
        trace.correlation += 1
        trace.call("cudaGraphLaunch", at + MS, at + 2 * MS, trace.correlation)
        for start in range(at + 2 * MS, at + 10 * MS, 10 * US) if step in (0, 31) else ():
            trace.kernel("nvjet_tst", start, start + 9 * US, trace.correlation)
        if step == 0:
            trace.kernel("reduce_kernel", at + 10 * MS, at + 1_750 * MS, trace.correlation)

    report = cli.analyze(trace)

    assert "30 of 32 CUDA graph launches" in message(report, "untraced_graphs")
    assert "torch_profiler_lost_work" in codes(report)


def test_kernels_that_nobody_waited_for_are_told(cli: Cli) -> None:
    trace = KinetoTrace(deviceProperties=[gpu(0), gpu(1)])
    trace.annotation("decode", 0, 90_000)
    trace.launch(1_000, gpu=(10_000, 30_000))
    trace.call("cudaLaunchKernel", 5_000, 7_000, 9)

    _, err = cli.sql(trace, "SELECT gpu_busy_ns FROM phase_summary")

    assert "torch.profiler recorded 1 of 2 launching calls without what the GPU did in them" in err


def test_a_range_that_opens_the_recording_needs_no_registered_name() -> None:
    """nsys compares names of ranges with `--nvtx-capture` only where they are registered strings, unless it is told."""
    nsys = Nsys(Path("/x/nsys"), (2024, 2, 3), "2024.2.3", frozenset(), frozenset())
    plan = CapturePlan(command=("python", "run.py"), capture_range="nvtx", nvtx_range="bench")

    assert "--nvtx-capture=bench" in nsys_argv(nsys, plan, Path("out/trace"))
    assert plan.whole_environment == {"NSYS_NVTX_PROFILER_REGISTER_ONLY": "0"}


@pytest.mark.parametrize("recorded", ["launches", "waits"])
def test_copies_without_any_kernel_are_told(recorded: str, cli: Cli) -> None:
    """A training of JAX: inputs are copied before its steps, which have XLA's ranges and no kernels."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in range(0, 40 * MS, 10 * MS):
        main.memcpy(at + MS, gpu=(at + 2 * MS, at + 5 * MS), size_bytes=50_000_000)
    for at in range(100 * MS, 600 * MS, 100 * MS):
        main.push(at, at + 95 * MS, MODULE, domain="TSL")
        if recorded == "launches":
            main.call(at + MS, api="cuLaunchKernel")
        main.call(at + 20 * MS, until=at + 90 * MS, api="cuStreamSynchronize")

    report = cli.analyze(trace)

    step = phase(report, "step")
    assert (step["kernel_count"], sum(step["budget"].values()), step["mfu_busy"]) == (0, 0, None)
    assert report["unattributed"]["memop_count"] == 4
    assert ("kernels_missing" in codes(report)) == (recorded == "launches")
    told = message(report, "waits_without_work")
    assert told.startswith("in step the host waits 350.0 ms for the GPU in 5 calls, and nothing that was recorded runs")


def test_kernels_that_a_profiler_put_out_of_its_range_are_told(cli: Cli) -> None:
    """Launches, operators and a wait of torch.profiler, and not one kernel: its advice is of torch.profiler, too."""
    trace = KinetoTrace()
    trace.annotation("ProfilerStep#0", 0, 18 * MS)
    trace.op("aten::mm", MS, 2 * MS, [[8192, 256], [256, 4096]])
    for number in range(3):
        trace.call("cudaLaunchKernel", MS + 100 * number * US, MS + (100 * number + 10) * US, number)
    trace.call("cudaDeviceSynchronize", 10 * MS, 17 * MS, 9)

    report = cli.analyze(trace)

    assert phase(report, "step")["kernel_count"] == 0
    assert message(report, "kernels_missing").startswith("3 kernel launches were recorded and not one kernel")
    (hint,) = [one["hint"] for one in report["findings"] if one["code"] == "kernels_missing"]
    assert "warm-up step" in hint
    assert "--trace" not in hint
