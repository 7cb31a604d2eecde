"""What bounds a phase, in a word, with the number that says so."""

from __future__ import annotations

# Below this share of busy time in wall time, the GPU waits for the host more than for anything of its own.
LAUNCH_BOUND_BUSY_RATIO = 0.6
COMMUNICATION_BOUND_RATIO = 0.5


def bound(
    *,
    busy_ratio: float | None,
    communication_ratio: float | None,
    compute_ns: float | None,
    memory_ns: float | None,
    has_gpu_work: bool,
) -> tuple[str | None, str | None]:
    """The bound ('launch-bound', 'communication-bound', 'compute-bound', 'memory-bound') and its evidence.

    Both None where nothing can be said: no GPU work, or a busy GPU without a model to compare with.
    """
    if not has_gpu_work:
        return None, None
    talks = communication_ratio is not None and communication_ratio > COMMUNICATION_BOUND_RATIO
    if busy_ratio is not None and busy_ratio < LAUNCH_BOUND_BUSY_RATIO:
        talk = f"; {communication_ratio:.0%} of kernel time is communication" if talks else ""
        return "launch-bound", f"GPU idle {1 - busy_ratio:.0%} of the wall time{talk}"
    if talks:
        return "communication-bound", f"{communication_ratio:.0%} of kernel time is communication"
    if compute_ns is None or memory_ns is None:
        return None, None
    ratio = compute_ns / memory_ns if memory_ns else float("inf")
    if ratio >= 1:
        return "compute-bound", f"needs {ratio:.1f}× longer for FLOPs than for bytes at peak"
    return "memory-bound", f"needs {1 / ratio:.1f}× longer for bytes than for FLOPs at peak" if ratio else "no FLOPs"
