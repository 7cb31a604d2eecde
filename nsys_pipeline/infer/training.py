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
#: Share of the products between two updates, up to the loss, that may come before what looks like the forward pass; of
#: how many steps more may come, as of an evaluation now and then; and how near the products of their own forward pass,
#: which follow, must be to those of the others.
MAX_EARLY_RATIO, MAX_LATE_RATIO, NEAR = 0.1, 0.2, 0.02
#: Stretches between updates that must be alike.
MIN_ALIKE_RATIO = 0.8
#: What ends a pass without gradients, and what begins a pass.
_ENDS, _BEGINS = ("loss", "sample", "to_host"), ("lookup", "to_device")
_FORWARD = (*LAYER_ROLES, "lookup", "loss")


class Step(NamedTuple):
    """Host times of a step's phases, on the optimizer's thread; several of the first two if gradients accumulate."""

    global_tid: int
    #: Share of the stretches between optimizer steps that are alike.
    score: float
    forward_ns: tuple[tuple[int, int], ...]
    backward_ns: tuple[tuple[int, int], ...]
    optimizer_ns: tuple[int, int]


class Steps(NamedTuple):
    """Training steps, and how many updates have none that is told; no steps, and why."""

    steps: list[Step]
    reason: str | None = None
    untold: int = 0


class _Cut(NamedTuple):
    """A stretch cut into a step. `sizes`: kernels of forward and of backward that told it.

    `early`: products between what came before and the start of each forward pass; `own`: those up to its loss.
    """

    step: Step
    sizes: tuple[int, int]
    early: tuple[int, ...]
    own: tuple[int, ...]

    @property
    def is_late(self) -> bool:
        """Whether products or convolutions come before what looks like the start of a forward pass."""
        parts = zip(self.early, self.own, strict=True)
        return any(early > MAX_EARLY_RATIO * (early + own) for early, own in parts)


def find_steps(launches: Sequence[Launch]) -> Steps:
    """Training steps of one process's launches, ordered by time; or none, and why."""
    optimizers = {one.global_tid for one in launches if one.role == "optimizer"}
    if not optimizers:
        return Steps([], "no optimizer kernels")
    if len(optimizers) > 1:
        return Steps([], "optimizer kernels from several threads")
    (main,) = optimizers
    stretches: list[list[_Cut]] = []
    updates = 0
    before: Launch | None = None
    for work, optimizer in _stretches(launches, main):
        # An evaluation may come before the forward pass.
        ways = ((work, before), _behind_evaluation(work, main))
        cuts = [cut for way in ways if way and (cut := _cut(way[0], optimizer, main, way[1]))]
        stretches += [cuts] if cuts else []
        before = optimizer[-1]
        updates += 1
    known = [cuts[0] for cuts in stretches if not cuts[0].is_late]
    if len(stretches) - len(known) > MAX_LATE_RATIO * len(stretches):
        return Steps([], "no lookup of embeddings and no copy from the host that begins the forward passes of training")
    if len(known) < MIN_STEPS:
        return Steps([], f"{len(known)} training steps, fewer than {MIN_STEPS}")
    typical = [median(column) for column in zip(*(one.sizes for one in known), strict=True)]
    products = median(own for one in known for own in one.own)

    def is_alike(cut: _Cut) -> bool:
        has_size = all(
            abs(value - middle) <= TOLERANCE * max(middle, 1) for value, middle in zip(cut.sizes, typical, strict=True)
        )
        return has_size and (not cut.is_late or all(abs(own - products) <= NEAR * products for own in cut.own))

    alike = [cut.step for cuts in stretches for cut in [next(filter(is_alike, cuts), None)] if cut]
    if len(alike) < max(MIN_STEPS, MIN_ALIKE_RATIO * len(stretches)):
        return Steps([], f"only {len(alike)} of {len(stretches)} stretches between optimizer steps are alike")
    score = round(len(alike) / len(stretches), 2)
    return Steps([step._replace(score=score) for step in alike], untold=updates - len(alike))


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


def _behind_evaluation(work: Sequence[Launch], main: int) -> tuple[list[Launch], Launch] | None:
    """The work behind a pass without gradients, and the end of that: a loss, a sampling or a copy to the host.

    None if there is no such pass: products, and a lookup or a copy from the host, come between it and the loss.
    """
    first = next((index for index, one in enumerate(work) if one.role == "backward"), len(work))
    mine = [index for index in range(first) if work[index].global_tid == main]
    loss = next((index for index in reversed(mine) if work[index].role == "loss"), None)
    if loss is None:
        return None
    ends = [index for index in mine if work[index].role in _ENDS and work[index].gemms < work[loss].gemms]
    if not ends or not any(work[index].role in _BEGINS for index in mine if ends[-1] < index < loss):
        return None
    return list(work[ends[-1] + 1 :]), work[ends[-1]]


def _cut(work: Sequence[Launch], optimizer: Sequence[Launch], main: int, before: Launch | None) -> _Cut | None:
    """The step; None where its kernels are not in this order. `before`: the last launch that is not of it."""
    forward: list[tuple[int, int]] = []
    backward: list[tuple[int, int]] = []
    early: list[int] = []
    own: list[int] = []
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
        mine = [one for one in part if one.global_tid == main]
        passed = [one for one in mine if one.role in _FORWARD and one.start_ns < gradients[0].start_ns]
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
        known = [one.gemms for one in mine if one.start_ns <= start_ns]
        sofar = max(known, default=passed[0].gemms)
        early.append(sofar - before.gemms if before else 0)
        own.append(losses[-1].gemms - sofar)
        before = mine[-1]
    step = Step(main, 1.0, tuple(forward), tuple(backward), (optimizer_ns, optimizer[-1].end_ns))
    return _Cut(step, (sizes[0], sizes[1]), tuple(early), tuple(own))


def _accumulated(work: Sequence[Launch], main: int) -> list[list[Launch]]:
    """Passes whose gradients add up: after backward work the next one starts with a lookup or a copy from the host.

    With the copy if a loss follows and no lookup does, as in models of images.
    """
    parts: list[list[Launch]] = [[]]
    copy: int | None = None
    has_gradients = False
    for one in work:
        mine = one.global_tid == main
        if has_gradients and mine and one.role in ("lookup", "loss"):
            # Behind the last gradient there may be the copies of what comes now.
            is_loss = one.role == "loss" and copy is not None
            moved = parts[-1][copy:] if is_loss else []
            parts[-1] = parts[-1][:copy] if is_loss else parts[-1]
            parts.append(moved)
            has_gradients = False
        if one.role == "backward":
            has_gradients, copy = True, None
        elif has_gradients and mine and one.role == "to_device" and copy is None:
            copy = len(parts[-1])
        parts[-1].append(one)
    return parts


def _first_ns(part: Sequence[Launch], passed: Sequence[Launch], main: int) -> int:
    """Start of a forward pass: its lookup, or the gather of sharded weights right before it; else the data's copy."""
    lookups = [one for one in passed if one.role == "lookup"]
    start_ns = (lookups or passed)[0].start_ns
    mine = [one for one in part if one.global_tid == main and one.start_ns < start_ns]
    if not lookups:
        # Patches and convolutions come before any launch that tells something; labels may be copied behind them.
        copies = [one for one in mine if one.role == "to_device"]
        before = [one for one in copies if one.gemms < passed[0].gemms]
        return max((one.end_ns + 1 for one in before or copies), default=start_ns)
    return max((one.start_ns for one in mine if one.role == "communication"), default=start_ns)
