#!/usr/bin/env python
"""Measure `llmperf analyze` of a job of many ranks, a trace for each: wall and CPU seconds, peak memory.

    python scripts/bench_ranks.py [--ranks 64] [--kernels 100000] [--missing 2] [--work FOLDER]

The job is synthetic: training steps whose ranks reduce gradients beside the backward, on hosts of eight GPUs whose
clocks start at different times; one rank is late. The last `--missing` ranks are cut off in the middle of their file.
A run counts only if the report has every kernel of the others, names the late rank and tells that some are missing. The
exit code is 1 if it takes 60 s or more: judge it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.bench import measure  # noqa: E402
from tests.support.trace_builder import TraceBuilder  # noqa: E402

ALL_REDUCE = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL"
STEP_KERNELS, REDUCTIONS = 1_000, 10
KERNEL_NS = 20_000
PID, MARK = 1_000, "llmperf.run"
LATE, LATE_NS = 5, 2_000_000
HOST_GPUS = 8
LIMIT_S = 60


def rank_trace(kernels: int, *, is_late: bool) -> TraceBuilder:
    """Steps of a forward, a backward and an optimizer. A reduction ends everywhere when the late rank has come."""
    trace = TraceBuilder().gpu()
    main = trace.process(pid=PID).thread()
    main.mark(0, MARK, domain="llmperf")
    trace.row("TARGET_INFO_SYSTEM_ENV", devStateName="x", name="Hostname", value="node")
    half = STEP_KERNELS // 2
    step_ns = (STEP_KERNELS + 50) * KERNEL_NS + 2 * LATE_NS
    for step in range(max(1, kernels // STEP_KERNELS)):
        start = 1_000_000 + step * step_ns
        late_ns = LATE_NS if is_late else 0
        at, reduced = start + late_ns, 0
        for phase in ("forward", "backward"):
            main.push(at, at + half * KERNEL_NS - 5, phase)
            for index in range(half - REDUCTIONS // 2):
                main.launch(at, gpu=(at + 10, at + KERNEL_NS - 10), name=f"gemm_{phase}")
                at += KERNEL_NS
                if phase == "backward" and index % (half // REDUCTIONS) == 0:
                    begun = at - late_ns
                    last = max(begun + LATE_NS, reduced)
                    own = last if is_late else max(begun, reduced)
                    reduced = last + 2 * KERNEL_NS
                    main.launch(at - KERNEL_NS // 2, gpu=(own, reduced), name=ALL_REDUCE, stream=20)
            at += REDUCTIONS // 2 * KERNEL_NS
        end = start + step_ns - 1_000
        main.push(at, end, "optimizer")
        main.launch(at + 10, gpu=(max(at, reduced) + 100, end - 10), name="FusedAdamMathFunctor")
    return trace


def place(path: Path, rank: int, world: int) -> None:
    """Make the trace of a rank of the one in `path`: its host and GPU, its process, and its host's clock."""
    host, device = divmod(rank, HOST_GPUS)
    shift = host * 1_000_000_000
    moved = f'"start" = "start" + {shift}, "end" = "end" + {shift}'
    process = f"+ ({device} << 24)"
    with closing(sqlite3.connect(path)) as export, export:
        export.executescript(f"""
            UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET {moved}, deviceId = {device}, globalPid = globalPid {process};
            UPDATE CUPTI_ACTIVITY_KIND_RUNTIME SET {moved}, globalTid = globalTid {process};
            UPDATE NVTX_EVENTS SET {moved}, globalTid = globalTid {process};
            UPDATE PROCESSES SET globalPid = globalPid {process}, pid = pid + {device};
            UPDATE TARGET_INFO_GPU SET id = {device}, cuDevice = {device};
            UPDATE TARGET_INFO_SYSTEM_ENV SET value = 'node{host}';
        """)
        text = f'llmperf.run {{"v":1,"rank":{rank},"world":{world}}}'
        export.execute("UPDATE StringIds SET value = ? WHERE value = ?", (text, MARK))


def write_job(folder: Path, ranks: int, kernels: int, missing: int) -> tuple[Path, int]:
    """A directory of traces, and how many kernels those have that can be read."""
    count = 0
    usual, late = (
        rank_trace(kernels, is_late=is_late).write(folder / f"{is_late}.template") for is_late in (False, True)
    )
    for rank in range(ranks):
        path = folder / f"trace-rank{rank}.sqlite"
        shutil.copyfile(late if rank == LATE else usual, path)
        place(path, rank, ranks)
        if rank >= ranks - missing:
            with path.open("r+b") as file:
                file.truncate(path.stat().st_size // 2)
            continue
        with closing(sqlite3.connect(path)) as export:
            count += export.execute("SELECT count(*) FROM CUPTI_ACTIVITY_KIND_KERNEL").fetchone()[0]
    usual.unlink()
    late.unlink()
    return folder, count


def problem(text: str, ranks: int, kernels: int, missing: int) -> str | None:
    """What is wrong with the report `text`; None if it is right."""
    try:
        report = json.loads(text)
        late = [one["rank"] for one in report["ranks"] if one["is_late"]]
        codes = {one["code"] for one in report["findings"]}
    except (ValueError, KeyError, TypeError) as error:
        return f"no report: {error!r}"
    if report["totals"]["kernel_count"] != kernels or len(report["ranks"]) != ranks - missing:
        return f"{report['totals']['kernel_count']:,} kernels of {kernels:,}, {len(report['ranks'])} ranks"
    if late != [LATE]:
        return f"late ranks: {late}"
    return (
        None
        if not missing or {"trace_left_out", "ranks_missing"} <= codes
        else f"missing ranks untold: {sorted(codes)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=64)
    parser.add_argument("--kernels", type=int, default=100_000)
    parser.add_argument("--missing", type=int, default=2)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(dir=options.work))
    try:
        folder, kernels = write_job(work, options.ranks, options.kernels, options.missing)
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        print(f"{options.ranks} ranks, {kernels:,} kernels to read, {size:,.0f} MB; load {os.getloadavg()[0]:.1f}")
        argv = [sys.executable, "-m", "nsys_pipeline", "analyze", str(folder), "--format", "json", "--no-cache"]
        run = measure(argv, lambda text: problem(text, options.ranks, kernels, options.missing), dict(os.environ))
        print(f"wall {run.wall_s:.1f} s, CPU {run.cpu_s:.1f} s, peak {run.peak_mb:,.0f} MB", run.problem or "")
    finally:
        shutil.rmtree(work)
    sys.exit(0 if run.wall_s < LIMIT_S and not run.problem else 1)


if __name__ == "__main__":
    main()
