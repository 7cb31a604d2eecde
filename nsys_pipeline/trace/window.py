"""A window of a trace: the steps, requests or seconds that count. What is cut away is in no table any more.

An occurrence of a phase is whole: it belongs to the window if it starts in it, with all work that it launched, and else
it does not, with all of its work. Work in no phase belongs to the window in which its launching call was entered.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from nsys_pipeline.errors import UsageError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_IS_KEPT = "occurrence_id IN (FROM cut.kept_occurrences)"
_IS_KEPT_OP = "op_id IN (FROM cut.kept_ops)"
_IS_KEPT_RANGE = "range_id IN (FROM cut.ranges)"
_WITHOUT_CUT_PHASES = f"* REPLACE (CASE WHEN {_IS_KEPT} THEN occurrence_id END AS occurrence_id)"
#: What is decided on the whole trace: the columns and the rows that a window keeps of it. The rows that are left would
#: say otherwise: a loop would be a step, and work would go to the only phase that is still there.
DECIDED = {
    "load.nvtx_ranges": ("*", _IS_KEPT_RANGE),
    "attribute._phase_candidates": ("*", _IS_KEPT_RANGE),
    "attribute._marked_phases": ("*", _IS_KEPT),
    "attribute.phase_ranges": (
        "* REPLACE (row_number() OVER (PARTITION BY phase ORDER BY start_ns, occurrence_id) - 1 AS occurrence, "
        "CASE WHEN request_id NOT IN (FROM cut.requests) THEN request_id END AS request_id)",
        _IS_KEPT,
    ),
    "attribute._host_intervals": ("*", _IS_KEPT),
    "attribute._phase_segments": (_WITHOUT_CUT_PHASES, "true"),
    "attribute.range_segments": (_WITHOUT_CUT_PHASES, "true"),
    "attribute._autograd_threads": ("*", "true"),
    "attribute._linked_work": ("*", _IS_KEPT_OP),
    "attribute._repeated_links": ("*", _IS_KEPT_OP),
    "attribute._lent_launches": ("*", _IS_KEPT_OP),
    "attribute._inferred_phases": ("*", _IS_KEPT),
    "attribute._inferred_requests": (
        "*",
        "request_id IN (SELECT request_id FROM cut.occurrences WHERE is_kept) "
        "AND request_id NOT IN (FROM cut.requests)",
    ),
}
#: Relations that a cut is worked out from.
NEEDS = (
    *DECIDED, "attribute.gpu_work", "attribute._range_places", "attribute._request_spans", "load.api_calls",
    "attribute.inference",
)  # fmt: skip
_WORK = (
    "CUPTI_ACTIVITY_KIND_KERNEL", "CUPTI_ACTIVITY_KIND_MEMCPY", "CUPTI_ACTIVITY_KIND_MEMSET",
    "CUPTI_ACTIVITY_KIND_GRAPH_TRACE",
)  # fmt: skip
#: Tables whose rows are cut.
TABLES = (*_WORK, "CUPTI_ACTIVITY_KIND_RUNTIME", "CUPTI_ACTIVITY_KIND_SYNCHRONIZATION", "NVTX_EVENTS", "GPU_METRICS")
_LATEST = 2**62


@attrs.frozen(kw_only=True)
class Window:
    """What counts. `skip`: requests of each process or, without requests, occurrences of each phase and process.

    `first_step`, `end_step`: occurrences of each phase and process that count, from the first to before the end,
    numbered from 0. Neither counts warm-up, and both leave it out. `from_ns`, `to_ns`: on the clock of the trace.
    """

    skip: int = 0
    first_step: int = 0
    end_step: int | None = None
    from_ns: int | None = None
    to_ns: int | None = None

    @classmethod
    def parse(
        cls,
        *,
        skip: int | None = None,
        steps: str | None = None,
        from_s: float | None = None,
        to_s: float | None = None,
    ) -> Window | None:
        """A window as options say it, None without any. Raises UsageError for steps or times that hold nothing."""
        first, end = 0, None
        if steps is not None:
            match = re.fullmatch(r"(\d{0,15}):(\d{0,15})", steps.strip())
            if match is None:
                raise UsageError(f"`{steps}` names no steps", hint="write A:B, as in --steps 10:20")
            first, end = int(match[1] or 0), int(match[2]) if match[2] else None
            if end is not None and end <= first:
                raise UsageError(f"`--steps {steps}` holds no step", hint="the end of A:B comes after its start")
        times = [None if time is None else _ns(time) for time in (from_s, to_s)]
        if None not in times and times[1] <= times[0]:  # type: ignore[operator]
            raise UsageError("`--to` is not after `--from`", hint="both are seconds from the start of the trace")
        window = cls(skip=skip or 0, first_step=first, end_step=end, from_ns=times[0], to_ns=times[1])
        return None if window == cls() else window

    @property
    def counts_steps(self) -> bool:
        """Whether it goes by steps or requests, and not by time alone."""
        return bool(self.skip or self.first_step or self.end_step is not None)

    def __str__(self) -> str:
        parts = []
        if self.from_ns is not None or self.to_ns is not None:
            start = "the start" if self.from_ns is None else f"{self.from_ns / 1e9:g} s"
            parts.append(f"from {start} to {'the end' if self.to_ns is None else f'{self.to_ns / 1e9:g} s'}")
        if self.skip:
            parts.append(f"without the first {self.skip:,} requests, or steps of each phase")
        if self.first_step or self.end_step is not None:
            end = "" if self.end_step is None else str(self.end_step)
            parts.append(f"steps {self.first_step}:{end} of each phase")
        return ", ".join(parts)


def _ns(seconds: float) -> int:
    if not 0 <= seconds < 1e9:
        raise UsageError(f"`{seconds:g}` is no time of a trace", hint="both are seconds from the start of the trace")
    return round(seconds * 1e9)


def cut(con: DuckDBPyConnection, window: Window) -> None:
    """Replace TABLES of the schema `nsys`, and what is DECIDED, by their rows inside `window`.

    NEEDS and TABLES are there. Raises UsageError if nothing is left.
    """
    con.execute("CREATE SCHEMA IF NOT EXISTS cut")
    _choose_occurrences(con, window)
    _choose_requests(con, window)
    _choose_rows(con)
    if not con.execute("SELECT count(*) > 0 FROM cut.occurrences WHERE is_kept").fetchall()[0][0]:
        (works,) = con.execute("SELECT count(*) FROM cut.ops WHERE is_kept").fetchall()[0]
        (calls,) = con.execute(
            "SELECT (SELECT count(*) FROM cut.calls) + (SELECT count(*) FROM cut.ranges)"
        ).fetchall()[0]
        # Seconds in which only the host was active have a report, which says so.
        if not (works or calls) or window.counts_steps:
            raise UsageError(f"nothing is left in the window: {window}", hint=_what_there_is(con))
    kept = {
        **{name: f"row_id::BIGINT * 8 + {kind} IN (FROM cut.kept_ops)" for kind, name in enumerate(_WORK)},
        "CUPTI_ACTIVITY_KIND_RUNTIME": "row_id IN (FROM cut.calls)",
        "CUPTI_ACTIVITY_KIND_SYNCHRONIZATION": '"start" BETWEEN (SELECT min(low) FROM cut.extent) '
        "AND (SELECT max(high) FROM cut.extent)",
        # A sample stands for the time from its stamp on. GPUs have stamps of their own.
        "GPU_METRICS": '"timestamp" <= (SELECT max(high) FROM cut.extent) AND "timestamp" >= coalesce('
        '(SELECT max(m."timestamp") FROM nsys.GPU_METRICS AS m WHERE m.typeId = GPU_METRICS.typeId '
        'AND m."timestamp" <= (SELECT min(low) FROM cut.extent)), (SELECT min(low) FROM cut.extent))',
        "NVTX_EVENTS": "eventType NOT IN (59, 60, 70, 71) OR row_id IN (FROM cut.ranges)",
    }
    replaced = {f"nsys.{table}": ("*", condition) for table, condition in kept.items()} | DECIDED
    found = con.execute(
        "SELECT schema_name || '.' || view_name FROM duckdb_views() WHERE database_name = current_database()"
    ).fetchall()
    views = {name for (name,) in found}
    for name, (columns, condition) in replaced.items():
        con.execute(f"CREATE OR REPLACE TABLE {_cut(name)} AS SELECT {columns} FROM {name} WHERE {condition}")  # noqa: S608 - our own names
    for name in replaced:
        con.execute(f"DROP {'VIEW' if name in views else 'TABLE'} {name}")
        con.execute(f"CREATE VIEW {name} AS FROM {_cut(name)}")


def _cut(name: str) -> str:
    return f"cut.{name.replace('.', '_')}"


def _choose_occurrences(con: DuckDBPyConnection, window: Window) -> None:
    con.execute(
        """
        CREATE OR REPLACE TABLE cut.occurrences AS
        WITH timed AS (
            SELECT *, start_ns >= $from_ns AND start_ns < $to_ns AS is_in_time FROM attribute.phase_ranges
        ),
        request AS (
            SELECT
                request_id,
                row_number() OVER (PARTITION BY any_value(process_key) ORDER BY min(start_ns), request_id) - 1 AS place
            FROM timed
            WHERE NOT is_warmup AND request_id IS NOT NULL
            GROUP BY request_id
            HAVING bool_or(is_in_time)
        ),
        placed AS (
            SELECT
                t.occurrence_id, t.kind, coalesce(n.domain_id, 0) AS domain_id, t.process_key, t.global_tid,
                t.request_id, t.start_ns, t.end_ns, t.is_warmup,
                t.is_in_time, r.place AS request_place,
                row_number() OVER (
                    PARTITION BY t.process_key, t.phase, t.is_warmup, t.is_in_time ORDER BY t.start_ns, t.occurrence_id
                ) - 1 AS place,
                row_number() OVER (
                    PARTITION BY t.process_key, t.phase, t.is_warmup, t.is_in_time, t.request_id IS NULL
                    ORDER BY t.start_ns, t.occurrence_id
                ) - 1 AS lone_place
            FROM timed AS t
            LEFT JOIN request AS r USING (request_id)
            LEFT JOIN load.nvtx_ranges AS n ON n.range_id = t.occurrence_id
        )
        SELECT
            * EXCLUDE (is_in_time, request_place, place, lone_place),
            is_in_time AND NOT ($counts_steps AND is_warmup)
                AND coalesce(request_place, lone_place) >= $skip AND place >= $first AND place < $end AS is_kept
        FROM placed
        """,
        {
            **_times(window),
            "counts_steps": window.counts_steps,
            "skip": window.skip,
            "first": window.first_step,
            "end": _LATEST if window.end_step is None else window.end_step,
        },
    )
    # Where work in no phase counts: from the first step that does, and to the last one if that is not the last of all.
    con.execute(
        """
        CREATE OR REPLACE TABLE cut.spans AS
        WITH kept AS (
            SELECT process_key, min(start_ns) AS low, max(end_ns) AS high
            FROM cut.occurrences WHERE is_kept GROUP BY process_key
        ),
        process AS (
            SELECT DISTINCT process_key FROM load.api_calls
            UNION SELECT DISTINCT process_key FROM load.nvtx_ranges
            UNION SELECT DISTINCT process_key FROM attribute.gpu_work
        )
        SELECT
            p.process_key,
            CASE
                WHEN $counts_steps THEN greatest($from_ns, coalesce(k.low, (SELECT min(low) FROM kept)))
                ELSE $from_ns
            END AS low,
            CASE
                WHEN $has_end THEN least($to_ns, coalesce(k.high, (SELECT max(high) FROM kept)))
                ELSE $to_ns
            END AS high
        FROM process AS p LEFT JOIN kept AS k ON k.process_key IS NOT DISTINCT FROM p.process_key
        """,
        {
            **_times(window),
            "counts_steps": window.counts_steps,
            "has_end": window.end_step is not None,
        },
    )


def _choose_requests(con: DuckDBPyConnection, window: Window) -> None:
    """What is cut of the requests: those that did not begin in the window, or have a phase that it leaves out."""
    con.execute(
        """
        CREATE OR REPLACE TABLE cut.requests AS
        WITH held AS (
            SELECT request_id, bool_and(is_kept) AS is_kept
            FROM cut.occurrences
            WHERE request_id IS NOT NULL
            GROUP BY request_id
        )
        SELECT r.span_id AS request_id
        FROM attribute._request_spans AS r
        LEFT JOIN held AS h ON h.request_id = r.span_id
        LEFT JOIN cut.spans AS s ON s.process_key = r.lane >> 24
        WHERE r.start_ns < $from_ns OR r.start_ns >= $to_ns
            OR NOT coalesce(h.is_kept, r.start_ns >= s.low AND r.start_ns < s.high)
        """,
        _times(window),
    )


def _times(window: Window) -> dict[str, int]:
    return {
        "from_ns": -_LATEST if window.from_ns is None else window.from_ns,
        "to_ns": _LATEST if window.to_ns is None else window.to_ns,
    }


def _choose_rows(con: DuckDBPyConnection) -> None:
    con.execute(
        """
        CREATE OR REPLACE TABLE cut.ops AS
        SELECT
            w.op_id, w.api_id, w.range_id, w.occurrence_id, coalesce(w.device_id, 0) AS device_id, w.start_ns, w.end_ns,
            CASE
                WHEN w.occurrence_id IS NOT NULL THEN coalesce(o.is_kept, false)
                ELSE coalesce(w.launch_start_ns, w.start_ns) >= s.low
                    AND coalesce(w.launch_start_ns, w.start_ns) < s.high
            END AS is_kept
        FROM attribute.gpu_work AS w
        LEFT JOIN cut.occurrences AS o USING (occurrence_id)
        LEFT JOIN cut.spans AS s ON s.process_key IS NOT DISTINCT FROM w.process_key
        """
    )
    con.execute("CREATE OR REPLACE VIEW cut.kept_ops AS SELECT op_id FROM cut.ops WHERE is_kept")
    con.execute(
        """
        CREATE OR REPLACE TABLE cut.calls AS
        -- A call may be recorded twice: one row of it has the work.
        WITH launching AS (
            SELECT c.global_tid, c.correlation_id, c.start_ns, bool_or(w.is_kept) AS is_kept
            FROM cut.ops AS w JOIN load.api_calls AS c USING (api_id)
            GROUP BY ALL
        ),
        placed AS (
            SELECT c.api_id, c.process_key, c.global_tid, c.correlation_id, c.start_ns, g.occurrence_id
            FROM load.api_calls AS c
            ASOF LEFT JOIN attribute._phase_segments AS g ON g.global_tid = c.global_tid AND g.start_ns <= c.start_ns
        )
        SELECT p.api_id
        FROM placed AS p
        LEFT JOIN launching AS l USING (global_tid, correlation_id, start_ns)
        LEFT JOIN cut.occurrences AS o ON o.occurrence_id = p.occurrence_id
        LEFT JOIN cut.spans AS s ON s.process_key = p.process_key
        WHERE coalesce(l.is_kept, o.is_kept, p.start_ns >= s.low AND p.start_ns < s.high)
        """
    )
    con.execute(
        """
        CREATE OR REPLACE TABLE cut.ranges AS
        SELECT r.range_id
        FROM load.nvtx_ranges AS r
        LEFT JOIN cut.occurrences AS own ON own.occurrence_id = r.range_id
        LEFT JOIN attribute._range_places AS p ON p.range_id = r.range_id
        LEFT JOIN cut.occurrences AS around ON around.occurrence_id = p.occurrence_id
        LEFT JOIN cut.spans AS s ON s.process_key = r.process_key
        WHERE CASE
            WHEN own.occurrence_id IS NOT NULL THEN own.is_kept
            WHEN r.range_id IN (SELECT occurrence_id FROM attribute._marked_phases)
                THEN r.start_ns >= s.low AND r.start_ns < s.high
            WHEN r.range_id IN (SELECT span_id FROM attribute._request_spans) THEN r.range_id NOT IN (FROM cut.requests)
            WHEN r.range_id IN (SELECT range_id FROM cut.ops WHERE is_kept) THEN true
            WHEN around.occurrence_id IS NOT NULL THEN around.is_kept
            ELSE r.end_ns >= s.low AND r.start_ns < s.high
        END
        """
    )
    con.execute(
        """
        CREATE OR REPLACE TABLE cut.kept_occurrences AS
        SELECT occurrence_id FROM cut.occurrences WHERE is_kept
        UNION ALL
        SELECT m.occurrence_id
        FROM attribute._marked_phases AS m
        ANTI JOIN cut.occurrences AS o USING (occurrence_id)
        SEMI JOIN cut.ranges AS r ON r.range_id = m.occurrence_id
        """
    )
    con.execute(
        """
        CREATE OR REPLACE TABLE cut.extent AS
        SELECT min(low) AS low, max(high) AS high FROM cut.spans
        UNION ALL SELECT min(start_ns), max(end_ns) FROM cut.ops WHERE is_kept
        """
    )


def _what_there_is(con: DuckDBPyConnection) -> str:
    """What a window could hold, in words."""
    rows = con.execute(
        "SELECT phase, count(*) FROM attribute.phase_ranges WHERE NOT is_warmup GROUP BY phase ORDER BY phase"
    ).fetchall()
    first, last = con.execute(
        "SELECT min(coalesce(launch_start_ns, start_ns)) / 1e9, max(end_ns) / 1e9 FROM attribute.gpu_work"
    ).fetchall()[0]
    phases = ", ".join(f"{count:,} of {phase}" for phase, count in rows)
    steps = f"steps outside warm-up: {phases}" if phases else "the trace has no phases"
    return steps + ("" if first is None else f"; GPU work lies between {first:.3f} and {last:.3f} s")
