"""From a report to its document. A section is a function of the report; SECTIONS lists them in the order of reading."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import attrs

from nsys_pipeline import markers
from nsys_pipeline.records import Detail, Finding, Phase, Report, ServedSummary, ShapeRow
from nsys_pipeline.report.baseline import baseline_section
from nsys_pipeline.report.bounded import bounded
from nsys_pipeline.report.budget import buckets_section, budget_section
from nsys_pipeline.report.charts import counters_section, latency_section, roofline_section, steps_section
from nsys_pipeline.report.collectives import collectives_section
from nsys_pipeline.report.counters import measured_section
from nsys_pipeline.report.document import (
    BLANK,
    Column,
    Depth,
    Document,
    Message,
    Note,
    Notes,
    Section,
    Table,
    TimelineFigure,
    Tone,
    Value,
)
from nsys_pipeline.report.glossary import environment_section, glossary_section
from nsys_pipeline.report.host import host_section
from nsys_pipeline.report.numbers import UNKNOWN, count, milliseconds, prefixed
from nsys_pipeline.report.phrases import (
    OUTSIDE,
    OVER_100,
    has_work_outside,
    legend,
    outside_line,
    partly_line,
    title_lines,
)
from nsys_pipeline.report.ranks import ranks_section
from nsys_pipeline.report.stages import repeats_section, stages_section, tree_section
from nsys_pipeline.report.training import training_section
from nsys_pipeline.report.verification import verification_lines


def report_document(report: Report, detail: Detail | None = None) -> Document:
    """Everything that people are shown of `report`, and of `detail` where the format has room for it."""
    title, *subtitles = title_lines(report)
    found = [make(report) for make in SECTIONS]
    if detail:
        found += [make(detail) for make in PAGE_SECTIONS]
    return Document(title, tuple(subtitles), tuple(section for section in found if section))


# More shapes than these are named by their number.
_NAMED_SHAPES = 4


def _verdict(report: Report) -> Section | None:
    notes = [
        _bound(phase.name, phase.bound, "; ".join([phase.bound_detail, *_other_verdicts(phase)]))
        for phase in report.phases
        if phase.bound_detail
    ]
    rest = report.unattributed
    if not report.phases and rest.bound_detail:
        notes.append(_bound(OUTSIDE, rest.bound, rest.bound_detail))
    return Section("verdict", (Notes(notes),)) if notes else None


def _bound(name: str, bound: str | None, detail: str) -> Note:
    if bound is None:
        return Note(name, detail, lead="bound unknown", lead_tone=Tone.quiet)
    return Note(name, detail, lead=bound)


def _other_verdicts(phase: Phase) -> list[str]:
    """The shapes of a phase that something else bounds than the phase."""
    shapes: dict[str, list[str]] = {}
    for row in phase.shapes:
        if row.bound and row.bound != phase.bound:
            shapes.setdefault(row.bound, []).append(row.shape)
    found = []
    for bound, names in shapes.items():
        more = len(names) - _NAMED_SHAPES
        found.append(f"{bound} in {', '.join(names[:_NAMED_SHAPES])}{f' and {more} more' if more > 0 else ''}")
    return found


def _phases(report: Report) -> Section:
    # Warm-up that is a phase itself has nothing to leave out: it is in the row of all warm-up.
    rows = [_PhaseRow.measured(phase) for phase in report.phases if phase.name != markers.WARMUP]
    if any(phase.warmup_occurrences for phase in report.phases):
        rows.append(_PhaseRow.warmup(report.phases))
    if any(phase.cold_occurrences for phase in report.phases):
        rows.append(_PhaseRow.cold(report.phases))
    if has_work_outside(report):
        rows.append(_PhaseRow.outside(report))
    busy = Column.amount("busy\nms", [row.busy_ns for row in rows], "ms")
    # Work in no phase has no ranges whose union could be taken: its time is a sum of durations.
    sums = [f"Σ {cell}" if row.label == OUTSIDE else cell for row, cell in zip(rows, busy.cells, strict=True)]
    share = Column.percent("busy\n%", [row.of_phase("busy_share") for row in rows])
    shares = [
        OVER_100 if row.phase and row.phase.outlives_ranges else cell
        for row, cell in zip(rows, share.cells, strict=True)
    ]
    kernels = Column.count("kernels", [row.kernels for row in rows])
    graphs = [f"{cell}+{row.graphs:,}g" if row.graphs else cell for row, cell in zip(rows, kernels.cells, strict=True)]
    tokens = [
        Column.count("tokens", [row.of_phase("tokens") for row in rows]).signed(
            row.phase.tokens_sign if row.phase else None for row in rows
        )
    ]
    is_partly = any(phase.is_partly_measured for phase in report.phases)
    if is_partly:
        # What follows is of these occurrences only.
        tokens.insert(0, Column.count("with\nshape", [row.of_phase("measured_occurrences") for row in rows]))
    columns = [
        Column.text("phase", [row.label for row in rows]),
        Column.count("n", [row.occurrences for row in rows]),
        *([] if is_partly else tokens),
        Column.amount("wall\nms", [row.wall_ns for row in rows], "ms"),
        attrs.evolve(busy, cells=sums),
        attrs.evolve(share, cells=shares),
        attrs.evolve(kernels, cells=graphs),
        *(tokens if is_partly else []),
        _between(rows, "flops", lambda values: Column.amount("TFLOP", values, "TFLOP")),
        # A decode step's MFU is far below one percent, and its digits matter.
        _between(rows, "mfu_wall", lambda values: Column.percent("MFU\nwall %", values, most=2)),
        _between(rows, "mfu_busy", lambda values: Column.percent("MFU\nbusy %", values, most=2)),
        _between(rows, "mbu_busy", lambda values: Column.percent("MBU\nbusy %", values, most=2)),
    ]
    notes = [Note(phase.name, f"inferred: {phase.evidence}") for phase in report.phases if phase.evidence]
    notes += [Note(phase.name, line) for phase in report.phases if (line := partly_line(phase))]
    ranks = max((phase.sharing_ranks or 1 for phase in report.phases), default=1)
    if ranks > 1:
        # Sums of n ranges, their wall and busy time and their kernels are over ranks.
        notes.append(
            Note(
                "n",
                f"{ranks:,} ranks share each pass: each has a range of its own, and tokens count once",
                tone=Tone.quiet,
            )
        )
    if has_work_outside(report):
        notes.append(Note(OUTSIDE, outside_line(report), tone=Tone.quiet))
    table = Table(columns, frozenset(index for index, row in enumerate(rows) if row.phase is None))
    return Section("phases", (table, *([Notes(notes)] if notes else [])), title="phases, warm-up left out")


def _between(rows: Sequence[_PhaseRow], name: str, make: Callable[[list[Value]], Column]) -> Column:
    """A column of numbers, or of their bounds if lengths of requests or parts of the model are not counted."""
    exact, least, most = ([row.of_phase(name + end) for row in rows] for end in ("", "_min", "_max"))
    return bounded(exact, least, most, make, [row.phase.sign if row.phase else None for row in rows])


@attrs.frozen(kw_only=True)
class _PhaseRow:
    """One row of the table of phases; what does not apply to it is left blank."""

    label: str
    occurrences: int | Value = BLANK
    wall_ns: int | Value = BLANK
    busy_ns: int | None
    kernels: int
    graphs: int
    phase: Phase | None = None

    @classmethod
    def measured(cls, phase: Phase) -> _PhaseRow:
        """A phase without its warm-up and cold occurrences."""
        return cls(
            label=phase.name,
            occurrences=phase.counted_occurrences,
            wall_ns=phase.counted_wall_ns,
            busy_ns=phase.counted_busy_ns or None,
            kernels=phase.kernel_count - phase.warmup_kernel_count - phase.cold_kernel_count,
            graphs=phase.graph_launch_count - phase.warmup_graph_count - phase.cold_graph_count,
            phase=phase,
        )

    @classmethod
    def warmup(cls, phases: Sequence[Phase]) -> _PhaseRow:
        """What the phases leave out."""
        return cls(
            label="warm-up",
            occurrences=sum(phase.warmup_occurrences for phase in phases),
            wall_ns=sum(phase.warmup_wall_ns for phase in phases),
            busy_ns=sum(phase.warmup_busy_ns for phase in phases) or None,
            kernels=sum(phase.warmup_kernel_count for phase in phases),
            graphs=sum(phase.warmup_graph_count for phase in phases),
        )

    @classmethod
    def cold(cls, phases: Sequence[Phase]) -> _PhaseRow:
        """What they leave out because it is cold."""
        return cls(
            label="cold",
            occurrences=sum(phase.cold_occurrences for phase in phases),
            wall_ns=sum(phase.cold_wall_ns for phase in phases),
            busy_ns=sum(phase.cold_busy_ns for phase in phases) or None,
            kernels=sum(phase.cold_kernel_count for phase in phases),
            graphs=sum(phase.cold_graph_count for phase in phases),
        )

    @classmethod
    def outside(cls, report: Report) -> _PhaseRow:
        """Work in no phase."""
        rest = report.unattributed
        return cls(
            label=OUTSIDE,
            busy_ns=rest.kernel_time_ns + rest.memop_time_ns + rest.graph_time_ns,
            kernels=rest.kernel_count,
            graphs=rest.graph_launch_count,
        )

    def of_phase(self, attribute: str) -> Value:
        """A number of the phase; blank in a row that is no phase."""
        value: Value = BLANK if self.phase is None else getattr(self.phase, attribute)
        return value


def _products(report: Report) -> Section | None:
    """What is exact of phases whose FLOPs are not: a range of the sum alone would look as if nothing were."""
    phases = [
        phase
        for phase in report.phases
        if phase.flops is None and phase.flops_min is not None and phase.product_flops is not None
    ]
    if not phases:
        return None
    attention = bounded(
        [None] * len(phases),
        [phase.attention_flops_min for phase in phases],
        [phase.attention_flops_max for phase in phases],
        lambda values: Column.amount("attention TFLOP", values, "TFLOP"),
        [None] * len(phases),
    )
    columns = [
        Column.text("phase", [phase.name for phase in phases]),
        Column.count("tokens", [phase.tokens for phase in phases]).signed(phase.tokens_sign for phase in phases),
        Column.amount("products TFLOP", [phase.product_flops for phase in phases], "TFLOP"),
        attention,
    ]
    title = "FLOPs apart: products with weights are exact, attention depends on lengths that nobody tells"
    return Section("products and attention", (Table(columns),), title=title)


# Shapes of a phase that are shown, those that took most time: a server has hundreds.
_TOP_SHAPES = 12


def _shapes(report: Report) -> Section | None:
    if not any(len(phase.shapes) > 1 for phase in report.phases):
        return None
    shown = {phase.name: _top_shapes(phase) for phase in report.phases}
    rows = [row for phase in report.phases for row in shown[phase.name]]

    def between(name: str, make: Callable[[list[Value]], Column]) -> Column:
        exact, least, most = ([getattr(row, name + end) for row in rows] for end in ("", "_min", "_max"))
        return bounded(exact, least, most, make, [row.sign for row in rows])

    columns = [
        Column.text("phase", [phase.name for phase in report.phases for _ in shown[phase.name]], is_grouped=True),
        Column.text("shape", [row.shape for row in rows]),
        Column.count("n", [row.occurrences for row in rows]),
        Column.amount("wall\nms", [row.wall_ns for row in rows], "ms"),
        Column.amount("busy\nms", [row.gpu_busy_ns for row in rows], "ms"),
        between("flops", lambda values: Column.amount("TFLOP", values, "TFLOP")),
        between("bytes", lambda values: Column.amount("GB", values, "GB")),
        between("mfu_busy", lambda values: Column.percent("MFU\nbusy %", values, most=2)),
        between("mbu_busy", lambda values: Column.percent("MBU\nbusy %", values, most=2)),
        Column.text("bound", [row.bound or UNKNOWN for row in rows]),
    ]
    notes = []
    for phase in report.phases:
        left = [row for row in phase.shapes if row not in shown[phase.name]]
        if left:
            spent = milliseconds(sum(row.wall_ns for row in left))
            text = f"and {count(len(left))} more shapes, {spent} ms of wall time in all: view `shape_summary` has them"
            notes.append(Note(phase.name, text, tone=Tone.quiet))
    title = "by shape: batch × new tokens per sequence, warm-up left out"
    return Section("by shape", (Table(columns), *([Notes(notes)] if notes else [])), title=title, depth=Depth.detail)


def _top_shapes(phase: Phase) -> list[ShapeRow]:
    """The shapes that took most wall time, in their order; one that would be left out alone is not."""
    if len(phase.shapes) <= _TOP_SHAPES + 1:
        return phase.shapes
    longest = sorted(phase.shapes, key=lambda row: (-row.wall_ns, row.shape))[:_TOP_SHAPES]
    return [row for row in phase.shapes if row in longest]


def _operators(report: Report) -> Section | None:
    rows = report.operators
    if not rows:
        return None
    of_phases = {phase.name: phase.operators_sign for phase in report.phases}
    signs = [of_phases.get(row.phase) for row in rows]
    columns = [
        Column.text("phase", [row.phase for row in rows], is_grouped=True),
        Column.text("shape", [row.shape for row in rows]),
        Column.text("operator", [row.operator for row in rows]),
        Column.count("kernels", [row.kernel_count for row in rows]),
        Column.amount("ms", [row.time_ns for row in rows], "ms"),
        Column.amount("TFLOP/s", [row.flops_per_s for row in rows], "TFLOP/s").signed(signs),
        Column.amount("GB/s", [row.bytes_per_s for row in rows], "GB/s").signed(signs),
        Column.percent("roofline %", [row.roofline_ratio for row in rows]).signed(signs),
    ]
    title = "operators of marked layers, warm-up left out; roofline: speed of light / kernel time"
    return Section("operators", (Table(columns),), title=title, depth=Depth.detail)


def _torch_operators(report: Report) -> Section | None:
    rows = report.torch_operators
    if not rows:
        return None
    columns = [
        Column.text("phase", [row.phase or OUTSIDE for row in rows], is_grouped=True),
        *([Column.text("module", [row.module or UNKNOWN for row in rows])] if any(row.module for row in rows) else []),
        Column.name("operator", [row.operator for row in rows]),
        *([Column.name("shapes", [row.shapes or UNKNOWN for row in rows])] if any(row.shapes for row in rows) else []),
        Column.count("calls", [row.calls for row in rows]),
        Column.amount("host\nms", [row.host_time_ns for row in rows], "ms", is_optional=True),
        Column.amount("host own\nms", [row.host_self_ns for row in rows], "ms"),
    ]
    title = "torch's operators, warm-up left out; own: without the operators inside"
    if any(row.gpu_time_ns for row in rows):
        title += "; share of the GPU time of the phase's operators"
        columns += [
            Column.amount("GPU\nms", [row.gpu_time_ns for row in rows], "ms", is_optional=True),
            Column.amount("GPU own\nms", [row.gpu_self_ns for row in rows], "ms"),
            Column.percent("share\n%", [row.gpu_self_ratio for row in rows]),
            Column.amount("TFLOP/s", [row.flops_per_s for row in rows], "TFLOP/s", is_optional=True),
            Column.percent("roofline\n%", [row.roofline_ratio for row in rows]),
        ]
    return Section("torch operators", (Table(columns),), title=title, depth=Depth.detail)


def _requests(report: Report) -> Section | None:
    rows, served = report.requests, _served_notes(report.served) if report.served else []
    if not rows:
        return Section("requests", (Notes(served),), title="requests, warm-up left out") if served else None
    columns = [
        Column.text("shape", [row.shape or UNKNOWN for row in rows]),
        Column.count("n", [row.requests for row in rows]),
    ]
    for name in ("ttft", "tpot"):
        for rank in (50, 90, 99):
            values = [getattr(row, f"{name}_p{rank}_ns") for row in rows]
            # Too few requests for a percentile: no column of dashes.
            if rank == 50 or any(value is not None for value in values):
                columns.append(Column.amount(f"{name.upper()} p{rank}", values, "ms"))
            spread = [getattr(row, f"{name}_sd_ns") for row in rows]
            if rank == 50 and any(value is not None for value in spread):
                columns.append(Column.amount("±", spread, "ms"))
    title = "requests, warm-up left out: time to first token and time per output token, ms"
    if any(column.heading == "±" for column in columns):
        title += "; ±: standard deviation"
    if any(row.shape == "served" for row in rows):
        title += "; served: cold steps counted"
    return Section("requests", (Table(columns), *([Notes(served)] if served else [])), title=title, depth=Depth.detail)


def _served_notes(served: ServedSummary) -> list[Note]:
    """Throughput of an engine, what its prefix cache and its guesses saved, and the load's clock beside the trace's."""
    notes = []
    span = prefixed(served.span_ns, "ns")
    if served.new_tokens_per_s is not None and served.requests_per_s is not None:
        text = f"{count(served.requests)} requests in {span}, from the first arrival or step to the last token"
        # Models that embed, classify or score generate nothing.
        rates = [f"{_rate(served.new_tokens_per_s)} new tokens/s"] if served.new_tokens else []
        rates.append(f"{_rate(served.requests_per_s)} requests/s")
        if served.prompt_tokens_per_s is not None:
            rates.append(f"{_rate(served.prompt_tokens_per_s)} tokens/s of prompts computed")
        notes.append(Note("served", f"{text}: {', '.join(rates)}"))
        if served.may_count_discarded:
            ahead = "an engine that schedules ahead may run one step more for a request that ends before its limit"
            notes.append(
                Note(
                    "",
                    f"{ahead} (SGLang: for any): its token, which nobody gets, is among the new tokens",
                    tone=Tone.quiet,
                )
            )
    notes += _notes_of_requests(served)
    if served.prompt_tokens and served.reused_tokens is not None:
        found = f"{count(served.reused_tokens)} of {count(served.prompt_tokens)} prompt tokens"
        share = f"{served.reused_tokens / served.prompt_tokens:.1%}"
        others = "the others"
        if served.computed_tokens is not None and served.computed_tokens < served.prompt_tokens - served.reused_tokens:
            others = f"{count(served.computed_tokens)} were computed, which"
        text = f"{found} ({share}) were found in the cache; {others} took {count(served.prefill_steps)} chunks"
        notes.append(Note("cached", text))
    if served.judged_tokens:
        found = f"{count(served.accepted_tokens)} of {count(served.judged_tokens)} guessed tokens"
        notes.append(Note("guesses", f"{found} ({served.accepted_tokens / served.judged_tokens:.1%}) were right"))
    if unknown := served.draft_tokens - served.judged_tokens:
        text = "in the last steps of requests: which were right is unknown, and none is a new token"
        label = "" if served.judged_tokens else "guesses"
        notes.append(Note(label, f"{count(unknown)} more, {text}", tone=Tone.quiet))
    if served.preemptions:
        notes.append(Note("preempted", f"{count(served.preemptions)} times, and computed again"))
    if served.load_ns and served.span_ns:
        text = f"the load ran {prefixed(served.load_ns, 'ns')} by its own clock, and the trace has requests for {span}"
        rest = "the difference is the load's start and end, and the way to the server and back"
        if served.load_ns < served.span_ns:
            others = "requests that the load did not wait for, or those of others,"
            rest = f"{others} are in the trace, and all rates include them"
        notes.append(Note("clocks", f"{text}: {rest}", tone=Tone.quiet))
    return notes


def _notes_of_requests(served: ServedSummary) -> list[Note]:
    """How long they took where no token was generated, how many were good, and how many had a cold step."""
    notes = []
    if not served.new_tokens and served.latency_p50_ns is not None:
        latency = f"p50 {prefixed(served.latency_p50_ns, 'ns')}"
        if served.latency_p90_ns is not None:
            latency += f", p90 {prefixed(served.latency_p90_ns, 'ns')}"
        notes.append(Note("latency", f"{latency}, from arrival to the result: no token was generated"))
    if served.good_requests is not None and served.goodput_per_s is not None:
        good = f"{count(served.good_requests)} requests within the limits of --goodput"
        notes.append(Note("goodput", f"{_rate(served.goodput_per_s)} requests/s: {good}"))
    if served.given_up_requests:
        who = f"{count(served.given_up_requests)} of {count(served.requests)} requests"
        whose = "by their client, or by the server at a stop string: what was made until then counts, also behind it"
        also = ", and they may be good" if served.good_requests is not None else ""
        notes.append(Note("ended", f"{who} were ended {whose}{also}", tone=Tone.quiet))
    if served.cold_requests:
        who = f"{count(served.cold_requests)} of {count(served.requests)} requests"
        notes.append(
            Note(
                "cold", f"{who} had a step that the phases leave out as cold; they count here, as their clients waited"
            )
        )
    return notes


def _rate(per_s: float) -> str:
    return f"{per_s:.3g}" if per_s < 100 else f"{per_s:,.0f}"


def _kernels(report: Report) -> Section | None:
    rows = [row for row in report.kernels if row.measured_count]
    if not rows:
        return None
    columns = [
        Column.text("phase", [row.phase or OUTSIDE for row in rows], is_grouped=True),
        Column.name("kernel", [row.name or UNKNOWN for row in rows]),
        Column.text("family", [row.family for row in rows]),
        Column.count("n", [row.measured_count for row in rows]),
        Column.amount("ms", [row.measured_time_ns for row in rows], "ms"),
        Column.percent("%", [row.share for row in rows]),
    ]
    title = "top kernels, warm-up left out, with their share of the phase's kernel time"
    return Section("top kernels", (Table(columns),), title=title, depth=Depth.detail)


def _reading(report: Report) -> Section:
    """What the columns mean, and whether everything adds up."""
    notes = [Note(label, text, tone=Tone.quiet) for label, text in legend(report)]
    failed = [check for check in report.checks if not check.passed]
    for check in failed:
        notes.append(Note("checks", check.detail, lead=f"{check.name} failed", lead_tone=Tone.bad))
    if not failed:
        detail = next((check.detail for check in report.checks if check.name == "conservation.kernels"), "")
        lead = f"all {len(report.checks)} passed"
        notes.append(Note("checks", detail, lead=lead, lead_tone=Tone.good, tone=Tone.quiet))
    return Section("how to read this", (Notes(notes),), depth=Depth.detail)


def _checks(report: Report) -> Section:
    columns = [
        Column.text("check", [check.name for check in report.checks]),
        Column.text("passed", ["yes" if check.passed else "no" for check in report.checks]),
        Column.text("detail", [check.detail for check in report.checks]),
    ]
    failed = sum(not check.passed for check in report.checks)
    title = f"checks: {count(failed)} failed" if failed else f"checks: all {len(report.checks)} passed"
    return Section("checks", (Table(columns),), title=title, depth=Depth.appendix)


def _verification(report: Report) -> Section | None:
    if not report.verification:
        return None
    lines = verification_lines(report.verification)
    notes = [Note("" if index else "verify", line) for index, line in enumerate(lines)]
    return Section("nsys stats", (Notes(notes),), depth=Depth.detail)


# What a reader can do next. The others are among the findings.
_FIRST_CAUSES = 3


def _worth_doing(report: Report) -> Section | None:
    """The causes whose cure would save most, right under the budget that they are part of."""
    causes = report.causes[:_FIRST_CAUSES]
    notes = []
    for index, cause in enumerate(causes):
        share = report.share_at_stake(cause)
        saved = f"at most {milliseconds(cause.at_stake_ns)} ms"
        lead = saved if share is None else f"{saved}, {share:.0%} of {cause.phase or OUTSIDE}"
        notes.append(Note(f"{index + 1}.", cause.message, lead=lead))
        # One cure may be that of several phases: it is told once, after the last of them.
        if cause.hint and cause.hint not in {other.hint for other in causes[index + 1 :]}:
            notes.append(Note("", cause.hint, tone=Tone.quiet))
    if any(_share_time(one, other) for one, other in combinations(causes, 2)):
        notes.append(Note("", "those of one phase may share time: their values need not add up", tone=Tone.quiet))
    title = "worth doing: the measured GPU time that each would save at most"
    return Section("worth doing", (Notes(notes),), title=title) if notes else None


def _share_time(one: Finding, other: Finding) -> bool:
    """Whether some time may be in the values of both."""
    parts = [set((cause.budget_part or "").split("+")) for cause in (one, other)]
    return one.phase == other.phase and not parts[0].isdisjoint(parts[1])


def _findings(report: Report) -> Section | None:
    first = report.causes[:_FIRST_CAUSES]
    messages = [
        Message(finding.severity, finding.message, finding.hint) for finding in report.findings if finding not in first
    ]
    return Section("findings", messages) if messages else None


def _timeline(detail: Detail) -> Section | None:
    if detail.timeline is None:
        return None
    timeline = detail.timeline
    title = f"timeline: {count(timeline.operation_count)} phases, ranges, host calls and GPU operations"
    return Section("timeline", (TimelineFigure(timeline),), title=title, depth=Depth.page)


#: A section more is a function more, and its name here.
SECTIONS: tuple[Callable[[Report], Section | None], ...] = (
    _verdict,
    budget_section,
    buckets_section,
    _worth_doing,
    _phases,
    _products,
    measured_section,
    tree_section,
    host_section,
    baseline_section,
    training_section,
    ranks_section,
    collectives_section,
    _shapes,
    _operators,
    _torch_operators,
    stages_section,
    _requests,
    repeats_section,
    _kernels,
    _reading,
    _checks,
    _verification,
    _findings,
    roofline_section,
    glossary_section,
)

#: The same of what only a page shows.
PAGE_SECTIONS: tuple[Callable[[Detail], Section | None], ...] = (
    _timeline,
    steps_section,
    latency_section,
    counters_section,
    environment_section,
)
