"""Random traces for property tests: several processes with equal correlation ids, threads, domains, any nesting.

Every thread plays its own list of steps on a clock that may stand still, except that no two ranges of a thread start
at the same instant: which of two equal ranges is the inner one cannot be known from an export.
"""

from __future__ import annotations

from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st

from nsys_pipeline.trace.window import Window
from tests.support.examples import MODE, examples
from tests.support.nsys_schema import GENERATIONS
from tests.support.trace_builder import CALL_NS, ProcessBuilder, ThreadBuilder, TraceBuilder

DOMAINS = (None, "llmperf", "NCCL")
RANGES = (
    ("llmperf", "warmup"), ("llmperf", "warmup"), ("llmperf", "request"), ("llmperf", "prefill"),
    ("llmperf", "decode"), ("llmperf", "layer.0.attn"), ("llmperf", "speculate"), (None, "prefill"),
    (None, "Decode step 3"), (None, "request"), (None, "warmup"), ("NCCL", "ncclAllReduce"), ("NCCL", "decode"),
    (None, "decode_loop"), (None, "forward"), (None, "backward"), (None, "step 3"), (None, "train_step"),
    (None, "Warm-up Step 1"), (None, "load data"), (None, "ncclAllReduce"), (None, "AddmmBackward0"),
    (None, "execute_context_0(0)_generation_8(8)"),
)  # fmt: skip
STEPS = (
    "push", "push", "push", "pop", "pop", "kernel", "kernel", "kernel", "memcpy", "memset", "start_end", "graph",
    "nodes", "graph_and_nodes", "backtrace", "untraced", "all_reduce", "call", "call",
)  # fmt: skip
CALLS = (
    "cudaStreamSynchronize_v3020", "cuCtxSynchronize", "cudaMalloc_v3020", "cudaEventQuery_v3020", "cudaMemcpy_v3020",
    "cudaLaunchKernel_v7000", "cudaLaunchHostFunc_v10000",
)  # fmt: skip
_small = st.integers(0, 9)

# Shrinking a trace takes minutes, so only an explorer waits for it.
_explore = MODE == "explore"
_phases = (Phase.explicit, Phase.generate, *((Phase.reuse, Phase.shrink) if _explore else ()))
property_test = settings(deadline=None, derandomize=not _explore, max_examples=examples(20), phases=_phases)


@st.composite
def traces(
    draw: st.DrawFn, *, schemas: tuple[str, ...] = GENERATIONS, max_steps: int = 25, most_processes: int = 2
) -> TraceBuilder:
    """1 to `most_processes` processes, each with 1 to 3 threads, and up to `max_steps` steps in every thread.

    Schemas without CUDA graphs as a whole (before 2024.2) get none.
    """
    trace = TraceBuilder(draw(st.sampled_from(schemas)), registered=draw(st.booleans()))
    for pid in range(100, 101 + draw(st.integers(0, most_processes - 1)) * 100, 100):
        process = trace.process(pid)
        names = st.sampled_from((None, None, None, "pt_autograd_0"))
        threads = [process.thread(pid + index, name=draw(names)) for index in range(draw(st.integers(1, 3)))]
        for thread in threads:
            _play(draw, process, thread, threads, max_steps)
    return trace


@st.composite
def windows(draw: st.DrawFn) -> Window:
    """A window of a random trace, which lasts some 100 ns."""
    first, start = draw(st.integers(0, 2)), draw(st.integers(0, 60))
    named: dict[str, Any] = {}
    if draw(st.booleans()):
        named |= {"first_step": first, "end_step": draw(st.sampled_from((None, first + 1, first + 2)))}
    if draw(st.booleans()):
        named |= {"from_ns": start}
    if draw(st.booleans()):
        named |= {"to_ns": start + draw(st.integers(1, 80))}
    return Window(skip=draw(st.sampled_from((0, 0, 1, 2))), **named)


def _play(
    draw: st.DrawFn, process: ProcessBuilder, thread: ThreadBuilder, threads: list[ThreadBuilder], max_steps: int
) -> None:
    now = last_start = draw(_small)
    stacks: dict[str | None, list[tuple[int, str]]] = {domain: [] for domain in DOMAINS}
    for step in draw(st.lists(st.sampled_from(STEPS), min_size=max_steps // 3, max_size=max_steps)):
        now += draw(_small)
        if step == "push":
            now = last_start = max(now, last_start + 1)
            domain, name = draw(st.sampled_from(RANGES))
            stacks[domain].append((now, name))
        elif step == "pop":
            open_domains = [domain for domain, stack in stacks.items() if stack]
            if open_domains:
                domain = draw(st.sampled_from(open_domains))
                start, name = stacks[domain].pop()
                lost = draw(st.integers(0, 19)) == 19  # a pop that was not recorded, though the parent's was
                thread.push(start, None if lost else now, name, domain=domain)
        elif step == "start_end":
            now = last_start = max(now, last_start + 1)
            end = draw(st.none() | st.integers(now, now + 60))
            domain, name = draw(st.sampled_from(RANGES))
            thread.start_end(now, end, name, domain=domain, ended_by=draw(st.sampled_from(threads)))
        else:
            now = _launch(draw, step, process, thread, now)
    for domain, stack in stacks.items():
        for start, name in stack:
            thread.push(start, None, name, domain=domain)


def _launch(draw: st.DrawFn, step: str, process: ProcessBuilder, thread: ThreadBuilder, now: int) -> int:
    """One call and its work, or either alone. Returns when the call returns: a thread is in one call at a time."""
    where: dict[str, Any] = {"device": draw(st.integers(0, 1)), "stream": draw(st.sampled_from((7, 8)))}
    until = now + draw(_small)

    def gpu() -> tuple[int, int]:
        start = now + draw(st.integers(0, 40))
        return (start, start + draw(st.integers(0, 30)))

    if step in ("kernel", "backtrace"):
        thread.launch(now, gpu=gpu(), until=until, backtrace=step == "backtrace", **where)
    elif step == "all_reduce":
        thread.launch(now, gpu=gpu(), until=until, name="ncclDevKernel_AllReduce_Sum_bf16_RING_LL", **where)
    elif step == "call":
        thread.call(now, until=until, api=draw(st.sampled_from(CALLS)))
    elif step == "memcpy":
        thread.memcpy(now, gpu=gpu(), **where)
    elif step == "memset":
        thread.memset(now, gpu=gpu(), **where)
    elif step == "untraced":
        process.kernel(gpu(), correlation=draw(st.sampled_from((None, 1_000_000))), **where)
        return now
    elif process.trace.schema >= "2024.2":
        nodes = [] if step == "graph" else [gpu() for _ in range(draw(st.integers(1, 3)))]
        thread.graph_launch(now, gpu=None if step == "nodes" else gpu(), nodes=nodes, **where)
    return until if step in ("kernel", "backtrace", "all_reduce", "call") else now + CALL_NS
