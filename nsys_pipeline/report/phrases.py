"""Sentences that every human-readable rendering of a report shares."""

from __future__ import annotations

from pathlib import PurePath

from nsys_pipeline.records import Report
from nsys_pipeline.report.format import milliseconds


def title_lines(report: Report) -> list[str]:
    """What was analysed: trace, recorder, GPUs, model."""
    trace = report.trace
    working = {device.device_id for phase in report.phases for device in phase.devices}
    names = [device.name or f"GPU {device.id}" for device in trace.devices if not working or device.id in working]
    gpus = ", ".join(f"{names.count(name)} × {name}" if names.count(name) > 1 else name for name in dict.fromkeys(names))
    recorder = f"nsys {trace.nsys_version}" if trace.nsys_version else "nsys of unknown version"
    path = PurePath(trace.path)
    name = f"{path.parent.name}/{path.name}" if path.name.startswith("trace.") else path.name
    lines = [f"{name} · {recorder} · {gpus or 'no GPU'} · {milliseconds(trace.duration_ns)} ms recorded"]
    if model := report.model:
        params = float(str(model["params"]))
        size = f"{params / 1e9:.2f} B" if params >= 1e8 else f"{params / 1e6:.2f} M"
        lines.append(f"{model['name']} · {size} parameters · {model['dtype']} · estimate {model['label']}")
    return lines


def convention_line(report: Report) -> list[str]:
    """What the utilization numbers mean, where there are any."""
    if not report.model or all(phase.mfu_busy is None for phase in report.phases):
        return []
    convention = report.model["convention"]
    attention = convention.get("attention", "exact") if isinstance(convention, dict) else "exact"
    return [
        f"MFU: model FLOPs ({attention} attention) / dense peak / time. MBU: (weights + KV) bytes / peak bandwidth / time. "
        "wall: host time in the range. busy: union of GPU work."
    ]


def device_lines(report: Report) -> list[str]:
    """Peaks used for each kind of GPU, with their source."""
    lines = []
    for device in {device.name: device for device in report.trace.devices}.values():
        if device.peaks_flops_per_s and report.model:
            dtype = str(report.model["dtype"])
            peak = device.peaks_flops_per_s.get(dtype)
            bandwidth = device.peak_bandwidth_bytes_per_s
            rates = [f"{peak / 1e12:,.1f} TFLOP/s {dtype}" if peak else f"no peak known for {dtype}"]
            rates += [f"{bandwidth / 1e9:,.0f} GB/s"] if bandwidth else []
            lines.append(f"peak of {device.name}: {', '.join(rates)} ({device.peaks_source})")
    return lines
