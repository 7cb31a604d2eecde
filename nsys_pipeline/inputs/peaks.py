"""GPUs of a trace and what each could do: by its datasheet, by the user, or derived from what the trace says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from nsys_pipeline.duck import create_from_rows, records
from nsys_pipeline.errors import HardwareError
from nsys_pipeline.hardware import Gpu, clock_of_peaks, derive_gpu, find_gpu, with_overrides
from nsys_pipeline.records import Device, Notice

if TYPE_CHECKING:
    from nsys_pipeline.inputs.inputs import Inputs

_MIG = re.compile(r"\bmig\b", re.IGNORECASE)
_FROM_TRACE = "bandwidth as the trace states it"


@attrs.frozen
class Peaks:
    """GPUs of the trace, the hardware record of each one that is known, and notices on those without a datasheet."""

    devices: tuple[Device, ...]
    gpus: Mapping[int, Gpu]
    notices: tuple[Notice, ...]

    @property
    def only_gpu(self) -> Gpu | None:
        """The hardware record that all known GPUs share; None if they differ, and if none is known."""
        distinct = {id(gpu): gpu for gpu in self.gpus.values()}
        return next(iter(distinct.values())) if len(distinct) == 1 else None


def find_peaks(inputs: Inputs) -> Peaks:
    """Peaks of every GPU of load.devices.

    A datasheet wins, the user's peaks and bandwidth over it. What neither says of a whole GPU is derived from SM
    count, clock and compute capability, and its bandwidth is the trace's; `Gpu.source` says so. Peaks of the user are
    not mixed with derived ones.
    """
    options = inputs.options
    devices, known, notices = [], {}, []
    for row in records(inputs.connection, "SELECT * FROM load.devices ORDER BY device_id"):
        gpu, notice = _hardware(row, options.peaks, options.bandwidth_bytes_per_s)
        if gpu is not None:
            known[row["device_id"]] = gpu
        if notice is not None and row["has_work"]:
            notices.append(notice)
        devices.append(
            Device(
                id=row["device_id"], name=row["name"], sm_count=row["sm_count"],
                memory_bandwidth_bytes_per_s=row["memory_bandwidth_bytes_per_s"],
                peaks_flops_per_s=dict(gpu.peaks_flops_per_s) if gpu else None,
                peak_bandwidth_bytes_per_s=gpu.bandwidth_bytes_per_s if gpu else None,
                peaks_source=f"{gpu.label}: {gpu.source}" if gpu else None, has_work=row["has_work"],
            )
        )  # fmt: skip
    # Equal GPUs of one machine need one notice.
    return Peaks(tuple(devices), known, tuple(dict.fromkeys(notices)))


def create_peaks(inputs: Inputs) -> None:
    """`input.peaks`: one row per GPU and dtype whose peak is known, with bandwidths beside it.

    `peak_clock_hz` is the clock of the SMs at which a GPU has its peaks, NULL if the user gives them. `l2_cache_bytes`
    is what the table of GPUs says.
    """
    types = {
        "device_id": "BIGINT", "dtype": "VARCHAR", "flops_per_s": "DOUBLE", "bandwidth_bytes_per_s": "DOUBLE",
        "link_bytes_per_s": "DOUBLE", "source": "VARCHAR", "peak_clock_hz": "DOUBLE",
        "l2_cache_bytes": "BIGINT",
    }  # fmt: skip
    clock = {} if inputs.options.peaks else _clocks(inputs)
    link = {device_id: gpu.nvlink_bytes_per_s for device_id, gpu in inputs.peaks.gpus.items()}
    cache = {device_id: gpu.l2_cache_bytes for device_id, gpu in inputs.peaks.gpus.items()}
    rows = [
        (
            device.id, dtype, peak, device.peak_bandwidth_bytes_per_s, link.get(device.id), device.peaks_source,
            clock.get(device.id), cache.get(device.id),
        )
        for device in inputs.peaks.devices
        for dtype, peak in (device.peaks_flops_per_s or {}).items()
    ]  # fmt: skip
    create_from_rows(inputs.connection, "input.peaks", types, rows)


def _clocks(inputs: Inputs) -> dict[int, float | None]:
    """The clock at which each GPU has its peaks, None where its rate per clock is not known."""
    compute_capability = dict(
        inputs.connection.execute("SELECT device_id, compute_capability FROM load.devices").fetchall()
    )
    return {
        device.id: clock_of_peaks(gpu, device.name, compute_capability[device.id], device.sm_count)
        for device in inputs.peaks.devices
        if (gpu := inputs.peaks.gpus.get(device.id)) is not None
    }


def _hardware(
    row: Mapping[str, Any], peaks: Mapping[str, float], bandwidth: float | None
) -> tuple[Gpu | None, Notice | None]:
    """Peaks of one row of `load.devices`, and what is to be said about them."""
    name = row["name"] or "GPU"
    partial = _partial(row)
    # What the trace says of memory is the whole GPU's, too.
    stated = None if partial else row["memory_bandwidth_bytes_per_s"]
    found = None if partial else find_gpu(name, sm_count=row["sm_count"], bandwidth_bytes_per_s=stated)
    if found is not None:
        return with_overrides(found, name, peaks, bandwidth), None
    if peaks:
        return _given(name, peaks, bandwidth, stated)
    own = with_overrides(None, name, {}, bandwidth)
    if partial:
        return own, Notice("partial_gpu", partial, f"{_options(bandwidth)} of the slice to get MFU and MBU")
    try:
        derived = _derived(row, stated)
    except HardwareError as error:
        return own, Notice("unknown_gpu", error.message, f"{_options(bandwidth)} to get MFU and MBU")
    return with_overrides(derived, name, {}, bandwidth), _derived_notice(derived, bandwidth)


def _options(bandwidth: float | None) -> str:
    """What else the user may pass."""
    return "pass --peak bf16=TFLOPS" + (" and --bandwidth GB/s" if bandwidth is None else "")


def _partial(row: Mapping[str, Any]) -> str | None:
    """Why the peaks of the whole GPU do not apply; None where they do."""
    name, available, count = row["name"] or "GPU", row["available_sm_count"], row["sm_count"]
    if available is not None and available < (count or 0):
        return (
            f"CUDA had {available} of the {count} SMs of `{name}`, as in a MIG slice: "
            "the peaks of the whole GPU do not apply"
        )
    known = find_gpu(name, sm_count=count)
    if known is not None and known.sm_count and count and count < known.sm_count:
        return (
            f"the trace counts {count} SMs on `{name}`, which has {known.sm_count}, as in a MIG slice: "
            "the peaks of the whole GPU do not apply"
        )
    if _MIG.search(name):
        return f"`{name}` is a MIG slice: the peaks of the whole GPU do not apply"
    return None


def _given(
    name: str, peaks: Mapping[str, float], bandwidth: float | None, stated: float | None
) -> tuple[Gpu | None, Notice | None]:
    """The user's peaks, with the bandwidth that the trace states where the user gives none."""
    gpu = with_overrides(None, name, peaks, bandwidth if bandwidth is not None else stated)
    if gpu is None or bandwidth is not None:
        return gpu, None
    source = ", ".join(f"--peak {dtype}" for dtype in peaks)
    if stated is not None:
        return attrs.evolve(gpu, source=f"{source}; {_FROM_TRACE}"), None
    message = f"no bandwidth of `{name}` is known: there is no MBU, no SOL time and no roofline"
    return attrs.evolve(gpu, source=source), Notice("unknown_bandwidth", message, "pass --bandwidth GB/s, too")


def _derived(row: Mapping[str, Any], stated: float | None) -> Gpu:
    """Peaks from what the trace says of a GPU. Raises HardwareError where that does not suffice."""
    name = row["name"]
    if not name:
        raise HardwareError(f"the trace does not name GPU {row['device_id']}")
    facts = {"SM count": "sm_count", "clock": "clock_rate_hz", "compute capability": "compute_capability"}
    missing = " and ".join(fact for fact, column in facts.items() if not row[column])
    if missing:
        raise HardwareError(f"no cited peak for `{name}`, and the trace lacks its {missing} to derive one")
    try:
        gpu = derive_gpu(
            name,
            compute_capability=row["compute_capability"],
            sm_count=row["sm_count"],
            clock_hz=row["clock_rate_hz"],
            bandwidth_bytes_per_s=stated,
        )
    except HardwareError as error:
        raise HardwareError(f"no cited peak for `{name}`, and none can be derived: {error.message}") from error
    return attrs.evolve(gpu, source=f"{gpu.source}; {_FROM_TRACE}") if stated else gpu


def _derived_notice(gpu: Gpu, bandwidth: float | None) -> Notice:
    lacks = bandwidth is None and gpu.bandwidth_bytes_per_s is None
    memory = "; the trace states no bandwidth: there is no MBU, no SOL time and no roofline" if lacks else ""
    return Notice(
        "derived_peak",
        f"no cited peak for `{gpu.name}`: its peaks are derived, {gpu.source.partition(';')[0]}. "
        f"The clock is the boost clock, above those of datasheets: MFU is too low, on an H100 by 8 %{memory}",
        f"{_options(bandwidth)} to use the figures of its datasheet",
    )
