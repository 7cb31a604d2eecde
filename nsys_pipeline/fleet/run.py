"""Bring a dataset up to date with the traces of a fleet: analyze what is new or has changed, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from nsys_pipeline.errors import LlmperfError
from nsys_pipeline.fleet.dataset import Dataset, analysis_id
from nsys_pipeline.fleet.local import cores, run_locally
from nsys_pipeline.fleet.places import Place
from nsys_pipeline.fleet.storage import reaching
from nsys_pipeline.fleet.work import Job, Result
from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.trace import TraceOptions


@attrs.frozen
class Outcome:
    """How many traces were analyzed now, were in the dataset already, and failed, with the reason of each."""

    analyzed: int
    kept: int
    failures: tuple[Result, ...]


def update(
    dataset: Dataset,
    places: Sequence[Place],
    trace_options: TraceOptions,
    options: AnalysisOptions,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    on_result: Callable[[int, int, Result], None] | None = None,
) -> Outcome:
    """Analyze the traces at `places` that the dataset does not hold as they are now.

    In `workers` processes of this machine, by default one for each processor, or on the Dask cluster at `scheduler`.
    `on_result` gets the number of traces that are done, that of all to do, and what became of one. Raises LlmperfError
    if the dataset cannot be written or the scheduler is lost: what is done by then stays done.
    """
    import duckdb

    key = options_key(trace_options, options)
    with duckdb.connect() as con, reaching(dataset.url):
        dataset.attach(con)
        known = dataset.analyses(con)
    todo = [place for place in places if known.get(place.id) != analysis_id(place, key)]
    count = workers or cores()
    if trace_options.threads is None:
        # Many traces side by side: threads of one would only wait for each other.
        trace_options = attrs.evolve(trace_options, threads=1)
    jobs = [Job(place, dataset.url, trace_options, options, key, known.get(place.id)) for place in todo]
    failures: list[Result] = []
    if scheduler is None:
        results = run_locally(jobs, count)
    else:
        from nsys_pipeline.fleet.cluster import run_on_cluster

        results = run_on_cluster(jobs, scheduler)
    for number, result in enumerate(results, 1):
        if result.stops_all:
            raise LlmperfError(result.error or "", hint=result.hint)
        if result.error:
            failures.append(result)
        if on_result:
            on_result(number, len(jobs), result)
    return Outcome(len(jobs) - len(failures), len(places) - len(jobs), tuple(failures))


def options_key(trace_options: TraceOptions, options: AnalysisOptions) -> str:
    """What of the options changes the rows of a trace."""
    return f"{trace_options.identity()}|{trace_options.window}|{options!r}"
