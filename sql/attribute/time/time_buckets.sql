-- A trace without phases and requests in at most 20 equal buckets of time, the same for all GPUs. Their width is 1, 2 or 5
-- times a power of ten, and the first starts with the first window. Nothing if the trace has phases or requests.
-- Grain: bucket.
-- materialize: table
-- empty without: attribute._window_ranges WHERE kind = 'trace'
-- requires: attribute._window_ranges
-- columns:
--   bucket   BIGINT 0, 1, 2, … by time.
--   start_ns BIGINT First instant. Unit: ns.
--   end_ns   BIGINT Start of the next one; the last ends with the last window. Unit: ns.
WITH whole AS (
    SELECT min(start_ns)::HUGEINT AS start_ns, max(until_ns)::HUGEINT AS end_ns
    FROM attribute._window_ranges
    WHERE kind = 'trace'
),
width AS (
    SELECT min(f.factor * (10 ** p.power)::BIGINT) AS width_ns
    FROM (SELECT unnest([1, 2, 5]) AS factor) AS f, range(18) AS p(power), whole AS t
    WHERE f.factor * (10 ** p.power)::BIGINT >= (t.end_ns - t.start_ns) / 20.0
)
SELECT
    bucket, (t.start_ns + bucket * w.width_ns)::BIGINT AS start_ns,
    least(t.start_ns + (bucket + 1) * w.width_ns, t.end_ns)::BIGINT AS end_ns
FROM whole AS t, width AS w, range(20) AS b(bucket)
WHERE t.start_ns + bucket * w.width_ns < t.end_ns
