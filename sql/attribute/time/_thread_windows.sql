-- Measured time of each thread on each GPU: in measured requests, and in measured phases outside every request, without what
-- is not measured inside them. A request of which no phase is measured is not measured.
-- What a request does between its phases is as cold as they are: before one that is left out as cold, back to the phase
-- before, and behind it until the next, it loads the code of its first sampler, or compiles.
-- Grain: device_id, global_tid, start_ns.
-- requires: attribute._window_ranges, attribute.occurrences
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
beside_cold AS (
    SELECT device_id, global_tid, least(start_ns, coalesce(before_ns, first_ns)) AS start_ns, coalesce(next_ns, last_ns) AS until_ns
    FROM (
        SELECT
            p.device_id, p.global_tid, p.range_id, p.start_ns, r.start_ns AS first_ns, r.until_ns AS last_ns,
            max(p.until_ns) OVER earlier AS before_ns, lead(p.start_ns) OVER same AS next_ns
        FROM attribute._window_ranges AS p
        JOIN attribute._window_ranges AS r ON r.kind = 'request' AND r.range_id = p.request_id AND r.device_id = p.device_id
        WHERE p.kind = 'phase'
        WINDOW
            same AS (PARTITION BY p.device_id, p.request_id ORDER BY p.start_ns, p.range_id),
            earlier AS (same ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
    )
    SEMI JOIN (SELECT occurrence_id AS range_id FROM attribute.occurrences WHERE is_left_cold) USING (range_id)
),
instant AS (
    SELECT device_id, global_tid, at_ns, sum(wanted) AS wanted, sum(unwanted) AS unwanted
    FROM (
        SELECT device_id, global_tid, start_ns AS at_ns, is_window::INTEGER AS wanted, is_unwanted::INTEGER AS unwanted
        FROM range
        UNION ALL
        SELECT device_id, global_tid, until_ns, -is_window::INTEGER, -is_unwanted::INTEGER FROM range
        UNION ALL
        SELECT device_id, global_tid, start_ns, 0, 1 FROM beside_cold WHERE start_ns < until_ns
        UNION ALL
        SELECT device_id, global_tid, until_ns, 0, -1 FROM beside_cold WHERE start_ns < until_ns
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
