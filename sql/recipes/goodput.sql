-- How many requests per second does the engine serve within limits?
-- Of the requests whose arrival and first token were recorded, per second from the first arrival to the last token. Engines are marked by
-- `llmperf capture --auto` or `--profile`.
-- params:
--   ttft_ms=500.0  Most time to the first token, from arrival.
--   tpot_ms=50.0   Most time per output token after it.
-- columns:
--   requests        BIGINT  Requests.
--   good_requests   BIGINT  Of those, within both limits.
--   goodput_per_s   DOUBLE  Requests within the limits per second.
--   requests_per_s  DOUBLE  All requests per second.
--   tokens_per_s    DOUBLE  New tokens of all requests per second.
--   ttft_misses     BIGINT  Requests with a later first token.
--   tpot_misses     BIGINT  Requests with slower tokens.
WITH served AS (
    SELECT
        arrived_ns, last_token_ns, new_tokens, ttft_ns > $ttft_ms * 1e6 AS is_late,
        coalesce(tpot_ns > $tpot_ms * 1e6, false) AS is_slow
    FROM served_requests
    WHERE NOT is_warmup AND ttft_ns IS NOT NULL
),
total AS (
    SELECT
        count(*) AS requests, count(*) FILTER (WHERE NOT is_late AND NOT is_slow) AS good_requests,
        (max(last_token_ns) - min(arrived_ns)) / 1e9 AS seconds, sum(new_tokens) AS new_tokens,
        count(*) FILTER (WHERE is_late) AS ttft_misses, count(*) FILTER (WHERE is_slow) AS tpot_misses
    FROM served
)
SELECT
    requests, good_requests, good_requests / nullif(seconds, 0) AS goodput_per_s,
    requests / nullif(seconds, 0) AS requests_per_s, new_tokens / nullif(seconds, 0) AS tokens_per_s, ttft_misses,
    tpot_misses
FROM total
