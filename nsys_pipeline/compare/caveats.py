"""What makes two recordings of one program differ: said beside a comparison, and beside a rule about a change."""

from __future__ import annotations


def of_recorders(base: str, base_recorder: str | None, new: str, new_recorder: str | None) -> list[str]:
    """What two recorders differ in, if both are known and not the same."""
    if not base_recorder or not new_recorder or base_recorder == new_recorder:
        return []
    return [
        f"{base_recorder} recorded {base}, and {new_recorder} {new}: each takes time of the host for itself, so wall "
        "time and the host's classes differ for one program, too; times of kernels compare"
    ]


def of_graphs(phase: str, where: str, kernels: str) -> str:
    """A `phase` whose CUDA graphs `where` alone has as a whole, and what that makes of its `kernels`."""
    return (
        f"{phase}: CUDA graphs were recorded as a whole in {where} alone; their kernels are not known, so {kernels}, "
        "and GPU busy and compute hold the gaps in them"
    )
