"""What `--verify` found, in words that every human-readable rendering shares."""

from __future__ import annotations

from nsys_pipeline.records import NsysDifference, NsysPhase, Verification
from nsys_pipeline.report.numbers import count, milliseconds

MAX_DIFFERENCES = 20
REASONS = {
    "other_thread": "launched by a thread without the range, where nsys does not look",
    "call_outlives_range": "whose launching call returned after the range was closed: nsys wants the whole call inside",
    "ended_on_another_thread": "in ranges that another thread ended, which nsys leaves out",
    "unclosed_range": "in ranges without a recorded end, which nsys extends to the last event",
    "inner_phase": "of phases inside it, which nsys counts for both",
    "unexplained": "for no known reason",
    "ambiguous_correlation": "nsys links kernels of correlation id 0, and of a pid used twice, to other calls too",
    "calls_recorded_twice": "the calls were recorded twice (--cudabacktrace), and nsys adds the kernels up twice",
}


def verification_lines(verification: Verification) -> list[str]:
    """A headline, then one line for each thing that is not the same."""
    compared = " and ".join(f"{rows:,} of {report}" for report, rows in verification.rows.items())
    differing = len(verification.differences)
    verdict = "all equal by nsys' definitions" if not differing else f"{differing:,} differ"
    lines = [f"compared with nsys stats {verification.nsys_version}: rows {compared}; {verdict}"]
    lines += [_difference_line(difference) for difference in verification.differences[:MAX_DIFFERENCES]]
    if differing > MAX_DIFFERENCES:
        lines.append(f"… and {differing - MAX_DIFFERENCES:,} more: see --format json")
    for phase in verification.phases:
        lines += _phase_lines(phase)
    return lines


def _difference_line(difference: NsysDifference) -> str:
    nsys = _numbers(difference.nsys_count, difference.nsys_time_ns)
    ours = _numbers(difference.kernel_count, difference.kernel_time_ns)
    reason = REASONS[difference.reason] if difference.reason else "unexplained"
    return f"{difference.report}, {difference.row}: nsys {nsys}, llmperf {ours}: {reason}"


def _numbers(kernels: int | None, time_ns: int | None) -> str:
    return "no row" if kernels is None else f"{count(kernels)} kernels, {time_ns:,} ns"


def _phase_lines(phase: NsysPhase) -> list[str]:
    lines = []
    if phase.reasons:
        parts = [
            f"{count(kernels)} kernels, {milliseconds(time_ns)} ms, {REASONS[reason]}"
            for reason, (kernels, time_ns) in phase.reasons.items()
        ]
        lines.append(
            f"{phase.phase}: {count(phase.kernel_count)} kernels here, {count(phase.nsys_kernel_count)} "
            f"in nsys' ranges; {'; '.join(parts)}"
        )
    if phase.graph_launch_count:
        lines.append(
            f"{phase.phase}: {count(phase.graph_launch_count)} CUDA graphs recorded as a whole "
            "are in no kernel report of nsys"
        )
    return lines
