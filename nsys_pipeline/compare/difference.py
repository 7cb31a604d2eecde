"""What changed between two runs, occurrence by occurrence, with the noise of each number."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

import attrs

from nsys_pipeline.compare.caveats import of_graphs, of_recorders
from nsys_pipeline.compare.significance import LONG, Comparison, compare, judged
from nsys_pipeline.compare.subject import Subject, obstacles
from nsys_pipeline.errors import UsageError

SCHEMA = "llmperf.diff/1"
OTHER = "(no shape)"
#: In the place of a phase: a whole step of training, with what lies between its passes.
TRAINING_STEP = "training step"
_Groups = dict[tuple[str, str], list["Occurrence"]]


@attrs.frozen
class Occurrence:
    """One occurrence of a phase, outside warm-up. Times in ns; `families`, `kernels`, `budget` are sums by name.

    `cached` tokens are not part of `shape`: steps of one request compare. `lane` is the process that ran it. `graph_ns`
    is the time of CUDA graphs that were recorded as a whole, whose kernels nobody knows.
    """

    phase: str
    shape: str | None
    wall_ns: int
    busy_ns: int
    tokens: int | None
    families: Mapping[str, int]
    kernels: Mapping[str, int]
    budget: Mapping[str, int] = attrs.field(factory=dict)
    cached: int | None = None
    lane: int = 0
    graph_ns: int = 0


@attrs.frozen
class Run:
    """What one side of a comparison is: where, on what, and its occurrences.

    `clocks`: what is known of the clock of the SMs, in Hz: phase → mean over its samples, '' → the highest of the GPUs.
    `are_runs`: an occurrence is the mean of a run of many, and no step of another one. `recorder`: see `TraceInfo`.
    """

    name: str
    subject: Subject
    occurrences: tuple[Occurrence, ...]
    findings: frozenset[tuple[str, str]] = frozenset()
    clocks: Mapping[str, float] = attrs.field(factory=dict)
    are_runs: bool = False
    recorder: str | None = None


@attrs.frozen
class Change:
    """One number of a phase and shape in both runs, a mean per occurrence. `kind`: time, budget, family or kernel."""

    phase: str
    shape: str
    kind: str
    name: str
    comparison: Comparison

    @property
    def delta_ns(self) -> float:
        """How much longer an occurrence takes."""
        return self.comparison.new - self.comparison.base

    def as_json(self) -> dict[str, Any]:
        """One of the `changes` of schema llmperf.diff/1."""
        found = self.comparison
        return {
            "phase": self.phase, "shape": self.shape or None, "kind": self.kind, "name": self.name,
            "base_ns": found.base, "new_ns": found.new, "change": found.change, "noise": found.noise,
            "p_value": found.p_value, "base_occurrences": found.base_count, "new_occurrences": found.new_count,
            "verdict": found.verdict,
        }  # fmt: skip


@attrs.frozen
class Difference:
    """Everything that changed, the largest first."""

    base: Run
    new: Run
    changes: tuple[Change, ...]
    gone: tuple[tuple[str, str], ...]
    came: tuple[tuple[str, str], ...]
    one_sided: tuple[str, ...]
    caveats: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The object of schema llmperf.diff/1: what every format shows."""
        return {
            "schema": SCHEMA,
            "base": self.base.name,
            "new": self.new.name,
            "changes": [change.as_json() for change in self.changes],
            "findings_came": [{"code": code, "phase": phase or None} for code, phase in self.came],
            "findings_gone": [{"code": code, "phase": phase or None} for code, phase in self.gone],
            "only_in_one": list(self.one_sided),
            "caveats": list(self.caveats),
            "clocks": [
                {"phase": phase or None, "base_hz": clock, "new_hz": self.new.clocks[phase]}
                for phase, clock in self.base.clocks.items()
                if phase in self.new.clocks
            ],
        }


def difference(base: Run, new: Run, *, force: bool = False) -> Difference:
    """Compare two runs. Raises UsageError where they do not compare, unless `force`."""
    by_shape = _share_shapes(base, new)
    if not force and (reasons := obstacles(base.subject, new.subject, shares_shapes=by_shape)):
        raise UsageError(
            f"`{base.name}` and `{new.name}` do not compare: {'; '.join(reasons)}",
            hint="--force-compare compares them all the same",
        )
    before, after = _groups(base, by_shape=by_shape), _groups(new, by_shape=by_shape)
    one_sided = [f"{_label(key)} is only in `{base.name}`" for key in before if key not in after]
    one_sided += [f"{_label(key)} is only in `{new.name}`" for key in after if key not in before]
    changes = [
        change
        for key in before
        if key in after
        for change in _changes(key, before[key], after[key], are_steps=not base.are_runs)
    ]
    together = judged(change.comparison for change in changes)
    changes = [attrs.evolve(change, comparison=one) for change, one in zip(changes, together, strict=True)]
    changes.sort(key=lambda change: (-abs(change.delta_ns), change.phase, change.kind, change.name))
    return Difference(
        base,
        new,
        tuple(changes),
        gone=tuple(sorted(base.findings - new.findings)),
        came=tuple(sorted(new.findings - base.findings)),
        one_sided=tuple(one_sided),
        caveats=(
            *of_recorders(f"`{base.name}`", base.recorder, f"`{new.name}`", new.recorder),
            *_of_graphs(base, new, before, after),
        ),
    )


def _of_graphs(base: Run, new: Run, before: _Groups, after: _Groups) -> Iterable[str]:
    for key in before:
        if key in after and (whole := _has_graphs(before[key])) != _has_graphs(after[key]):
            name = (base if whole else new).name
            yield of_graphs(_label(key), f"`{name}`", "kernels and families are left out")


def _has_graphs(occurrences: Sequence[Occurrence]) -> bool:
    return any(one.graph_ns for one in occurrences)


def _share_shapes(base: Run, new: Run) -> bool:
    one, other = (
        {(each.phase, each.shape) for each in run.occurrences if each.phase != TRAINING_STEP} for run in (base, new)
    )
    return not one.isdisjoint(other)


def _label(key: tuple[str, str]) -> str:
    phase, shape = key
    return phase if shape == OTHER else f"{phase} {shape}"


def _groups(run: Run, *, by_shape: bool) -> _Groups:
    groups: dict[tuple[str, str], list[Occurrence]] = defaultdict(list)
    for occurrence in run.occurrences:
        groups[occurrence.phase, (occurrence.shape if by_shape else None) or OTHER].append(occurrence)
    return dict(groups)


def _changes(
    key: tuple[str, str], base: Sequence[Occurrence], new: Sequence[Occurrence], *, are_steps: bool
) -> Iterable[Change]:
    phase, shape = key
    sides = _Side.of(base), _Side.of(new)
    paired = are_steps and sides[0].steps_match(sides[1])

    def change(kind: str, name: str, value: Callable[[Occurrence], float]) -> Change:
        found = compare(*(side.series(value) for side in sides), paired=paired)
        return Change(phase, shape, kind, name, attrs.evolve(found, base_count=len(base), new_count=len(new)))

    yield change("time", "wall", lambda one: one.wall_ns)
    yield change("time", "GPU busy", lambda one: one.busy_ns)
    if all(one.tokens for one in (*base, *new)):
        yield change("time", "wall per token", lambda one: one.wall_ns / (one.tokens or 1))
    parts = [("budget", "budget")]
    if _has_graphs(base) == _has_graphs(new):
        parts += [("family", "families"), ("kernel", "kernels")]
    for kind, field in parts:
        names = dict.fromkeys(name for one in (*base, *new) for name in getattr(one, field))
        for name in names:
            yield change(kind, name, partial(_part, field, name))


def _part(field: str, name: str, one: Occurrence) -> int:
    parts: Mapping[str, int] = getattr(one, field)
    return parts.get(name, 0)


@attrs.frozen
class _Side:
    """Occurrences of one phase and shape in the order of time: `steps[k]` has what the lanes did as their k-th.

    Ranks of a job take each step together, and wait for each other: eight ranks are no eight measurements. If all lanes
    have equally many occurrences, the k-th ones are one measurement, their mean.
    """

    steps: tuple[tuple[Occurrence, ...], ...]

    @classmethod
    def of(cls, occurrences: Sequence[Occurrence]) -> _Side:
        lanes: dict[int, list[Occurrence]] = defaultdict(list)
        for one in occurrences:
            lanes[one.lane].append(one)
        if len({len(lane) for lane in lanes.values()}) == 1:
            return cls(tuple(zip(*lanes.values(), strict=True)))
        return cls(tuple((one,) for lane in lanes.values() for one in lane))

    def series(self, value: Callable[[Occurrence], float]) -> list[float]:
        return [fmean(map(value, step)) for step in self.steps]

    def steps_match(self, other: _Side) -> bool:
        """Whether step k of both does the same work, and other work than its neighbours: then they compare as pairs.

        A context that grows is then no noise. Short series have too few pairs to gain from it.
        """
        cached, theirs = ([step[0].cached for step in side.steps] for side in (self, other))
        return len(cached) >= LONG and cached == theirs and (cached[0] is None or len(set(cached)) > 1)
