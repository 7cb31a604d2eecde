"""Write a synthetic trace with half a million nested push/pop ranges, as per-operator annotation leaves behind.

    python scripts/make_range_heavy.py OUT.sqlite [--steps 1800]

Two threads, each: request > decode > layer.<i> > layer.<i>.attn | layer.<i>.mlp (domain llmperf) > operators (default
domain), one kernel in the last operator of each part. What is attributed is known in closed form and printed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.trace_builder import CALL_NS, PUSH_POP, RUNTIME_CLASS, Row, TraceBuilder

LAYERS = 32
PARTS = ("attn", "mlp")
OPERATORS = ("aten::linear", "aten::transpose", "aten::matmul")
STEPS_PER_REQUEST = 60
OPERATOR_NS = 4_000
KERNEL_NS = 3_000
RANGES_PER_STEP = 1 + LAYERS * (1 + len(PARTS) * (1 + len(OPERATORS)))
KERNELS_PER_STEP = LAYERS * len(PARTS)


@dataclass
class _Thread:
    """Where one thread's rows come from: ids of strings, domains and the thread, and a clock."""

    global_tid: int
    global_pid: int
    own_domain: int
    strings: dict[str, int]
    stream: int
    first_correlation: int
    now: int

    def ranges(self, steps: int) -> Iterator[Row]:
        """Ranges of all requests, in the order in which they were popped."""
        for first in range(0, steps, STEPS_PER_REQUEST):
            begun = self.now
            self.now += 100
            for _ in range(first, min(first + STEPS_PER_REQUEST, steps)):
                yield from self._step()
            self.now += 100
            yield self._range(begun, "request", self.own_domain)

    def _step(self) -> Iterator[Row]:
        step = self.now
        self.now += 50
        for layer in range(LAYERS):
            layer_begun = self.now
            for part in PARTS:
                self.now += 50
                part_begun = self.now
                for operator in OPERATORS:
                    self.now += 50
                    begun = self.now
                    self.now += OPERATOR_NS
                    yield self._range(begun, operator, 0)
                self.now += 50
                yield self._range(part_begun, f"layer.{layer}.{part}", self.own_domain)
            self.now += 50
            yield self._range(layer_begun, f"layer.{layer}", self.own_domain)
        self.now += 50
        yield self._range(step, "decode", self.own_domain)
        self.now += 500

    def _range(self, start: int, name: str, domain: int) -> Row:
        return {
            "start": start,
            "end": self.now,
            "eventType": PUSH_POP,
            "textId": self.strings[name],
            "globalTid": self.global_tid,
            "domainId": domain,
        }


def launches(thread: _Thread, ranges: list[Row]) -> Iterator[tuple[Row, Row]]:
    """One call and its kernel, halfway into every range of the last operator."""
    last = thread.strings[OPERATORS[-1]]
    correlation = thread.first_correlation
    for each in ranges:
        if each["textId"] != last:
            continue
        at = each["start"] + OPERATOR_NS // 2
        call = {
            "start": at,
            "end": at + CALL_NS,
            "eventClass": RUNTIME_CLASS,
            "globalTid": thread.global_tid,
            "correlationId": correlation,
            "nameId": thread.strings["cudaLaunchKernel_v7000"],
            "returnValue": 0,
        }
        name = thread.strings["gemm_bf16"]
        kernel = {
            "start": at + 5_000,
            "end": at + 5_000 + KERNEL_NS,
            "deviceId": 0,
            "contextId": 1,
            "streamId": thread.stream,
            "correlationId": correlation,
            "globalPid": thread.global_pid,
            "demangledName": name,
            "shortName": name,
            "mangledName": name,
        }
        correlation += 1
        yield call, kernel


def make(path: Path, steps: int) -> tuple[int, int]:
    """Write the trace with `steps` decode steps in all to `path`. Returns its numbers of ranges and kernels."""
    trace = TraceBuilder("2025.3").gpu()
    process = trace.process()
    names = ["request", "decode", *OPERATORS, "cudaLaunchKernel_v7000", "gemm_bf16"]
    names += [f"layer.{layer}" for layer in range(LAYERS)]
    names += [f"layer.{layer}.{part}" for layer in range(LAYERS) for part in PARTS]
    strings = {name: trace.string(name) for name in names}
    range_count = kernel_count = 0
    for index, share in enumerate(((steps + 1) // 2, steps // 2)):
        builder = process.thread(process.pid + index)
        domain = process.domain("llmperf", builder)
        correlation = 1 + index * steps * KERNELS_PER_STEP
        thread = _Thread(builder.global_tid, process.global_pid, domain, strings, 7 + index, correlation, 1_000 + index)
        ranges = list(thread.ranges(share))
        trace.bulk("NVTX_EVENTS", sorted(ranges, key=lambda row: (row["start"], -row["end"])))
        for call, kernel in launches(thread, ranges):
            trace.bulk("CUPTI_ACTIVITY_KIND_RUNTIME", [call])
            trace.bulk("CUPTI_ACTIVITY_KIND_KERNEL", [kernel])
            kernel_count += 1
        range_count += len(ranges)
    trace.write(path)
    return range_count, kernel_count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=1800, help=f"decode steps, {RANGES_PER_STEP} ranges each")
    parser.add_argument("--force", action="store_true", help="replace OUT")
    options = parser.parse_args()
    if options.out.exists() and not options.force:
        sys.exit(f"error: `{options.out}` exists\n\nhint: add --force to replace it")
    begun = time.monotonic()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    part = options.out.with_name(f"{options.out.name}.part")
    part.unlink(missing_ok=True)
    ranges, kernels = make(part, options.steps)
    part.replace(options.out)
    print(
        f"{options.out}: {ranges} ranges, {options.steps} decode occurrences with {kernels} kernels of"
        f" {kernels * KERNEL_NS} ns in all, written in {time.monotonic() - begun:.1f} s"
    )


if __name__ == "__main__":
    main()
