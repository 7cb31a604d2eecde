-- Requests of which a window has left out later steps: marks behind its last step name them.
-- Grain: one row, where there are some.
-- severity: warning
-- message: {request_count:,} of {of:,} requests go on behind the window: their tokens and latencies are those until its end, and requests/s counts
--   each of them as one
-- hint: choose a window in which they end, or take latencies of the whole recording
-- concerns: attribute.served_request_times
-- empty without: attribute._request_steps
-- requires: attribute._request_steps, attribute._request_names, attribute.phase_ranges, load.nvtx_marks
-- columns:
--   phase         VARCHAR NULL.
--   at_stake_ns   BIGINT  NULL. Unit: ns.
--   request_count BIGINT  Such requests.
--   of            BIGINT  Requests that steps were recorded of.
WITH last AS (
    SELECT s.process_key, max(p.end_ns) AS end_ns
    FROM attribute._request_steps AS s JOIN attribute.phase_ranges AS p USING (occurrence_id)
    GROUP BY s.process_key
),
later AS (
    SELECT m.process_key, unnest(TRY_CAST(json_extract(TRY_CAST(substr(m."text", 14) AS JSON), '$.ids') AS VARCHAR[])) AS request_number
    FROM load.nvtx_marks AS m JOIN last AS l ON m.process_key = l.process_key AND m.at_ns >= l.end_ns
    WHERE starts_with(m."text", 'llmperf.step {') AND contains(m."text", '"ids"')
),
named AS (
    SELECT DISTINCT l.process_key, coalesce(n.request, (l.process_key & 16777215) || '/' || l.request_number) AS request
    FROM later AS l LEFT JOIN attribute._request_names AS n USING (process_key, request_number)
),
request AS (SELECT DISTINCT request, engine, process_key FROM attribute._request_steps WHERE NOT is_handed AND NOT is_warmup)
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, count(n.request) AS request_count, count(*) AS of
FROM request AS r LEFT JOIN named AS n USING (request, process_key)
HAVING request_count > 0
