"""What ncu measured: read from its CSV, or from a report with the `ncu-report` package."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import attrs

from nsys_pipeline.errors import TraceError
from nsys_pipeline.ncu.command import DRAM_READ, DRAM_WRITE, FADD, FFMA, FMUL, METRICS, TENSOR_FLOPS, TIME
from nsys_pipeline.rules.kernels import short_name

_NAME = "Kernel Name"
# ncu prints bytes and seconds in whatever unit is handy unless told `--print-units base`.
_UNITS = {
    "byte": 1, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9, "Tbyte": 1e12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
    "ns": 1, "nsecond": 1, "us": 1e3, "usecond": 1e3, "ms": 1e6, "msecond": 1e6, "s": 1e9, "second": 1e9,
    "inst": 1, "": 1,
}  # fmt: skip


@attrs.frozen
class KernelCounters:
    """Counters of one kernel, or of `count` kernels of one name. None: ncu did not measure it on this chip.

    `flops` are those that ran, in the tensor cores and outside them, padding of tiles included. Times in ns.
    """

    name: str
    count: int
    time_ns: float | None
    tensor_flops: float | None
    other_flops: float | None
    dram_read_bytes: float | None
    dram_write_bytes: float | None

    @property
    def flops(self) -> float | None:
        """All FLOPs that ran."""
        return sum_or_none((self.tensor_flops, self.other_flops))

    @property
    def dram_bytes(self) -> float | None:
        """Bytes from and to DRAM."""
        return sum_or_none((self.dram_read_bytes, self.dram_write_bytes))


def read_csv(text: str) -> list[KernelCounters]:
    """Each kernel of ncu's CSV: the raw page (a column a metric) or the details page (a row a metric).

    Raises TraceError where the text holds no table of kernels.
    """
    lines = text.splitlines()
    start = next((index for index, line in enumerate(lines) if line.startswith('"ID"')), None)
    if start is None:
        raise TraceError("ncu printed no table of kernels", hint="make it with `ncu --import REPORT --csv --page raw`")
    rows = list(csv.DictReader(io.StringIO("\n".join(lines[start:]))))
    if rows and "Metric Name" in rows[0]:
        return _long_rows(rows)
    units: Mapping[str, str] = {}
    kernels = []
    for row in rows:
        if not (row.get("ID") or "").strip().isdigit():
            units = row  # the line of units follows the header
            continue
        values = {metric: _number(row.get(metric), units.get(metric)) for metric in METRICS}
        kernels.append(_kernel(row.get(_NAME) or "", values))
    return kernels


def read_report(path: Path) -> list[KernelCounters]:
    """Each kernel of a .ncu-rep. Raises TraceError where it cannot be read, or the package is not installed."""
    try:
        import ncu_report
    except ImportError as error:
        raise TraceError(
            f"`{path}` needs the package ncu-report to be read here",
            hint="pip install ncu-report, or make a CSV: `ncu --import REPORT --csv --page raw > FILE.csv`",
        ) from error
    try:
        report = ncu_report.load_report(str(path))
    except Exception as error:  # the package raises its own classes, which differ by version
        raise TraceError(f"`{path}` is no report that ncu-report reads: {error}") from error
    kernels = []
    for index in range(report.num_ranges()):
        part = report.range_by_idx(index)
        for number in range(part.num_actions()):
            action = part.action_by_idx(number)
            values: dict[str, float | None] = {}
            for metric in METRICS:
                found = action.metric_by_name(metric)
                values[metric] = float(found.as_double()) if found is not None and found.has_value() else None
            kernels.append(_kernel(action.name(), values))
    if not kernels:  # of what is no report, or ends early, the package makes an empty one
        raise TraceError(f"`{path}` has no kernel that ncu-report reads: it is damaged, no report, or of a newer ncu")
    return kernels


def summed(kernels: Iterable[KernelCounters]) -> list[KernelCounters]:
    """Kernels of one name added up, those that took most time first."""
    groups: dict[str, list[KernelCounters]] = {}
    for kernel in kernels:
        groups.setdefault(kernel.name, []).append(kernel)
    total = [
        KernelCounters(
            name,
            sum(one.count for one in group),
            *(
                sum_or_none(tuple(getattr(one, field) for one in group))
                for field in ("time_ns", "tensor_flops", "other_flops", "dram_read_bytes", "dram_write_bytes")
            ),
        )
        for name, group in groups.items()
    ]
    return sorted(total, key=lambda kernel: (-(kernel.time_ns or 0), kernel.name))


def _long_rows(rows: Iterable[Mapping[str, str | None]]) -> list[KernelCounters]:
    names: dict[str, str] = {}
    values: dict[str, dict[str, float | None]] = {}
    for row in rows:
        key = row.get("ID") or ""
        names[key] = row.get(_NAME) or ""
        metric = row.get("Metric Name") or ""
        if metric in METRICS:
            values.setdefault(key, {})[metric] = _number(row.get("Metric Value"), row.get("Metric Unit"))
    return [_kernel(name, values.get(key, {})) for key, name in names.items()]


def _kernel(name: str, values: Mapping[str, float | None]) -> KernelCounters:
    fma = values.get(FFMA)
    return KernelCounters(
        name=short_name(name),
        count=1,
        time_ns=values.get(TIME),
        tensor_flops=values.get(TENSOR_FLOPS),
        other_flops=sum_or_none((values.get(FADD), values.get(FMUL), None if fma is None else 2 * fma)),
        dram_read_bytes=values.get(DRAM_READ),
        dram_write_bytes=values.get(DRAM_WRITE),
    )


def _number(text: str | None, unit: str | None) -> float | None:
    try:
        value = float((text or "").replace(",", ""))
    except ValueError:
        return None
    factor = _UNITS.get((unit or "").strip())
    return None if factor is None else value * factor


def sum_or_none(values: Sequence[float | None]) -> float | None:
    """The sum; None where a value is not known, and of nothing."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) and known else None
