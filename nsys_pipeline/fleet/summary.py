"""What the traces of a dataset say together. Only durations are compared: clocks of different hosts never are."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Any

import attrs

from nsys_pipeline.compare.significance import ALPHA, compare
from nsys_pipeline.compare.subject import SHAPE_SQL
from nsys_pipeline.fleet.changes import LEAST_VALUES, change_points
from nsys_pipeline.fleet.ranks import late_ranks
from nsys_pipeline.query.session import Session
from nsys_pipeline.records import FleetChange, FleetGroup, FleetPhase, FleetReport, FleetVersion

VERSIONS = {"driver": "driver_version", "CUDA": "cuda_version", "nsys": "nsys_version", "GPU": "gpu"}
"""What is told apart → its column in `traces`."""

_MOST_FINDINGS = 10
_TRACES = "SELECT * FROM traces ORDER BY started_at, run, trace_rank, path"
_TIMES = f"""
    WITH spent AS (
        SELECT
            analysis, occurrence_id,
            coalesce(sum(time_ns) FILTER (class = 'compute'), 0) AS compute_ns,
            coalesce(sum(time_ns) FILTER (class IN ('transfer', 'wait')), 0) AS collective_ns,
            coalesce(sum(time_ns) FILTER (class IN ('launch', 'latency', 'sync', 'api', 'host')), 0) AS idle_ns
        FROM occurrence_budget
        GROUP BY ALL
    )
    SELECT
        p.analysis, p.phase, {SHAPE_SQL} AS shape, count(*) AS occurrences,
        sum(p.wall_ns)::DOUBLE AS total_ns, median(p.wall_ns) AS wall_ns, median(coalesce(p.gpu_busy_ns, 0)) AS busy_ns,
        median(coalesce(s.compute_ns, 0)) AS median_compute_ns, avg(p.wall_ns) AS mean_wall_ns,
        avg(coalesce(s.collective_ns, 0)) AS collective_ns,
        coalesce(var_samp(coalesce(s.collective_ns, 0)), 0) AS variance,
        avg(coalesce(s.compute_ns, 0)) AS compute_ns, avg(coalesce(s.idle_ns, 0)) AS idle_ns
    FROM phases AS p LEFT JOIN spent AS s USING (analysis, occurrence_id)
    WHERE p.is_measured
    GROUP BY ALL
    ORDER BY p.analysis, p.phase, shape
"""  # noqa: S608 - our own names
_WAITS = """
    SELECT analysis, avg(input_wait_ns) AS data_ns FROM training_steps
    WHERE is_complete AND NOT is_warmup AND NOT is_cold GROUP BY analysis
"""
_FINDINGS = f"""
    SELECT code, count(DISTINCT analysis) AS traces FROM findings
    WHERE severity <> 'info' AND code <> 'ranks_missing'
    GROUP BY code ORDER BY traces DESC, code LIMIT {_MOST_FINDINGS}
"""  # noqa: S608 - our own names
Row = Mapping[str, Any]


@attrs.frozen
class Series:
    """The traces of one workload, and how long an occurrence of one phase takes in each: rows of `_TIMES`."""

    workload: str
    phase: str
    shape: str | None
    times: tuple[tuple[Row, Row], ...]

    def runs(self, column: str) -> list[tuple[Row, float]]:
        """The first trace of each run that says when it was, in order, and the median of `column` over the run's."""
        of_run: dict[str, list[tuple[Row, float]]] = defaultdict(list)
        for trace, times in self.times:
            of_run[trace["run"]].append((trace, float(times[column])))
        dated = [rows for rows in of_run.values() if rows[0][0]["started_at"] is not None]
        found = [(rows[0][0], median(value for _, value in rows)) for rows in dated]
        return sorted(found, key=lambda one: (one[0]["started_at"], one[0]["run"]))


def summarize(session: Session) -> FleetReport:
    """The report of the dataset that `session` asks."""
    traces = list(session.records(_TRACES))
    by_id = {trace["analysis"]: trace for trace in traces}
    series = list(_series(by_id, session.records(_TIMES)))
    waits = {row["analysis"]: row["data_ns"] for row in session.records(_WAITS)}
    changes, tested = _changes(series)
    late, tested_ranks = late_ranks(series, waits)
    dates = [trace["started_at"] for trace in traces if trace["started_at"] is not None]
    undated = {trace["run"] for trace in traces} - {trace["run"] for trace in traces if trace["started_at"] is not None}
    return FleetReport(
        traces=len(traces),
        runs=len({trace["run"] for trace in traces}),
        hosts=len({trace["hostname"] for trace in traces} - {None}),
        failures=tuple((row["path"], row["error"]) for row in session.records("SELECT * FROM failures ORDER BY path")),
        repeated=repeated(traces),
        first=_date(min(dates, default=None)),
        last=_date(max(dates, default=None)),
        undated_runs=len(undated),
        tested_series=tested,
        phases=tuple(map(_phase, series)),
        late_ranks=late,
        tested_ranks=tested_ranks,
        changes=changes,
        host_groups=_groups(series, lambda trace: trace["hostname"]),
        day_groups=_groups(series, lambda trace: _day(trace["started_at"])),
        versions=tuple(_versions(series)),
        findings=tuple((row["code"], row["traces"]) for row in session.records(_FINDINGS)),
    )


def repeated(traces: Sequence[Row]) -> tuple[tuple[str, ...], ...]:
    """Paths of traces that hold one recording: start, host and time of the kernels are not the same by chance."""
    paths: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for trace in traces:
        if trace["started_at"] is not None and trace["kernel_count"]:
            facts = ("started_at", "hostname", "duration_ns", "kernel_count", "kernel_time_ns")
            paths[tuple(trace[fact] for fact in facts)].append(trace["path"])
    return tuple(sorted(tuple(sorted(same)) for same in paths.values() if len(same) > 1))


def workload(trace: Row) -> str:
    """What makes runs comparable: the model, or the run's name without numbers and hashes, and the GPUs."""
    name = trace["model"] or re.sub(r"\b(?=[a-z]*\d)[0-9a-f]{7,}\b|\d+", "#", trace["run"])
    return f"{name} · {trace['world'] or trace['gpu_count'] or 0} × {trace['gpu'] or 'unknown GPU'}"


def _series(traces: Mapping[str, Row], times: Iterable[Row]) -> Iterator[Series]:
    """A series for each workload and phase, of the shape that most of the phase's time goes to."""
    found: dict[tuple[str, str], dict[str | None, list[Row]]] = defaultdict(lambda: defaultdict(list))
    names = {analysis: workload(trace) for analysis, trace in traces.items()}
    for row in times:
        found[names[row["analysis"]], row["phase"]][row["shape"]].append(row)
    for (name, phase), shapes in sorted(found.items()):
        shape, rows = max(shapes.items(), key=lambda item: (sum(row["total_ns"] for row in item[1]), str(item[0])))
        yield Series(name, phase, shape, tuple((traces[row["analysis"]], row) for row in rows))


def _phase(series: Series) -> FleetPhase:
    return FleetPhase(
        workload=series.workload,
        phase=series.phase,
        shape=series.shape,
        runs=len({trace["run"] for trace, _ in series.times}),
        traces=len(series.times),
        wall_ns=_quantiles([float(times["wall_ns"]) for _, times in series.times]),
        busy_ns=_quantiles([float(times["busy_ns"]) for _, times in series.times]),
    )


def _changes(series: Sequence[Series]) -> tuple[tuple[FleetChange, ...], int]:
    """Changes over time, and how many series were looked at."""
    measured = [
        (one, measure, runs)
        for one in series
        for measure in ("wall", "busy")
        if len(runs := one.runs(f"{measure}_ns")) >= LEAST_VALUES
    ]
    found = []
    for one, measure, runs in measured:
        points = change_points([value for _, value in runs], tests=len(measured))
        edges = [0, *(point.index for point in points), len(runs)]
        for number, point in enumerate(points):
            before, after = runs[point.index - 1][0], runs[point.index][0]
            found.append(
                FleetChange(
                    workload=one.workload,
                    phase=one.phase,
                    shape=one.shape,
                    measure=measure,
                    last_run=before["run"],
                    first_run=after["run"],
                    at=str(_date(after["started_at"])),
                    runs_before=point.index - edges[number],
                    runs_after=edges[number + 2] - point.index,
                    before_ns=point.before,
                    after_ns=point.after,
                    p_value=min(1.0, point.p_value * len(measured)),
                    others=tuple(
                        (name, before[column], after[column])
                        for name, column in VERSIONS.items()
                        if before[column] != after[column]
                    ),
                )
            )
    return tuple(sorted(found, key=lambda change: -abs(change.ratio))), len(measured)


def _versions(series: Sequence[Series]) -> Iterator[FleetVersion]:
    """Runs with one version beside those with the version that came before it."""
    pairs = []
    for one in series:
        runs = one.runs("wall_ns")
        for what, column in VERSIONS.items():
            of_version: dict[str, list[float]] = {}
            for trace, value in runs:
                if trace[column] is not None:
                    of_version.setdefault(trace[column], []).append(value)
            pairs += [(one, what, before, after) for before, after in pairwise(of_version.items())]
    for one, what, (before, base), (after, new) in pairs:
        # Bonferroni, as for the p-value.
        found = attrs.evolve(compare(base, new), level=ALPHA / len(pairs))
        yield FleetVersion(
            workload=one.workload, phase=one.phase, what=what, before=before, after=after, runs_before=len(base),
            runs_after=len(new), before_ns=found.base, after_ns=found.new,
            p_value=None if found.p_value is None else min(1.0, found.p_value * len(pairs)), verdict=found.verdict,
        )  # fmt: skip


def _groups(series: Sequence[Series], name: Callable[[Row], str | None]) -> tuple[FleetGroup, ...]:
    """Traces by a name of theirs, the slowest first: how long they take in comparison with all of the same workload."""
    ratios: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    traces: dict[str, set[str]] = defaultdict(set)
    for one in series:
        for column in ("wall_ns", "median_compute_ns"):
            usual = median(float(times[column]) for _, times in one.times)
            for trace, times in one.times:
                if (group := name(trace)) is not None and usual:
                    ratios[group][column].append(float(times[column]) / usual)
                    traces[group].add(trace["analysis"])
    found = [
        FleetGroup(group, len(traces[group]), _median(columns["wall_ns"]), _median(columns["median_compute_ns"]))
        for group, columns in ratios.items()
    ]
    return tuple(sorted(found, key=lambda group: (-(group.compute_ratio or 0), group.name)))


def _quantiles(values: Sequence[float]) -> tuple[float, float, float]:
    ordered = sorted(values)
    last = len(ordered) - 1
    return ordered[round(0.05 * last)], median(ordered), ordered[round(0.95 * last)]


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _date(value: datetime | None) -> str | None:
    return value.isoformat(sep=" ", timespec="minutes") if value is not None else None


def _day(value: datetime | None) -> str | None:
    return value.date().isoformat() if value is not None else None
