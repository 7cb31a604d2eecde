"""Programs that repeat units of work, as the inference reads their launches, and which launch is of which unit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random
from zlib import crc32

from nsys_pipeline.infer import Inference, Mark, Work, find_periods, repeats

US = 1_000


class Program:
    """One thread that launches a kernel about every 10 µs; `steps` has the unit of each launch, None outside."""

    def __init__(self, random: Random, *, thread: int = 1, process: int = 1, at: int = US) -> None:
        self.random, self.thread, self.process, self.at = random, thread, process, at
        self.launches: list[Work] = []
        self.steps: list[int | None] = []
        self._step: int | None = None
        self._count = 0

    def begin(self) -> None:
        """A unit of work begins."""
        self._step = self._count
        self._count += 1

    def end(self) -> None:
        self._step = None

    def wait(self, us: int) -> Program:
        """The host does something else."""
        self.at += us * US
        return self

    def add(self, name: int, role: str = "kernel", *, size: int = 5) -> Program:
        """One launch of the kernel `name` with a grid of a size class, or a copy, a graph, or a wait for the GPU."""
        self.at += self.random.randrange(8, 13) * US
        # `hash` of a text differs from run to run.
        kind = 0 if role == "sync" else crc32(f"{role} {name} {size}".encode())
        self.launches.append(
            Work(self.process, self.thread, self.at, self.at + 4 * US, role, kind, 0 if role == "sync" else name)
        )
        self.steps.append(None if role == "sync" else self._step)
        return self

    def run(self, names: Sequence[int]) -> Program:
        for name in names:
            self.add(name)
        return self


def inferred(*programs: Program) -> Inference:
    """What the launches of all programs tell."""
    works = sorted((one for each in programs for one in each.launches), key=lambda one: (one.process_key, one.start_ns))
    found = find_periods(works)
    marks = [
        Mark(one.process_key, one.global_tid, one.start_ns, one.end_ns, one.kind_id, 3 * index)
        for index, one in enumerate(works)
    ]
    kinds = {(period.global_tid, kind) for period in found.periods for kind in period.kinds}
    mine = [one for one in marks if (one.global_tid, one.kind_id) in kinds]
    return repeats(found, sorted(mine, key=lambda one: (one.global_tid, one.start_ns)))


def found_ratio(program: Program, inference: Inference) -> float:
    """Share of the units of which nine in ten launches are in one phase that has no tenth of another unit."""
    spans = [one for one in inference.phases if one.global_tid == program.thread]
    at: list[int | None] = []
    for work in program.launches:
        at.append(next((i for i, one in enumerate(spans) if one.start_ns <= work.start_ns <= one.end_ns), None))
    sizes = Counter(step for step in program.steps if step is not None)
    held = Counter(place for place, step in zip(at, program.steps, strict=True) if step is not None)
    both = Counter(zip(program.steps, at, strict=True))
    good = 0
    for step, size in sizes.items():
        best, count = max(
            ((place, both[step, place]) for place in range(len(spans))), key=lambda one: one[1], default=(0, 0)
        )
        good += count >= 0.9 * size and count >= 0.9 * held[best]
    return good / max(len(sizes), 1)
