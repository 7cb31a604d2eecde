-- Requests of which a step, and neither arrival nor prompt, was recorded: the recording or a window begins in the middle of a load.
-- Grain: one row, where there are some.
-- severity: warning
-- message: {request_count:,} of {of:,} requests may have begun before what was recorded: requests/s counts each of them as one, and
--   their first tokens, and what they generated before, are not known
-- hint: count those that begin and those that end (`served_requests`), or record a whole load
-- concerns: attribute.served_request_times
-- empty without: attribute.served_request_times
-- requires: attribute.served_request_times
-- columns:
--   phase         VARCHAR NULL.
--   at_stake_ns   BIGINT  NULL. Unit: ns.
--   request_count BIGINT  Such requests.
--   of            BIGINT  Requests that steps were recorded of.
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns,
    count(*) FILTER (
        WHERE is_generating AND (is_cut OR (arrived_ns IS NULL AND coalesce(prompt_tokens - reused_tokens, 0) <= 1))
    ) AS request_count,
    count(*) AS of
FROM attribute.served_request_times
WHERE NOT is_warmup
HAVING request_count > 0
