"""A small healthy trace with a bit of everything, and its report in a form that two runs can be compared by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from nsys_pipeline.analyze import analyze
from nsys_pipeline.sqlmods import all_modules
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.trace_builder import TraceBuilder

KERNELS = 300


def small_trace(schema: str = "2025.3") -> TraceBuilder:
    """Thirty phase ranges of ten kernels each, copies, a diagnostic; some tables are several pages long."""
    trace = TraceBuilder(schema).gpu()
    main = trace.process(name="python").thread(name="main")
    main.push(0, 100 * KERNELS, "request")
    for index in range(KERNELS):
        at = 100 * index
        if index % 10 == 0:
            main.push(at, at + 999, "decode" if index else "prefill")
        main.launch(at + 1, gpu=(at + 10, at + 60), name=f"kernel_{index % 7}")
    for index in range(20):
        main.memcpy(100 * index + 50, gpu=(100 * index + 70, 100 * index + 80))
    trace.diagnostic("CUDA device 0: collected")
    return trace


def comparable_report(path: Path, options: TraceOptions | None = None) -> dict[str, Any]:
    """The whole report of `path` but the path itself, of which each rank has one, too."""
    with open_trace(path, options or TraceOptions(use_cache=False)) as trace:
        report = attrs.asdict(analyze(trace))
    del report["trace"]["path"]
    for rank in report["ranks"]:
        del rank["trace"]
    return report


# Which file a row comes from.
_OF_THE_PATH = ("load.trace_files", "load.ranks")
LOADED = tuple(
    module.name
    for module in all_modules().values()
    if module.layer == "load" and not module.is_macro and module.name not in _OF_THE_PATH
)


def loaded(path: Path, options: TraceOptions | None = None) -> dict[str, tuple[int, int | None]]:
    """How many rows each relation of `sql/load` has, and a sum of their hashes.

    All that an analysis knows of a file: where two are equal so is the report, which takes four times as long.
    """
    with open_trace(path, options or TraceOptions(use_cache=False)) as trace:
        trace.build(*LOADED)
        selects = (f"SELECT '{name}', count(*), sum(hash(one)::HUGEINT) FROM {name} AS one" for name in LOADED)
        rows = trace.connection.execute(" UNION ALL ".join(selects)).fetchall()
    return {name: (count, total) for name, count, total in rows}
