"""Ranks that were started, each under an nsys of its own, and of which there is no report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

from nsys_pipeline.capture.failures import AGAIN, lacked_agent
from nsys_pipeline.capture.findings import Finding
from nsys_pipeline.capture.plan import CapturePlan
from nsys_pipeline.capture.ranks import started_ranks
from nsys_pipeline.capture.rundir import LOG_NAME, REPORT_STEM, RunDirectory
from nsys_pipeline.capture.session import Outcome

_CODE = "rank_without_report"


@attrs.frozen
class LostRanks:
    """`recordings` that nsys made no report of, and `silent` ranks of which it recorded nothing.

    `is_fault`: that is nsys' fault, which lacked its agent, or whose job ended well and was recorded to its end.
    """

    recordings: tuple[Path, ...]
    silent: tuple[str, ...]
    is_fault: bool

    @classmethod
    def of(cls, plan: CapturePlan, outcome: Outcome, directory: RunDirectory, reports: Sequence[Path]) -> LostRanks:
        """Compare what was started with the `reports` that are there."""
        staged = sorted(directory.staging.glob("*.qdstrm"))
        recordings = tuple(path for path in staged if path.with_suffix(".nsys-rep") not in reports)
        with_file = {path.stem.removeprefix(f"{REPORT_STEM}-rank") for path in (*reports, *recordings)}
        silent = sorted(started_ranks(directory.staging).keys() - with_file, key=lambda rank: (len(rank), rank))
        ended_well = outcome.returncode == 0 and outcome.stopped is None and not plan.capture_range
        return cls(recordings, tuple(silent), ended_well or lacked_agent(outcome))

    @property
    def by_chance(self) -> str | None:
        """What nsys failed at where the same capture, made again, mostly succeeds; None otherwise."""
        if self.recordings:
            return f"nsys made no report of {self.recordings[0].stem}"
        return f"nsys recorded nothing of rank {self.silent[0]}" if self.silent and self.is_fault else None

    def findings(self, plan: CapturePlan, directory: RunDirectory) -> list[Finding]:
        """Say of each what there is; recordings move into the run directory. Only errors spoil the capture."""
        found = [
            Finding(
                _CODE,
                "error",
                f"nsys made no report of {path.stem}; what it recorded is in `{directory.publish(path.name)}`",
                "the other ranks' reports are whole; capture again for this one",
            )
            for path in self.recordings
        ]
        if self.is_fault:
            severity, hint = "error", AGAIN
        elif plan.capture_range:
            severity, hint = "warning", "its capture range never opened; the other ranks' reports are whole"
        else:
            severity, hint = "error", f"its output is in `{directory.path / LOG_NAME}`"
        return found + [Finding(_CODE, severity, f"nsys recorded nothing of rank {rank}", hint) for rank in self.silent]
