"""What changed between two runs, occurrence by occurrence, with the noise of each number."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from nsys_pipeline.compare.significance import Comparison, compare
from nsys_pipeline.errors import UsageError

SCHEMA = "llmperf.diff/1"
OTHER = "(no shape)"


@attrs.frozen
class Occurrence:
    """One occurrence of a phase, outside warm-up. Times in ns; `families`, `kernels`, `budget` are sums by name."""

    phase: str
    shape: str | None
    wall_ns: int
    busy_ns: int
    tokens: int | None
    families: Mapping[str, int]
    kernels: Mapping[str, int]
    budget: Mapping[str, int] = attrs.field(factory=dict)


@attrs.frozen
class Run:
    """What one side of a comparison is: where, on what, and its occurrences."""

    name: str
    gpus: tuple[str, ...]
    model: str | None
    dtype: str | None
    occurrences: tuple[Occurrence, ...]
    findings: frozenset[tuple[str, str]] = frozenset()


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
        }


def difference(base: Run, new: Run, *, force: bool = False) -> Difference:
    """Compare two runs. Raises UsageError where they do not compare, unless `force`."""
    if not force and (reasons := _obstacles(base, new)):
        raise UsageError(
            f"`{base.name}` and `{new.name}` do not compare: {'; '.join(reasons)}",
            hint="--force-compare compares them all the same",
        )
    before, after = _groups(base), _groups(new)
    one_sided = [f"{_label(key)} is only in `{base.name}`" for key in before if key not in after]
    one_sided += [f"{_label(key)} is only in `{new.name}`" for key in after if key not in before]
    changes = [change for key in before if key in after for change in _changes(key, before[key], after[key])]
    changes.sort(key=lambda change: (-abs(change.delta_ns), change.phase, change.kind, change.name))
    return Difference(
        base,
        new,
        tuple(changes),
        gone=tuple(sorted(base.findings - new.findings)),
        came=tuple(sorted(new.findings - base.findings)),
        one_sided=tuple(one_sided),
    )


def _obstacles(base: Run, new: Run) -> list[str]:
    reasons = []
    for what, one, other in (
        ("GPU", ", ".join(base.gpus) or None, ", ".join(new.gpus) or None),
        ("model", base.model, new.model),
        ("dtype", base.dtype, new.dtype),
    ):
        if one != other and one is not None and other is not None:
            reasons.append(f"{what} {one} against {other}")
    common = {(one.phase, one.shape) for one in base.occurrences} & {(one.phase, one.shape) for one in new.occurrences}
    if not common:
        reasons.append("no phase has a shape that is in both")
    return reasons


def _label(key: tuple[str, str]) -> str:
    phase, shape = key
    return phase if shape == OTHER else f"{phase} {shape}"


def _groups(run: Run) -> dict[tuple[str, str], list[Occurrence]]:
    groups: dict[tuple[str, str], list[Occurrence]] = defaultdict(list)
    for occurrence in run.occurrences:
        groups[occurrence.phase, occurrence.shape or OTHER].append(occurrence)
    return dict(groups)


def _changes(key: tuple[str, str], base: Sequence[Occurrence], new: Sequence[Occurrence]) -> Iterable[Change]:
    phase, shape = key
    yield Change(phase, shape, "time", "wall", compare([one.wall_ns for one in base], [one.wall_ns for one in new]))
    yield Change(phase, shape, "time", "GPU busy", compare([one.busy_ns for one in base], [one.busy_ns for one in new]))
    if all(one.tokens for one in (*base, *new)):
        per_token = [[one.wall_ns / (one.tokens or 1) for one in side] for side in (base, new)]
        yield Change(phase, shape, "time", "wall per token", compare(*per_token))
    for kind, field in (("budget", "budget"), ("family", "families"), ("kernel", "kernels")):
        names = dict.fromkeys(name for one in (*base, *new) for name in getattr(one, field))
        for name in names:
            sides = [[float(getattr(one, field).get(name, 0)) for one in side] for side in (base, new)]
            yield Change(phase, shape, kind, name, compare(*sides))
