"""Ranks that the others wait for, from traces of single ranks whose clocks nobody compares.

Algorithm: in a collective, everyone waits for the last one to come, inside the communication kernel. So the rank that
comes last spends less time in communication than the others: what they have more of, they waited. A rank is late if
that is more than MOST_WAITED of its step, and more than chance makes of equal ranks (Welch's t-test over occurrences).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from nsys_pipeline.compare.significance import ALPHA, Moments, compare_moments
from nsys_pipeline.records import FleetRank

if TYPE_CHECKING:
    from nsys_pipeline.fleet.summary import Series

MOST_WAITED = 0.02
"""Share of a step that equal ranks may wait for each other."""

_CAUSES = ("compute_ns", "idle_ns")
Row = Mapping[str, Any]


@attrs.frozen
class _Rank:
    """One rank of a run: its trace, and its times in each phase."""

    trace: Row
    phases: dict[str, Row] = attrs.field(factory=dict)


def late_ranks(series: Iterable[Series], waits: Mapping[str, float]) -> tuple[tuple[FleetRank, ...], int]:
    """Late ranks, those that are waited for longest first, and how many ranks were looked at.

    `waits`: mean time in ns from the start of a training step to its first pass, by trace.
    """
    runs: dict[tuple[str, str], dict[int, _Rank]] = defaultdict(dict)
    for one in series:
        for trace, times in one.times:
            if (rank := trace["trace_rank"]) is not None:
                run = runs[one.workload, trace["run"]]
                run.setdefault(rank, _Rank(trace)).phases[one.phase] = times
    compared = {key: ranks for key, ranks in runs.items() if len(ranks) > 1}
    tests = sum(len(rank.phases) for ranks in compared.values() for rank in ranks.values())
    found = [late for ranks in compared.values() for late in _late(ranks, waits, tests)]
    return tuple(sorted(found, key=lambda late: -late.waited_ns)), sum(map(len, compared.values()))


def _late(ranks: Mapping[int, _Rank], waits: Mapping[str, float], tests: int) -> Iterable[FleetRank]:
    phases = {phase for rank in ranks.values() for phase in rank.phases}
    totals = {
        phase: _Total.of([rank.phases[phase] for rank in ranks.values() if phase in rank.phases]) for phase in phases
    }
    data = [waits[rank.trace["analysis"]] for rank in ranks.values() if rank.trace["analysis"] in waits]
    for number, rank in ranks.items():
        others = {phase: totals[phase].without(own) for phase, own in rank.phases.items() if totals[phase].ranks > 1}
        waited = {phase: one.collective.mean - rank.phases[phase]["collective_ns"] for phase, one in others.items()}
        step_ns = sum(rank.phases[phase]["mean_wall_ns"] for phase in others)
        total = sum(waited.values())
        if total <= MOST_WAITED * step_ns:
            continue
        most = max(waited, key=lambda phase: waited[phase])
        own = rank.phases[most]
        moments = Moments(own["occurrences"], own["collective_ns"], own["variance"])
        p_value = compare_moments(others[most].collective, moments).p_value
        if p_value is None or p_value * tests >= ALPHA:
            continue
        more = {
            cause: sum(rank.phases[phase][cause] - one.means[cause] for phase, one in others.items())
            for cause in _CAUSES
        }
        own_data = waits.get(rank.trace["analysis"])
        data_ns = 0.0 if own_data is None or len(data) < 2 else own_data - (sum(data) - own_data) / (len(data) - 1)
        reasons = {"compute": more["compute_ns"], "data": data_ns, "host": more["idle_ns"] - max(0.0, data_ns)}
        reason = max(reasons, key=lambda name: reasons[name])
        yield FleetRank(
            run=rank.trace["run"],
            rank=number,
            hostname=rank.trace["hostname"],
            waited_ns=total,
            waited_ratio=total / step_ns if step_ns else None,
            reason=reason if reasons[reason] > 0 else None,
            more_ns=reasons[reason] if reasons[reason] > 0 else None,
            p_value=p_value * tests,
        )


@attrs.frozen
class _Others:
    """What the other ranks of a run do in one occurrence of a phase, on average."""

    collective: Moments
    means: dict[str, float]


@attrs.frozen
class _Total:
    """Sums over the ranks of a run, from which each one can be taken away again."""

    ranks: int
    count: int
    sum: float
    squares: float
    means: dict[str, float]

    @classmethod
    def of(cls, rows: list[Row]) -> _Total:
        return cls(
            ranks=len(rows),
            count=sum(row["occurrences"] for row in rows),
            sum=sum(row["occurrences"] * row["collective_ns"] for row in rows),
            squares=sum(map(_squares, rows)),
            means={cause: sum(row[cause] for row in rows) for cause in _CAUSES},
        )

    def without(self, own: Row) -> _Others:
        count = self.count - own["occurrences"]
        mean = (self.sum - own["occurrences"] * own["collective_ns"]) / count
        squares = max(0.0, self.squares - _squares(own) - count * mean * mean)
        # Ranks do the same step at the same time: more of them are no more evidence.
        alike = max(1, round(count / (self.ranks - 1)))
        means = {cause: (self.means[cause] - own[cause]) / (self.ranks - 1) for cause in _CAUSES}
        return _Others(Moments(alike, mean, squares / (count - 1) if count > 1 else 0.0), means)


def _squares(row: Row) -> float:
    count, mean = row["occurrences"], row["collective_ns"]
    return float((count - 1) * row["variance"] + count * mean * mean)
