"""The time budget of each phase (Contract 6) as a fall from the measured time to the speed of light."""

from __future__ import annotations

from collections.abc import Mapping

from nsys_pipeline.records import Bound, Budget, Phase, Report
from nsys_pipeline.report.document import Bar, Bars, Column, Section, Table
from nsys_pipeline.report.numbers import amounts, percentages, prefixed, signed
from nsys_pipeline.report.phrases import OUTSIDE

#: Class of the budget → what it is called and what the GPU, or the host, does in it. In the order of the fall.
CLASSES = {
    "host": ("host code", "the GPU is idle, and the host is outside every CUDA call"),
    "launch": ("launch calls", "the GPU is idle, and the host is inside a launching call"),
    "latency": (
        "launch latency",
        "the GPU is idle; the launch has returned, and its work, or the next node of its CUDA graph, has not started",
    ),
    "sync": ("synchronization", "the GPU is idle, and the host is inside a synchronizing call"),
    "api": ("other CUDA calls", "the GPU is idle, and the host is inside another CUDA call"),
    "copy": ("copies", "the GPU only copies or fills memory"),
    "transfer": ("communication", "the GPU only communicates with another GPU"),
    "wait": ("waiting for ranks", "the GPU waits in a collective for another rank"),
    "kernels": ("kernels above SOL", "kernel time above what the hardware needs at peak"),
    "sol": ("speed of light (SOL)", "what the hardware needs at peak rates"),
    "compute": ("kernels", "a kernel that does not communicate runs"),
}
_UNMATCHED = (
    "communication, waits",
    "the GPU only communicates with another GPU, or waits for it: partners are not known",
)
# A smaller share of a phase is not worth a line, and a smaller one of all measured time not worth a picture.
_LEAST_SHARE = 0.0005
_LEAST_OF_ALL = 0.005


def budget_parts(budget: Budget, sol_ns: float | None) -> dict[str, float]:
    """Class → ns, in the order of the fall. `compute` is split at the speed of light if that is known."""
    parts = {name: float(getattr(budget, f"{name}_ns", 0)) for name in CLASSES}
    if sol_ns is not None:
        sol = min(sol_ns, parts["compute"])
        parts |= {"kernels": parts["compute"] - sol, "sol": sol, "compute": 0.0}
    return parts


def budget_section(report: Report) -> Section | None:
    """Where the measured time of the GPUs went, phase by phase; None without a budget."""
    # Where partners of communication are not known, neither is what of it is waiting.
    unmatched = {one.phase for one in report.findings if one.code == "collectives_unmatched"}
    falls = [
        _fall(phase.name, budget_parts(phase.budget, _sol_of_gpus(phase)), phase.name in unmatched, phase.sign)
        for phase in report.phases
    ]
    falls.append(_fall(OUTSIDE, budget_parts(report.unattributed.budget, None), None in unmatched))
    least = _LEAST_OF_ALL * sum(fall.whole for fall in falls)
    blocks = [fall for fall in falls if fall.whole > least]
    title = "budget: measured time of the GPUs, from wall time down to the speed of light"
    return Section("budget", blocks, title=title) if blocks else None


def buckets_section(report: Report) -> Section | None:
    """What a trace without phases spent its time on as time goes on; None if it has phases, or is one bucket long."""
    rows = report.time_buckets
    if len(rows) < 2:
        return None
    width_ns = rows[0].end_ns - rows[0].start_ns
    # A tenth of the width can be told.
    decimals = max(0, 11 - len(str(width_ns)))
    columns = [
        Column.text("from s", [f"{row.start_ns / 1e9:.{decimals}f}" for row in rows]),
        Column.amount("GPU\nms", [row.budget.total_ns for row in rows], "ms"),
    ]
    whole = sum(row.budget.total_ns for row in rows)
    for name in CLASSES:
        spent = [float(getattr(row.budget, f"{name}_ns", 0)) for row in rows]
        if sum(spent) > _LEAST_SHARE * whole:
            shares = [ns / (row.budget.total_ns or 1) for ns, row in zip(spent, rows, strict=True)]
            columns.append(Column.percent(f"{name}\n%", shares))
    title = f"budget every {prefixed(width_ns, 'ns')}: shares of the time of the GPUs, seconds as in --from and --to"
    return Section("time buckets", (Table(columns),), title=title)


def _sol_of_gpus(phase: Phase) -> float | None:
    """Speed of light of all GPUs together, as the budget is; None if some occurrences have no known shape."""
    if phase.sol_ratio is None or phase.measured_busy_ns is None or phase.is_partly_measured:
        return None
    return phase.sol_ratio * phase.measured_busy_ns


def _fall(name: str, parts: Mapping[str, float], has_unmatched: bool, sol_sign: Bound | None = None) -> Bars:
    whole = sum(parts.values())
    shown = {key: ns for key, ns in parts.items() if ns > _LEAST_SHARE * whole}
    times, shares = amounts([whole, *shown.values()], "ms"), percentages([ns / whole for ns in shown.values()])
    # What is above the speed of light is at most so much, if that is at least what it is.
    signs = {"sol": sol_sign, "kernels": sol_sign and sol_sign.turned}
    left = whole
    bars = [Bar("whole", name, 0, whole, (times[0], "100.0"))]
    for (key, ns), time, share in zip(shown.items(), times[1:], shares, strict=True):
        left -= ns
        sign = signs.get(key)
        title, says = _UNMATCHED if key == "transfer" and has_unmatched else CLASSES[key]
        bars.append(Bar(key, title, max(0.0, left), ns, (signed(time, sign), signed(share, sign)), says))
    return Bars(name, ("ms", "%"), whole, bars)
