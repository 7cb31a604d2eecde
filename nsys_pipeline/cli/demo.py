"""`llmperf demo`: the whole analysis on a real trace that ships with llmperf."""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path

from nsys_pipeline.cli.common import AnalysisArguments, CacheOption, progress

DEMO_TRACE = Path(__file__).resolve().parents[1] / "demo" / "h100_llama_1b_graphs.sqlite.xz"
ABOUT = (
    "A real trace from an NVIDIA H100, recorded with `llmperf capture --model llama-3.2-1b --shape 1x512+8 "
    "--shape 8x1024+8 --repeats 1 --cuda-graphs`: prefill runs eagerly, decode replays a CUDA graph."
)
NEXT = (
    'next: `llmperf analyze TRACE`, `llmperf sql TRACE "from phases"`, `llmperf capture --help`. '
    "The TRACE of this demo is {trace}"
)


def demo(*, cache: CacheOption = True) -> None:
    """Analyze a real H100 trace that ships with llmperf."""
    from nsys_pipeline.analyze import analyze
    from nsys_pipeline.report.formats import render_report
    from nsys_pipeline.trace import open_trace

    with progress() as on_progress:
        options = AnalysisArguments(cache=cache).trace_options(on_progress)
        with open_trace(DEMO_TRACE, options) as trace:
            report = analyze(trace)
    sys.stdout.write(f"{_wrapped(ABOUT)}\n\n")
    render_report(report, sys.stdout)
    sys.stdout.write(f"\n{_wrapped(NEXT.format(trace=_shown(DEMO_TRACE)))}\n")


def _wrapped(text: str) -> str:
    width = min(120, shutil.get_terminal_size((120, 24)).columns)
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
