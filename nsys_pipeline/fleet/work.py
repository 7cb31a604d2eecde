"""What a worker does: analyze one trace and put its rows into the dataset."""

from __future__ import annotations

import errno
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from nsys_pipeline import __version__
from nsys_pipeline.duck import records
from nsys_pipeline.errors import LlmperfError, TraceError
from nsys_pipeline.fleet import dataset as kept
from nsys_pipeline.fleet.dataset import Dataset
from nsys_pipeline.fleet.places import Place, fingerprint
from nsys_pipeline.fleet.storage import Storage
from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.trace import TraceOptions, open_trace

if TYPE_CHECKING:
    from nsys_pipeline.query.session import Session

ATTEMPTS = 3
"""How often a trace that changes while it is read is read again."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@attrs.frozen
class Job:
    """One trace to analyze: where it is, where its rows go, and how.

    `replaces`: an older analysis of the same trace.
    """

    place: Place
    dataset: str
    trace_options: TraceOptions
    options: AnalysisOptions
    options_key: str
    replaces: str | None = None


@attrs.frozen
class Result:
    """What became of a job: nothing to say, the reason of its failure, or the reason why no other job can succeed."""

    place: Place
    error: str | None = None
    hint: str | None = None
    stops_all: bool = False


def run_job(job: Job) -> Result:
    """Analyze the trace of `job`. Whatever goes wrong with it becomes a row of `failures`, and no error is raised."""
    try:
        dataset = Dataset.at(job.dataset)
        with tempfile.TemporaryDirectory(prefix="llmperf-") as folder:
            try:
                place, row, written = _read(job, Path(folder))
            except LlmperfError as error:
                return _failed(job, dataset, error.message, error.hint)
            except Exception as error:
                # Of thousands of traces, one that llmperf does not foresee must not stop the others.
                return _failed(job, dataset, f"{type(error).__name__}: {error}", "`llmperf analyze` says more")
            _publish(dataset, place, written, row, job.replaces)
        dataset.storage.remove(f"failures/{job.place.id}.parquet")
    except OSError as error:
        reason = error.strerror or str(error)
        return Result(
            job.place,
            f"the dataset `{job.dataset}` cannot be written: {reason}",
            "make room there; the same command goes on where this one stopped" if error.errno in _NO_ROOM else None,
            stops_all=True,
        )
    except LlmperfError as error:
        return Result(job.place, error.message, error.hint, stops_all=True)
    except Exception as error:
        # What the packages of stores raise has no common base.
        message = f"the dataset `{job.dataset}` cannot be written: {type(error).__name__}: {error}"
        return Result(job.place, message, stops_all=True)
    return Result(job.place)


def _failed(job: Job, dataset: Dataset, error: str, hint: str | None) -> Result:
    record_failure(dataset, job.place, error, hint)
    return Result(job.place, error, hint)


def record_failure(dataset: Dataset, place: Place, error: str, hint: str | None) -> None:
    """Put a row into the table `failures`. Raises OSError."""
    import duckdb

    row = {"path": place.url, "run": place.run, "trace_rank": place.rank, "error": error, "hint": hint}
    with tempfile.TemporaryDirectory(prefix="llmperf-") as folder, duckdb.connect() as con:
        file = Path(folder) / "failure.parquet"
        kept.write_rows(con, kept.values(row, kept.FAILURE_COLUMNS), file)
        dataset.storage.put(file, f"failures/{place.id}.parquet")


def _read(job: Job, folder: Path) -> tuple[Place, dict[str, Any], Path]:
    """Write the tables of the trace as it is now into `folder`; again if it changes meanwhile.

    Returns the place as it was read, the row of `traces`, and where the tables are. Raises TraceError if it never
    holds still.
    """
    storage = Storage.of(job.place.url)
    for attempt in range(ATTEMPTS):
        place = attrs.evolve(job.place, fingerprint=_fingerprint(storage, job.place))
        target = folder / str(attempt)
        target.mkdir()
        try:
            row = _write_tables(job, place, storage, target)
        except LlmperfError:
            # What a file that is being written holds in between is no reason to refuse it.
            if _fingerprint(storage, place) == place.fingerprint:
                raise
        else:
            if _fingerprint(storage, place) == place.fingerprint:
                return place, row, target
        shutil.rmtree(target)
    raise TraceError(
        f"`{place.url}` changed while it was read, {ATTEMPTS} times", hint="run again when it is not written any more"
    )


def _fingerprint(storage: Storage, place: Place) -> str:
    try:
        storage.fs.invalidate_cache()
        return fingerprint(storage.fs.info(storage.root))
    except OSError as error:
        raise TraceError(f"`{place.url}` cannot be read: {error.strerror or error}") from error


def _write_tables(job: Job, place: Place, storage: Storage, folder: Path) -> dict[str, Any]:
    """Write every table that has rows to `folder`, and return the row of `traces`."""
    from nsys_pipeline.query.session import Session

    analysis = kept.analysis_id(place, job.options_key)
    trace = open_trace(_local_copy(storage, place, folder), job.trace_options)
    with Session.of(trace, job.options, close_off=False) as session:
        session.build(*(f"views.{name}" for name in kept.VIEWS), *_FACTS)
        row = _facts(session, place, storage) | {"analysis": analysis}
        with trace.reading():
            _check(session)
            for table in kept.VIEWS:
                if records(trace.connection, f"SELECT 1 FROM views.{table} LIMIT 1"):  # noqa: S608 - our own names
                    query = kept.select_rows(table, place.run, row["trace_rank"], analysis)
                    kept.write_rows(trace.connection, query, folder / f"{table}.parquet")
        row["tables"] = ",".join(table for table in kept.VIEWS if (folder / f"{table}.parquet").exists())
        kept.write_rows(trace.connection, kept.values(row, kept.TRACE_COLUMNS), folder / "traces.parquet")
    return row


def _local_copy(storage: Storage, place: Place, folder: Path) -> Path:
    """The trace as a file that SQLite can open: itself, or a copy of what is in a bucket."""
    if storage.is_local:
        return Path(storage.root)
    copy = folder / Path(storage.root).name
    try:
        storage.fs.get_file(storage.root, str(copy))
    except OSError as error:
        raise TraceError(f"`{place.url}` cannot be read: {error.strerror or error}") from error
    return copy


def _check(session: Session) -> None:
    failed = [row["name"] for row in records(session.database, "FROM views.trace_checks WHERE NOT passed")]
    if failed:
        raise TraceError(f"trace check(s) failed: {', '.join(failed)}", hint="`llmperf analyze` says more")


_FACTS = (
    "load.machine", "load.session", "load.recorder", "load.generation", "load.metadata", "load.ranks",
    "load.devices", "attribute.work_totals", "input.model",
)  # fmt: skip


def _facts(session: Session, place: Place, storage: Storage) -> dict[str, Any]:
    """The row of `traces`: where and when it was recorded, with what, and how much there is of it."""
    (row,) = records(
        session.database,
        """
        SELECT
            make_timestamp_ns(m.started_ns)::TIMESTAMP AS started_at, s.duration_ns, m.hostname, m.driver_version,
            m.cuda_version,
            CASE WHEN (SELECT recorder FROM load.recorder) = 'nsys' THEN coalesce(
                (SELECT recorder_version FROM load.recorder),
                (SELECT max(value) FROM load.metadata WHERE source = 'export' AND name = 'EXPORT_PRODUCT_VERSION'),
                (SELECT generation FROM load.generation)
            ) END AS nsys_version,
            (SELECT string_agg(DISTINCT coalesce(name, 'unknown'), ', ' ORDER BY coalesce(name, 'unknown'))
                FROM load.devices WHERE has_work) AS gpu,
            (SELECT count(*) FROM load.devices WHERE has_work) AS gpu_count,
            (SELECT any_value(name) FROM input.model) AS model, (SELECT any_value(dtype) FROM input.model) AS dtype,
            (SELECT CASE WHEN count(*) = 1 THEN any_value(rank) END FROM load.ranks) AS trace_rank,
            (SELECT max(world) FROM load.ranks) AS world
        FROM load.machine AS m, load.session AS s
        """,
    )
    (work,) = records(
        session.database,
        "SELECT kernel_count, kernel_time_ns FROM attribute.work_totals",
    )
    return {
        **row, **work, "run": place.run, "path": place.url,
        "trace_rank": row["trace_rank"] if place.rank is None else place.rank,
        "size_bytes": storage.fs.size(storage.root), "llmperf_version": __version__,
        "analyzed_at": datetime.now(UTC).replace(tzinfo=None),
    }  # fmt: skip


def _publish(dataset: Dataset, place: Place, folder: Path, row: dict[str, Any], replaces: str | None) -> None:
    """Put the tables into the dataset, and last the row that says that they are whole. Raises OSError."""
    for table in kept.VIEWS:
        if (file := folder / f"{table}.parquet").exists():
            dataset.storage.put(file, kept.partition(table, place.run, row["trace_rank"], row["analysis"]))
    dataset.storage.put(folder / "traces.parquet", f"traces/{place.id}.parquet")
    if replaces not in (None, row["analysis"]):
        for table in kept.VIEWS:
            for name in dataset.storage.glob(f"{table}/*/*/{replaces}.parquet"):
                dataset.storage.remove(name)
