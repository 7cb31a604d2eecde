"""Sections of charts: the roofline, steps, latencies, hardware counters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from nsys_pipeline.records import Bound, Detail, Device, Report, StepTime
from nsys_pipeline.report.document import Axis, Block, Chart, Depth, Section, Series

_MS, _TERA = 1e6, 1e12
#: Charts of steps for this many phases, those with the most steps.
_PHASES = 4
_COUNTERS = {
    "tensor_active_ratio": "tensor pipe active",
    "sm_active_ratio": "SM active",
    "sm_issue_ratio": "SM issue",
    "dram_read_ratio": "DRAM read",
    "dram_write_ratio": "DRAM write",
}
_LINKS = {
    "pcie_rx_ratio": "PCIe received",
    "pcie_tx_ratio": "PCIe sent",
    "nvlink_rx_ratio": "NVLink received",
    "nvlink_tx_ratio": "NVLink sent",
}


def roofline_section(report: Report) -> Section | None:
    """Operators of marked layers, or else shapes of phases, below what their GPU could do."""
    points = _operators(report) or _shapes(report)
    if not points:
        return None
    xs = [x for series in points for x in series.xs if x]
    roofs = [roof for device in _kinds(report) if (roof := _roof(device, report, min(xs), max(xs)))]
    chart = Chart("", Axis("FLOPs per byte", is_log=True), Axis("TFLOP/s", is_log=True), (*roofs, *points))
    title = "roofline: model FLOPs and minimum bytes of what ran, while the GPU was busy with it"
    return Section("roofline", (chart,), title=title, depth=Depth.page)


def _operators(report: Report) -> list[Series]:
    found: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    signs = {phase.name: phase.operators_sign for phase in report.phases}
    for row in report.operators:
        if row.flops_per_byte and row.flops_per_s:
            label = _label(f"{row.operator} {row.shape}", signs.get(row.phase))
            found[row.phase].append((row.flops_per_byte, row.flops_per_s / _TERA, label))
    return _points(found)


def _shapes(report: Report) -> list[Series]:
    found: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for phase in report.phases:
        for row in phase.shapes:
            if row.flops and row.bytes and row.gpu_busy_ns:
                rate = row.flops / row.gpu_busy_ns * 1e9 / _TERA
                found[phase.name].append((row.flops / row.bytes, rate, _label(row.shape, row.sign)))
    return _points(found)


def _label(what: str, sign: Bound | None) -> str:
    """What a point is, with the sign of its FLOP/s if they are not exact."""
    return f"{what} ({sign})" if sign else what


def _points(found: dict[str, list[tuple[float, float, str]]]) -> list[Series]:
    series = []
    for name, points in found.items():
        xs, ys, labels = zip(*sorted(points), strict=True)
        series.append(Series(name, xs, ys, labels, is_line=False))
    return series


def _kinds(report: Report) -> list[Device]:
    working = {device.device_id for phase in report.phases for device in phase.devices}
    return list({device.name: device for device in report.trace.devices if device.id in working}.values())


def _roof(device: Device, report: Report, least: float, most: float) -> Series | None:
    dtype = report.model.dtype if report.model else None
    peak = (device.peaks_flops_per_s or {}).get(dtype or "")
    bandwidth = device.peak_bandwidth_bytes_per_s
    if not peak or not bandwidth:
        return None
    ridge = peak / bandwidth
    xs = [min(least, ridge) / 2, ridge, max(most, ridge) * 2]
    name = f"peak of {device.name}: {peak / _TERA:,.1f} TFLOP/s {dtype}, {bandwidth / 1e9:,.0f} GB/s"
    return Series(name, xs, [min(peak, x * bandwidth) / _TERA for x in xs])


def steps_section(detail: Detail) -> Section | None:
    """Wall and busy time of each step, as the run goes on and as the context grows."""
    by_phase: dict[str, list[StepTime]] = defaultdict(list)
    for step in detail.steps:
        by_phase[step.phase].append(step)
    largest = sorted(by_phase.items(), key=lambda item: -len(item[1]))[:_PHASES]
    charts: list[Block] = []
    for phase, steps in largest:
        if len(steps) < 2:
            continue
        origin = steps[0].start_ns
        times = [(step.start_ns - origin) / 1e9 for step in steps]
        charts.append(
            Chart(f"{phase}: each of them over time", Axis("s since the first"), Axis("ms"), _both(times, steps))
        )
        known = sorted((step for step in steps if step.context is not None), key=lambda step: step.context or 0)
        if len({step.context for step in known}) > 2:
            contexts = [float(step.context or 0) for step in known]
            series = _both(contexts, known, is_line=False)
            charts.append(Chart(f"{phase}: by context", Axis("cached tokens per sequence"), Axis("ms"), series))
    title = "steps: wall and GPU busy time of each occurrence, warm-up left out"
    return Section("steps", charts, title=title, depth=Depth.page) if charts else None


def _both(xs: Sequence[float], steps: Sequence[StepTime], *, is_line: bool = True) -> tuple[Series, Series]:
    walls = [step.wall_ns / _MS for step in steps]
    busy = [step.gpu_busy_ns / _MS for step in steps]
    return Series("wall", xs, walls, is_line=is_line), Series("busy", xs, busy, is_line=is_line)


def latency_section(detail: Detail) -> Section | None:
    """How many of the requests had their first token, and how many each further one, within a time."""
    charts: list[Block] = []
    for name, what, times in (
        ("TTFT", "time to first token", [request.ttft_ns for request in detail.requests]),
        ("TPOT", "time per output token", [request.tpot_ns for request in detail.requests]),
    ):
        known = sorted(time / _MS for time in times if time is not None)
        if len(known) > 1:
            shares = [100 * (index + 1) / len(known) for index in range(len(known))]
            series = (Series(name, known, shares),)
            charts.append(Chart(f"{name}: {what}", Axis("ms"), Axis("% of requests"), series))
    title = "latency: the share of requests that took at most so long"
    return Section("latency", charts, title=title, depth=Depth.page) if charts else None


def counters_section(detail: Detail) -> Section | None:
    """Hardware counters of each GPU over time."""
    charts: list[Block] = []
    for device in sorted({sample.device_id for sample in detail.counters}):
        samples = [sample for sample in detail.counters if sample.device_id == device]
        times = [sample.at_ns / 1e9 for sample in samples]
        for title, counters in ((f"GPU {device}", _COUNTERS), (f"GPU {device}: PCIe and NVLink", _LINKS)):
            series = []
            for attribute, name in counters.items():
                ratios = [getattr(sample, attribute) for sample in samples]
                if any(ratio is not None for ratio in ratios):
                    series.append(Series(name, times, [None if ratio is None else 100 * ratio for ratio in ratios]))
            if series and len(samples) > 1:
                charts.append(Chart(title, Axis("s of the recording"), Axis("% of peak"), series))
    title = "counters over time: what nsys sampled of the hardware, means over stretches of time"
    return Section("counters over time", charts, title=title, depth=Depth.page) if charts else None
