-- Requests that were in the last step of a worker whose events end in a step that was never closed: they may have gone on.
-- Grain: one row, where there are some.
-- severity: warning
-- message: {request_count:,} of {of:,} requests may have gone on after the last event that was recorded of their worker, whose last
--   step is open: their tokens, latency and TPOT are those until then
-- hint: nsys loses the last events of a process that is killed: let the load end some seconds before the server, and the server by
--   itself; or leave these requests out
-- concerns: attribute.served_request_times
-- empty without: attribute._request_steps
-- requires: attribute._request_steps, attribute.phase_ranges
-- columns:
--   phase         VARCHAR NULL.
--   at_stake_ns   BIGINT  NULL. Unit: ns.
--   request_count BIGINT  Such requests.
--   of            BIGINT  Requests that steps were recorded of.
WITH worker AS (
    SELECT process_key, coalesce(max(start_ns) FILTER (WHERE is_closed), 0) AS last_closed_ns
    FROM attribute._request_steps
    GROUP BY process_key
),
-- The mark of the open step may be lost, too.
cut AS (
    SELECT DISTINCT w.process_key, w.last_closed_ns
    FROM worker AS w JOIN attribute.phase_ranges AS p USING (process_key)
    WHERE NOT p.is_closed AND NOT p.is_container AND p.start_ns > w.last_closed_ns
),
request AS (SELECT request, engine, process_key, max(start_ns) AS last_ns FROM attribute._request_steps WHERE NOT is_handed GROUP BY ALL)
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns,
    count(*) FILTER (WHERE r.last_ns >= c.last_closed_ns) AS request_count, count(*) AS of
FROM request AS r LEFT JOIN cut AS c USING (process_key)
HAVING request_count > 0
