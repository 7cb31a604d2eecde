"""Sentences that every human-readable rendering of a report shares."""

from __future__ import annotations

from pathlib import PurePath

from nsys_pipeline.records import Bound, Phase, Report, TraceInfo
from nsys_pipeline.report.numbers import milliseconds

OUTSIDE = "outside"
# The share of busy time where GPU work outlasts the ranges: there is no such share.
OVER_100 = ">100"
_REASONS = {
    "no_phase": "launched in ranges that are no phase",
    "no_span": "launched by a thread that was in no phase",
    "no_range": "launched outside every range",
    "no_api_call": "whose launch was not recorded",
    "several_phases_open": "launched by a thread without a phase while several were open",
}


# How far the formulas of the model's family can be trusted: see Model.label. The trace is another question.
_CHECKED = {
    "verified": "FLOP formula checked against torch",
    "exact": "FLOP formula not checked against torch",
    "approximate": "FLOPs approximate",
}


def title_lines(report: Report) -> list[str]:
    """What was analysed, a line each: the trace; GPUs, recorder and length; the model, if known."""
    trace = report.trace
    working = {device.device_id for phase in report.phases for device in phase.devices}
    names = [device.name or f"GPU {device.id}" for device in trace.devices if not working or device.id in working]
    gpus = [f"{names.count(name)} × {name}" if names.count(name) > 1 else name for name in dict.fromkeys(names)]
    recorder = _recorder(trace)
    name = _title(PurePath(trace.path))
    length = "" if trace.duration_ns is None else f" · {trace.duration_ns / 1e9:,.3g} s recorded"
    lines = [name, f"{', '.join(gpus) or 'no GPU'} · {recorder}{length}"]
    if trace.window:
        lines.append(f"window: {trace.window}")
    if model := report.model:
        size = f"{model.params / 1e9:.2f} B" if model.params >= 1e8 else f"{model.params / 1e6:.2f} M"
        lines.append(f"{model.name} · {size} parameters · {model.dtype} · {_CHECKED[model.label]}")
        if model.not_counted:
            lines[-1] += f" · not counted: {', '.join(model.not_counted)}"
    return lines


def _recorder(trace: TraceInfo) -> str:
    """What recorded the trace; which nsys, and which exported it where that is another or all that is known."""
    if trace.recorder != "nsys":
        return trace.recorder
    recorder, exporter = trace.recorder_version, trace.exporter_version
    if recorder is None:
        return f"exported by nsys {exporter}" if exporter else "nsys of unknown version"
    is_same = exporter is None or recorder.split(".")[:3] == exporter.split(".")[:3]
    return f"nsys {recorder}" + ("" if is_same else f", exported by {exporter}")


def _title(path: PurePath) -> str:
    """Name the trace; one in a run directory as it was given, for its own name says nothing."""
    if not path.name.startswith(("trace.", "trace-rank")):
        return path.name
    return f"{path.parent.name}/{path.name}" if path.is_absolute() else str(path)


def has_work_outside(report: Report) -> bool:
    """Whether some GPU work is in no phase."""
    rest = report.unattributed
    return bool(rest.kernel_count or rest.memop_count or rest.graph_launch_count)


def outside_line(report: Report) -> str:
    """Why the work in no phase is in none, the reason that took longest first."""
    reasons = sorted(report.unattributed.reasons.items(), key=lambda item: -item[1]["time_ns"])
    texts = [
        f"{numbers['count']:,} {_reason(report, reason)} ({milliseconds(numbers['time_ns'])} ms)"
        for reason, numbers in reasons
    ]
    return f"GPU operations in no phase: {', '.join(texts)}"


def _reason(report: Report, reason: str) -> str:
    if reason == "no_range" and (is_inferred(report) or any(one.code == "no_nvtx" for one in report.findings)):
        reason = "no_span"
    return _REASONS.get(reason, reason)


def is_inferred(report: Report) -> bool:
    """Whether all of its phases were inferred from the launches, so that no range is one."""
    return bool(report.phases) and all(phase.source == "inferred" for phase in report.phases)


def partly_line(phase: Phase) -> str | None:
    """Which occurrences tokens, FLOPs and utilization are of, where that is not all of them."""
    if not phase.is_partly_measured:
        return None
    wall, busy = milliseconds(phase.measured_wall_ns), milliseconds(phase.measured_busy_ns)
    return (
        f"tokens, TFLOP, MFU and MBU: only the {phase.measured_occurrences:,} of {phase.counted_occurrences:,} "
        f"occurrences of known shape, no phase inside ({wall} ms wall, {busy} ms busy)"
    )


#: Which experts the weights in MBU are of.
_SIGNS = {
    Bound.least: "at least: a part of the model is not counted",
    Bound.most: "at most: what is counted may be more than had to run, as padding is; the findings say what",
    Bound.neither: "neither at least nor at most: a part of the model is not counted, and what is may be too much",
}
_ROUTING = {
    "counted": " of the experts that the trace says were chosen",
    "partly counted": " of the experts that the trace says were chosen, else of as many as uniform routing would",
    "uniform": " of as many experts as uniform routing would choose",
}


def legend(report: Report) -> list[tuple[str, str]]:
    """What the columns mean, and what utilization is measured against: label and sentence."""
    threads = ", added up over threads" if any(phase.thread_count > 1 for phase in report.phases) else ""
    gpus = ", added up over GPUs" if any(len(_gpus(phase)) > 1 for phase in report.phases) else ""
    spans, span = ("occurrences", "an occurrence") if is_inferred(report) else ("ranges", "a range")
    lines = [
        (
            "time",
            f"wall: host time inside the phase's {spans}{threads}; busy: union of its GPU work{gpus}; "
            f"busy %: share of the time in which {span} is open; Σ: sum of durations",
        )
    ]
    if any(phase.outlives_ranges for phase in report.phases):
        closed = "its phase has ended" if is_inferred(report) else "its range is closed"
        lines.append(("busy %", f"{OVER_100}: GPU work goes on after {closed}, so that it has no share"))
    if beside := [
        f"{share:.0%} of the busy time of {phase.name}"
        for phase in report.phases
        if (share := _kernels_of_busy(phase)) > 1.01
    ]:
        lines.append(("ms", f"kernels that run at the same time count each: their sum is {', '.join(beside)}"))
    if report.totals.graph_launch_count:
        lines.append(("kernels", "+Ng: N CUDA graphs recorded as a whole"))
    if report.phases:
        attention = report.model.convention["attention"] if report.model else "exact"
        lines.append(("MFU", f"model FLOPs utilization: model FLOPs ({attention} attention) / dense peak / time"))
        if any(phase.flops is None and phase.flops_min is not None for phase in report.phases):
            lines.append(
                ("≥, a–b", "requests of unknown lengths: attention has at least and at most what their tokens allow")
            )
        signs = {phase.sign for phase in report.phases} | {rank.sign for rank in report.ranks}
        if report.training:
            signs.add(report.training.sign)
        lines += [(sign.value, says) for sign, says in _SIGNS.items() if sign in signs]
        routing = _ROUTING.get(report.model.routing or "", "") if report.model else ""
        lines.append(
            ("MBU", f"memory bandwidth utilization: (weights{routing} + KV cache) bytes / peak bandwidth / time")
        )
    if report.operators:
        executed = "what kernels compute beyond them (whole tiles, latents expanded again) is not in it"
        lines.append(("TFLOP/s", f"model FLOPs of the operator / kernel time; GB/s: its minimum bytes; {executed}"))
    return lines + [("peak", text) for text in _peaks(report)]


def _kernels_of_busy(phase: Phase) -> float:
    """Kernel time as the table of kernels sums it, divided by busy time: above 1 if kernels overlap."""
    return (phase.kernel_time_ns + phase.graph_time_ns) / phase.gpu_busy_ns if phase.gpu_busy_ns else 0


def _gpus(phase: Phase) -> set[int | None]:
    return {device.device_id for device in phase.devices}


def _peaks(report: Report) -> list[str]:
    """Peaks that utilization was divided by, for each kind of GPU, with their source."""
    lines = []
    model = report.model
    dtypes = (model.products or [model.dtype]) if model else []
    devices = {device.name: device for device in report.trace.devices}.values()
    for device in devices:
        if device.peaks_flops_per_s and model:
            bandwidth = device.peak_bandwidth_bytes_per_s
            rates = [
                f"{device.peaks_flops_per_s[dtype] / 1e12:,.1f} TFLOP/s {dtype}"
                if device.peaks_flops_per_s.get(dtype)
                else f"no peak known for {dtype}"
                for dtype in dtypes
            ]
            rates += [f"{bandwidth / 1e9:,.0f} GB/s"] if bandwidth else []
            lines.append(f"{device.name}: {', '.join(rates)} ({device.peaks_source})")
    weighted = [
        f"{phase.name} {phase.peak_flops_per_s / 1e12:,.1f}" for phase in report.phases if phase.peak_flops_per_s
    ]
    if lines and weighted and len(dtypes) > 1:
        lines.append(f"TFLOP/s that MFU is of, each product at the peak of its dtype: {', '.join(weighted)}")
    return lines
