-- Latency of requests of one kind, warm-up and cold ones left out; those that an engine served are one kind. A percentile of fewer values than it takes to tell it from the
-- largest (10 for the 90th, 100 for the 99th) is NULL.
-- Grain: shape; NULL for requests whose shape is not known, or whose chunks do not add up to one; 'served' for an engine's.
-- requires: attribute.served_request_times, attribute.request_times, attribute.phase_ranges, input.occurrence_shapes, input.shapes
-- columns:
--   shape    VARCHAR  Shape of the prompt, all of its chunks: batch x prompt tokens.
--   requests BIGINT   Requests.
--   ttft_p50_ns BIGINT  Median time to first token. Unit: ns.
--   ttft_p90_ns BIGINT  90th percentile. Unit: ns.
--   ttft_p99_ns BIGINT  99th percentile. Unit: ns.
--   ttft_sd_ns  BIGINT  Its sample standard deviation, NULL for a single request. Unit: ns.
--   tpot_p50_ns BIGINT  Median time per output token. Unit: ns.
--   tpot_p90_ns BIGINT  90th percentile. Unit: ns.
--   tpot_p99_ns BIGINT  99th percentile. Unit: ns.
--   tpot_sd_ns  BIGINT  Its sample standard deviation, NULL for a single request. Unit: ns.
WITH shaped AS (
    SELECT
        p.request_id,
        CASE
            WHEN count(*) = 1 THEN any_value(s.kind)
            WHEN count(s.kind) = count(*) AND min(s.batch) = max(s.batch) AND NOT bool_or(contains(s.kind, '..'))
                THEN min(s.batch) || 'x' || (sum(s.new_tokens) // min(s.batch))::BIGINT
        END AS shape
    FROM attribute.phase_ranges AS p
    LEFT JOIN input.occurrence_shapes AS o USING (occurrence_id)
    LEFT JOIN input.shapes AS s USING (shape_id)
    WHERE p.phase = 'prefill' AND p.request_id IS NOT NULL
    GROUP BY p.request_id
),
measured AS (
    SELECT
        request_id, CASE WHEN NOT has_cold_prefill THEN ttft_ns END AS ttft_ns,
        CASE WHEN NOT has_cold_decode THEN tpot_ns END AS tpot_ns
    FROM attribute.request_times
    WHERE NOT is_warmup AND NOT (has_cold_prefill AND (has_cold_decode OR decode_steps = 0))
)
SELECT
    shaped.shape, count(*) AS requests,
    quantile_cont(t.ttft_ns, 0.5)::BIGINT AS ttft_p50_ns,
    CASE WHEN count(t.ttft_ns) >= 10 THEN quantile_cont(t.ttft_ns, 0.9)::BIGINT END AS ttft_p90_ns,
    CASE WHEN count(t.ttft_ns) >= 100 THEN quantile_cont(t.ttft_ns, 0.99)::BIGINT END AS ttft_p99_ns,
    stddev_samp(t.ttft_ns)::BIGINT AS ttft_sd_ns,
    quantile_cont(t.tpot_ns, 0.5)::BIGINT AS tpot_p50_ns,
    CASE WHEN count(t.tpot_ns) >= 10 THEN quantile_cont(t.tpot_ns, 0.9)::BIGINT END AS tpot_p90_ns,
    CASE WHEN count(t.tpot_ns) >= 100 THEN quantile_cont(t.tpot_ns, 0.99)::BIGINT END AS tpot_p99_ns,
    stddev_samp(t.tpot_ns)::BIGINT AS tpot_sd_ns
FROM measured AS t LEFT JOIN shaped USING (request_id)
GROUP BY shaped.shape
UNION ALL
SELECT
    'served' AS shape, count(*) AS requests,
    quantile_cont(ttft_ns, 0.5)::BIGINT,
    CASE WHEN count(ttft_ns) >= 10 THEN quantile_cont(ttft_ns, 0.9)::BIGINT END,
    CASE WHEN count(ttft_ns) >= 100 THEN quantile_cont(ttft_ns, 0.99)::BIGINT END,
    -- Requests of a server are no repeats of each other.
    NULL,
    quantile_cont(tpot_ns, 0.5)::BIGINT,
    CASE WHEN count(tpot_ns) >= 10 THEN quantile_cont(tpot_ns, 0.9)::BIGINT END,
    CASE WHEN count(tpot_ns) >= 100 THEN quantile_cont(tpot_ns, 0.99)::BIGINT END,
    NULL
FROM (
    SELECT
        first_token_ns - arrived_ns AS ttft_ns,
        CASE WHEN new_tokens > 1 THEN (last_token_ns - first_token_ns) / (new_tokens - 1) END AS tpot_ns
    FROM attribute.served_request_times
    WHERE NOT is_warmup AND NOT is_left_cold
)
HAVING count(*) > 0
