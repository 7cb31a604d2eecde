"""What a reader must know about the numbers of a trace before believing them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nsys_pipeline.analysis.recording import recording_notices
from nsys_pipeline.records import Notice, OperatorRow, Phase, Unattributed
from nsys_pipeline.trace.duck import create_from_rows, records, scalar

if TYPE_CHECKING:
    from nsys_pipeline.model import Conventions, Model
    from nsys_pipeline.trace import Trace


def create_notices(trace: Trace, notices: list[Notice]) -> None:
    """`input.notices`: what only Python can tell, as rows for the view `findings`."""
    types = {
        "code": "VARCHAR", "severity": "VARCHAR", "phase": "VARCHAR", "message": "VARCHAR", "hint": "VARCHAR",
        "at_stake_ns": "BIGINT",
    }  # fmt: skip
    rows = [(one.code, "warning", None, one.message, one.hint, None) for one in notices]
    create_from_rows(trace.connection, "input.notices", types, rows)
    trace.runner.built.add("input.notices")
    trace.runner.built.discard("findings._all")


def trace_notices(
    trace: Trace, phases: list[Phase], unattributed: Unattributed, model: Model | None, conventions: Conventions
) -> list[Notice]:
    """Notices about the trace itself, the most important first."""
    notices = [
        *recording_notices(trace),
        *_missing_phases(trace, phases),
        *_incomplete_work(trace),
        *_graphs(trace, phases, unattributed),
        *_estimates(phases, model),
        *_open_at_once(phases),
        *_parallel(trace, phases, model, conventions),
        *_rules(trace),
        *_version(trace),
    ]
    if outliving := [phase.name for phase in phases if phase.outlives_ranges]:
        names = ", ".join(outliving)
        notices.append(
            Notice(
                "work_outlives_range",
                f"the GPU is busy with {names} for longer than its ranges are open: launches run ahead of the GPU",
                "its wall time says nothing about the GPU: MFU and MBU are given for busy time only",
            )
        )
    return notices


def operator_notices(operators: list[OperatorRow]) -> list[Notice]:
    """Operators that are faster than the hardware allows, which only a wrong estimate can be."""
    impossible = [row for row in operators if row.roofline_ratio is not None and row.roofline_ratio > 1]
    if not impossible:
        return []
    worst = max(impossible, key=lambda row: row.roofline_ratio or 0)
    share = (worst.roofline_ratio or 0) * 100
    return [
        Notice(
            "faster_than_hardware",
            f"{len(impossible)} operators took less time than their estimate needs at peak, first of all "
            f"{worst.operator} of {worst.phase} {worst.shape}: {share:.0f}% of the roofline",
            "fewer bytes were read than estimated: routing chose fewer experts than uniform routing would, or the data "
            "was still in the L2 cache; another --model or --dtype would also explain it",
        )
    ]


def _open_at_once(phases: list[Phase]) -> list[Notice]:
    """Threads that share a GPU: their wall times are of the same time, and adding them up needs a word."""
    found = [
        phase for phase in phases
        if phase.elapsed_ns < phase.wall_ns and len({device.device_id for device in phase.devices}) < phase.thread_count
    ]  # fmt: skip
    if not found:
        return []
    times = ", ".join(
        f"{phase.name} has {phase.wall_ns / 1e6:,.1f} ms of wall in {phase.elapsed_ns / 1e6:,.1f} ms of elapsed time"
        for phase in found
    )
    who = "threads that share a GPU" if any(phase.devices for phase in found) else "several threads"
    return [
        Notice(
            "open_at_once",
            f"{who} have one phase open at once, and wall time adds them up: {times}",
            "MFU wall and MBU wall are of the sum; busy % is of the elapsed time",
        )
    ]


def _parallel(trace: Trace, phases: list[Phase], model: Model | None, conventions: Conventions) -> list[Notice]:
    """A model is on each GPU in whole, unless somebody says otherwise: doubtful where ranks talk inside a pass."""
    devices = {(device.process_id, device.device_id) for phase in phases for device in phase.devices}
    if model is None or conventions.tp * conventions.pp > 1 or len(devices) < 2:
        return []
    talking = scalar(
        trace.connection,
        "SELECT count(*) FROM views.kernel_summary WHERE family = 'communication' AND phase IN ('prefill', 'decode')",
    )
    if not talking or all(phase.flops is None for phase in phases):
        return []
    return [
        Notice(
            "parallel_degree_assumed",
            f"{len(devices)} ranks communicate inside their passes, and each is charged the whole model",
            "if they share one model, pass --tp: FLOPs and MFU are too high by that factor",
        )
    ]


def _missing_phases(trace: Trace, phases: list[Phase]) -> list[Notice]:
    ranges = scalar(trace.connection, "SELECT count(*) FROM load.nvtx_ranges")
    notices = []
    if not ranges:
        notices.append(
            Notice(
                "no_nvtx",
                "the trace has no NVTX ranges, so nothing can be attributed to phases",
                "mark phases with `nsys_pipeline.markers.phase`, or record with `llmperf capture`",
            )
        )
    elif not phases:
        notices.append(
            Notice(
                "no_phases",
                f"none of the {ranges:,} NVTX ranges is a phase that llmperf knows",
                "see `llmperf analyze --list-ranges`, then say which with --phase NAME=REGEX",
            )
        )
    return notices


def _incomplete_work(trace: Trace) -> list[Notice]:
    (session,) = records(trace.connection, "FROM load.session")
    notices = []
    if session["deviceless_count"]:
        notices.append(
            Notice(
                "device_assumed",
                f"{session['deviceless_count']:,} GPU operations do not say which GPU ran them: they count as GPU 0's",
                "export again with the nsys that recorded the trace",
            )
        )
    if session["uncounted_tables"]:
        notices.append(
            Notice(
                "uncounted_work",
                f"the trace has GPU work that is not counted: {session['uncounted_tables']}",
                'see it with llmperf sql TRACE "from nsys.TABLE"',
            )
        )
    return notices


def _graphs(trace: Trace, phases: list[Phase], unattributed: Unattributed) -> list[Notice]:
    launches = sum(phase.graph_launch_count for phase in phases) + unattributed.graph_launch_count
    (calls,) = records(trace.connection, "FROM attribute.graph_calls")
    told = {"graph": "nsys recorded with --cuda-graph-trace=graph: ", "node": "nsys was told to record nodes: "}
    recapture = told.get(calls["trace_mode"], "") + "recapture with `llmperf capture --cuda-graph node`, "
    recapture += "or `nsys profile --cuda-graph-trace=node`"
    notices = []
    if launches:
        notices.append(
            Notice(
                "whole_graphs",
                f"{launches:,} CUDA graph launches were recorded as a whole: their kernels are not in the trace, "
                "and their time includes the gaps between kernels",
                recapture,
            )
        )
    if calls["untraced_count"]:
        notices.append(
            Notice(
                "untraced_graphs",
                f"what the GPU did in {calls['untraced_count']:,} of {calls['launch_count']:,} CUDA graph launches is "
                "not in the trace: every GPU time lacks it",
                recapture,
            )
        )
    return notices


def _version(trace: Trace) -> list[Notice]:
    says = scalar(
        trace.connection,
        "SELECT count(*) FROM load.metadata WHERE source = 'export' "
        "AND name IN ('EXPORT_PRODUCT_VERSION', 'EXPORT_SCHEMA_VERSION')",
    )
    if says:
        return []
    generation = scalar(trace.connection, "SELECT generation FROM load.generation")
    return [
        Notice(
            "nsys_version_inferred",
            f"the export does not say which nsys wrote it; its tables are those of nsys {generation} (inferred)",
        )
    ]


def _estimates(phases: list[Phase], model: Model | None) -> list[Notice]:
    inference = [phase for phase in phases if phase.name in ("prefill", "decode")]
    if not inference:
        return []
    if model is None:
        return [
            Notice(
                "no_model",
                "the trace does not say which model it ran, so there is no FLOP count, no MFU and no MBU",
                "pass --model and the request shape, as in --model llama-3.2-1b --shape 8x512+32",
            )
        ]
    if all(phase.measured_occurrences is None for phase in inference):
        return [
            Notice(
                "no_shapes",
                "the trace does not say how many tokens each step had, so there is no MFU and no MBU",
                "pass --batch, --prompt-tokens and --new-tokens, or one --shape BxP+N for each request",
            )
        ]
    return []


def _rules(trace: Trace) -> list[Notice]:
    """Rules of the user's that no range matches: misspelled, most likely."""
    if not trace.options.phase_rules:
        return []
    trace.build("input.range_roles")
    used = {rule for (rule,) in trace.connection.execute("SELECT DISTINCT rule FROM input.range_roles").fetchall()}
    return [
        Notice(
            "rule_without_ranges",
            f"`{rule.option}` matches no range that an earlier rule has not taken",
            "`llmperf analyze --list-ranges` lists the ranges of the trace",
        )
        for rule in trace.options.phase_rules
        if rule.name not in used
    ]
