"""Measure what inferring phases costs beside loading the trace: CPU and wall seconds of each stage, in one process.

    python scripts/bench_inference.py TRACE.sqlite

Ranges are ignored, as by --infer. "load" reads the export's tables that any analysis needs and makes the relations of
``sql/load``; "launches" finds the launches that tell a step; "infer" cuts and names the steps. The exit code is 1 if
the last two take more than half the CPU seconds of the first.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nsys_pipeline.duck import scalar
from nsys_pipeline.trace import TraceOptions, open_trace

LOAD = (
    "load.gpu_ops", "load.api_calls", "load.memop_details", "load.strings", "load.nvtx_ranges"
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", type=Path)
    path = parser.parse_args().trace
    cpu: dict[str, float] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        wall, used = time.perf_counter(), time.process_time()
        yield
        cpu[name] = time.process_time() - used
        print(f"{name:10} {cpu[name]:6.2f} s CPU, {time.perf_counter() - wall:6.2f} s wall")

    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with open_trace(path, TraceOptions(use_cache=False, infers=True)) as trace:
        with stage("load"):
            trace.build(*LOAD)
        with stage("launches"):
            trace.build("attribute._telling_launches")
        with stage("infer"):
            trace.build("input.inferred_phases")
        con = trace.connection
        kernels = scalar(con, "SELECT count(*) FROM load.gpu_ops WHERE kind = 'kernel'")
        phases = scalar(con, "SELECT count(*) FROM input.inferred_phases")
    share = (cpu["launches"] + cpu["infer"]) / cpu["load"]
    print(f"{kernels:,} kernels, {phases:,} inferred occurrences: {share:.2f} of the load")
    sys.exit(share > 0.5)


if __name__ == "__main__":
    main()
