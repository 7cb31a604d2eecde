"""Write, or check, what the brute-force reference says about real traces: tests/traces/golden/<trace>.reference.json.

    python scripts/reference_goldens.py TRACE.sqlite[.xz] …              rewrite the goldens, print the tables
    python scripts/reference_goldens.py --check TRACE.sqlite[.xz] …      compare only; exit 1 on any difference
    python scripts/reference_goldens.py --nsys nsys TRACE.sqlite[.xz] …  also compare with `nsys stats`

A golden holds the sums with and without the other-thread rule. Review a changed golden line by line: the reference
follows written definitions, so a number changes only with a trace or with a definition.

What is compared with nsys: cuda_gpu_kern_sum's kernels against the totals, and nvtx_kern_sum's kernels of every range
name against the same kernels counted here. nsys counts a kernel for *every* enclosing range and wants the whole API
call inside the range; the counting here does the same, so a difference means a misread trace.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support import real_traces, reference  # noqa: E402 - the repository's root is no installed package

Counts = dict[str, tuple[int, int]]


def golden_of(path: Path) -> dict[str, Any]:
    """The sums that a golden holds, of the SQLite export at `path`."""
    return {
        "default": reference.summarize(reference.attribute(path)),
        "strict": reference.summarize(reference.attribute(path, strict=True)),
    }


def nsys_rows(nsys: str, report: str, path: Path) -> list[dict[str, str]]:
    """One report as dicts. Its exit code means nothing, so an empty output is an empty list."""
    argv = [nsys, "stats", "--quiet", "--report", report, "--format", "csv", "--output", "-", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    head = next((i for i, line in enumerate(lines) if "Total Time (ns)" in line), None)
    return [] if head is None else list(csv.DictReader(lines[head:]))


def nsys_by_range(nsys: str, path: Path) -> Counts:
    """Kernels and their ns of every range name; ':' before a name of the default domain is dropped."""
    found: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for row in nsys_rows(nsys, "nvtx_kern_sum", path):
        if name := row["NVTX Range"].removeprefix(":"):
            count, time = found[name]
            found[name] = (count + int(row["Kern Inst"]), time + int(row["Total Time (ns)"]))
    return dict(found)


def our_kernels_by_range(path: Path) -> Counts:
    """The same, counted as nsys does: for every range around the whole call, once per range name."""
    trace = reference.read_trace(path)
    found: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for work in trace.work:
        call = reference.call_of(trace, work)
        if work.kind != reference.KERNEL or call is None or call.start is None or call.end is None:
            continue
        names = {
            f"{r.domain}:{r.text}" if r.domain else str(r.text)
            for r in trace.ranges
            if r.thread == call.thread and r.start <= call.start and call.end <= r.end
        }
        for name in names:
            count, time = found[name]
            found[name] = (count + 1, time + work.end - work.start)
    return dict(found)


def nsys_differences(nsys: str, path: Path, summary: dict[str, Any]) -> list[str]:
    """One line for each number on which nsys and the reference differ."""
    kernels = nsys_rows(nsys, "cuda_gpu_kern_sum", path)
    theirs = (sum(int(r["Instances"]) for r in kernels), sum(int(r["Total Time (ns)"]) for r in kernels))
    ours = (summary["totals"]["kernel_count"], summary["totals"]["kernel_time_ns"])
    lines = [f"cuda_gpu_kern_sum: nsys {theirs}, reference {ours}"] if theirs != ours else []
    by_nsys, by_us = nsys_by_range(nsys, path), our_kernels_by_range(path)
    for name in sorted(by_nsys.keys() | by_us.keys()):
        if by_nsys.get(name) != by_us.get(name):
            lines.append(f"nvtx_kern_sum {name}: nsys {by_nsys.get(name)}, reference {by_us.get(name)}")
    # A phase name that stands for itself, in one domain and with no phase inside, must also equal the attribution.
    for name, phase in summary["phases"].items():
        spellings = [text for text in by_nsys if text == name or text.endswith(f":{name}")]
        total = tuple(sum(by_nsys[text][i] for text in spellings) for i in (0, 1))
        if spellings and total != (phase["kernel_count"], phase["kernel_time_ns"]):
            lines.append(f"phase {name}: nsys {total}, strict {(phase['kernel_count'], phase['kernel_time_ns'])}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("traces", nargs="+", type=Path)
    parser.add_argument("--check", action="store_true", help="compare with the goldens instead of writing them")
    parser.add_argument("--nsys", help="also compare with this nsys")
    options = parser.parse_args()
    failed = False
    for trace in sorted(options.traces):
        name = trace.name.removesuffix(".xz").removesuffix(".sqlite")
        target = real_traces.golden_path(name)
        # A copy of our own, because nsys writes next to what it reads.
        with tempfile.TemporaryDirectory() as folder:
            path = real_traces.unpack(trace, Path(folder))
            found = golden_of(path)
            differences = nsys_differences(options.nsys, path, found["strict"]) if options.nsys else []
        print(f"\n{name}\n{reference.table(found['default'])}")
        for line in differences:
            print(f"  differs: {line}")
        if options.nsys and not differences:
            print("  nsys stats agrees on every kernel count and time")
        failed |= bool(differences)
        if options.check:
            same = target.exists() and json.loads(target.read_text()) == found
            print(f"  golden: {'same' if same else 'DIFFERENT'}")
            failed |= not same
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(json.dumps(found, indent=1) + "\n")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
