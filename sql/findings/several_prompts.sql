-- Requests in which a prefill follows a decode step: a chat, or batches that are admitted one after the other.
-- Grain: one row, where there are some.
-- severity: warning
-- message: in {request_count:,} of {of:,} requests a prefill follows a decode step: their TTFT is that of the first prompt, and
--   they have no TPOT
-- hint: mark each generation call with a `request` range of its own
-- concerns: attribute.request_times
-- empty without: attribute.request_times
-- requires: attribute.request_times
-- columns:
--   phase         VARCHAR NULL.
--   at_stake_ns   BIGINT  NULL. Unit: ns.
--   request_count BIGINT  Such requests outside warm-up.
--   of            BIGINT  Requests outside warm-up.
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, count(*) FILTER (WHERE has_several_prompts) AS request_count,
    count(*) AS of
FROM attribute.request_times
WHERE NOT is_warmup
HAVING request_count > 0
