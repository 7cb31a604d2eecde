-- Latency of requests of one kind, warm-up left out, and cold ones that no engine served; those that an engine served are one
-- kind, the same ones as in served_summary.
-- A percentile of fewer values than it takes to tell it from the largest (10 for the 90th, 100 for the 99th) is NULL.
-- Grain: shape; NULL for requests whose shape is not known, or whose chunks do not add up to one; 'served' for an engine's.
-- empty without: views._measured_requests
-- requires: views._measured_requests
-- columns:
--   shape    VARCHAR  Shape of the prompt, all of its chunks: batch x prompt tokens.
--   requests BIGINT   Requests.
--   ttft_p50_ns BIGINT  Median time to first token. Unit: ns.
--   ttft_p90_ns BIGINT  90th percentile. Unit: ns.
--   ttft_p99_ns BIGINT  99th percentile. Unit: ns.
--   ttft_sd_ns  BIGINT  Its sample standard deviation, NULL for a single request and for an
--                       engine's, which are no repeats of each other. Unit: ns.
--   tpot_p50_ns BIGINT  Median time per output token. Unit: ns.
--   tpot_p90_ns BIGINT  90th percentile. Unit: ns.
--   tpot_p99_ns BIGINT  99th percentile. Unit: ns.
--   tpot_sd_ns  BIGINT  Its sample standard deviation, NULL for a single request and for an
--                       engine's, which are no repeats of each other. Unit: ns.
SELECT
    shape, count(*) AS requests,
    quantile_cont(ttft_ns, 0.5)::BIGINT AS ttft_p50_ns,
    CASE WHEN count(ttft_ns) >= 10 THEN quantile_cont(ttft_ns, 0.9)::BIGINT END AS ttft_p90_ns,
    CASE WHEN count(ttft_ns) >= 100 THEN quantile_cont(ttft_ns, 0.99)::BIGINT END AS ttft_p99_ns,
    CASE WHEN NOT is_served THEN stddev_samp(ttft_ns)::BIGINT END AS ttft_sd_ns,
    quantile_cont(tpot_ns, 0.5)::BIGINT AS tpot_p50_ns,
    CASE WHEN count(tpot_ns) >= 10 THEN quantile_cont(tpot_ns, 0.9)::BIGINT END AS tpot_p90_ns,
    CASE WHEN count(tpot_ns) >= 100 THEN quantile_cont(tpot_ns, 0.99)::BIGINT END AS tpot_p99_ns,
    CASE WHEN NOT is_served THEN stddev_samp(tpot_ns)::BIGINT END AS tpot_sd_ns
FROM views._measured_requests
GROUP BY shape, is_served
