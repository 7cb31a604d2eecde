-- Distribution of a number in each group: count, mean and percentiles, interpolated between neighbours.
-- Grain: group_id.
-- params: measurements
-- requires:
-- columns:
--   group_id ANY     Copied from `measurements`, which has group_id and value.
--   count    BIGINT  Values that are not NULL.
--   mean     DOUBLE  Their mean.
--   min      ANY     The smallest.
--   p50      DOUBLE  Median.
--   p90      DOUBLE  90th percentile.
--   p99      DOUBLE  99th percentile.
--   max      ANY     The largest.
SELECT
    group_id, count(value) AS "count", avg(value) AS mean, min(value) AS "min",
    quantile_cont(value, 0.5)::DOUBLE AS p50, quantile_cont(value, 0.9)::DOUBLE AS p90,
    quantile_cont(value, 0.99)::DOUBLE AS p99, max(value) AS "max"
FROM query_table(measurements)
GROUP BY group_id
