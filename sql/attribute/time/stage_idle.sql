-- How long each stage kept GPUs idle: gaps before operations that it launched itself, as in the time budget.
-- Of a gap, what lies before the window of the operation's phase is not the stage's.
-- Grain: range_id; stages before whose work no GPU was idle are absent.
-- materialize: table
-- empty without: attribute.stage_ranges
-- requires: attribute._stage_spans, attribute._device_order, attribute._window_slots, macros.innermost_segments
-- columns:
--   range_id   BIGINT  Joins attribute.stage_ranges.
--   idle_ns    BIGINT  Added up over GPUs. Unit: ns.
--   launch_ns  BIGINT  Part of it inside the calls that launched those operations. Unit: ns.
--   latency_ns BIGINT  Part of it after the return of those calls. Unit: ns.
WITH gap AS (
    SELECT
        o.global_tid, o.launch_start_ns, o.launch_end_ns, greatest(o.reach_ns, s.start_ns) AS idle_from_ns, o.start_ns
    FROM attribute._device_order AS o
    JOIN attribute._window_slots AS s ON s.device_id = o.device_id AND s.slot = o.slot
    WHERE o.reach_ns < o.start_ns AND o.launch_start_ns IS NOT NULL AND o.end_ns IS NOT NULL
)
SELECT
    i.span_id AS range_id, sum(g.start_ns - g.idle_from_ns)::BIGINT AS idle_ns,
    sum(greatest(0, least(g.start_ns, g.launch_end_ns) - greatest(g.idle_from_ns, g.launch_start_ns)))::BIGINT AS launch_ns,
    sum(greatest(0, g.start_ns - greatest(g.idle_from_ns, g.launch_end_ns)))::BIGINT AS latency_ns
FROM gap AS g
ASOF JOIN macros.innermost_segments('attribute._stage_spans') AS i
    ON i.lane = g.global_tid AND i.start_ns <= g.launch_start_ns
WHERE i.span_id IS NOT NULL
GROUP BY i.span_id
