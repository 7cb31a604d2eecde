-- How long each stage kept GPUs idle: gaps before operations that it launched itself, as in the time budget.
-- Of a gap, what lies before the window of the operation's phase is not the stage's. What is in no column was the host's.
-- Algorithm: a call before the launching one lies in at most one gap of a GPU, as in attribute._idle_slots.
-- Grain: range_id; stages before whose work no GPU was idle are absent.
-- materialize: table
-- empty without: attribute.stage_ranges
-- requires: attribute._stage_spans, attribute._device_order, attribute._window_slots, attribute._telling_calls, macros.innermost_segments
-- columns:
--   range_id   BIGINT  Joins attribute.stage_ranges.
--   idle_ns    BIGINT  Added up over GPUs. Unit: ns.
--   launch_ns  BIGINT  Part of it inside launching calls. Unit: ns.
--   latency_ns BIGINT  Part of it after the return of the calls that launched those operations. Unit: ns.
--   sync_ns    BIGINT  Part of it inside calls that synchronize, before those. Unit: ns.
--   api_ns     BIGINT  Part of it inside other CUDA calls before those. Unit: ns.
WITH gap AS (
    SELECT
        o.device_id, o.global_tid, o.launch_start_ns, o.launch_end_ns, greatest(o.reach_ns, s.start_ns) AS idle_from_ns,
        o.start_ns
    FROM attribute._device_order AS o
    JOIN attribute._window_slots AS s ON s.device_id = o.device_id AND s.slot = o.slot
    WHERE o.reach_ns < o.start_ns AND o.launch_start_ns IS NOT NULL AND o.end_ns IS NOT NULL
),
placed AS (
    SELECT g.*, i.span_id AS range_id
    FROM gap AS g
    ASOF JOIN macros.innermost_segments('attribute._stage_spans') AS i
        ON i.lane = g.global_tid AND i.start_ns <= g.launch_start_ns
    WHERE i.span_id IS NOT NULL
),
called AS (
    SELECT
        w.range_id, sum(c.end_ns - greatest(w.idle_from_ns, c.start_ns)) FILTER (WHERE c.kind = 0) AS launch_ns,
        sum(c.end_ns - greatest(w.idle_from_ns, c.start_ns)) FILTER (WHERE c.kind = 1) AS sync_ns,
        sum(c.end_ns - greatest(w.idle_from_ns, c.start_ns)) FILTER (WHERE c.kind = 2) AS api_ns
    FROM (
        SELECT c.global_tid, l.device_id, c.start_ns, c.end_ns, c.kind
        FROM attribute._telling_calls AS c JOIN (SELECT DISTINCT global_tid, device_id FROM placed) AS l USING (global_tid)
    ) AS c
    ASOF JOIN placed AS w
        ON w.global_tid = c.global_tid AND w.device_id = c.device_id AND w.idle_from_ns < c.end_ns
    WHERE c.end_ns <= least(w.launch_start_ns, w.start_ns)
    GROUP BY w.range_id
),
ended AS (
    SELECT
        range_id, sum(start_ns - idle_from_ns) AS idle_ns,
        sum(greatest(0, least(start_ns, launch_end_ns) - greatest(idle_from_ns, launch_start_ns))) AS launch_ns,
        sum(greatest(0, start_ns - greatest(idle_from_ns, launch_end_ns))) AS latency_ns
    FROM placed
    GROUP BY range_id
)
SELECT
    e.range_id, e.idle_ns::BIGINT AS idle_ns, (e.launch_ns + coalesce(c.launch_ns, 0))::BIGINT AS launch_ns,
    e.latency_ns::BIGINT AS latency_ns, coalesce(c.sync_ns, 0)::BIGINT AS sync_ns, coalesce(c.api_ns, 0)::BIGINT AS api_ns
FROM ended AS e LEFT JOIN called AS c USING (range_id)
