"""What training steps wait for outside their passes, and which steps lack a wait or are cold."""

from __future__ import annotations

import pytest

from tests.cli.public_reports.common import analyzed_folder, codes, message, phase
from tests.cli.run import MS, Cli
from tests.support.kineto import KinetoTrace
from tests.support.trace_builder import TraceBuilder


def waiting_loop(*, wait_ms: int = 0, copy_ms: int = 0, check_ms: int = 0, kind: int = 0) -> TraceBuilder:
    """Six steps of 70 ms of the GPU behind a wait of the host or a copy of the input, with a check in each."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    at = 0
    for _ in range(6):
        at += wait_ms * MS
        if copy_ms:
            main.memcpy(at + 5, gpu=(at + 9, at + copy_ms * MS), size_bytes=2**20, srcKind=kind, dstKind=2)
            at += copy_ms * MS
        for name, length in (("forward", 20), ("backward", 40), ("optimizer", 10)):
            at += check_ms * MS if name == "optimizer" else 0
            main.push(at, at + length * MS, name).launch(at + 1, gpu=(at + 9, at + length * MS), name="gemm")
            at += length * MS
    return trace


@pytest.mark.parametrize(
    ("loop", "told", "at_stake_ms"),
    [
        ({}, None, None),
        ({"wait_ms": 3}, None, None),
        (
            {"wait_ms": 30},
            "in 6 training steps the GPU runs no kernel outside their passes for 26 % of the time: 150.0 ms before",
            150,
        ),
        ({"check_ms": 10}, "0.0 ms before the first pass, 60.0 ms later", 60),
        ({"copy_ms": 30}, "150.0 ms of it the GPU copies, 150.0 ms from or to pageable memory", 150),
    ],
)
def test_what_steps_lose_outside_their_passes_is_a_cause(
    loop: dict[str, int], told: str | None, at_stake_ms: int | None, cli: Cli
) -> None:
    """No budget of a phase has that time. The first step begins with its first pass: nothing tells of its wait."""
    report = cli.analyze(waiting_loop(**loop), "--keep-cold")

    causes = {one["code"]: one for one in report["findings"] if one["budget_part"]}
    assert ("idle_outside_passes" in causes) == (told is not None)
    if told is not None and at_stake_ms is not None:
        assert told in causes["idle_outside_passes"]["message"]
        assert causes["idle_outside_passes"]["at_stake_ns"] == pytest.approx(at_stake_ms * MS, abs=MS)


def test_a_cold_optimizer_takes_no_later_ones_with_it_where_no_other_pass_is_marked(cli: Cli) -> None:
    """Stages of a pipeline that a program runs itself: nobody marks their passes. One's first optimizer is cold."""
    trace = TraceBuilder()
    for device in range(2):
        main = trace.gpu(device).process(100 + device).thread()
        for at in range(0, 600 * MS, 100 * MS):
            end = at + (1 if at or device else 30) * MS
            main.push(at, end, "optimizer")
            main.launch(at + 1, gpu=(end - MS // 2, end), name="multi_tensor_apply_kernel", device=device)

    optimizer = phase(cli.analyze(trace), "optimizer")

    assert (optimizer["occurrences"], optimizer["cold_occurrences"]) == (12, 1)


def test_the_copy_of_an_input_hides_no_input(cli: Cli) -> None:
    """The GPU works for all of the time before the first passes, on the copy that the host waits for."""
    report = cli.analyze(waiting_loop(copy_ms=30))

    assert "input_wait_hidden" not in codes(report)


def test_each_recording_of_a_worker_lacks_its_first_wait(cli: Cli) -> None:
    """Two recordings of four steps of 100 ms, the first of which lack 6 ms: 12 of 800, and the pause is in no step."""
    for cycle in range(2):
        trace = KinetoTrace(distributedInfo={"backend": "nccl", "rank": 0, "world_size": 1})
        for at in range(5_000 * cycle, 5_000 * cycle + 400, 100):
            for name, start, end in (("forward", 6, 35), ("backward", 35, 90), ("optimizer", 90, 100)):
                trace.annotation(name, (at + start) * MS, (at + end) * MS)
                trace.launch((at + start + 1) * MS, gpu=((at + start + 2) * MS, (at + end) * MS))
        trace.write(cli.folder / f"host_1.{1000 + cycle}.pt.trace.json")

    report = analyzed_folder(cli)

    assert report["training"]["wall_ns"] == 788 * MS
    assert "about 12.0 ms" in message(report, "first_wait_missing")
    assert "about 2 % too high" in message(report, "first_wait_missing")
