"""The real traces in tests/traces: where they are, how they are unpacked, and what the reference says about them."""

from __future__ import annotations

import json
import lzma
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from nsys_pipeline.analyze import analyze
from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.records import Report
from nsys_pipeline.trace import Trace, find_trace
from nsys_pipeline.trace.kept_report import KeptReport
from tests.support.examples import MODE

TRACES = Path(__file__).resolve().parent.parent / "traces"
GOLDEN = TRACES / "golden"
#: Traces of small programs, for the inference alone.
LOOP_TRACES = TRACES.parent / "loops"
SUFFIX = ".sqlite.xz"
NAMES = tuple(sorted(path.name.removesuffix(SUFFIX) for path in TRACES.glob(f"*{SUFFIX}")))
#: Those on which even a definition that is written without thought for time is quick; all with LLMPERF_EXAMPLES=many.
QUICK = tuple(name for name in NAMES if MODE != "few" or name not in ("h100_llama1b", "h200_sglang_serve"))


def unpack(trace: Path, folder: Path) -> Path:
    """A writable plain SQLite copy of `trace` (.sqlite or .sqlite.xz) in `folder`."""
    plain = folder / trace.name.removesuffix(".xz")
    if trace.suffix == ".xz":
        with lzma.open(trace, "rb") as source, plain.open("wb") as target:
            shutil.copyfileobj(source, target)
    else:
        shutil.copyfile(trace, plain)
    return plain


def unpack_by_name(name: str, folder: Path) -> Path:
    """A plain SQLite copy of one of NAMES in `folder`."""
    return unpack(TRACES / f"{name}{SUFFIX}", folder)


def without_ranges(path: Path) -> Path:
    """The trace at `path`, a plain export, as nobody had marked it."""
    with closing(sqlite3.connect(path)) as db, db:
        if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'NVTX_EVENTS'").fetchone():
            db.execute("DELETE FROM NVTX_EVENTS")
    return path


def report_of(name: str) -> Report:
    """The report of one of NAMES without any options: made by the first test of a run that asks, as `analyze` does."""
    options = AnalysisOptions()
    with find_trace(TRACES / f"{name}{SUFFIX}") as found:
        kept = KeptReport(found, options)
        report = kept.read()
        if report is None:
            with Trace(found) as trace:
                report = analyze(trace, options)
            kept.write(report)
    return report


def golden_path(name: str) -> Path:
    return GOLDEN / f"{name}.reference.json"


def golden(name: str) -> dict[str, Any]:
    """What the reference says about one of NAMES: its summaries ``default`` and ``strict`` (no other-thread work)."""
    loaded: dict[str, Any] = json.loads(golden_path(name).read_text())
    return loaded
