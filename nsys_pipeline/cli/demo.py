"""`llmperf demo`: the whole analysis on a real trace that ships with llmperf."""

from __future__ import annotations

import sys
from pathlib import Path

from nsys_pipeline.cli.common import CacheOption, progress, trace_options

DEMO_TRACE = Path(__file__).resolve().parents[1] / "demo" / "h100_llama_1b_graphs.sqlite.xz"
ABOUT = (
    "A real trace, recorded with `llmperf capture --model llama-3.2-1b --shape 1x512+8 --shape 8x1024+8\n"
    "--repeats 1 --cuda-graphs` on an NVIDIA H100: prefill runs eagerly, decode replays a CUDA graph.\n\n"
)


def demo(*, cache: CacheOption = True) -> None:
    """Analyze a real H100 trace that ships with llmperf."""
    from nsys_pipeline.analysis import analyze
    from nsys_pipeline.report.terminal import render_report
    from nsys_pipeline.trace import open_trace

    with (
        progress() as on_progress,
        open_trace(DEMO_TRACE, trace_options(cache=cache, on_progress=on_progress)) as trace,
    ):
        report = analyze(trace)
    sys.stdout.write(ABOUT)
    render_report(report, sys.stdout)
    sys.stdout.write(
        f"\nnext: `llmperf sql`, `llmperf schema` and `llmperf capture --help`; the trace is {_shown(DEMO_TRACE)}\n"
    )


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
