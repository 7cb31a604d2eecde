-- Texts of one prompt that a client asks for at once (n > 1): engines run each of them as a request of its own.
-- Algorithm: vLLM calls them 0_NAME, 1_NAME, … of a request NAME, and all have the prompt's length. SGLang runs the prompt once more before
-- them, and says n of each. transformers calls those after the first NAME__child#0, ….
-- Grain: one row, where there are some.
-- severity: warning
-- message: {sample_count:,} of {of:,} served requests are runs of {parent_count:,} requests for several texts each (n > 1): requests, requests per
--   second, goodput, latencies and prompt tokens are those of the runs
-- hint: TTFT and TPOT are those of each text; a request with n > 1 is answered when its last text is: time such requests at the client
-- concerns: attribute.served_request_times
-- empty without: attribute.served_request_times
-- requires: attribute.served_request_times, attribute._arrivals
-- columns:
--   phase        VARCHAR NULL.
--   at_stake_ns  BIGINT  NULL. Unit: ns.
--   sample_count BIGINT  Such requests of the engine.
--   parent_count BIGINT  Requests of clients that they are of.
--   of           BIGINT  All that were served.
WITH named AS (
    SELECT
        engine, request, prompt_tokens, regexp_extract(request, '^\d{1,9}_(.+)$', 1) AS parent,
        TRY_CAST(regexp_extract(request, '^(\d{1,9})_.', 1) AS BIGINT) AS number
    FROM attribute.served_request_times
),
family AS (
    SELECT count(*) AS samples
    FROM named
    WHERE number IS NOT NULL
    GROUP BY engine, parent
    HAVING count(*) > 1 AND min(number) = 0 AND max(number) = count(*) - 1 AND count(DISTINCT prompt_tokens) = 1
),
children AS (
    SELECT count(*) AS children, count(DISTINCT (engine, regexp_extract(request, '^(.+)__child#', 1))) AS parents
    FROM attribute.served_request_times
    WHERE regexp_matches(request, '.__child#\d+$')
),
told AS (
    SELECT a.samples, count(*) AS runs
    FROM attribute.served_request_times AS t
    JOIN (SELECT request, max(samples) AS samples FROM attribute._arrivals GROUP BY request) AS a USING (request)
    WHERE a.samples > 1
    GROUP BY a.samples
),
found AS (
    SELECT sum(samples) AS samples, count(*) AS parents FROM family
    UNION ALL
    SELECT children + parents, parents FROM children
    UNION ALL
    SELECT sum(runs), sum(ceil(runs / (samples + 1))) FROM told
)
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, sum(samples)::BIGINT AS sample_count, sum(parents)::BIGINT AS parent_count,
    (SELECT count(*) FROM attribute.served_request_times) AS of
FROM found
HAVING sample_count > 0
