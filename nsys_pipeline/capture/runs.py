"""The runs of a folder, from what each capture left in its directory: no trace is opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nsys_pipeline.capture.recover import find_unfinished
from nsys_pipeline.capture.rundir import RUN_NAME
from nsys_pipeline.errors import UsageError
from nsys_pipeline.records import Bound, Run


def list_runs(folder: Path) -> list[Run]:
    """Runs in `folder`, or the one that it is, the newest first. Raises UsageError where there is no such folder."""
    if not folder.is_dir():
        raise UsageError(f"`{folder}` is no folder", hint="`llmperf capture` makes `runs`; or name the folder of yours")
    if (folder / RUN_NAME).exists():
        return [_run(folder, folder)]
    found = [_run(path, folder) for path in folder.iterdir() if (path / RUN_NAME).exists()]
    named = {run.name for run in found}
    killed = (path for path in find_unfinished(folder) if path.name not in named)
    found += [Run(name=path.name, problem=f"killed: `llmperf capture --recover {path}`") for path in killed]
    return sorted(found, key=lambda run: (run.started or "", run.name), reverse=True)


def _run(path: Path, folder: Path) -> Run:
    name = path.name if path != folder else path.resolve().name
    try:
        return _read(path, folder, name)
    except OSError as error:
        return Run(name=name, problem=f"{RUN_NAME} cannot be read: {error.strerror or error}")
    except (ValueError, KeyError, TypeError, AttributeError):
        return Run(name=name, problem=f"{RUN_NAME} or a report is not what llmperf writes")


def _read(path: Path, folder: Path, name: str) -> Run:
    run = json.loads((path / RUN_NAME).read_text(encoding="utf-8"))
    started = str(run["started"]) if run.get("started") else None
    if run.get("error"):
        return Run(name=name, started=started, problem=str(run["error"]))
    status = run.get("exit_status")
    problem = f"exit status {int(status)}" if status else None
    reports = sorted(path.glob("report*.json"))
    pages = sorted(path.glob("report*.html"))
    page = pages[0].relative_to(folder).as_posix() if pages else None
    if not reports:
        return Run(name=name, started=started, problem=problem or "no report: `llmperf analyze` makes one", page=page)
    report = json.loads(reports[0].read_text(encoding="utf-8"))
    requests = report.get("requests") or []
    return Run(
        name=name,
        started=started,
        model=_model(report),
        gpus=_gpus(report, len(reports)),
        shapes=", ".join(str(row["shape"]) for row in requests if row.get("shape")) or None,
        ttft_ns=_mean(requests, "ttft_p50_ns"),
        tpot_ns=_mean(requests, "tpot_p50_ns"),
        phases={
            str(phase["name"]): (phase["bound"], phase["mfu_busy"], phase["mbu_busy"]) for phase in report["phases"]
        },
        signs={str(phase["name"]): sign for phase in report["phases"] if (sign := Bound.in_row(phase))},
        problem=problem,
        page=page,
    )


def _model(report: dict[str, Any]) -> str | None:
    model = report.get("model")
    return f"{model['name']} {model['dtype']}" if model else None


def _gpus(report: dict[str, Any], reports: int) -> str | None:
    """Names of the GPUs that worked; of a run with a report for each rank, so many."""
    working = {device["device_id"] for phase in report["phases"] for device in phase["devices"]}
    names = [str(device["name"]) for device in report["trace"]["devices"] if device["id"] in working and device["name"]]
    counts = {name: names.count(name) * reports for name in dict.fromkeys(names)}
    return ", ".join(f"{count} × {name}" if count > 1 else name for name, count in counts.items()) or None


def _mean(requests: list[dict[str, Any]], name: str) -> float | None:
    """Mean of the medians of each shape, by its requests."""
    known = [(float(row[name]), int(row["requests"])) for row in requests if row.get(name) is not None]
    total = sum(count for _, count in known)
    return sum(value * count for value, count in known) / total if total else None
