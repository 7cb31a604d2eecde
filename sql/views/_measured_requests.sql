-- Requests that latency is told of: warm-up left out, and of cold ones the times that are cold. Those that an engine served count
-- whole, as in served_summary: a cold step is one that their clients waited for.
-- Grain: one row per request.
-- requires: views.requests, views.served_requests
-- columns:
--   start_ns  BIGINT  Its start; of one that an engine served, its arrival, NULL where that was not recorded. Unit: ns.
--   shape     VARCHAR As in requests; 'served' for an engine's.
--   ttft_ns   BIGINT  Time to first token. Unit: ns.
--   tpot_ns   DOUBLE  Time per output token. Unit: ns.
--   is_served BOOLEAN Whether an engine served it: such requests are no repeats of each other.
SELECT
    start_ns, shape, CASE WHEN NOT is_ttft_cold THEN ttft_ns END AS ttft_ns,
    CASE WHEN NOT is_tpot_cold THEN tpot_ns END AS tpot_ns, false AS is_served
FROM views.requests
WHERE NOT is_warmup AND NOT (is_ttft_cold AND (is_tpot_cold OR decode_steps = 0))
UNION ALL
SELECT arrived_ns, 'served', ttft_ns, tpot_ns, true FROM views.served_requests WHERE NOT is_warmup
