-- Measured time of each thread on each GPU: in measured requests, and in measured phases outside every request, without what
-- is not measured inside them. A request of which no phase is measured is not measured.
-- Grain: device_id, global_tid, start_ns.
-- requires: attribute._window_ranges
-- columns:
--   device_id  BIGINT  Joins load.devices.
--   global_tid BIGINT  Joins load.threads, -1 for the whole trace.
--   start_ns   BIGINT  Unit: ns.
--   end_ns     BIGINT  Unit: ns.
WITH request AS (
    SELECT device_id, request_id, bool_and(is_left_out) AS is_left_out
    FROM attribute._window_ranges
    WHERE kind = 'phase' AND request_id IS NOT NULL
    GROUP BY device_id, request_id
),
range AS (
    SELECT
        r.device_id, r.global_tid, r.start_ns, r.until_ns, r.is_left_out OR coalesce(q.is_left_out, false) AS is_unwanted,
        r.has_work AND NOT is_unwanted AND NOT (r.kind = 'phase' AND r.request_id IS NOT NULL) AS is_window
    FROM attribute._window_ranges AS r
    LEFT JOIN request AS q ON r.kind = 'request' AND q.device_id = r.device_id AND q.request_id = r.range_id
),
instant AS (
    SELECT device_id, global_tid, at_ns, sum(wanted) AS wanted, sum(unwanted) AS unwanted
    FROM (
        SELECT device_id, global_tid, start_ns AS at_ns, is_window::INTEGER AS wanted, is_unwanted::INTEGER AS unwanted
        FROM range
        UNION ALL
        SELECT device_id, global_tid, until_ns, -is_window::INTEGER, -is_unwanted::INTEGER FROM range
    )
    GROUP BY device_id, global_tid, at_ns
),
stretch AS (
    SELECT
        device_id, global_tid, at_ns AS start_ns, lead(at_ns) OVER sweep AS end_ns,
        sum(wanted) OVER running AS wanted, sum(unwanted) OVER running AS unwanted
    FROM instant
    WINDOW
        sweep AS (PARTITION BY device_id, global_tid ORDER BY at_ns),
        running AS (PARTITION BY device_id, global_tid ORDER BY at_ns ROWS UNBOUNDED PRECEDING)
)
SELECT device_id, global_tid, start_ns, end_ns FROM stretch WHERE wanted > 0 AND unwanted = 0 AND end_ns IS NOT NULL
