"""Judge what `llmperf analyze --format json` says about a mutant: right, refused, or a finding.

    python -m tests.support.judge --from 0 --to 5000 --findings FOLDER

Right: exit code 0 and the totals of the healthy trace, or those that the brute-force reference gets from the mutated
rows; or exit code 1 with a failed check, one error line and a hint, and such totals. Refused: exit code 1 or 2, nothing
on stdout, one error line and one hint. Everything else is a finding: a traceback, no hint, wrong sums, too slow.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import io
import json
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nsys_pipeline.cli.app import app
from tests.support import reference
from tests.support.mutants import Mutant, make_mutant

SLOW_S = 20.0
SUMS = ("kernel_count", "kernel_time_ns", "memop_count", "graph_launch_count", "graph_time_ns")
DEVICE_KEYS = (
    "process_id", "device_id", "kernel_count", "kernel_time_ns", "memop_count", "memop_time_ns", "graph_launch_count",
    "gpu_busy_ns", "gpu_span_ns",
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """`outcome` is "right", "refused" or "finding"; `detail` says why."""

    outcome: str
    detail: str


def run_analyze(path: Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of analyzing `path` in this process."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            app(["analyze", str(path), "--no-cache", "--format", "json"], prog_name="llmperf")
        except SystemExit as stop:
            code = stop.code or 0
    return int(code), out.getvalue(), err.getvalue()


def judge(mutant: Mutant) -> Verdict:
    """Analyze the mutant and judge the answer."""
    began = time.process_time()
    try:
        code, out, err = run_analyze(mutant.path)
    except BaseException as error:  # whatever comes is a finding
        return Verdict("finding", f"raises {type(error).__name__}: {error}")
    if (took := time.process_time() - began) > SLOW_S:
        return Verdict("finding", f"took {took:.0f} s")
    lines = err.splitlines()
    errors = [line for line in lines if line.startswith("error:")]
    hints = [line for line in lines if line.startswith("hint:")]
    if "Traceback" in err or "bug in llmperf" in err:
        return Verdict("finding", f"crash: {errors[:1]}")
    if code not in (0, 1, 2):
        return Verdict("finding", f"exit code {code}")
    if (len(errors), len(hints)) != ((1, 1) if code else (0, 0)):
        return Verdict("finding", f"exit code {code} with {len(errors)} errors, {len(hints)} hints: {err[:200]!r}")
    if not out:
        return Verdict("refused" if code else "finding", errors[0] if code else "no output")
    try:
        report = json.loads(out)
    except ValueError as error:
        return Verdict("finding", f"stdout is no JSON: {error}")
    failed = [check["name"] for check in report["checks"] if not check["passed"]]
    if bool(failed) != bool(code):
        return Verdict("finding", f"exit code {code} with failed checks {failed}")
    problem = wrong_sums(mutant, report)
    if problem and code and set(failed) - {"names.known"}:
        return Verdict("refused", f"failed {failed}")
    return Verdict("finding", problem) if problem else Verdict("right", f"{report['totals']['kernel_count']} kernels")


def wrong_sums(mutant: Mutant, report: dict[str, Any]) -> str | None:
    """How the sums differ both from the healthy trace and from the reference, or None."""
    if differs(report, _healthy(mutant.base)) is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = _as_sqlite(mutant.path, Path(folder))
            summary = _summary(path)
        except Exception as error:  # what the reference cannot read must not be read by the engine
            return f"the reference cannot read it ({type(error).__name__}: {error}), the engine can"
    return differs(report, summary)


def differs(report: dict[str, Any], expected: dict[str, Any]) -> str | None:
    """The first difference between a report and the summary of the reference."""
    if report["totals"] != expected["totals"]:
        return f"totals {report['totals']} instead of {expected['totals']}"
    found = {phase["name"]: {key: phase[key] for key in (*SUMS, "occurrences")} for phase in report["phases"]}
    right = {name: {key: sums[key] for key in (*SUMS, "occurrences")} for name, sums in expected["phases"].items()}
    if found != right:
        names = [name for name in found.keys() | right.keys() if found.get(name) != right.get(name)]
        return f"phases {[(name, found.get(name), right.get(name)) for name in names]}"
    for phase in report["phases"]:
        devices = sorted(tuple(device[key] for key in DEVICE_KEYS) for device in phase["devices"])
        theirs = sorted(
            tuple(device[key] for key in DEVICE_KEYS) for device in expected["phases"][phase["name"]]["devices"]
        )
        if devices != theirs:
            return f"devices of {phase['name']} {devices} instead of {theirs}"
    outside = {key: sum(sums[key] for sums in expected["unattributed"].values()) for key in SUMS}
    if {key: report["unattributed"][key] for key in SUMS} != outside:
        return f"outside {report['unattributed']} instead of {outside}"
    return None


_known: dict[bytes, dict[str, Any]] = {}


def _healthy(base: Path) -> dict[str, Any]:
    content = hashlib.sha256(base.read_bytes()).digest()
    if content not in _known:
        _known[content] = _summary(base)
    return _known[content]


def _summary(path: Path) -> dict[str, Any]:
    return reference.summarize(reference.attribute(path))


def _as_sqlite(path: Path, folder: Path) -> Path:
    """What the reference can read: unpacked, or from Parquet, by other means than the engine's."""
    if path.is_dir():
        return _from_parquet(path, folder / "trace.sqlite")
    if path.suffix == ".sqlite":
        return path
    raise ValueError(f"{path.suffix} data that unpacks has a checksum, so it must give the healthy trace")


def _from_parquet(directory: Path, target: Path) -> Path:
    import polars as pl

    with closing(sqlite3.connect(target)) as db, db:
        for file in directory.glob("*.parquet"):
            if not file.stem.isidentifier():
                continue
            frame = pl.read_parquet(file)
            db.execute(f"CREATE TABLE {file.stem} ({', '.join(chr(34) + name + chr(34) for name in frame.columns)})")
            rows = (
                [v - (1 << 64) if isinstance(v, int) and v >= 1 << 63 else v for v in row] for row in frame.iter_rows()
            )
            db.executemany(f"INSERT INTO {file.stem} VALUES ({', '.join('?' * len(frame.columns))})", rows)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description="Analyze mutants and say what is wrong with the answers.")
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--to", dest="last", type=int, default=100)
    parser.add_argument("--family")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    for seed in range(options.first, options.last):
        faulthandler.dump_traceback_later(120, exit=True)
        folder = Path(tempfile.mkdtemp(prefix="mutant-"))
        try:
            mutant = make_mutant(seed, folder, family=options.family)
        except Exception as error:  # a fault of this program's, to be seen and passed by
            print(f"no mutant {seed}: {type(error).__name__}: {error}", flush=True)
            continue
        verdict = judge(mutant)
        counts[f"{mutant.family} {verdict.outcome}"] += 1
        if verdict.outcome == "finding" or options.verbose:
            print(f"{verdict.outcome} {seed} [{mutant.family}] {mutant.what}\n    {verdict.detail[:600]}", flush=True)
        shutil.rmtree(folder)
        if counts.total() % 50 == 0:
            print(f"{counts.total()} done: {dict(sorted(counts.items()))}", file=sys.stderr, flush=True)
    print(dict(sorted(counts.items())), file=sys.stderr)


if __name__ == "__main__":
    main()
