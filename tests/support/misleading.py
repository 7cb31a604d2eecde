"""Five workloads whose verdict was once wrong: what each is, and what must be said about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import attrs

from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.model import load_model
from nsys_pipeline.records import Finding, Report
from tests.support.planted_causes import GEMM, SMALL, US, Loop
from tests.support.real_traces import SUFFIX, TRACES
from tests.support.trace_builder import TraceBuilder

CASES = TRACES.parent / "cases"
#: Token of each step of the synthetic ones, and those in its cache.
TOKENS = (1, 512)


@attrs.frozen
class Misleading:
    """A trace, or how to make one; the phase that misled; its verdict, and the finding with most time at stake."""

    trace: Path | Callable[[], TraceBuilder]
    phase: str
    bound: str
    first: str
    was: str
    model: str | None = None

    @property
    def options(self) -> AnalysisOptions:
        """What the analysis is told."""
        return AnalysisOptions(model=load_model(self.model) if self.model else None)

    def path(self, folder: Path) -> Path:
        """Its file: the real one, or one made in `folder`."""
        return (
            self.trace if isinstance(self.trace, Path) else self.trace().write(folder / f"{self.trace.__name__}.sqlite")
        )

    def first_of(self, report: Report) -> Finding:
        """The finding about the phase with most time at stake."""
        valued = [one for one in report.findings if one.phase == self.phase and one.at_stake_ns is not None]
        return max(valued, key=lambda one: one.at_stake_ns or 0)


def small_kernels() -> TraceBuilder:
    """420 kernels a step, 300 of them of 4 µs: 3 ms for weights that take 0.74 ms at peak."""

    def body(loop: Loop) -> None:
        loop.graph([4 * US] * 300, SMALL)
        for _ in range(120):
            loop.kernel(15 * US, GEMM)
        loop.synchronize()

    return Loop(Random(0)).steps(body, tokens=TOKENS)


def compiled_first_step() -> TraceBuilder:
    """A step that compiles for 18 s, then 40 of 1.0 ms, in which the GPU is busy for 0.9 ms."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    at = 1_000 * US
    for step in range(41):
        host_us = 18_000_000 if step == 0 else 95
        end = at + (host_us + 905) * US
        main.push(at, end, "decode", domain="llmperf")
        main.mark(at + 1, f'llmperf.step {{"q":[{TOKENS[0]}],"kv":[{TOKENS[1]}],"logits":1}}', domain="llmperf")
        launch = at + (host_us - 5) * US
        main.launch(launch, until=launch + 4 * US, gpu=(launch + 5 * US, launch + 905 * US), name=GEMM)
        at = end + US
    return trace


EXAMPLES = {
    "h100_llama1b": Misleading(
        TRACES / f"h100_llama1b{SUFFIX}", "decode", "host-bound", "host_bound_steps", "launch-bound"
    ),
    "420 kernels a step at 25 % MBU": Misleading(
        small_kernels, "decode", "kernel-bound", "small_kernels", "memory-bound", "llama-3.2-1b"
    ),
    "h200x2_tensor_parallel": Misleading(
        TRACES / f"h200x2_tensor_parallel{SUFFIX}", "decode", "waiting", "host_bound_steps", "communication and busy"
    ),
    "a first step that compiles for 18 s": Misleading(
        compiled_first_step, "decode", "memory-bound", "cold_first_occurrence", "launch-bound", "llama-3.2-1b"
    ),
    # Its first two requests, without the samples.
    "h200_generate_python_samples": Misleading(
        CASES / f"generate_new_lengths{SUFFIX}", "decode", "host-bound", "cold_first_occurrence", "slow Python"
    ),
}
