"""Read one side of a comparison from its trace."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from nsys_pipeline.compare.difference import TRAINING_STEP, Occurrence, Run
from nsys_pipeline.compare.subject import SHAPE_SQL, Subject

if TYPE_CHECKING:
    from nsys_pipeline.query.session import Session
    from nsys_pipeline.records import Report

_OCCURRENCES = f"""
    SELECT occurrence_id, phase, {SHAPE_SQL} AS shape, wall_ns,
        coalesce(gpu_busy_ns, 0) AS busy_ns, new_tokens AS tokens, cached_tokens AS cached, graph_time_ns AS graph_ns,
        dense_rank() OVER (ORDER BY process_id, thread_id) AS lane
    FROM phases WHERE is_measured ORDER BY start_ns, occurrence_id
"""  # noqa: S608 - our own names
_BUDGET = "SELECT occurrence_id, class, time_ns FROM occurrence_budget"
_KERNELS = "SELECT occurrence_id, name, family, time_ns FROM occurrence_kernels WHERE NOT is_warmup AND NOT is_cold"
# The first one of a recording, which begins behind the end of the one before, does not show how long it waited.
_TRAINING_STEPS = """
    SELECT wall_ns, gpu_busy_ns, tokens, input_wait_ns, dense_rank() OVER (ORDER BY process_id, thread_id) AS lane
    FROM (
        SELECT *, lag(end_ns) OVER (PARTITION BY process_id, thread_id ORDER BY step) >= start_ns AS is_next
        FROM training_steps
    )
    WHERE is_complete AND NOT is_warmup AND NOT is_cold
    QUALIFY input_wait_ns > 0 OR is_next OR count(*) OVER (PARTITION BY process_id, thread_id) = 1
    ORDER BY start_ns
"""


def run_of(path: Path, session: Session, report: Report) -> Run:
    """The run of the trace at `path`, open in `session`, whose analysis is `report`."""
    gpus = [row["name"] for row in session.records("SELECT name FROM devices WHERE has_work")]
    return Run(
        name=str(path),
        subject=Subject.of(attrs.asdict(report.model) if report.model else None, gpus),
        occurrences=(*occurrences_of(session), *_training_steps(session)),
        clocks=_clocks(session, report),
        findings=frozenset((finding.code, finding.phase or "") for finding in report.findings),
        recorder=report.trace.recorder,
    )


def _training_steps(session: Session) -> tuple[Occurrence, ...]:
    """Whole steps of training: what lies between their passes, as the wait for input, is in no phase."""
    return tuple(
        Occurrence(
            phase=TRAINING_STEP,
            shape=None,
            wall_ns=row["wall_ns"],
            busy_ns=row["gpu_busy_ns"],
            tokens=row["tokens"],
            lane=row["lane"],
            families={},
            kernels={},
            budget={"before its first pass": row["input_wait_ns"]},
        )
        for row in session.records(_TRAINING_STEPS)
    )


def _clocks(session: Session, report: Report) -> dict[str, float]:
    """See `Run`."""
    found = highest_clock(session)
    for phase in report.phases:
        if phase.measured is not None and phase.measured.sm_clock_hz:
            found[phase.name] = phase.measured.sm_clock_hz
    return found


def highest_clock(session: Session, of: str = "true") -> dict[str, float]:
    """'' → the clock of the slowest GPU with work that fulfils the condition `of`; {} if one of them says none."""
    query = f"SELECT clock_rate_hz FROM devices WHERE has_work AND {of}"  # noqa: S608 - our own names
    rates = [row["clock_rate_hz"] for row in session.records(query)]
    return {"": float(min(rates))} if rates and all(rates) else {}


def occurrences_of(session: Session) -> tuple[Occurrence, ...]:
    """Occurrences of phases that count, in the order of time."""
    families: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    kernels: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in session.records(_KERNELS):
        families[row["occurrence_id"]][row["family"]] += row["time_ns"]
        kernels[row["occurrence_id"]][row["name"] or "?"] += row["time_ns"]
    budgets: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in session.records(_BUDGET):
        budgets[row["occurrence_id"]][row["class"]] += row["time_ns"]
    return tuple(
        Occurrence(
            phase=row["phase"],
            shape=row["shape"],
            wall_ns=row["wall_ns"],
            busy_ns=row["busy_ns"],
            tokens=row["tokens"],
            cached=row["cached"],
            lane=row["lane"],
            graph_ns=row["graph_ns"],
            families=dict(families[row["occurrence_id"]]),
            kernels=dict(kernels[row["occurrence_id"]]),
            budget=dict(budgets[row["occurrence_id"]]),
        )
        for row in session.records(_OCCURRENCES)
    )
