"""Workers on this machine: processes that end with this one, and whose death costs one trace a second try."""

from __future__ import annotations

import os
import pickle
import queue
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress

from nsys_pipeline.fleet.dataset import Dataset
from nsys_pipeline.fleet.places import Place
from nsys_pipeline.fleet.work import Job, Result, record_failure
from nsys_pipeline.trace.memory import parse_bytes
from nsys_pipeline.trace.options import DEFAULT_MEMORY_LIMIT

_LEAST_MEMORY_BYTES = 500 * 10**6
TRIES = 3
"""How many workers may die of one trace."""


class Worker:
    """A process that does one job at a time. What it has on disk beside the dataset goes when it ends or is killed."""

    def __init__(self) -> None:
        self._scratch = tempfile.mkdtemp(prefix="llmperf-fleet-")
        environment = os.environ | {"TMPDIR": self._scratch, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "nsys_pipeline.fleet.worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
        )  # fmt: skip

    def run(self, job: Job) -> Result | None:
        """Have the job done; None if the process died of it."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise ValueError("a worker without pipes")
        try:
            pickle.dump(job, stdin)
            stdin.flush()
            result = pickle.load(stdout)  # noqa: S301 - from our own process
        except (EOFError, OSError, pickle.UnpicklingError):
            return None
        return result if isinstance(result, Result) else None

    @property
    def status(self) -> int:
        """Exit status of a process that died; less than 0 for a signal."""
        return self._process.wait()

    def close(self) -> None:
        """End the process, now."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._process.wait()
        shutil.rmtree(self._scratch, ignore_errors=True)


class Pool:
    """Workers, each begun when there is a job for it. Jobs may be handed over by several threads."""

    def __init__(self) -> None:
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._alive: set[Worker] = set()
        self._is_closed = False

    def do(self, job: Job) -> Result:
        """Have a worker do the job, and another one if the first dies."""
        status = 0
        for _ in range(TRIES):
            if self._is_closed:
                break
            worker = self._take()
            result = worker.run(job)
            if result is not None:
                self._idle.put(worker)
                return result
            if self._is_closed:
                break
            status = worker.status
            self._alive.discard(worker)
            worker.close()
        else:
            return _died(job, status)
        return Result(job.place, "stopped")

    def close(self) -> None:
        """Kill the workers."""
        self._is_closed = True
        for worker in list(self._alive):
            worker.close()

    def _take(self) -> Worker:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            worker = Worker()
            self._alive.add(worker)
            return worker


def run_locally(jobs: Sequence[Job], workers: int) -> Iterator[Result]:
    """Do `jobs` in so many processes; results as they come. Whoever stops asking for them ends the processes."""
    pool = Pool()
    threads = ThreadPoolExecutor(workers)
    try:
        for future in as_completed([threads.submit(pool.do, job) for job in jobs]):
            yield future.result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        pool.close()
        threads.shutdown()
        # One that was begun at that moment.
        pool.close()


def _died(job: Job, status: int) -> Result:
    how = f"signal {-status}" if status < 0 else f"exit status {status}"
    return failed_of(job.place, job.dataset, f"{TRIES} workers died of `{job.place.url}`: {how}")


def failed_of(place: Place, dataset: str, error: str) -> Result:
    """Record the failure of a trace that killed its workers."""
    hint = "if memory ran out: a smaller --memory-limit, or fewer --workers"
    try:
        record_failure(Dataset.at(dataset), place, error, hint)
    except OSError as problem:
        return Result(place, f"the dataset `{dataset}` cannot be written: {problem}", stops_all=True)
    return Result(place, error, hint)


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_limit(workers: int) -> str:
    """What each of so many workers may use of this machine's memory, if nobody says: 80 % of it together.

    As DuckDB takes it: `500000000B`. At least _LEAST_MEMORY_BYTES, at most the default of one trace.
    """
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return DEFAULT_MEMORY_LIMIT
    share = max(_LEAST_MEMORY_BYTES, total * 8 // 10 // workers)
    return f"{min(share, parse_bytes(DEFAULT_MEMORY_LIMIT))}B"
