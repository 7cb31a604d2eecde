"""Phases that no range marks, as the attribution reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from nsys_pipeline.duck import create_from_rows, scalar
from nsys_pipeline.infer import (
    COLUMNS,
    MARK_COLUMNS,
    WORK_COLUMNS,
    Found,
    Inference,
    InferredPhase,
    InferredRequest,
    Launch,
    Mark,
    Work,
    find_periods,
    infer,
    repeats,
)
from nsys_pipeline.infer.periods import MAX_KINDS
from nsys_pipeline.infer.units import MAX_UNITS

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from nsys_pipeline.inputs.inputs import Inputs

_PASSES = ("load.nvtx_ranges", "load.trace_files", "attribute._telling_launches")
_PHASES = (*_PASSES, "attribute._unit_launches", "load.gpu_ops", "load.api_calls")
#: What each relation of the inference reads, if phases are inferred.
NEEDS = {
    "input.unexplained": _PASSES,
    "input.unit_kinds": (*_PASSES, "attribute._sampled_launches"),
    "input.inferred_phases": _PHASES,
    "input.inferred_requests": _PHASES,
    "input.inference": _PHASES,
}
#: A launch takes 400 bytes; of the launches of a decode step three in a hundred tell something.
MAX_LAUNCHES = 2_000_000
_LAUNCHES = f"""
    SELECT {", ".join(COLUMNS)}
    FROM attribute._telling_launches
    ORDER BY global_tid, launch_start_ns, start_ns, op_id
"""  # noqa: S608 - our own columns
#: Launches that are read to find what repeats, in all processes together.
MAX_SAMPLE = 60_000
_SAMPLE = f"""
    SELECT DISTINCT {", ".join(WORK_COLUMNS)}, op_id
    FROM attribute._sampled_launches
    ORDER BY process_key, launch_start_ns, op_id, global_tid
"""  # noqa: S608 - our own columns
_RECORDED = """
    SELECT
        (SELECT count(*) FROM load.gpu_ops WHERE kind IN ('kernel', 'graph')),
        (SELECT count(*) FROM load.api_calls),
        (
            SELECT count(*)
            FROM load.gpu_ops
            SEMI JOIN (FROM load.api_calls WHERE global_tid IS NOT NULL) USING (process_key, correlation_id)
        )
"""
_MARKS = f"""
    SELECT DISTINCT {", ".join(MARK_COLUMNS)}, op_id
    FROM attribute._unit_launches
    ORDER BY global_tid, launch_start_ns, op_id
"""  # noqa: S608 - our own columns
_RECORDINGS = """
    SELECT process_key, list(start_ns ORDER BY start_ns)
    FROM load.trace_files
    WHERE process_key IS NOT NULL
    GROUP BY process_key
"""
#: Columns that the fields of an InferredPhase and of an InferredRequest are, in order.
_PHASE_COLUMNS = {
    "phase": "VARCHAR", "process_key": "BIGINT", "global_tid": "BIGINT", "start_ns": "BIGINT", "end_ns": "BIGINT",
    "place_ns": "BIGINT", "score": "DOUBLE", "unit": "VARCHAR", "evidence": "VARCHAR",
}  # fmt: skip
_REQUEST_COLUMNS = {"global_tid": "BIGINT", "start_ns": "BIGINT", "end_ns": "BIGINT", "is_first": "BOOLEAN"}


def find_passes(inputs: Inputs) -> Inference:
    """Passes of language models that the launches tell, or nothing if nobody wants to know."""
    if not inputs.infers:
        return Inference(())
    count = scalar(inputs.connection, "SELECT count(*) FROM attribute._telling_launches")
    if count > MAX_LAUNCHES:
        return Inference((), reason=f"{count:,} launches tell something, more than {MAX_LAUNCHES:,}")
    launches = [Launch(*row) for row in inputs.connection.execute(_LAUNCHES).fetchall()]
    return infer(launches, dict(inputs.connection.execute(_RECORDINGS).fetchall()))


def find_repeats(inputs: Inputs) -> Found:
    """What repeats in a trace without such passes; nothing if there are some, or nobody wants to know."""
    if not inputs.infers or inputs.passes.phases:
        return Found(())
    return find_periods([Work(*row[:-1]) for row in inputs.connection.execute(_SAMPLE).fetchall()])


def find_phases(inputs: Inputs) -> Inference:
    """Passes of language models, else whatever repeats."""
    if not inputs.infers or inputs.passes.phases:
        return inputs.passes
    # No more are read than can be told.
    count = scalar(inputs.connection, "SELECT count(*) FROM attribute._unit_launches")
    if count > MAX_UNITS * MAX_KINDS:
        return Inference((), reason=f"units of work repeat more than {MAX_UNITS:,} times")
    marks = [Mark(*row[:-1]) for row in inputs.connection.execute(_MARKS).fetchall()]
    found = repeats(inputs.repeats, marks)
    if found.phases:
        return found
    if reason := _reason_of_recording(inputs.connection):
        return Inference((), reason=reason)
    if inputs.passes.reason is None:
        return found
    return Inference((), reason=f"{inputs.passes.reason}, and {found.reason}")


def _reason_of_recording(con: DuckDBPyConnection) -> str | None:
    """Why the trace holds no launches at all; None if it does."""
    operations, calls, launched = con.execute(_RECORDED).fetchall()[0]
    if not operations:
        return "no kernel and no whole CUDA graph was recorded"
    if not calls:
        return "no CUDA call was recorded, so nothing says what launched the GPU's work, and in which order"
    return None if launched else "no GPU operation has the CUDA call that launched it"


def kept_inference(con: DuckDBPyConnection, occurrences: str) -> Inference | None:
    """What was inferred of the whole trace and is left in its window; None if nobody wanted it inferred.

    `occurrences`: a relation with occurrence_id, request_id and is_kept.
    """
    is_wanted, reason, hierarchy = con.execute(
        "SELECT is_wanted, reason, hierarchy FROM attribute.inference"
    ).fetchall()[0]
    if not is_wanted:
        return None
    phases = con.execute(
        f"""
        SELECT {", ".join(_PHASE_COLUMNS)}
        FROM attribute._inferred_phases SEMI JOIN (FROM {occurrences} WHERE is_kept) USING (occurrence_id)
        ORDER BY occurrence_id
        """  # noqa: S608 - our own name
    ).fetchall()
    requests = con.execute(
        f"""
        SELECT {", ".join(_REQUEST_COLUMNS)}
        FROM attribute._inferred_requests
        -- Not where ranges mark the requests: then no occurrence is of an inferred one.
        SEMI JOIN (FROM {occurrences} WHERE is_kept) USING (request_id)
        ANTI JOIN (FROM {occurrences} WHERE NOT is_kept) USING (request_id)
        ORDER BY request_id
        """  # noqa: S608 - our own name
    ).fetchall()
    return Inference(
        tuple(InferredPhase(*row) for row in phases),
        tuple(InferredRequest(*row) for row in requests),
        reason or (None if phases else "what is inferred of the whole trace does not lie in the window"),
        # It was told of all launches, also of those outside the window.
        hierarchy and f"in the whole trace {hierarchy}",
    )


def create_unexplained(inputs: Inputs) -> None:
    """`input.unexplained`: one row if what repeats is looked for, with how many launches may be read for that."""
    rows = [(MAX_SAMPLE,)] if inputs.infers and not inputs.is_cut and not inputs.passes.phases else []
    create_from_rows(inputs.connection, "input.unexplained", {"max_launches": "BIGINT"}, rows)


def create_unit_kinds(inputs: Inputs) -> None:
    """`input.unit_kinds`: kernels and graphs that come once in each unit that repeats."""
    types = {"process_key": "BIGINT", "global_tid": "BIGINT", "kind_id": "BIGINT"}
    periods = () if inputs.is_cut else inputs.repeats.periods
    rows = {(one.process_key, one.global_tid, kind) for one in periods for kind in one.kinds}
    create_from_rows(inputs.connection, "input.unit_kinds", types, sorted(rows))


def create_inferred_phases(inputs: Inputs) -> None:
    """`input.inferred_phases`: one row per occurrence, with numbers that no range has."""
    types = {"occurrence_id": "BIGINT"} | _PHASE_COLUMNS
    phases = inputs.inference.phases
    first = _first_number(inputs)
    rows = ((first + index, *attrs.astuple(one)) for index, one in enumerate(phases))
    create_from_rows(inputs.connection, "input.inferred_phases", types, rows)


def create_inferred_requests(inputs: Inputs) -> None:
    """`input.inferred_requests`: one row per request, with numbers that neither a range nor an occurrence has."""
    types = {"request_id": "BIGINT"} | _REQUEST_COLUMNS
    first = _first_number(inputs) + len(inputs.inference.phases)
    rows = ((first + index, *attrs.astuple(one)) for index, one in enumerate(inputs.inference.requests))
    create_from_rows(inputs.connection, "input.inferred_requests", types, rows)


def _first_number(inputs: Inputs) -> int:
    if not inputs.inference.phases:
        return 0
    return 1 + int(scalar(inputs.connection, "SELECT coalesce(max(range_id), 0) FROM load.nvtx_ranges"))


def create_inference(inputs: Inputs) -> None:
    """`input.inference`: one row: whether phases were looked for, what they make up, and why there are none."""
    types = {"is_wanted": "BOOLEAN", "is_forced": "BOOLEAN", "reason": "VARCHAR", "hierarchy": "VARCHAR"}
    row = (inputs.infers, inputs.is_inference_forced, inputs.inference.reason, inputs.inference.hierarchy)
    create_from_rows(inputs.connection, "input.inference", types, [row])
