"""Workers of a Dask cluster that exists: on Slurm, Kubernetes or anything else that Dask's deployers start."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

from nsys_pipeline.errors import LlmperfError, UsageError
from nsys_pipeline.fleet.local import TRIES, failed_of
from nsys_pipeline.fleet.work import Job, Result, run_job

_CONNECT_S = 30
_AGAIN = "what is done stays done: the same command goes on where this one stopped"


def run_on_cluster(jobs: Sequence[Job], scheduler: str) -> Iterator[Result]:
    """Do `jobs` on the cluster at `scheduler`; results as they come.

    A worker that dies costs the trace in its hands another try; a trace of which several die has failed. Raises
    UsageError if there is no scheduler or no Dask, LlmperfError if the scheduler is lost.
    """
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise UsageError("Dask is not installed", hint="pip install 'nsys-pipeline[fleet]'") from error
    try:
        client = Client(scheduler, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"there is no scheduler at `{scheduler}`: {error}", hint="as in tcp://10.0.0.1:8786"
        ) from error
    run = uuid.uuid4().hex[:8]
    try:
        futures = {client.submit(run_job, job, pure=False, key=f"llmperf-{run}-{job.place.id}"): job for job in jobs}
        for future in as_completed(list(futures), loop=client.loop):
            yield _result(future, futures.pop(future), scheduler)
    finally:
        client.close(timeout=2)


def _result(future: object, job: Job, scheduler: str) -> Result:
    from distributed import KilledWorker

    try:
        result = future.result()  # type: ignore[attr-defined]
    except KilledWorker:
        return failed_of(job.place, job.dataset, f"workers died of `{job.place.url}`, {TRIES} or more")
    except Exception as error:
        if future.status == "error":  # type: ignore[attr-defined]
            raise LlmperfError(f"a worker of `{scheduler}` failed: {type(error).__name__}: {error}") from error
        raise LlmperfError(f"the scheduler `{scheduler}` is lost", hint=_AGAIN) from error
    if not isinstance(result, Result):
        raise LlmperfError(f"a worker of `{scheduler}` answers what no llmperf does", hint="use one version everywhere")
    return result
