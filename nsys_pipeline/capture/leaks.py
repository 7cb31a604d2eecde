"""Secrets that a run left in its files, whatever was scrubbed: which files must not be shared, and why."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from nsys_pipeline.capture.findings import Finding
from nsys_pipeline.capture.plan import CapturePlan, discards_environment
from nsys_pipeline.capture.rundir import RUN_NAME, RunDirectory
from nsys_pipeline.nsys.install import Nsys
from nsys_pipeline.nsys.secrets import leaked_variables, redacted, secrets_of


def secrets_left(plan: CapturePlan, nsys: Nsys, directory: RunDirectory, reports: list[Path]) -> list[Finding]:
    """Say, in one finding, which files of the run must not be shared, and why."""
    holders = _secret_holders(plan, nsys, directory, reports)
    environment = (
        f"the .nsys-rep holds the environment variables: Nsight Systems {nsys.version_short} cannot leave them out"
    )
    is_discarded = discards_environment(nsys, plan)
    if holders:
        parts = [f"the value of {name} is in {_listed(files)}" for name, files in holders.items()]
        unsafe = sorted({*(file for files in holders.values() for file in files)})
        if not is_discarded:
            parts.append(environment)
            unsafe = sorted({*unsafe, *(report.name for report in reports)})
        return [
            Finding(
                "secret_in_trace",
                "warning",
                "; ".join(parts),
                f"the workload printed it or has it on its command line: do not share {_listed(unsafe, 'or')}",
            )
        ]
    if is_discarded:
        return []
    return [
        Finding(
            "environment_in_report",
            "warning",
            f"{environment} (the exported trace is clean)",
            "share the .sqlite instead of the .nsys-rep",
        )
    ]


def without_secrets(plan: CapturePlan, record: dict[str, Any]) -> dict[str, Any]:
    """Return `record`, as run.json has it, with every secret of the environment and the command line replaced."""
    cleaned: dict[str, Any] = redacted(record, [value for _, value in secrets_of(_environment(plan), plan.command)])
    return cleaned


def command_line_secrets(plan: CapturePlan) -> list[str]:
    """Values on the target's command line that are secret, by their place there or as values of secret variables."""
    return [value for _, value in _on_command_line(plan)]


def _on_command_line(plan: CapturePlan) -> list[tuple[str, str]]:
    words = "\0".join(plan.command)
    return [(name, value) for name, value in secrets_of(_environment(plan), plan.command) if value in words]


def _secret_holders(
    plan: CapturePlan, nsys: Nsys, directory: RunDirectory, reports: list[Path]
) -> dict[str, list[str]]:
    """Secret variables whose value is in a file of the run directory, and the names of these files."""
    holders: dict[str, list[str]] = {}
    # With the environment in it, nsys' own file tells nothing about what the workload gave away.
    unread = () if discards_environment(nsys, plan) else (".nsys-rep", ".qdstrm")
    for path in sorted(directory.path.iterdir()):
        # run.json is written later, without values; one that is there is of a run that this one replaces.
        if path.is_file() and path.name != RUN_NAME and path.suffix not in unread:
            for name in leaked_variables(path, _environment(plan), plan.command):
                holders.setdefault(name, []).append(path.name)
    for name, _ in _on_command_line(plan):
        # A report holds the command line; only its export is clean of what stands there.
        holders.setdefault(name, [])
    given = {name for name, _ in _on_command_line(plan)}
    for name, files in holders.items():
        # A report is compressed in parts; what is in its export is in it too.
        inside = [report.name for report in reports if name in given or f"{report.stem}.sqlite" in files]
        files[:] = sorted({*files, *inside})
    return holders


def _environment(plan: CapturePlan) -> dict[str, str]:
    return {**os.environ, **plan.environment}


def _listed(names: list[str], last: str = "and") -> str:
    return f" {last} ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
