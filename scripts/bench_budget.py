"""Measure what the time budget adds to a cold analysis: CPU seconds of the relations that only it needs.

    python scripts/bench_budget.py TRACE.sqlite [--modules N] [--no-cache]

One analysis in one process, which writes a cache entry as a user's first one does; `--no-cache` leaves that out, and
keeps all tables in memory. All that rests on `attribute._slot_times` counts as the budget's, but for the findings;
so does what nothing else reads. `--modules` lists the N of these relations that take longest.
The exit code is 1 if the budget takes more than a quarter of the CPU seconds of all the rest.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nsys_pipeline.analyze import TARGETS, analyze
from nsys_pipeline.trace import Trace, TraceOptions
from nsys_pipeline.trace.trace_file import find_trace

BUDGET = "attribute._slot_times"
MOST = 0.25


class TimedTrace(Trace):
    """A trace whose cache entry is written in a step of its own."""

    def keep(self) -> None:
        if self.runner.on_module:
            self.runner.on_module("")
        super().keep()


def budget_relations(trace: Trace) -> set[str]:
    """What an analysis builds for the sake of the budget alone."""
    closure = trace.runner.closure
    others = [target for target in TARGETS if BUDGET not in closure([target])]
    told = [target for target in TARGETS if target != "views.findings"]
    return set(closure(told)) - set(closure(others))


def cpu_of_relations(trace: Trace) -> dict[str, float]:
    """CPU seconds of an analysis by the relation that was being built; '' is files, and the report."""
    cpu: dict[str, float] = defaultdict(float)
    current, since = "", time.process_time()

    def step(name: str) -> None:
        nonlocal current, since
        now = time.process_time()
        cpu[current] += now - since
        current, since = name, now

    trace.runner.on_module = step
    # Else DuckDB writes to the cache entry while it builds whatever relation comes when 16 MB of changes wait.
    trace.connection.execute("SET checkpoint_threshold = '1TB'")
    analyze(trace)
    step("")
    return cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", type=Path)
    parser.add_argument("--modules", type=int, default=0)
    parser.add_argument("--no-cache", action="store_true")
    options = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with TemporaryDirectory() as cache:
        trace_options = TraceOptions(use_cache=not options.no_cache, cache_dir=Path(cache))
        with TimedTrace(find_trace(options.trace, trace_options)) as trace:
            mine = budget_relations(trace)
            cpu = cpu_of_relations(trace)
    budget = sum(seconds for name, seconds in cpu.items() if name in mine)
    rest = sum(cpu.values()) - budget
    for name in sorted(mine & cpu.keys(), key=lambda one: -cpu[one])[: options.modules]:
        print(f"    {cpu[name]:6.2f} s CPU  {name}")
    print(f"analysis without the budget  {rest:6.2f} s CPU")
    print(f"time budget                  {budget:6.2f} s CPU, {budget / rest:.0%} on top")
    sys.exit(budget > MOST * rest)


if __name__ == "__main__":
    main()
