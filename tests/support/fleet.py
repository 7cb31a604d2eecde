"""Fleets of small traces, and datasets made of them in this process."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from nsys_pipeline.fleet.dataset import Dataset
from nsys_pipeline.fleet.places import Place, find_traces
from nsys_pipeline.fleet.query import open_dataset
from nsys_pipeline.fleet.run import options_key
from nsys_pipeline.fleet.work import Job, Result, run_job
from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.trace import TraceOptions
from tests.support.trace_builder import TraceBuilder

OPTIONS = TraceOptions(use_cache=False, threads=1)


def steps_trace(
    *, step_ns: int = 1_000, steps: int = 8, hostname: str = "node1", driver: str = "580.1", started_ns: int = 10**18
) -> TraceBuilder:
    """Forward passes of `step_ns` of which the kernel takes half, on a named machine."""
    trace = TraceBuilder("2025.3").gpu()
    main = trace.process(name="python").thread(name="main")
    for step in range(steps):
        at = 2 * step_ns * step
        main.push(at, at + step_ns, "forward")
        main.launch(at + 1, gpu=(at + 10, at + 10 + step_ns // 2), name="gemm")
    for name, value in {"Hostname": hostname, "NvDriverVersion": driver, "CudaDriverVersion": "13000"}.items():
        trace.row("TARGET_INFO_SYSTEM_ENV", devStateName="x", name=name, value=value)
    trace.row("TARGET_INFO_SESSION_START_TIME", utcEpochNs=started_ns)
    return trace


def write_fleet(folder: Path, names: Sequence[str]) -> Path:
    """Equal small traces under `names` in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    first = steps_trace().write(folder / "first.tmp")
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(first, folder / name)
    first.unlink()
    return folder


def job_of(place: Place, dataset: Dataset) -> Job:
    return Job(place, dataset.url, OPTIONS, AnalysisOptions(), options_key(OPTIONS, AnalysisOptions()))


def analyze_here(source: Path | str, out: Path | str) -> list[Result]:
    """Analyze a fleet in this process."""
    dataset = Dataset.create(str(out))
    return [run_job(job_of(place, dataset)) for place in find_traces([str(source)], leave_out=str(out))]


def ask(out: Path | str, query: str) -> list[tuple[object, ...]]:
    """Rows of one SELECT over a dataset."""
    with open_dataset(str(out)) as session, session.query(query) as result:
        return result.rows()


def committed(out: Path) -> dict[str, int]:
    """Rows of `traces` that a dataset has, by file: when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in out.glob("traces/*.parquet")}
