"""Measure llmperf beside its floor and beside `nsys stats`, in one run, and write docs/benchmarks.md.

    python scripts/bench.py [--trace NAME …] [--repeats 3] [--nsys nsys | --no-nsys] [-o docs/benchmarks.md]

Three traces, made on demand under bench-data/: h100_llama1b repeated 50 times, a range-heavy synthetic one, and a tiny
one that tells how long the start takes. Measured:

cold analyze     `llmperf analyze TRACE --format json --no-cache`
cached analyze   the same with a cache that one earlier run has filled
floor, load      reading the columns that an analysis needs, in parallel, into DuckDB tables (scripts/bench_floor.py)
floor, drain     the same, keeping nothing
nsys stats …     cuda_gpu_kern_sum, nvtx_kern_sum, nvtx_gpu_proj_sum
inference        phases from the launches, beside the load (scripts/bench_inference.py), of the first trace
time budget      what it adds to a cold analysis (scripts/bench_budget.py), of the first trace

Every run is a process of its own; files are in the page cache. Wall and CPU seconds are those of the fastest of the
repeats (nsys: one run); memory is the peak resident set of the largest process. A run counts only if its output is
right: for llmperf all kernels, all their time and the known phases; for the floor all rows; for nsys a table. If one
is not, nothing is written and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "bench-data"
NSYS_REPORTS = ("cuda_gpu_kern_sum", "nvtx_kern_sum", "nvtx_gpu_proj_sum")
LLMPERF = (sys.executable, "-c", "import sys; from nsys_pipeline.cli import main; sys.exit(main())")
COLD, CACHED, FLOOR, DRAIN = "cold `llmperf analyze`", "cached `llmperf analyze`", "floor, load", "floor, drain"
NSYS_TOTAL = "the three nsys reports"

Check = Callable[[str], str | None]


@dataclass(frozen=True)
class Trace:
    """One trace to measure: how it is made, and the phases and kernels that an analysis of it must find."""

    name: str
    make: tuple[str, ...]
    what: str
    phases: dict[str, int]  # phase → kernels
    floor_factor: float | None = 1.8  # a cold analysis may take this many times the floor
    cold_s: float | None = None  # and at most so long
    cached_s: float = 1.0
    nsys_factor: float | None = None  # and the three nsys reports have to take this many times a cold analysis
    options: tuple[str, ...] = ()  # of `llmperf analyze`
    peak_limit_mb: int = 1500
    by_default: bool = True
    beside_nsys: bool = True

    @property
    def path(self) -> Path:
        return DATA / f"{self.name}.sqlite"


TRACES = (
    Trace(
        "h100_llama1b_x50",
        ("scripts/scale_trace.py", "tests/traces/h100_llama1b.sqlite.xz", "--copies", "50"),
        "h100_llama1b repeated 50 times",
        # tests/traces/golden/h100_llama1b.reference.json, times 50
        {"prefill": 50 * 2_680, "decode": 50 * 90_520},
        nsys_factor=12.0,
    ),
    Trace(
        "range_heavy",
        ("scripts/make_range_heavy.py", "--steps", "1800"),
        "synthetic, five ranges deep",
        {"decode": 1800 * 64},
        floor_factor=3.0,
    ),
    Trace(
        # Start-up: there is next to nothing to read.
        "h100_auto_generate",
        ("scripts/scale_trace.py", "tests/traces/h100_auto_generate.sqlite.xz", "--copies", "1"),
        "a tiny trace, one request",
        {"prefill": 141, "decode": 339},
        floor_factor=None,
        cold_s=0.6,
        cached_s=0.35,
    ),
    Trace(
        # 20 million kernels in 2 GB: analysis has to spill. nsys would need some 14 GB.
        "h100_llama1b_x214",
        ("scripts/scale_trace.py", "tests/traces/h100_llama1b.sqlite.xz", "--copies", "214"),
        "h100_llama1b repeated 214 times, with --memory-limit 2GB",
        {"prefill": 214 * 2_680, "decode": 214 * 90_520},
        options=("--memory-limit", "2GB"),
        peak_limit_mb=2_000,
        by_default=False,
        beside_nsys=False,
    ),
)


@dataclass(frozen=True)
class Run:
    """One measured process; `problem` says why it does not count."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    problem: str | None = None


def measure(argv: Sequence[str], check: Check, env: dict[str, str]) -> Run:
    """Run `argv` to its end and measure it; `check` gets its stdout."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        begun = time.perf_counter()
        process = subprocess.Popen(list(argv), stdout=out, stderr=err, stdin=subprocess.DEVNULL, env=env, cwd=ROOT)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        problem = check(out.read())
        if process.returncode != 0:
            problem = f"exit {process.returncode}: {_headline(err.read())[:150]}"
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, problem)


def _headline(stderr: str) -> str:
    """The line that says what failed: the one that starts with error, or the last (of a traceback)."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or ["nothing on stderr"])[0 if errors else -1]


def best(runs: Sequence[Run]) -> Run:
    """The fastest run; one that failed makes them all fail."""
    failed = [run for run in runs if run.problem]
    return failed[0] if failed else min(runs, key=lambda run: run.wall_s)


def a_table_of_times(stdout: str) -> str | None:
    """`nsys stats` exits 0 whatever happened; only a table of times is a success."""
    return None if "(ns)" in stdout and stdout.count("\n") > 1 else f"no table: {stdout.strip()[:100]}"


def right_report(trace: Trace) -> Check:
    """A check that the JSON report has all kernels, all their time, and the known phases."""
    with closing(sqlite3.connect(f"{trace.path.as_uri()}?mode=ro", uri=True)) as db:
        kernels, time_ns = db.execute('SELECT count(*), sum("end" - start) FROM CUPTI_ACTIVITY_KIND_KERNEL').fetchone()

    def check(stdout: str) -> str | None:
        try:
            report: dict[str, Any] = json.loads(stdout)
            totals = (report["totals"]["kernel_count"], report["totals"]["kernel_time_ns"])
            phases = {phase["name"]: phase["kernel_count"] for phase in report["phases"]}
        except (ValueError, KeyError, TypeError) as error:
            return f"not a report: {error!r}"
        if totals != (kernels, time_ns):
            return f"totals {totals}, not {(kernels, time_ns)}"
        return None if phases == trace.phases else f"phases {phases}, not {trace.phases}"

    return check


def right_row_count(trace: Trace) -> Check:
    """A check that the floor has read every kernel, call and range at least."""
    with closing(sqlite3.connect(f"{trace.path.as_uri()}?mode=ro", uri=True)) as db:
        least = sum(
            db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("CUPTI_ACTIVITY_KIND_KERNEL", "CUPTI_ACTIVITY_KIND_RUNTIME", "NVTX_EVENTS")
        )

    def check(stdout: str) -> str | None:
        said = stdout.strip()
        return None if said.isdecimal() and int(said) >= least else f"{said[:100]!r} rows, not {least}"

    return check


def bench(trace: Trace, repeats: int, nsys: str | None) -> dict[str, Run]:
    """All measurements of one trace, by name."""
    with trace.path.open("rb") as file:  # into the page cache
        while file.read(1 << 24):
            pass
    report, path = right_report(trace), str(trace.path)
    with tempfile.TemporaryDirectory() as cache:
        # A cache of our own, under every name by which the platform finds one.
        env = os.environ | {"XDG_CACHE_HOME": cache, "PYTHONPATH": str(ROOT)}
        analyze = [*LLMPERF, "analyze", path, "--format", "json", *trace.options]
        floor = [sys.executable, "scripts/bench_floor.py", path]
        rows = right_row_count(trace)
        results: dict[str, list[Run]] = {COLD: [], CACHED: [], FLOOR: [], DRAIN: []}
        measure(analyze, report, env)  # fills the cache
        for _ in range(repeats):  # side by side, so that a busy moment of the machine hits all of them
            results[FLOOR].append(measure([*floor, "load"], rows, env))
            results[COLD].append(measure([*analyze, "--no-cache"], report, env))
            results[CACHED].append(measure(analyze, report, env))
            results[DRAIN].append(measure([*floor, "drain"], rows, env))
    found = {name: best(runs) for name, runs in results.items()}
    if nsys and trace.beside_nsys:
        # nsys may write beside its input: give it a link of its own.
        with tempfile.TemporaryDirectory(dir=DATA) as folder:
            link = Path(folder) / trace.path.name
            os.link(trace.path, link)
            for name in NSYS_REPORTS:
                argv = [nsys, "stats", "--quiet", "--report", name, "--format", "csv", "--output", "-", str(link)]
                found[f"`nsys stats` {name}"] = measure(argv, a_table_of_times, dict(os.environ))
        of_nsys = [found[f"`nsys stats` {name}"] for name in NSYS_REPORTS]
        found[NSYS_TOTAL] = Run(
            sum(run.wall_s for run in of_nsys),
            sum(run.cpu_s for run in of_nsys),
            max(run.peak_mb for run in of_nsys),
            next((run.problem for run in of_nsys if run.problem), None),
        )
    return found


def beside(trace: Trace, script: str, title: str, goal: str) -> list[str]:
    """Markdown of what `script` says of `trace`, and whether it reached its goal."""
    argv = [sys.executable, f"scripts/{script}", str(trace.path)]
    run = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=ROOT)
    verdict = {0: "reached", 1: "**missed**"}.get(run.returncode, f"exit {run.returncode}")
    return [
        "", f"{title} (`scripts/{script}`):", "",
        *(f"    {line}" for line in run.stdout.splitlines()), "",
        f"- {goal}: {verdict}",
    ]  # fmt: skip


def table(results: dict[str, Run]) -> list[str]:
    """Markdown rows; ratios are of wall time, to the floor that loads and to a cold analysis."""
    lines = ["| | wall s | CPU s | peak MB | of floor | of cold |", "| --- | ---: | ---: | ---: | ---: | ---: |"]
    floor, cold = results[FLOOR], results[COLD]
    for name, run in results.items():
        if run.problem:
            lines.append(f"| {name} | {run.problem.replace('|', '/')} | | | | |")
            continue
        ratios = ["" if of.problem else f"{run.wall_s / of.wall_s:.2f}" for of in (floor, cold)]
        lines.append(f"| {name} | {run.wall_s:.2f} | {run.cpu_s:.2f} | {run.peak_mb:.0f} | {ratios[0]} | {ratios[1]} |")
    return lines


def verdicts(trace: Trace, results: dict[str, Run]) -> list[str]:
    """What was to be reached, and whether it was."""
    cold, cached, floor, nsys = results[COLD], results[CACHED], results[FLOOR], results.get(NSYS_TOTAL)
    goals: list[tuple[str, tuple[Run, ...], bool]] = [
        (f"peak memory under {trace.peak_limit_mb} MB", (cold,), cold.peak_mb < trace.peak_limit_mb),
        (f"cached analysis in under {trace.cached_s:g} s", (cached,), cached.wall_s < trace.cached_s),
    ]
    if trace.cold_s:
        goals.insert(0, (f"cold analysis in under {trace.cold_s:g} s", (cold,), cold.wall_s < trace.cold_s))
    if trace.floor_factor:
        text = f"cold analysis in at most {trace.floor_factor} times the floor"
        goals.insert(0, (text, (cold, floor), cold.wall_s <= trace.floor_factor * floor.wall_s))
    if nsys and trace.nsys_factor:
        text = f"cold analysis at least {trace.nsys_factor} times faster than the three nsys reports together"
        goals.append((text, (cold, nsys), nsys.wall_s >= trace.nsys_factor * cold.wall_s))
    return [
        f"- {text}: {'not measured' if any(run.problem for run in runs) else 'reached' if reached else '**missed**'}"
        for text, runs, reached in goals
    ]


def nsys_version(nsys: str) -> str:
    said = subprocess.run([nsys, "--version"], capture_output=True, text=True, check=False).stdout
    return next((word for word in said.split() if word[:4].isdigit()), "unknown version")


def machine() -> str:
    """Processor, cores and memory."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB"


def ensure(trace: Trace) -> None:
    """Make the trace unless it is there."""
    if trace.path.exists():
        return
    DATA.mkdir(exist_ok=True)
    script, *rest = trace.make
    inputs = [argument for argument in rest if argument.endswith(".xz")]
    options = [argument for argument in rest if argument not in inputs]
    subprocess.run([sys.executable, script, *inputs, str(trace.path), *options], check=True, cwd=ROOT)


def facts(trace: Trace) -> str:
    with closing(sqlite3.connect(f"{trace.path.as_uri()}?mode=ro", uri=True)) as db:
        kernels, calls, ranges = (
            db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("CUPTI_ACTIVITY_KIND_KERNEL", "CUPTI_ACTIVITY_KIND_RUNTIME", "NVTX_EVENTS")
        )
    size = trace.path.stat().st_size / 1e6
    return f"{trace.what}: {kernels:,} kernels, {calls:,} API calls, {ranges:,} NVTX events, {size:,.0f} MB SQLite."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--trace",
        action="append",
        choices=[trace.name for trace in TRACES],
        help="this one (default: all but the largest)",
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--nsys", default=shutil.which("nsys"), help="nsys to compare with (default: the one on PATH)")
    parser.add_argument("--no-nsys", action="store_true")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs" / "benchmarks.md")
    options = parser.parse_args()
    nsys = None if options.no_nsys else options.nsys
    if nsys is None and not options.no_nsys:
        sys.exit("error: no nsys on PATH\n\nhint: pass --nsys PATH, or --no-nsys to leave it out")
    lines = [
        "# Benchmarks",
        "",
        "Written by `just bench`: one run on one machine, side by side. Wall and CPU seconds of the fastest of",
        f"{options.repeats} runs (nsys: one run), peak resident memory of the largest process, files in the page",
        "cache. A run counts only if its output is right: all kernels, all their time, the known phases.",
        "",
        f"Machine: {machine()}. Python {platform.python_version()}, DuckDB {version('duckdb')}"
        + (f", nsys {nsys_version(nsys)}." if nsys else "."),
        "",
        "`floor, load` reads the columns that an analysis needs, in parallel, into DuckDB tables and does nothing",
        "else; `floor, drain` does not even keep them. Ratios are of wall time.",
    ]
    failed = False
    for trace in TRACES:
        if trace.name not in options.trace if options.trace else not trace.by_default:
            continue
        ensure(trace)
        results = bench(trace, options.repeats, nsys)
        failed |= any(run.problem for run in results.values())
        section = ["", f"## {trace.name}", "", facts(trace), "", *table(results), "", *verdicts(trace, results)]
        if trace is TRACES[0]:
            section += beside(
                trace,
                "bench_inference.py",
                "Phases inferred from its launches, ranges ignored",
                "inference in at most half the CPU time of the load",
            )
            section += beside(
                trace,
                "bench_budget.py",
                "The time budget in one cold analysis",
                "the budget adds at most 25 % to the CPU time of all the rest",
            )
        print("\n".join(section), flush=True)
        lines += section
    if failed:
        sys.exit("error: not every run gave the right output, so nothing was written\n\nhint: see the table above")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
