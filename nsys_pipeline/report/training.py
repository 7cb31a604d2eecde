"""Training steps: MFU and HFU of the job."""

from __future__ import annotations

from nsys_pipeline.records import Bound, Report, TrainingSummary
from nsys_pipeline.report.bounded import bounded
from nsys_pipeline.report.document import Column, Note, Notes, Section, Table, Tone


def training_section(report: Report) -> Section | None:
    """The steps of all ranks in one row; None without a whole step."""
    summary = report.training
    if summary is None:
        return None
    rate = summary.tokens_per_s_per_gpu
    tokens_sign = Bound.most if summary.is_tokens_upper_bound else None
    hfu_sign = Bound.of(is_lower=summary.is_lower_bound, is_upper=summary.is_hfu_upper_bound)
    columns = [
        Column.count("steps", [summary.steps]),
        Column.count("GPUs", [summary.device_count]),
        Column.count("tokens", [summary.tokens]).signed([tokens_sign]),
        Column.amount("median\nms", [summary.median_wall_ns], "ms"),
        Column.amount("before\nforward ms", [summary.median_input_wait_ns], "ms"),
        Column.count("tokens/s\nper GPU", [None if rate is None else round(rate)]).signed([tokens_sign]),
        Column.percent("MFU\nwall %", [summary.mfu_wall]).signed([summary.sign]),
        Column.percent("MFU\nbusy %", [summary.mfu_busy]).signed([summary.sign]),
        _utilization("HFU\nwall %", summary.hfu_wall, summary.hfu_wall_min, hfu_sign),
        _utilization("HFU\nbusy %", summary.hfu_busy, summary.hfu_busy_min, hfu_sign),
    ]
    notes = [
        Note(
            "MFU", "forward and backward of all tokens, nothing twice / dense peak / time of the steps", tone=Tone.quiet
        )
    ]
    if text := _again(summary):
        notes.append(Note("HFU", text, tone=Tone.quiet))
    left = f"; {summary.left_out:,} of warm-up, cold or incomplete left out" if summary.left_out else ""
    title = f"training steps, added up over ranks{left}"
    if summary.rank_count == 1:
        title = f"training steps{left}"
    return Section("training", (Table(columns), Notes(notes)), title=title)


def _utilization(heading: str, exact: float | None, least: float | None, sign: Bound | None) -> Column:
    """A column of what is known; of the least if nothing more is."""
    return bounded([exact], [least], [None], lambda values: Column.percent(heading, values), [sign])


def _again(summary: TrainingSummary) -> str | None:
    """What is run again."""
    if summary.flops is None:
        return None
    if summary.recomputed_flops == 0:
        return "no product of the forward is run again in the backward"
    known = summary.recomputed_flops if summary.recomputed_flops is not None else summary.recomputed_min_flops
    if known is None:
        return "not known: no kernel tells what checkpointing runs again"
    least = "at least " if summary.recomputed_flops is None else ""
    return f"checkpointing runs {least}{known / summary.flops:.1%} of the model FLOPs again"
