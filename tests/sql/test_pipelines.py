"""Bubbles of pipelines against a simulated schedule: how long each stage waits, and when nothing is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.model import Conventions, Model
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.trace_builder import TraceBuilder

US, MS = 1_000, 1_000_000
FORWARD, BACKWARD, MESSAGE, NORM, UPDATE = MS, 2 * MS, 10 * US, 20 * US, 500 * US
SEND, REDUCE = "ncclDevKernel_SendRecv", "ncclDevKernel_AllReduce_Sum_f32_RING_LL"
LLAMA = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4,
    "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 96,
}  # fmt: skip
MIXTRAL = LLAMA | {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": None}


@attrs.frozen
class Schedule:
    """Stages, micro-batches, and whether a stage begins its backwards as soon as it can (1F1B), or last (GPipe)."""

    stages: int
    micro_batches: int
    is_one_by_one: bool = True

    def order(self, stage: int) -> Iterator[tuple[str, int]]:
        """What one stage runs: passes with the number of their micro-batch."""
        ahead = min(self.micro_batches, self.stages - stage) if self.is_one_by_one else self.micro_batches
        yield from (("forward", number) for number in range(ahead))
        for number in range(self.micro_batches):
            yield "backward", number
            if ahead + number < self.micro_batches:
                yield "forward", ahead + number


def pipeline(schedule: Schedule, steps: int = 2, *, is_sending: bool = False) -> tuple[TraceBuilder, list[int]]:
    """A job of one GPU for each stage, and how long each one waits.

    A receive is launched when the stage has nothing else to do, and ends `MESSAGE` after the sender is done. At the end
    of a step all stages reduce the norm of the gradients. `is_sending`: beside each receive a send waits, on its own
    stream.
    """
    trace, waited = TraceBuilder(), [0] * schedule.stages
    mains = [trace.gpu(stage).process(100 + stage).thread() for stage in range(schedule.stages)]
    begin = [US] * schedule.stages
    for _ in range(steps):
        free, done = list(begin), dict[tuple[str, int, int], int]()
        todo = [list(schedule.order(stage)) for stage in range(schedule.stages)]

        def run(stage: int, start: int, length: int, name: str, free: list[int] = free) -> None:
            stream = {SEND: 20, REDUCE: 30}.get(name, 7)  # a communicator has a stream of its own
            mains[stage].launch(start - 5, gpu=(start, start + length), name=name, device=stage, stream=stream)
            free[stage] = start + length

        while any(todo):
            for stage, left in enumerate(todo):
                while left:
                    phase, number = left[0]
                    sender = stage - 1 if phase == "forward" else stage + 1
                    if 0 <= sender < schedule.stages:
                        if (phase, number, sender) not in done:
                            break
                        arrived = max(free[stage], done[phase, number, sender])
                        waited[stage] += arrived - free[stage]
                        gpu = (free[stage], arrived + MESSAGE)
                        if is_sending:
                            mains[stage].launch(gpu[0] - 8, gpu=gpu, name=SEND, device=stage, stream=21)
                        run(stage, gpu[0], gpu[1] - gpu[0], SEND)
                    at = free[stage]
                    run(stage, at, FORWARD if phase == "forward" else BACKWARD, "gemm")
                    mains[stage].push(at - 6, at + 100, phase)
                    done[phase, number, stage] = free[stage]
                    left.pop(0)
        last = max(free)
        for stage in range(schedule.stages):
            waited[stage] += last - free[stage]
            run(stage, free[stage], last - free[stage] + NORM, REDUCE)
            mains[stage].push(free[stage] - 6, free[stage] + UPDATE, "optimizer")
            run(stage, free[stage], UPDATE, "adam")
        begin = [one + 10 for one in free]
    return trace, waited


def bubble(trace: TraceBuilder, folder: Path, config: dict[str, Any], **degrees: Any) -> list[tuple[Any, ...]]:
    model = Model.from_config(config, name="model")
    with open_trace(trace.write(folder / "trace.sqlite"), TraceOptions(use_cache=False)) as opened:
        opened.describe(AnalysisOptions(model=model, conventions=Conventions(**degrees), is_degree_told=True))
        opened.build("findings.pipeline_bubble")
        return opened.connection.execute("SELECT * FROM findings.pipeline_bubble").fetchall()


@pytest.mark.parametrize(("is_one_by_one", "is_sending"), [(True, False), (False, False), (True, True)])
def test_the_bubble_is_that_of_the_schedule(is_one_by_one: bool, is_sending: bool, tmp_path: Path) -> None:
    stages, micro_batches = 4, 8
    trace, waited = pipeline(Schedule(stages, micro_batches, is_one_by_one), is_sending=is_sending)

    ((phase, at_stake_ns, share, told_stages, ranks, start_ns, _, end_ns, expected),) = bubble(
        trace, tmp_path, LLAMA, pp=stages
    )

    # The first step of a recording begins with the first pass of each rank: what it waited before is not in it.
    before = sum(stage * FORWARD + (stage - 1) * MESSAGE for stage in range(1, stages))
    assert (phase, told_stages, at_stake_ns) == (None, stages, sum(waited) - before)
    # of two steps of four stages, one is whole
    assert (start_ns, end_ns // (100 * US)) == (before // 8, 30)
    assert share == pytest.approx((stages - 1) / (micro_batches + stages - 1), abs=0.025)
    assert ranks.startswith("process 100 27 %, process 101 26 %, ")
    assert expected == "; 8 micro-batches through 4 stages alone make 27 %"


@pytest.mark.parametrize(
    ("micro_batches", "config", "degrees"),
    [
        (24, LLAMA, {"pp": 2}),  # 4 % is no bubble
        (2, MIXTRAL, {"pp": 2}),  # experts talk by the same kernels
        (2, LLAMA, {"pp": 2, "cp": 2}),  # and so do rings
    ],
)
def test_what_is_no_bubble(micro_batches: int, config: dict[str, Any], degrees: dict[str, int], tmp_path: Path) -> None:
    trace, _ = pipeline(Schedule(2, micro_batches))

    assert bubble(trace, tmp_path, config, **degrees) == []
