#!/usr/bin/env python
"""Measure `llmperf analyze` of a trace with millions of GPU metric samples: wall and CPU seconds, peak memory.

    python scripts/bench_counters.py [--samples 9000000] [--repeats 3] [--work FOLDER]

The trace is synthetic: ten metrics of one GPU at 10 kHz beside steps of 100 kernels. A run counts only if the tensor
pipe's activity that it reports is what was planted. The exit code is 1 if the fastest run takes 10 s or more, or a run
1.5 GB: judge it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.bench import best, measure  # noqa: E402
from tests.support.trace_builder import TraceBuilder  # noqa: E402

NAMES = (
    "Tensor Active [Throughput %]", "SMs Active [Throughput %]", "SM Issue [Throughput %]", "GPC Clock Frequency [MHz]",
    "DRAM Read Bandwidth [Throughput %]", "DRAM Write Bandwidth [Throughput %]", "SYS Clock Frequency [MHz]",
    "GR Active [Throughput %]", "PCIe RX Throughput [Throughput %]", "PCIe TX Throughput [Throughput %]",
)  # fmt: skip
SOURCE = 1 << 48
PERIOD_NS = 100_000
STEP_NS, STEP_KERNELS = 20_000_000, 100
TENSOR_PERCENT = 37
LIMIT_S, LIMIT_MB = 10, 1500


def write_trace(path: Path, samples: int) -> Path:
    """A decode loop whose GPU is always busy, and `samples` rows of GPU_METRICS beside it."""
    instants = samples // len(NAMES)
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    each = STEP_NS // STEP_KERNELS
    for start in range(0, instants * PERIOD_NS, STEP_NS):
        main.push(start, start + STEP_NS - 1, "decode")
        for at in range(start, start + STEP_NS, each):
            main.launch(at, gpu=(at + 10, at + 10 + each - 20), name="gemm")
    for metric, name in enumerate(NAMES):
        trace.row("TARGET_INFO_GPU_METRICS", typeId=SOURCE, sourceId=SOURCE, metricId=metric, metricName=name)
    trace.row("GPU_METRICS", timestamp=0, typeId=SOURCE, metricId=0, value=TENSOR_PERCENT)
    trace.write(path)
    with closing(sqlite3.connect(path)) as export, export:
        export.execute(
            "WITH RECURSIVE instant(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM instant WHERE n < ?)"
            " INSERT INTO GPU_METRICS (timestamp, typeId, metricId, value)"
            " SELECT n * ?, ?, metricId, CASE WHEN metricName LIKE '%MHz%' THEN 1980000000 ELSE ? END"
            " FROM instant CROSS JOIN TARGET_INFO_GPU_METRICS",
            (instants, PERIOD_NS, SOURCE, TENSOR_PERCENT),
        )
    return path


def check(report: str) -> str | None:
    """What is wrong with `report`, the JSON of the analysis; None if it has what was planted."""
    try:
        (phase,) = [one for one in json.loads(report)["phases"] if one["name"] == "decode"]
        found = phase["measured"]["tensor_active_ratio"]
    except (ValueError, KeyError, TypeError) as error:
        return f"no measured phase: {error!r}"
    return (
        None if abs(found - TENSOR_PERCENT / 100) < 1e-6 else f"tensor activity is {found:.4f}, not {TENSOR_PERCENT} %"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=9_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        path = write_trace(Path(folder) / "counters.sqlite", options.samples)
        print(f"{options.samples:,} samples, {path.stat().st_size / 1e6:,.0f} MB; load {os.getloadavg()[0]:.1f}")
        argv = [sys.executable, "-m", "nsys_pipeline", "analyze", str(path), "--format", "json", "--no-cache"]
        runs = [measure(argv, check, dict(os.environ)) for _ in range(options.repeats)]
        for run in runs:
            print(f"wall {run.wall_s:.2f} s, CPU {run.cpu_s:.2f} s, peak {run.peak_mb:,.0f} MB", run.problem or "")
        fastest = best(runs)
        is_met = fastest.wall_s < LIMIT_S and max(run.peak_mb for run in runs) < LIMIT_MB
        sys.exit(0 if is_met and not fastest.problem else 1)


if __name__ == "__main__":
    main()
