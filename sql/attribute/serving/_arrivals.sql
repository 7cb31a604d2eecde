-- When each request came to the engine, and when its client gave it up.
-- Grain: request, process_key.
-- requires: load.nvtx_marks
-- columns:
--   request       VARCHAR  Name.
--   process_key   BIGINT   Process that says so: an engine's own, or a worker's. Joins load.processes.
--   arrivals      BIGINT   How often one of this name came there.
--   arrived_ns    BIGINT   When its server took it in, before it was prepared for the engine; the first time. Unit: ns.
--   prompt_tokens BIGINT   Length of its prompt, NULL where it was not said. Unit: tokens.
--   samples       BIGINT   Texts that its client asked for at once, if each is a request like this one; NULL if one.
--   given_up_ns   BIGINT   When its client gave it up; NULL if it did not, or if several of one name came. Unit: ns.
WITH mark AS (
    SELECT process_key, at_ns, TRY_CAST(substr("text", 17) AS JSON) AS request
    FROM load.nvtx_marks
    WHERE starts_with("text", 'llmperf.request {')
),
told AS (
    SELECT
        process_key, json_extract_string(request, '$.id') AS request,
        TRY_CAST(json_extract(request, '$.prompt') AS BIGINT) AS prompt_tokens,
        TRY_CAST(json_extract(request, '$.samples') AS BIGINT) AS samples,
        coalesce(TRY_CAST(json_extract(request, '$.given_up') AS BOOLEAN), false) AS is_given_up,
        at_ns - coalesce(TRY_CAST(json_extract(request, '$.waited_ms') AS DOUBLE), 0) * 1e6 AS arrived_ns
    FROM mark
)
SELECT
    request, process_key, count(*) FILTER (WHERE NOT is_given_up) AS arrivals,
    min(arrived_ns) FILTER (WHERE NOT is_given_up)::BIGINT AS arrived_ns,
    arg_min(prompt_tokens, arrived_ns) FILTER (WHERE NOT is_given_up) AS prompt_tokens,
    max(samples) AS samples,
    CASE WHEN count(*) FILTER (WHERE NOT is_given_up) = 1 THEN min(arrived_ns) FILTER (WHERE is_given_up)::BIGINT END AS given_up_ns
FROM told
WHERE request IS NOT NULL AND isfinite(arrived_ns) AND abs(arrived_ns) < 9e18
GROUP BY request, process_key
HAVING count(*) FILTER (WHERE NOT is_given_up) > 0
