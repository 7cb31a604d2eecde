"""Why a trace holds no GPU work: nsys' own reason, and a hint that follows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.records import Finding
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.real_traces import unpack_by_name
from tests.support.trace_builder import TraceBuilder

NOT_STARTED = "CUDA profiling might have not been started correctly."
DRIVER = (
    "Installed CUDA driver version (13.0) is not supported by this build of Nsight Systems. "
    "CUDA trace will be collected using libraries for driver version 12.5"
)
JAX = "Error when processing events: Cannot find string for an exterior index: 17"


def notices(path: Path, *codes: str) -> list[Finding]:
    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        return [notice for notice in analyze(opened).warnings if notice.code in codes]


def ranges_only(*, has_gpu: bool, calls: int = 0) -> TraceBuilder:
    trace = TraceBuilder().gpu() if has_gpu else TraceBuilder()
    main = trace.process().thread()
    main.push(0, 1000, "decode")
    for index in range(calls):
        main.call(10 * index, api="cudaMalloc_v3020")
    return trace


@pytest.mark.parametrize(
    ("has_gpu", "calls", "said", "message", "hint"),
    [
        (True, 0, NOT_STARTED, NOT_STARTED, "--trace-forks"),
        (True, 0, DRIVER, "Installed CUDA driver version (13.0) is not supported", "a newer Nsight Systems"),
        (True, 3, JAX, "Cannot find string for an exterior index", "--nsys-arg=--nvtx-domain-exclude=TSL"),
        (False, 0, JAX, "Cannot find string for an exterior index", "--nsys-arg=--nvtx-domain-exclude=TSL"),
        (True, 0, None, "no process made a CUDA call on the NVIDIA H100", "--trace-forks"),
        (True, 3, None, "though 3 CUDA calls were", "a part in which the GPU works"),
        (False, 0, NOT_STARTED, f"lists no GPU (nsys: {NOT_STARTED})", "`llmperf doctor` finds a GPU"),
        (False, 0, None, "the trace lists no GPU", "`llmperf doctor` finds a GPU"),
    ],
)
def test_the_hint_follows_the_cause(
    tmp_path: Path, has_gpu: bool, calls: int, said: str | None, message: str, hint: str
) -> None:
    trace = ranges_only(has_gpu=has_gpu, calls=calls)
    if said:
        trace.diagnostic(said, severity=2)

    (notice,) = notices(trace.write(tmp_path / "t.sqlite"), "no_gpu_work", "nsys_diagnostic")

    assert notice.code == "no_gpu_work"
    assert message in notice.message
    assert notice.hint is not None
    assert hint in notice.hint
    assert not has_gpu or "finds a GPU" not in notice.hint


def test_a_warning_that_nobody_knows_may_be_the_reason(tmp_path: Path) -> None:
    trace = ranges_only(has_gpu=True)
    trace.diagnostic("The moon was full.", severity=2)

    found = notices(trace.write(tmp_path / "t.sqlite"), "nsys_diagnostic")

    assert [notice.message for notice in found] == ["nsys: The moon was full."]


def test_a_recording_without_cuda_says_so(tmp_path: Path) -> None:
    trace = ranges_only(has_gpu=True)
    trace.capture_metadata(CAPTURE_EVENT_TYPE="NvtxEvents")

    (notice,) = notices(trace.write(tmp_path / "t.sqlite"), "no_gpu_work")

    assert "not told to trace CUDA" in notice.message
    assert notice.hint == "record again with `--trace cuda,nvtx`"


def test_a_process_with_phases_and_no_work_of_its_own_has_its_reason(tmp_path: Path) -> None:
    # given two processes with phases, of which one worked, and a helper
    trace = TraceBuilder().gpu()
    works, idle, helper = trace.process(100), trace.process(200), trace.process(300)
    works.thread().push(0, 100, "decode").launch(10, gpu=(20, 30))
    idle.thread().push(0, 100, "decode")
    trace.diagnostic(NOT_STARTED, severity=2, process=helper)
    assert notices(trace.write(tmp_path / "helper.sqlite"), "nsys_diagnostic") == []

    trace.diagnostic(NOT_STARTED, severity=2, process=idle)
    (notice,) = notices(trace.write(tmp_path / "idle.sqlite"), "nsys_diagnostic")
    assert NOT_STARTED in notice.message


def test_a_driver_that_nsys_does_not_know_is_said_of_a_real_trace(tmp_path: Path) -> None:
    (notice,) = notices(unpack_by_name("h100_llama_nsys2024.2", tmp_path), "nsys_diagnostic")

    assert "Installed CUDA driver version (13.0) is not supported" in notice.message
    assert notice.hint == "a newer Nsight Systems removes the doubt"
    # a hundred helpers of torch.compile that use no GPU
    assert notices(unpack_by_name("h100_torch_compile", tmp_path), "nsys_diagnostic") == []
