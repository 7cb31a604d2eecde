"""Cut the launches of one process into training steps: forward, backward and optimizer.

Algorithm: runs of optimizer kernels end the steps. Backward work, which autograd may launch from a thread of its own,
says where the forward pass has ended; the loss is its last kernel. All phases are of the thread that runs
the optimizer, as if it had marked them: the attribution lends it the work of autograd's thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from nsys_pipeline.infer.launches import LAYER_ROLES, Launch

#: Steps that must be alike.
MIN_STEPS = 3
#: How much the number of products of a forward pass, or of a backward one, may differ from the median.
TOLERANCE = 0.25
#: Share of the products between two updates, up to the loss, that may come before what looks like the forward pass.
MAX_EARLY_RATIO = 0.1
_FORWARD = (*LAYER_ROLES, "lookup", "loss")


class Step(NamedTuple):
    """Host times of a step's phases, on the optimizer's thread; several of the first two if gradients accumulate."""

    global_tid: int
    #: Share of the stretches between optimizer steps that are alike.
    score: float
    forward_ns: tuple[tuple[int, int], ...]
    backward_ns: tuple[tuple[int, int], ...]
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
    late = 0
    before: Launch | None = None
    for work, optimizer in _stretches(launches, main):
        found = _step(work, optimizer, main)
        if found and _is_late(work, found[0].forward_ns[0], before):
            late += 1
        elif found:
            steps.append(found[0])
            sizes.append(found[1])
        before = optimizer[-1]
    if late > 0.2 * (len(steps) + late):
        return [], "no lookup of embeddings and no copy from the host that begins the forward passes of training"
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
    copies: list[Launch] = []
    for one in launches:
        if one.role == "optimizer" and one.global_tid == main:
            optimizer.append(one)
            copies = []
        elif optimizer and one.role in (*_FORWARD, "backward"):
            found.append((work, optimizer))
            work, optimizer = [*copies, one], []
        elif not optimizer:
            work.append(one)
        elif one.role == "to_device":
            # The data of the next step.
            copies.append(one)
    if optimizer:
        found.append((work, optimizer))
    return found


def _step(work: Sequence[Launch], optimizer: Sequence[Launch], main: int) -> tuple[Step, tuple[int, int]] | None:
    """The step, and how many kernels of forward and of backward told it; None where they are not in this order."""
    forward: list[tuple[int, int]] = []
    backward: list[tuple[int, int]] = []
    sizes = [0, 0]
    parts = _accumulated(work, main)
    last = max(work, key=lambda one: one.start_ns, default=None)
    if last is None:
        return None
    optimizer_ns = min(last.end_ns + 1, optimizer[0].start_ns)
    for index, part in enumerate(parts):
        gradients = [one for one in part if one.role == "backward"]
        if not gradients:
            return None
        passed = [
            one
            for one in part
            if one.global_tid == main and one.role in _FORWARD and one.start_ns < gradients[0].start_ns
        ]
        losses = [one for one in passed if one.role == "loss"]
        if not losses or any(one.role == "loss" and one.start_ns > gradients[0].start_ns for one in part):
            return None
        start_ns, end_ns = _first_ns(part, passed, main), losses[-1].end_ns
        until_ns = optimizer_ns if index + 1 == len(parts) else parts[index + 1][0].start_ns
        if not start_ns < end_ns < gradients[0].start_ns < until_ns - 1:
            return None
        forward.append((start_ns, end_ns))
        backward.append((end_ns + 1, until_ns - 1))
        sizes = [sizes[0] + len(passed), sizes[1] + len(gradients)]
    step = Step(main, 1.0, tuple(forward), tuple(backward), (optimizer_ns, optimizer[-1].end_ns))
    return step, (sizes[0], sizes[1])


def _accumulated(work: Sequence[Launch], main: int) -> list[list[Launch]]:
    """Passes whose gradients add up: after backward work the next one starts with a lookup of embeddings."""
    parts: list[list[Launch]] = [[]]
    has_gradients = False
    for one in work:
        if has_gradients and one.role == "lookup" and one.global_tid == main:
            parts.append([])
            has_gradients = False
        has_gradients = has_gradients or one.role == "backward"
        parts[-1].append(one)
    return parts


def _is_late(work: Sequence[Launch], forward_ns: tuple[int, int], before: Launch | None) -> bool:
    """Whether products or convolutions are launched between `before`, the last update, and the start of the forward."""
    if before is None:
        return False
    mine = [one for one in work if one.global_tid == before.global_tid]
    early, whole = (
        max((one.gemms for one in mine if one.start_ns <= ns), default=before.gemms) - before.gemms for ns in forward_ns
    )
    return early > MAX_EARLY_RATIO * whole


def _first_ns(part: Sequence[Launch], passed: Sequence[Launch], main: int) -> int:
    """Start of a forward pass: its lookup, or the gather of sharded weights right before it; else the data's copy."""
    lookups = [one for one in passed if one.role == "lookup"]
    start_ns = (lookups or passed)[0].start_ns
    mine = [one for one in part if one.global_tid == main and one.start_ns < start_ns]
    if not lookups:
        # Patches and convolutions come before any launch that tells something.
        return max((one.end_ns + 1 for one in mine if one.role == "to_device"), default=start_ns)
    return max((one.start_ns for one in mine if one.role == "communication"), default=start_ns)
