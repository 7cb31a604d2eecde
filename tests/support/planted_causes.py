"""Small traces of a decode loop, each with one planted cause: what a reader should be told first is known.

A healthy step launches STEP_KERNELS kernels far ahead of a busy GPU: kernels of 100 µs and launches of 5 µs. Each cause
changes one thing about it. Times are ns. `random` varies counts and lengths, not the cause.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from tests.support.trace_builder import ThreadBuilder, TraceBuilder

STEPS, STEP_KERNELS = 6, 20
#: Variations of each trace.
SEEDS = 3
US = 1_000
GEMM = "nvjet_sm90_tst_64x8_64x16_2x1_v_bz_TNT"


class Loop:
    """A thread that launches and a GPU that works in order, each with its own clock."""

    def __init__(self, random: Random) -> None:
        self.trace = TraceBuilder().gpu()
        self.main: ThreadBuilder = self.trace.process().thread()
        self.random = random
        self.host_ns = 1_000
        self.gpu_ns = 0

    def python(self, ns: int) -> None:
        """The host runs its own code."""
        self.host_ns += ns

    def kernel(
        self, ns: int, name: str = GEMM, *, call_ns: int = 5 * US, latency_ns: int = 2 * US, **more: Any
    ) -> None:
        """A launch, and a kernel that starts when the GPU is free."""
        start = max(self.gpu_ns, self.host_ns + call_ns + latency_ns)
        self.main.launch(self.host_ns, until=self.host_ns + call_ns, gpu=(start, start + ns), name=name, **more)
        self.host_ns += call_ns + US
        self.gpu_ns = start + ns

    def synchronize(self, api: str = "cudaStreamSynchronize_v3020") -> None:
        """The host waits for the GPU."""
        until = max(self.gpu_ns, self.host_ns) + 10 * US
        self.main.call(self.host_ns, until=until, api=api)
        self.host_ns = until

    def call(self, ns: int, api: str) -> None:
        """A CUDA call that launches nothing."""
        self.main.call(self.host_ns, until=self.host_ns + ns, api=api)
        self.host_ns += ns

    def steps(self, body: Callable[[Loop], None], *, phase: str = "decode") -> TraceBuilder:
        """STEPS occurrences of `phase`, each with `body` and nothing more."""
        for _ in range(STEPS):
            start = self.host_ns
            self.host_ns += US
            body(self)
            self.main.push(start, self.host_ns, phase)
            self.host_ns += US
        return self.trace


def healthy(random: Random) -> TraceBuilder:
    """A busy GPU whose work is launched ahead."""

    def body(loop: Loop) -> None:
        for _ in range(STEP_KERNELS):
            loop.kernel(random.randrange(80, 120) * US)

    return Loop(random).steps(body)


def slow_host(random: Random) -> TraceBuilder:
    """Python between launches that takes longer than the kernels."""

    def body(loop: Loop) -> None:
        for _ in range(STEP_KERNELS):
            loop.python(random.randrange(60, 90) * US)
            loop.kernel(random.randrange(20, 30) * US)

    return Loop(random).steps(body)


def slow_launches(random: Random) -> TraceBuilder:
    """Launching calls that take longer than the kernels."""

    def body(loop: Loop) -> None:
        for _ in range(STEP_KERNELS):
            loop.kernel(random.randrange(20, 30) * US, call_ns=random.randrange(50, 70) * US)

    return Loop(random).steps(body)


#: Planted cause → the trace that has it, and the finding that a reader should see first; None: no finding at all.
CAUSES: dict[str, tuple[Callable[[Random], TraceBuilder], str | None]] = {
    "nothing": (healthy, None),
    "slow host code": (slow_host, "host_bound_steps"),
    "slow launching calls": (slow_launches, "launch_bound_steps"),
}
