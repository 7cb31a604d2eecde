"""Cut the launches of one process into training steps: forward, backward and optimizer.

Algorithm: runs of optimizer kernels end the steps. Backward work, which autograd may launch from a thread of its own,
says where the forward pass has ended; the loss is its last kernel. All phases are of the thread that runs
the optimizer, as if it had marked them: the attribution lends it the work of autograd's thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from nsys_pipeline.infer.launches import Launch

#: Steps that must be alike.
MIN_STEPS = 3
#: How much the number of products of a forward pass, or of a backward one, may differ from the median.
TOLERANCE = 0.25
_FORWARD = ("attention", "softmax", "lookup", "loss")


class Step(NamedTuple):
    """Host times of the three phases of a step, on the optimizer's thread. Unit: ns."""

    global_tid: int
    #: Share of the stretches between optimizer steps that are alike.
    score: float
    forward_ns: tuple[int, int]
    backward_ns: tuple[int, int]
    optimizer_ns: tuple[int, int]


def find_steps(launches: Sequence[Launch]) -> tuple[list[Step], str | None]:
    """Training steps of one process's launches, ordered by time; or none, and why."""
    optimizers = {one.global_tid for one in launches if one.role == "optimizer"}
    if not optimizers:
        return [], "no optimizer kernels"
    if len(optimizers) > 1:
        return [], "optimizer kernels from several threads"
    (main,) = optimizers
    steps: list[Step] = []
    sizes: list[tuple[int, int]] = []
    for work, optimizer in _stretches(launches, main):
        if found := _step(work, optimizer, main):
            steps.append(found[0])
            sizes.append(found[1])
    if len(steps) < MIN_STEPS:
        return [], f"{len(steps)} training steps, fewer than {MIN_STEPS}"
    typical = [median(column) for column in zip(*sizes, strict=True)]
    alike = [
        step
        for step, size in zip(steps, sizes, strict=True)
        if all(abs(value - middle) <= TOLERANCE * max(middle, 1) for value, middle in zip(size, typical, strict=True))
    ]
    if len(alike) < max(MIN_STEPS, 0.8 * len(steps)):
        return [], f"only {len(alike)} of {len(steps)} stretches between optimizer steps are alike"
    score = round(len(alike) / len(steps), 2)
    return [step._replace(score=score) for step in alike], None


def _stretches(launches: Sequence[Launch], main: int) -> list[tuple[list[Launch], list[Launch]]]:
    """Work before each run of optimizer kernels, and that run."""
    found: list[tuple[list[Launch], list[Launch]]] = []
    work: list[Launch] = []
    optimizer: list[Launch] = []
    for one in launches:
        if one.role == "optimizer" and one.global_tid == main:
            optimizer.append(one)
        elif optimizer and one.role in (*_FORWARD, "backward"):
            found.append((work, optimizer))
            work, optimizer = [one], []
        elif not optimizer:
            work.append(one)
    if optimizer:
        found.append((work, optimizer))
    return found


def _step(work: Sequence[Launch], optimizer: Sequence[Launch], main: int) -> tuple[Step, tuple[int, int]] | None:
    backward = [one for one in work if one.role == "backward"]
    if not backward:
        return None
    first_backward = backward[0].start_ns
    forward = [one for one in work if one.global_tid == main and one.role in _FORWARD and one.start_ns < first_backward]
    losses = [one for one in forward if one.role == "loss"]
    lookups = [one for one in forward if one.role == "lookup"]
    if not losses or not forward:
        return None
    start = (lookups or forward)[0]
    gathers = [one for one in work if one.role == "communication" and one.global_tid == main]
    before = [one for one in gathers if one.start_ns < start.start_ns]
    if before:
        start = before[-1]
    end_ns = losses[-1].end_ns
    last = max((one for one in work if one.start_ns >= first_backward), key=lambda one: one.start_ns)
    optimizer_ns = min(last.end_ns + 1, optimizer[0].start_ns)
    if not start.start_ns < end_ns < first_backward < optimizer_ns:
        return None
    step = Step(
        main,
        1.0,
        (start.start_ns, end_ns),
        (end_ns + 1, optimizer_ns - 1),
        (optimizer_ns, optimizer[-1].end_ns),
    )
    return step, (len(forward), len(backward))
