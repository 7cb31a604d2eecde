"""What a mark costs a vLLM worker per step: decode steps of many requests, with nothing else in the step.

    python scripts/bench_engine_marks.py                                    without a profiler's part
    nsys profile -t nvtx -s none -o marks python scripts/bench_engine_marks.py   all of it

Prints the median and the 99th percentile in µs, and the bytes of a mark.
"""

from __future__ import annotations

import argparse
import statistics
import time
from types import SimpleNamespace
from typing import Any

from nsys_pipeline import markers
from nsys_pipeline.workload.engines.vllm import VllmSteps


class _Counter:
    """A backend that only counts, where no profiler listens."""

    def __init__(self) -> None:
        self.longest = 0

    def push(self, name: str) -> None:
        """Ignore it."""

    def pop(self) -> None:
        """Ignore it."""

    def mark(self, text: str) -> None:
        """Remember the longest."""
        self.longest = max(self.longest, len(text))


def step(ids: list[str], kv_tokens: list[int], new: list[Any]) -> Any:
    """The scheduler's output of a step: one token of each running request, and the whole prompt of each new one."""
    scheduled = dict.fromkeys(ids, 1) | {request.req_id: len(request.prompt_token_ids) for request in new}
    return SimpleNamespace(
        scheduled_new_reqs=new,
        scheduled_cached_reqs=SimpleNamespace(req_ids=ids, num_computed_tokens=kv_tokens, resumed_req_ids=set()),
        num_scheduled_tokens=scheduled,
        scheduled_spec_decode_tokens={},
        scheduled_encoder_inputs={},
        finished_req_ids=set(),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args()
    counter = _Counter()
    is_profiled = markers.profiled()
    if not is_profiled:
        markers._chosen = counter
    worker = VllmSteps(SimpleNamespace(vllm_config=SimpleNamespace()))
    worker.marks.describe = lambda: None  # type: ignore[method-assign]
    ids = [f"chatcmpl-{index:032x}-0" for index in range(options.requests)]
    new = [
        SimpleNamespace(req_id=name, prompt_token_ids=range(100 + index), num_computed_tokens=0)
        for index, name in enumerate(ids)
    ]
    worker.begin(step([], [], new))
    times = []
    for index in range(options.steps):
        output = step(ids, [100 + request + index for request in range(options.requests)], [])
        start = time.perf_counter_ns()
        worker.begin(output)
        worker.end()
        times.append((time.perf_counter_ns() - start) / 1e3)
    times.sort()
    length = f", longest mark {counter.longest:,} bytes" if not is_profiled else ""
    print(
        f"{options.requests} requests, {'profiled' if is_profiled else 'no profiler'}: "
        f"median {statistics.median(times):.1f} us, p99 {times[len(times) * 99 // 100]:.1f} us per step{length}"
    )


if __name__ == "__main__":
    main()
