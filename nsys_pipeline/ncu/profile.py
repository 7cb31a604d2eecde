"""What ncu measured of each kernel."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import attrs

from nsys_pipeline.ncu.command import (
    APART,
    DRAM_READ,
    DRAM_WRITE,
    FADD,
    FFMA,
    FMUL,
    METRICS,
    TENSOR_FLOPS,
    TIME,
    counts_apart,
)
from nsys_pipeline.rules.kernels import short_name


@attrs.frozen
class KernelCounters:
    """Counters of one kernel, or of `count` kernels of one name. None: ncu did not measure it on this chip.

    `flops` are those that ran, in the tensor cores and outside them, padding of tiles included. Times in ns. `process`
    and `device` are as ncu numbers them, '' and None where the file does not say. `launch`: 1, 2, 3, … of
    the launches of its name in its process; None after a launch that could not be read at all.
    """

    name: str
    count: int
    time_ns: float | None
    tensor_flops: float | None
    other_flops: float | None
    dram_read_bytes: float | None
    dram_write_bytes: float | None
    process: str = ""
    device: int | None = None
    launch: int | None = 1

    @classmethod
    def of(
        cls, name: str, values: Mapping[str, float | None], *, process: str = "", device: int | None = None
    ) -> KernelCounters:
        """One kernel, under whatever form of its name, from the metrics of `METRICS` and of `APART`."""
        tensor = [values[metric] for metric in (TENSOR_FLOPS, *APART) if metric in values]
        fma = values.get(FFMA)
        return cls(
            name=short_name(_with_whole_scopes(name)),
            count=1,
            time_ns=values.get(TIME),
            tensor_flops=sum_or_none(tensor),
            other_flops=sum_or_none((values.get(FADD), values.get(FMUL), None if fma is None else 2 * fma)),
            dram_read_bytes=values.get(DRAM_READ),
            dram_write_bytes=values.get(DRAM_WRITE),
            process=process,
            device=device,
        )

    @property
    def flops(self) -> float | None:
        """All FLOPs that ran."""
        return sum_or_none((self.tensor_flops, self.other_flops))

    @property
    def dram_bytes(self) -> float | None:
        """Bytes from and to DRAM."""
        return sum_or_none((self.dram_read_bytes, self.dram_write_bytes))


@attrs.frozen
class Profile:
    """What a file of ncu's holds: its kernels in order, and what of it could not be read."""

    kernels: tuple[KernelCounters, ...]
    problems: tuple[str, ...] = ()

    def of_device(self, device: int | None) -> tuple[tuple[KernelCounters, ...], int]:
        """Kernels of this GPU and the number of others, if the file tells several GPUs apart and has it; else all."""
        devices = {kernel.device for kernel in self.kernels}
        if len(devices) < 2 or device is None or device not in devices:
            return self.kernels, 0
        chosen = tuple(kernel for kernel in self.kernels if kernel.device == device)
        return chosen, len(self.kernels) - len(chosen)


def tensor_metrics(found: Iterable[tuple[str | None, Mapping[str, float | None]]]) -> frozenset[str]:
    """Which counters of the tensor cores add up, of the compute capability and the metrics of a file's kernels.

    Those that some kernel has a value of: the GPU has no others. If one counts every kind of input, that one alone.
    """
    found = list(found)
    known = {metric for _, values in found for metric in (TENSOR_FLOPS, *APART) if values.get(metric) is not None}
    if TENSOR_FLOPS in known and not all(counts_apart(capability) for capability, _ in found):
        return frozenset({TENSOR_FLOPS})
    return frozenset(known)


def with_tensor_metrics(values: Mapping[str, float | None], chosen: frozenset[str]) -> dict[str, float | None]:
    """`values` without the counters of the tensor cores that are not `chosen`."""
    return {metric: value for metric, value in values.items() if metric in chosen or metric in METRICS[1:]}


def summed(kernels: Iterable[KernelCounters]) -> list[KernelCounters]:
    """Kernels of one name added up, those that took most time first."""
    groups: dict[str, list[KernelCounters]] = {}
    for kernel in kernels:
        groups.setdefault(kernel.name, []).append(kernel)
    total = [
        KernelCounters(
            name=name,
            count=sum(one.count for one in group),
            time_ns=sum_or_none([one.time_ns for one in group]),
            tensor_flops=sum_or_none([one.tensor_flops for one in group]),
            other_flops=sum_or_none([one.other_flops for one in group]),
            dram_read_bytes=sum_or_none([one.dram_read_bytes for one in group]),
            dram_write_bytes=sum_or_none([one.dram_write_bytes for one in group]),
        )
        for name, group in groups.items()
    ]
    return sorted(total, key=lambda kernel: (-(kernel.time_ns or 0), kernel.name))


def _with_whole_scopes(name: str) -> str:
    """The name as it was before ncu cut `at::native::<` out of it, which leaves `unnamed>::` of `<unnamed>::`.

    Seen in the CSV of ncu 2025.3: `void vectorized_elementwise_kernel<4, unnamed>::silu_kernel(…`.
    """
    name = re.sub(r"(?<=\w)<unnamed>(?=::)", "<unnamed", name)  # the bracket before it opens a template
    return re.sub(r"(?<!<)\bunnamed>(?=::)", "unnamed", name)


def sum_or_none(values: Sequence[float | None]) -> float | None:
    """The sum; None where a value is not known, and of nothing."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) and known else None
