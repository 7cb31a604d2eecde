#!/usr/bin/env python3
"""Make every capture that needs a GPU, and measure what capturing costs; a table comes last.

    scripts/gpu_captures.py -o OUT [--only eager,graphs-node,…] [--overhead-runs 3] [--model llama-3.2-1b]
    scripts/gpu_captures.py -o OUT --only overhead-eager     the two halves of `overhead`, each some minutes
    scripts/gpu_captures.py -o OUT --only overhead-graphs
    scripts/gpu_captures.py -o OUT --only flash2,flash4 --wheels DIR
    scripts/gpu_captures.py -o OUT --only data-parallel,tensor-parallel-ranks     on two GPUs
    scripts/gpu_captures.py --list                           what there is, as command lines; runs nothing

After --budget seconds nothing new is begun, and what was measured until then is written. With --wheels, the packages in
DIR are unpacked beside the interpreter's for these runs, without a network. Runs from a checkout, with nsys on PATH and
torch and transformers installed. Where DuckDB is absent the captures are made all the same and are analyzed elsewhere.
OUT/summary.md gets the tables; OUT/runs-N.tar, each below 15 MB, get NAME.txt (the report of the run), NAME.log (what
it said) and its run directory, traces compressed, without the .nsys-rep. Work happens in a temporary directory, so that
nothing else stays in OUT. Standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import lzma
import os
import platform
import shlex
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ROOT / "tests" / "e2e" / "programs"
PLAIN_SCRIPT, RANKS_SCRIPT = PROGRAMS / "plain_generate.py", PROGRAMS / "torchrun_generate.py"
LLMPERF = [sys.executable, "-c", "from nsys_pipeline.cli import main; main()"]
RUN_TIMEOUT_S = 400
ARCHIVE_BYTES = 15_000_000

OVERHEAD_SHAPE = "4x512+64"


def captures(model: str, gpus: int) -> dict[str, list[str]]:
    """Arguments of `llmperf capture` for each run, by name; those of two GPUs where there are two."""
    builtin = ["--model", model, "--repeats", "3"]
    runs = {
        "eager": [*builtin, "--shape", "1x2048+32", "--shape", "8x512+32"],
        "graphs-node": [*builtin, "--cuda-graphs", "--cuda-graph", "node", "--shape", "4x512+32"],
        "graphs-whole": [*builtin, "--cuda-graphs", "--cuda-graph", "whole", "--shape", "4x512+32"],
        "gpu-metrics": ["--model", model, "--repeats", "1", "--gpu-metrics", "--layers", "--shape", "2x1024+16"],
        "range": [*builtin, "--capture-range", "profiler", "--shape", "1x512+16"],
        "ops": ["--model", model, "--repeats", "1", "--warmup", "1", "--ops", "--shape", "1x256+2"],
        "auto": ["--auto", "--", sys.executable, str(PLAIN_SCRIPT)],
        "compile": ["--model", model, "--repeats", "1", "--compile", "--shape", "1x512+8"],
        "moe": ["--model", "qwen3-30b-a3b", "--repeats", "1", "--layers", "--shape", "1x512+8", "--shape", "8x512+8"],
        "mla": ["--model", "deepseek-v2-lite", "--repeats", "1", "--layers", "--shape", "2x512+8"],
        "flash2": ["--model", model, "--repeats", "1", "--attn", "flash_attention_2", "--shape", "1x2048+16"],
        "flash4": ["--model", model, "--repeats", "1", "--attn", "flash_attention_4", "--shape", "1x2048+16"],
    }
    if gpus > 1:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        runs = {
            "tensor-parallel": [*builtin, "--nproc", "2", "--parallel", "tensor", "--shape", "4x1024+24"],
            "data-parallel": [*builtin, "--nproc", "2", "--parallel", "data", "--shape", "4x1024+24"],
            "tensor-parallel-ranks": [*builtin, "--nproc", "2", "--rank-reports", "--shape", "4x1024+24"],
            "auto-torchrun": ["--auto", "--", *torchrun, str(RANKS_SCRIPT)],
        }
    return runs


OVERHEAD: dict[str, list[str] | None] = {
    "eager, no nsys": None,
    "eager, defaults": [],
    "eager, --layers": ["--layers"],
    "graphs, no nsys": None,
    "graphs, --cuda-graph whole": ["--cuda-graph", "whole"],
    "graphs, --cuda-graph node": ["--cuda-graph", "node"],
}


OVERHEAD_MODES = {"overhead": ("eager", "graphs"), "overhead-eager": ("eager",), "overhead-graphs": ("graphs",)}


def main(arguments: list[str] | None = None) -> int:
    """Make the runs that were asked for; 1 if one of them failed for another reason than a missing package."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument(
        "--only", help="comma-separated names of captures, or overhead, overhead-eager, overhead-graphs"
    )
    parser.add_argument("--model", default="llama-3.2-1b")
    parser.add_argument("--overhead-runs", type=int, default=3, help="processes for each variant")
    parser.add_argument("--budget", type=float, default=540.0, metavar="S", help="begin nothing new after S seconds")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="install what is in DIR for these runs")
    parser.add_argument("--gpus", type=int, help="plan for so many GPUs instead of those that are here")
    parser.add_argument("--list", action="store_true", help="print what would be run")
    options = parser.parse_args(arguments)
    deadline = time.monotonic() + options.budget

    gpus = _gpus()
    count = len(gpus) if options.gpus is None else options.gpus
    planned = captures(options.model, count)
    wanted = options.only.split(",") if options.only else [*planned, *(["overhead"] if count == 1 else [])]
    if unknown := set(wanted) - set(planned) - set(OVERHEAD_MODES):
        known = ", ".join([*planned, *OVERHEAD_MODES])
        parser.error(f"no capture called {', '.join(sorted(unknown))}; with {count} GPU(s) there are {known}")
    if options.list:
        print("\n".join(f"{name}: llmperf capture {shlex.join(planned[name])}" for name in wanted if name in planned))
        return 0
    if options.output is None:
        parser.error("say where to write: -o OUT")
    options.output.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="gpu-captures-"))
    if options.wheels is not None:
        _unpack_wheels(options.wheels, work / ".wheels")
    lines = ["# Captures on a GPU", "", *_versions(gpus), ""]
    rows = []
    for name in wanted:
        if name in planned:
            is_late = time.monotonic() > deadline
            rows.append([name, "not begun", *[""] * 5] if is_late else _capture(name, planned[name], work))
    if rows:
        header = ["run", "exit", "seconds", "kernels", "graph launches", "phases", "findings"]
        lines += [*_table(header, rows), ""]
    for mode, kinds in OVERHEAD_MODES.items():
        if mode in wanted:
            lines += [*_overhead(options.model, options.overhead_runs, work, kinds, deadline), ""]
    (options.output / "summary.md").write_text("\n".join(lines))
    _pack(work, options.output)
    shutil.rmtree(work)
    print("\n".join(lines))
    return 1 if any(row[1] not in ("0", "2") for row in rows) else 0


def _unpack_wheels(wheels: Path, target: Path) -> None:
    """Install the wheels of a folder, and nothing that they ask for, where the runs find them first."""
    files = sorted(map(str, wheels.glob("*.whl")))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(target)]
    subprocess.run([*pip, *files], check=True)
    # A folder on PYTHONPATH is not searched for .pth files, which some packages need to be found.
    (target / "sitecustomize.py").write_text("import os, site\nsite.addsitedir(os.path.dirname(__file__))\n")
    inherited = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{target}{os.pathsep}{inherited}" if inherited else str(target)


def _capture(name: str, arguments: list[str], work: Path) -> list[str]:
    directory = work / name
    shutil.rmtree(directory, ignore_errors=True)
    print(f"== {name}", flush=True)
    started = time.monotonic()
    done = _run([*LLMPERF, "capture", "-o", str(directory), *arguments])
    seconds = time.monotonic() - started
    (work / f"{name}.txt").write_text(done.stdout)
    (work / f"{name}.log").write_text(done.stderr)
    print(done.stdout[-3000:], done.stderr[-1500:], sep="\n", flush=True)
    record = _read(directory / "run.json")
    events = record.get("events", {})
    phases = {name: count for name, count in record.get("ranges", {}).items() if name not in ("warmup", "request")}
    findings = [finding["code"] for finding in record.get("findings", []) if finding["severity"] != "info"]
    if error := record.get("error"):
        findings.append(error)
    return [
        name,
        str(done.returncode),
        f"{seconds:.0f}",
        str(events.get("kernels", "")),
        str(events.get("graph_launches", "")),
        ", ".join(f"{name} {count}" for name, count in phases.items()),
        ", ".join(findings),
    ]


def _overhead(model: str, runs: int, work: Path, kinds: tuple[str, ...], deadline: float) -> list[str]:
    """New tokens per second of one request shape, the variants taking turns so that a drift hits all of them."""
    variants = {name: extra for name, extra in OVERHEAD.items() if name.split(",")[0] in kinds}
    rates: dict[str, list[float]] = {variant: [] for variant in variants}
    steps: dict[str, list[float]] = {variant: [] for variant in variants}
    for index in range(runs):
        for variant, nsys_arguments in variants.items():
            if time.monotonic() > deadline:
                print(f"overhead {index + 1}/{runs} {variant}: no time left", flush=True)
                continue
            measured = _measure(model, work, variant, nsys_arguments)
            print(f"overhead {index + 1}/{runs} {variant}: {'done' if measured else 'failed'}", flush=True)
            if measured:
                rates[variant].append(measured["tokens_per_s"]["mean"])
                steps[variant].append(measured["tpot_s"]["mean"] * 1e3)
    title = f"Overhead: {model}, {OVERHEAD_SHAPE}, up to {runs} process(es) of 3 requests for each line"
    return [title, "", *overhead_table(rates, steps)]


def overhead_table(rates: dict[str, list[float]], steps: dict[str, list[float]]) -> list[str]:
    """Mean and sample standard deviation over processes, and the change against the same variant without nsys."""
    rows = []
    for variant, values in rates.items():
        base = rates[f"{variant.split(',')[0]}, no nsys"]
        if not values:
            rows.append([variant, "0", "", "", "", ""])
            continue
        has_base = bool(base) and base is not values
        change = f"{(statistics.fmean(values) / statistics.fmean(base) - 1) * 100:+.1f} %" if has_base else ""
        spread = f"{statistics.stdev(values):.1f}" if len(values) > 1 else ""
        tpot = f"{statistics.fmean(steps[variant]):.3f}"
        rows.append([variant, str(len(values)), f"{statistics.fmean(values):.1f}", spread, tpot, change])
    return _table(["variant", "processes", "new tokens/s", "± std", "TPOT ms", "against no nsys"], rows)


def _measure(model: str, work: Path, variant: str, nsys_arguments: list[str] | None) -> dict[str, Any]:
    """What one process of three requests measured itself; empty if it failed."""
    directory = work / "overhead"
    shutil.rmtree(directory, ignore_errors=True)
    graphs = ["--cuda-graphs"] if variant.startswith("graphs") else []
    # The same attention in both, for a default of the one is not the default of the other.
    shape = ["--shape", OVERHEAD_SHAPE, "--repeats", "3", "--warmup", "1", "--attn", "sdpa"]
    if nsys_arguments is None:
        result, config = work / "overhead-result.json", work / "overhead-config.json"
        if not config.exists():
            config.write_text(json.dumps(_config(model)))
        result.unlink(missing_ok=True)
        bare = [sys.executable, "-m", "nsys_pipeline.workload", "--config", str(config), "--result", str(result)]
        done = _run([*bare, *shape, *graphs])
    else:
        result = directory / "workload.json"
        builtin = ["--no-analyze", "--model", model, "-o", str(directory)]
        done = _run([*LLMPERF, "capture", *builtin, *shape, *graphs, *nsys_arguments])
    measured = _read(result).get("shapes")
    if done.returncode or not measured:
        print(done.stderr[-1500:], done.stdout[-500:], flush=True)
        return {}
    return dict(measured[0])


def _config(model: str) -> Any:
    sys.path.insert(0, str(ROOT))
    from nsys_pipeline.model.load import load_config

    return dict(load_config(model)[1])


def _run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)
    try:
        return subprocess.run(
            argv,
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=RUN_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return subprocess.CompletedProcess(argv, 124, "", f"not done within {error.timeout:g} s")


def _gpus() -> list[str]:
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [line.strip() for line in answer.splitlines() if line.strip()]


def _versions(gpus: list[str]) -> list[str]:
    question = "import torch, transformers; print(torch.__version__, transformers.__version__)"
    torch, _, transformers = _run([sys.executable, "-c", question]).stdout.strip().partition(" ")
    nsys = shutil.which("nsys")
    version = (
        subprocess.run([nsys, "--version"], capture_output=True, text=True, check=False).stdout if nsys else "none"
    )
    return [
        f"GPUs: {'; '.join(gpus) or 'none'}",
        f"{version.strip()}; torch {torch}; transformers {transformers}; Python {platform.python_version()}",
    ]


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    table = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(row) + " |" for row in table]


def _pack(work: Path, output: Path) -> None:
    """Everything but the reports, which are large and hold the environment, in archives of a bounded size."""
    for scratch in ("overhead", ".wheels"):
        shutil.rmtree(work / scratch, ignore_errors=True)
    members = [_compressed(path) for path in sorted(work.rglob("*")) if path.is_file() and path.suffix != ".nsys-rep"]
    archives: list[list[Path]] = [[]]
    for path in members:
        if archives[-1] and sum(member.stat().st_size for member in (*archives[-1], path)) > ARCHIVE_BYTES:
            archives.append([])
        archives[-1].append(path)
    for number, content in enumerate(archives, start=1):
        with tarfile.open(output / f"runs-{number}.tar", "w") as archive:
            for path in content:
                archive.add(path, arcname=str(path.relative_to(work)))


def _compressed(path: Path) -> Path:
    if path.suffix != ".sqlite":
        return path
    keep_read_counters(path)
    small = path.with_name(f"{path.name}.xz")
    if xz := shutil.which("xz"):
        subprocess.run([xz, "-T0", "-6", str(path)], check=True)
        return small
    small.write_bytes(lzma.compress(path.read_bytes(), preset=1))
    path.unlink()
    return small


# As sql/load/_metric_counters.sql names them.
_READ_COUNTERS = (
    "%Tensor Active%", "SM% Active [%", "SM Issue%", "DRAM Read%", "DRAM Write%", "GPC Clock%", "PCIe RX%", "PCIe TX%",
    "PCIe Read Bandwidth%", "PCIe Write Bandwidth%", "NVLink RX%", "NVLink TX%",
)  # fmt: skip


def keep_read_counters(trace: Path) -> None:
    """Drop the samples of counters that llmperf does not read, most of them, and of GPUs that did not work."""
    with contextlib.closing(sqlite3.connect(trace)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if not {"GPU_METRICS", "TARGET_INFO_GPU_METRICS", "CUPTI_ACTIVITY_KIND_KERNEL"} <= tables:
            return
        named = " OR ".join("metricName LIKE ?" for _ in _READ_COUNTERS)
        read = f"(typeId, metricId) IN (SELECT typeId, metricId FROM TARGET_INFO_GPU_METRICS WHERE {named})"
        worked = "(typeId & 255) IN (SELECT deviceId FROM CUPTI_ACTIVITY_KIND_KERNEL)"
        connection.execute(f"DELETE FROM GPU_METRICS WHERE NOT ({read} AND {worked})", _READ_COUNTERS)
        connection.commit()
        connection.execute("VACUUM")


if __name__ == "__main__":
    sys.exit(main())
