"""One side of a comparison from a dataset: the traces of one run, or of a group of runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from nsys_pipeline.compare.difference import Occurrence, Run
from nsys_pipeline.compare.load import highest_clock
from nsys_pipeline.compare.subject import SHAPE_SQL, Subject
from nsys_pipeline.errors import UsageError
from nsys_pipeline.query.session import Session

_OCCURRENCES = f"""
    SELECT run, analysis, occurrence_id, phase, {SHAPE_SQL} AS shape, wall_ns, coalesce(gpu_busy_ns, 0) AS busy_ns,
        new_tokens AS tokens, cached_tokens AS cached, coalesce(graph_time_ns, 0) AS graph_ns,
        dense_rank() OVER (PARTITION BY run ORDER BY analysis, process_id, thread_id) AS lane
    FROM phases WHERE is_measured AND {{of_side}}
    ORDER BY analysis, start_ns, occurrence_id
"""  # noqa: S608 - our own names, and the user's own condition
_OF_SIDE = "analysis IN (SELECT analysis FROM traces WHERE {where})"
Row = Mapping[str, Any]


def sides_of(sessions: Sequence[Session], names: Sequence[str], conditions: Sequence[str]) -> tuple[Run, Run]:
    """The two sides: of each dataset the traces whose row of `traces` fulfils the condition.

    If both are one run, their occurrences are compared. Else each run is one measurement, the mean of its occurrences:
    runs differ by more than their steps say. Raises UsageError for a side without traces, QueryError for a condition
    that is no SQL.
    """
    runs = [_runs(session, where) for session, where in zip(sessions, conditions, strict=True)]
    for found, name, where in zip(runs, names, conditions, strict=True):
        if not found:
            raise UsageError(f"no trace of `{name}` has {where}", hint=f'llmperf sql {name} "from traces"')
    are_runs = max(map(len, runs)) > 1
    base, new = (
        _side(session, name, where, found if are_runs else None)
        for session, name, where, found in zip(sessions, names, conditions, runs, strict=True)
    )
    return base, new


def _runs(session: Session, where: str) -> list[str]:
    """Runs of a side in the order in which they were recorded."""
    query = f"SELECT run FROM traces WHERE {where} GROUP BY run ORDER BY min(started_at), run"  # noqa: S608
    return [row["run"] for row in session.records(query)]


def _side(session: Session, name: str, where: str, runs: list[str] | None) -> Run:
    """A side whose occurrences are those of its one run, or, with `runs` in order, one for each of them."""
    of_side = _OF_SIDE.format(where=where)
    budgets: dict[tuple[str, int], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    query = f"SELECT analysis, occurrence_id, class, time_ns FROM occurrence_budget WHERE {of_side}"  # noqa: S608
    for row in session.records(query):
        budgets[row["analysis"], row["occurrence_id"]][row["class"]] += row["time_ns"]
    by_run: dict[str, list[Occurrence]] = defaultdict(list)
    for row in session.records(_OCCURRENCES.format(of_side=of_side)):
        by_run[row["run"]].append(_occurrence(row, budgets[row["analysis"], row["occurrence_id"]]))
    if runs is None:
        occurrences = [one for of_run in by_run.values() for one in of_run]
    else:
        kernels = _kernels(session, of_side)
        occurrences = [one for run in runs for one in _means(by_run[run], kernels[run])]
    findings = session.records(f"SELECT DISTINCT code, phase FROM findings WHERE {of_side}")  # noqa: S608
    return Run(
        name=name if where == "true" else f"{name} where {where}",
        subject=_subject(session, where),
        occurrences=tuple(occurrences),
        findings=frozenset((row["code"], row["phase"] or "") for row in findings),
        clocks=highest_clock(session, of_side),
        are_runs=runs is not None,
    )


def _occurrence(row: Row, budget: Mapping[str, int]) -> Occurrence:
    return Occurrence(
        phase=row["phase"], shape=row["shape"], wall_ns=row["wall_ns"], busy_ns=row["busy_ns"], tokens=row["tokens"],
        cached=row["cached"], lane=row["lane"], families={}, kernels={}, budget=dict(budget), graph_ns=row["graph_ns"],
    )  # fmt: skip


def _kernels(session: Session, of_side: str) -> dict[str, dict[str, list[Row]]]:
    """Run and phase → its kernels by name, with the time that counts."""
    found: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    query = f"""
        SELECT run, phase, coalesce(name, '?') AS name, family, sum(time_ns - warmup_ns - cold_ns)::BIGINT AS time_ns
        FROM kernel_summary WHERE phase IS NOT NULL AND {of_side} GROUP BY ALL ORDER BY ALL
    """  # noqa: S608
    for row in session.records(query):
        found[row["run"]][row["phase"]].append(row)
    return found


def _means(occurrences: Sequence[Occurrence], kernels: Mapping[str, Sequence[Row]]) -> list[Occurrence]:
    """One occurrence for each phase and shape of a run: the mean. Kernels are known by phase, so of one shape alone."""
    groups: dict[tuple[str, str | None], list[Occurrence]] = defaultdict(list)
    for one in occurrences:
        groups[one.phase, one.shape].append(one)
    found = []
    for (phase, shape), members in groups.items():
        is_only = sum(each == phase for each, _ in groups) == 1
        classes = sorted({name for one in members for name in one.budget})
        families: dict[str, int] = defaultdict(int)
        names: dict[str, int] = defaultdict(int)
        for row in kernels.get(phase, ()) if is_only else ():
            families[row["family"]] += row["time_ns"]
            names[row["name"]] += row["time_ns"]
        tokens = [one.tokens for one in members if one.tokens]
        found.append(
            Occurrence(
                phase=phase, shape=shape, wall_ns=round(fmean(one.wall_ns for one in members)),
                busy_ns=round(fmean(one.busy_ns for one in members)),
                tokens=round(fmean(tokens)) if len(tokens) == len(members) else None,
                families={name: round(ns / len(members)) for name, ns in families.items()},
                kernels={name: round(ns / len(members)) for name, ns in names.items()},
                budget={name: round(fmean(one.budget.get(name, 0) for one in members)) for name in classes},
                graph_ns=round(fmean(one.graph_ns for one in members)),
            )
        )  # fmt: skip
    return found


def _subject(session: Session, where: str) -> Subject:
    rows = list(session.records(f"SELECT DISTINCT gpu, model, dtype FROM traces WHERE {where}"))  # noqa: S608
    found = {name: sorted({row[name] for row in rows} - {None}) for name in ("gpu", "model", "dtype")}
    return Subject(**{name: " and ".join(values) or None for name, values in found.items()})
