#!/usr/bin/env python
"""How often `llmperf diff` is right: pairs of runs with a known shift, drawn from steps of real traces.

    python scripts/diff_power.py              print the table
    python scripts/diff_power.py --write      store it in docs/compare.md

A run is drawn from a real one in blocks of eight steps that followed each other, each with all of its times, families
and kernels: so it has the spread, the outliers and the memory of real steps. The second run's times are all scaled.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random

import attrs

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nsys_pipeline.compare.difference import Occurrence, Run, difference  # noqa: E402
from nsys_pipeline.compare.load import occurrences_of  # noqa: E402
from nsys_pipeline.compare.subject import Subject  # noqa: E402
from nsys_pipeline.inputs import AnalysisOptions  # noqa: E402
from nsys_pipeline.query.session import Session  # noqa: E402
from nsys_pipeline.trace import TraceOptions, open_trace  # noqa: E402

DOCUMENT = ROOT / "docs" / "compare.md"
BLOCK = 8
SHIFTS = (0.0, 0.02, 0.05, 0.20)
# Trace and shape.
RUNS = {
    "a loop in Python": ("h100_llama_nsys2024.2", None),
    "a loop with CUDA graphs": ("h100_cuda_graph_node", None),
    "vLLM, batches of 8": ("h200_vllm_serve", "8x?"),
    "vLLM, batches of 1 to 8 in one": ("h200_vllm_serve", None),
}
_TABLE = re.compile(r"(<!-- scripts/diff_power.py -->\n).*?(<!-- end -->)", re.DOTALL)


@attrs.frozen
class Outcome:
    """Of `pairs` of runs: in how many wall time, GPU busy time, or any number at all is said to have changed."""

    shift: float
    pairs: int
    wall: int
    busy: int
    either: int


def real_steps(name: str, shape: str | None = None) -> list[Occurrence]:
    """Measured decode steps of a real trace, in order: those of `shape`, else all as if they had one."""
    options = TraceOptions(use_cache=False)
    with Session.of(
        open_trace(ROOT / "tests" / "traces" / f"{name}.sqlite.xz", options), AnalysisOptions(), close_off=False
    ) as session:
        found = [one for one in occurrences_of(session) if one.phase == "decode" and shape in (None, one.shape)]
    return [attrs.evolve(one, shape=None, cached=None, lane=0) for one in found]


def drawn(steps: Sequence[Occurrence], count: int, random: Random, *, factor: float = 1.0) -> Run:
    """A run of `count` steps, all of whose times are `factor` times as long."""
    chosen: list[Occurrence] = []
    while len(chosen) < count:
        start = random.randrange(len(steps))
        chosen += [steps[(start + k) % len(steps)] for k in range(BLOCK)]
    return Run("", Subject(), tuple(_scaled(one, factor) for one in chosen[:count]))


def _scaled(one: Occurrence, factor: float) -> Occurrence:
    def parts(times: Mapping[str, int]) -> dict[str, int]:
        return {name: round(value * factor) for name, value in times.items()}

    return attrs.evolve(
        one,
        wall_ns=round(one.wall_ns * factor),
        busy_ns=round(one.busy_ns * factor),
        families=parts(one.families),
        kernels=parts(one.kernels),
        budget=parts(one.budget),
    )


def outcomes(
    steps: Sequence[Occurrence], *, counts: tuple[int, int], pairs: int, seed: int, shifts: Sequence[float] = SHIFTS
) -> Iterator[Outcome]:
    """What `diff` says of `pairs` of runs for each of `shifts`."""
    random = Random(seed)
    for shift in shifts:
        wall = busy = either = 0
        for _ in range(pairs):
            base, new = drawn(steps, counts[0], random), drawn(steps, counts[1], random, factor=1 + shift)
            changed = {one.name for one in difference(base, new).changes if one.comparison.verdict == "changed"}
            wall, busy, either = wall + ("wall" in changed), busy + ("GPU busy" in changed), either + bool(changed)
        yield Outcome(shift, pairs, wall, busy, either)


def table(*, pairs: int = 200, seed: int = 7) -> str:
    """The table of docs/compare.md."""
    lines = [
        f"| steps of | in each run | {' | '.join(f'{shift:.0%}' for shift in SHIFTS)} |",
        f"| --- | --- |{' --- |' * len(SHIFTS)}",
    ]
    for title, (name, shape) in RUNS.items():
        steps = real_steps(name, shape)
        for counts in ((32, 32), (24, 96)):
            cells = [
                ", ".join(f"{value / pairs:.0%}" for value in (one.wall, one.busy, one.either))
                for one in outcomes(steps, counts=counts, pairs=pairs, seed=seed)
            ]
            lines.append(f"| {title} | {counts[0]} and {counts[1]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Print the table, or store it."""
    found = table()
    if "--write" in arguments:
        text = DOCUMENT.read_text(encoding="utf-8")
        DOCUMENT.write_text(_TABLE.sub(lambda match: f"{match[1]}{found}\n{match[2]}", text), encoding="utf-8")
    else:
        print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
