-- Samples of one prompt (`n` of a request) that vLLM runs as requests of their own: it calls them by their number and the request's name.
-- Grain: one row, where there are some.
-- severity: warning
-- message: {sample_count:,} of {of:,} served requests are samples of {prompt_count:,} prompts (`n` above 1), which vLLM runs as requests of their own:
--   requests, TTFT, latencies and goodput are those of samples, and a prompt's tokens count for each of its samples
-- hint: clients sent {sent_count:,} requests; rates of new tokens and of computed prompt tokens are right
-- concerns: attribute.served_request_times
-- empty without: attribute.served_request_times
-- requires: attribute.served_request_times
-- columns:
--   phase        VARCHAR NULL.
--   at_stake_ns  BIGINT  NULL. Unit: ns.
--   sample_count BIGINT  Such requests.
--   of           BIGINT  All that were served.
--   prompt_count BIGINT  What they are samples of.
--   sent_count   BIGINT  Requests with all samples of a prompt as one.
WITH family AS (
    SELECT engine, regexp_extract(request, '^\d+_(.+)$', 1) AS prompt, count(*) AS samples
    FROM attribute.served_request_times
    GROUP BY engine, prompt
    -- All numbers from 0 on, and one prompt.
    HAVING prompt <> '' AND samples > 1 AND count(DISTINCT known_prompt_tokens) <= 1
        AND max(TRY_CAST(regexp_extract(request, '^(\d+)_', 1) AS BIGINT)) = samples - 1
),
every AS (SELECT count(*) AS requests FROM attribute.served_request_times)
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, sum(f.samples)::BIGINT AS sample_count, any_value(e.requests) AS of,
    count(*) AS prompt_count, (any_value(e.requests) - sum(f.samples) + count(*))::BIGINT AS sent_count
FROM family AS f CROSS JOIN every AS e
HAVING count(*) > 0
