#!/usr/bin/env python
"""Measure `llmperf fleet` on a hundred traces, and check it: real and synthetic ones, one broken, one that changes.

    python scripts/bench_fleet.py [--real FOLDER] [--count 100] [--scaling 12] [--work FOLDER]

1. A run that is killed in the middle, and one that goes on: nothing is analyzed twice.
2. The same again: nothing to do.
3. Every table of the dataset against the single analysis of each distinct trace.
4. One worker and two, in turns, on synthetic traces of equal size. Judge it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nsys_pipeline.fleet.dataset import VIEWS  # noqa: E402
from nsys_pipeline.fleet.query import open_dataset  # noqa: E402
from nsys_pipeline.inputs import AnalysisOptions  # noqa: E402
from nsys_pipeline.query.session import Session  # noqa: E402
from nsys_pipeline.trace import TraceOptions, open_trace  # noqa: E402
from tests.support.fleet import committed, steps_trace  # noqa: E402

KINDS = 5  # of synthetic traces
TURNS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, default=ROOT / "tests" / "traces")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--scaling", type=int, default=12, help="synthetic traces for one worker and two; 0: none")
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        if options.count:
            hundred(work, options.real, options.count)
        if options.scaling:
            scaling(work, options.scaling)


def hundred(work: Path, real: Path, count: int) -> None:
    source, out = work / "in", work / "out"
    fill(source, real, count)
    changing, stop = source / "changing.sqlite", threading.Event()
    writer = threading.Thread(target=keep_changing, args=(changing, stop))
    writer.start()
    try:
        begun = start(source, out, 2)
        while len(list(out.glob("traces/*.parquet"))) < count // 2:
            time.sleep(0.1)
        os.killpg(begun.pid, signal.SIGKILL)
        begun.wait()
        before = committed(out)
        print(f"killed when {len(before)} of {count} were done")
        started = time.monotonic()
        print(finish(start(source, out, 2)), f"in {time.monotonic() - started:.1f} s")
    finally:
        stop.set()
        writer.join()
    after = committed(out)
    assert before.items() <= after.items(), "a trace was analyzed twice"
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    started = time.monotonic()
    print(finish(start(source, out, 2)), f"in {time.monotonic() - started:.1f} s, with what had changed standing still")
    assert after.items() <= {name: time_ns for name, time_ns in committed(out).items() if name in after}.items()
    files = list(out.rglob("*.parquet"))
    size = sum(file.stat().st_size for file in files)
    traces = sum(file.stat().st_size for file in source.iterdir())
    print(f"{traces / 1e6:.1f} MB of traces, {size / 1e6:.1f} MB and {len(files):,} files of rows")
    print(f"largest process: {largest:.2f} GB")
    check(source, out)


def fill(source: Path, real: Path, count: int) -> None:
    """Real traces, synthetic ones of a few kinds, one broken and one that changes."""
    source.mkdir()
    for path in sorted(real.glob("*.sqlite*")):
        shutil.copy(path, source / path.name)
    (source / "broken.sqlite").write_bytes(b"SQLite format 3\x00" + b"\x07" * 5000)
    steps_trace(steps=2).write(source / "changing.sqlite")
    kinds = [steps_trace(step_ns=1000 + kind, steps=10 + kind) for kind in range(KINDS)]
    for number in range(count - len(list(source.iterdir()))):
        kinds[number % KINDS].write(source / f"made{number:03}.sqlite")


def keep_changing(path: Path, stop: threading.Event) -> None:
    while not stop.wait(0.02):
        os.utime(path)


def start(source: Path, out: Path, workers: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "nsys_pipeline", "fleet", str(source), "--out", str(out)]
    return subprocess.Popen(
        [*command, "--workers", str(workers)], start_new_session=True, stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL, text=True, cwd=ROOT,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> str:
    _, said = process.communicate()
    assert process.returncode == 0, said
    return said.splitlines()[-1]


def check(source: Path, out: Path) -> None:
    """Hold every table against the single analysis of each trace; of equal traces, the first alone is analyzed."""
    expected: dict[str, dict[str, list[str]]] = {}
    compared = 0
    with open_dataset(str(out)) as dataset:
        found: dict[str, dict[str, list[str]]] = {}
        for table in VIEWS:
            with dataset.query(f"SELECT t.path, v.* EXCLUDE (run, trace_rank, analysis) FROM {table} AS v "
                               "JOIN traces AS t USING (analysis)") as result:  # fmt: skip
                for path, *row in result.rows():
                    found.setdefault(path, {}).setdefault(table, []).append(comparable(row, Path(path)))
        with dataset.query("SELECT path FROM failures") as result:
            failed = {path for (path,) in result.rows()}
    assert str(source / "broken.sqlite") in failed
    for path in sorted(source.iterdir()):
        if str(path) in failed:
            continue
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        if content not in expected:
            expected[content] = {}
            with Session.of(open_trace(path, TraceOptions(use_cache=False)), AnalysisOptions()) as session:
                for table in VIEWS:
                    with session.query(f"FROM {table}") as single:
                        expected[content][table] = sorted(comparable(list(row), path) for row in single.rows())
        for table in VIEWS:
            rows = sorted(found[str(path)].get(table, []))
            assert rows == expected[content][table], f"{path.name}: {table}"
            compared += len(rows)
    print(f"{len(found)} traces, {len(expected)} distinct: {compared:,} rows equal those of single analyses")


def comparable(row: list[Any], path: Path) -> str:
    """A row without the path of its trace, which is all that equal traces differ in; ratios to 12 digits."""
    return repr([_exact(value) for value in row]).replace(str(path), "PATH")


def _exact(value: Any) -> Any:
    """A whole number as it is; of others, the last digits depend on the order in which threads add."""
    return int(value) if isinstance(value, Decimal) else float(f"{value:.12g}") if isinstance(value, float) else value


def scaling(work: Path, count: int) -> None:
    source = work / "equal"
    source.mkdir()
    first = steps_trace(steps=2000).write(source / "made000.sqlite")
    for number in range(1, count):
        shutil.copy(first, source / f"made{number:03}.sqlite")
    times: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(TURNS):
        for workers in (1, 2):
            out = work / f"scaling-{turn}-{workers}"
            started = time.monotonic()
            finish(start(source, out, workers))
            times[workers].append(time.monotonic() - started)
    ratios = [two / one for one, two in zip(times[1], times[2], strict=True)]
    print(f"{count} traces: one worker {median(times[1]):.1f} s, two {median(times[2]):.1f} s, ratios", end=" ")
    print(", ".join(f"{ratio:.2f}" for ratio in ratios), f"(load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)")


if __name__ == "__main__":
    main()
